"""The warehouse of Delta tables.

dagster_deltalake is not used: it loads whole slices into memory and falls back to a full overwrite if opening fails.
"""

import dagster as dg
from pydantic import Field

from resources.home import HomeResource
from veclip_pipelines.tables.warehouse import Warehouse


class DeltaLakeResource(dg.ConfigurableResource["DeltaLakeResource"]):
    """Delta tables in a folder or a bucket."""

    home: dg.ResourceDependency[HomeResource]
    root: str = Field(
        default="",
        description="Folder or URI of the warehouse; empty: VECLIP_WAREHOUSE, else a folder in VECLIP_HOME.",
    )
    storage_options: dict[str, str] = Field(default={}, description="What object_store needs to reach a bucket.")

    def warehouse(self) -> Warehouse:
        return Warehouse.at(self.root or self.home.settings().warehouse, self.storage_options)
