"""A lineage graph as OpenLineage events, which catalogues such as Marquez and DataHub read: one completed run per materialisation.

Source: openlineage.io/docs/spec; the events are built and sent by openlineage-python.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from veclip_pipelines import __version__
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.extras import require
from veclip_pipelines.lineage.graph import Graph
from veclip_pipelines.schemas.column_lineage import COLUMN_LINEAGE
from veclip_pipelines.stages import tables
from veclip_pipelines.tables.provenance import Provenance
from veclip_pipelines.tables.warehouse import Warehouse

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

#: The namespace of jobs; that of a data set is where it is stored, as OpenLineage names files and objects.
NAMESPACE = "veclip"
_PRODUCER = f"urn:veclip-pipelines:{__version__}"
#: Makes a run id from the Dagster run, the asset and the partition, so that an event sent again is the same run.
_SPACE = uuid.UUID("6d1f0b2e-7a0f-4f8e-9f0c-2f9a6f6a4a11")


def events(warehouse: Warehouse, graph: Graph) -> list[RunEvent]:
    """One event per materialisation, upstream first. Raises VeclipError where openlineage-python is not installed."""
    require("openlineage.client.facet_v2").set_producer(_PRODUCER)
    above: dict[int, list[Provenance]] = {}
    for left, right in graph.edges:
        above.setdefault(right, []).append(graph.made[left])
    return [_event(warehouse, graph, one, above.get(number, [])) for number, one in enumerate(graph.made)]


def send(found: Sequence[RunEvent], target: str) -> None:
    """Sends events to an HTTP endpoint, or writes them into a file, one per line.

    Raises:
        VeclipError: the endpoint cannot be reached or refuses them, or the file cannot be written.
    """
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    transport: Any
    if target.startswith(("http://", "https://")):
        transport = HttpTransport(HttpConfig(url=target))
    else:
        Path(target).unlink(missing_ok=True)
        transport = FileTransport(FileConfig(log_file_path=target, append=True))
    client = OpenLineageClient(transport=transport)
    try:
        for event in found:
            client.emit(event)
    except Exception as error:  # the transports raise their libraries' own errors
        raise VeclipError(f"OpenLineage events could not be sent to {target}: {error}") from error


def _event(warehouse: Warehouse, graph: Graph, one: Provenance, above: Sequence[Provenance]) -> RunEvent:
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import job_type_job, output_statistics_output_dataset, parent_run

    engine = graph.engines.get(one.engine)
    inputs = [InputDataset(*_name(warehouse, other), facets=_version(other)) for other in above]
    if one.asset == "raw_crawl" and (drop := graph.drops.get(one.partition)):
        inputs.append(InputDataset("file", str(drop["uri"])))
    if engine:
        inputs.append(InputDataset("engine", f"{engine['profile']}@{engine['engine_id']}"))
    rows = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=one.rows_kept + one.rows_rejected
    )
    output = OutputDataset(
        *_name(warehouse, one),
        outputFacets={"outputStatistics": rows},
        facets={**_version(one), **_columns(warehouse, one, above)},
    )
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=_uuid(one.run_id)), job=parent_run.Job(namespace=NAMESPACE, name="dagster")
    )
    kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="DAGSTER", jobType="ASSET")
    return RunEvent(
        eventTime=one.recorded_at.isoformat(),
        producer=_PRODUCER,
        run=Run(str(uuid.uuid5(_SPACE, f"{one.run_id}/{one.asset}/{one.partition}")), facets={"parent": parent}),
        job=Job(NAMESPACE, one.asset, facets={"jobType": kind}),
        eventType=RunState.COMPLETE,
        inputs=inputs,
        outputs=[output],
    )


def _name(warehouse: Warehouse, one: Provenance) -> tuple[str, str]:
    """Namespace and name: for a folder, file and its path; for a store, the bucket and the path in it."""
    path = "/".join(part for part in (one.asset, one.partition, one.engine) if part)
    if warehouse.is_local:
        return "file", f"{warehouse.root}/{path}"
    root = urlsplit(warehouse.root)
    return f"{root.scheme}://{root.netloc}", "/".join(part for part in (root.path.strip("/"), path) if part)


def _uuid(run_id: str) -> str:
    """Dagster's run ids are UUIDs; other ids, of tests or other tools, are turned into one."""
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return str(uuid.uuid5(_SPACE, run_id))


def _version(one: Provenance) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset

    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=one.data_version)}


def _columns(warehouse: Warehouse, one: Provenance, above: Sequence[Provenance]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import column_lineage_dataset, schema_dataset

    spec = tables()[one.asset]
    fields = [
        schema_dataset.SchemaDatasetFacetFields(field.name, str(field.type), spec.descriptions[field.name])
        for field in spec.schema
    ]
    made = {
        column: column_lineage_dataset.Fields(list(_sources(warehouse, sources, above)))
        for column, sources in COLUMN_LINEAGE.get(one.asset, {}).items()
    }
    made = {column: fields_ for column, fields_ in made.items() if fields_.inputFields}
    lineage = {"columnLineage": column_lineage_dataset.ColumnLineageDatasetFacet(fields=made)} if made else {}
    return {"schema": schema_dataset.SchemaDatasetFacet(fields=fields), **lineage}


def _sources(warehouse: Warehouse, sources: Sequence[tuple[str, str]], above: Sequence[Provenance]) -> Iterator[Any]:
    from openlineage.client.facet_v2 import column_lineage_dataset

    for table, column in sources:
        for other in above:
            if other.asset == table:
                yield column_lineage_dataset.InputField(*_name(warehouse, other), column)
