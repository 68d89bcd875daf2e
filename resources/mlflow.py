"""MLflow tracking, one MLflow run per checkpoint.

dagster_mlflow is not used: it is a legacy resource with global state and one MLflow run per Dagster run.
"""

import dagster as dg
from pydantic import Field

from resources.home import HomeResource
from veclip_pipelines.mlflow_tracking import Tracking


class MlflowResource(dg.ConfigurableResource["MlflowResource"]):
    """A tracking server, or SQLite in VECLIP_HOME."""

    home: dg.ResourceDependency[HomeResource]
    tracking_uri: str = Field(
        default="",
        description="Tracking server or database; empty: MLFLOW_TRACKING_URI, else SQLite in VECLIP_HOME.",
    )

    def tracking(self) -> Tracking:
        settings = self.home.settings()
        return Tracking(self.tracking_uri or settings.mlflow_tracking_uri, settings.mlflow_artifacts)
