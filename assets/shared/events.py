"""Reporting to Dagster a content that no materialisation made: one restored by a rollback, or one with something taken out."""

from collections.abc import Collection, Mapping

import dagster as dg

_DATA_VERSION = "dagster/data_version"
_INPUT_VERSION, INPUT_POINTER = "dagster/input_data_version/", "dagster/input_event_pointer/"


def report_content(
    instance: dg.DagsterInstance,
    asset: str,
    partition: str | None,
    data_version: str,
    *,
    renewed: Collection[str],
    description: str,
    metadata: Mapping[str, int],
) -> None:
    """Reports what a partition holds now, unless Dagster knows it already.

    The report repeats what the last materialisation was made from, so that the partition is as stale or as fresh as before: a
    content without these tags would count as fresh for ever.

    Args:
        renewed: upstream assets of the same partition with whose present content this one agrees. Report those first.
    """
    last = _latest(instance, asset, partition)
    tags = {} if last is None else {k: v for k, v in _tags(last).items() if k.startswith("dagster/")}
    before = tags.get(_DATA_VERSION)
    pointers = dict(tags)
    for upstream in renewed:
        record = _latest(instance, upstream, partition)
        if record is not None and f"{INPUT_POINTER}{upstream}" in tags:
            tags[f"{INPUT_POINTER}{upstream}"] = str(record.storage_id)
            tags[f"{_INPUT_VERSION}{upstream}"] = _tags(record).get(_DATA_VERSION, "")
    if before == data_version and tags == pointers:
        return
    tags[_DATA_VERSION] = data_version
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=asset, partition=partition, description=description, metadata=dict(metadata), tags=tags
        )
    )


def _latest(instance: dg.DagsterInstance, asset: str, partition: str | None) -> dg.EventLogRecord | None:
    return instance.get_latest_data_version_record(dg.AssetKey(asset), partition_key=partition)


def _tags(record: dg.EventLogRecord) -> Mapping[str, str]:
    materialisation = record.event_log_entry.asset_materialization
    return (materialisation.tags or {}) if materialisation is not None else {}
