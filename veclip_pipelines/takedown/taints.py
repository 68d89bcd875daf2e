"""Checkpoints that were trained on what was taken out: marked, with how often each was shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.schemas.takedown_schemas import TAINTS
from veclip_pipelines.schemas.training_schemas import TRAINING_SETS
from veclip_pipelines.tables.query import read_rows, rows_of
from veclip_pipelines.tables.standings import connect_all
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.register import merge_rows
from veclip_pipelines.takedown.table_rewrites import Hidden
from veclip_pipelines.training.exposure import exposure_of
from veclip_pipelines.training.exposures import times_shown


def note_taints(
    warehouse: Warehouse, takedown_id: str, hidden: Hidden, tracking: Tracking | None
) -> list[dict[str, Any]]:
    """Writes a row for each checkpoint and sample that it was trained on, and marks its MLflow run; what was done.

    A checkpoint's own record of what it was shown is asked, so that one is found whose set has lost the sample by now.
    """
    checkpoints = read_rows(warehouse, "SELECT * FROM checkpoints ORDER BY trained_at", tables=["checkpoints"])
    sql = "SELECT checkpoint_id, sample_id FROM taints WHERE takedown_id = ?"
    noted: dict[str, set[str]] = {}
    for row in read_rows(warehouse, sql, [takedown_id], tables=["taints"]):
        noted.setdefault(row["checkpoint_id"], set()).add(row["sample_id"])
    told = []
    for checkpoint in checkpoints:
        taken = _set_rows(warehouse, checkpoint, hidden)
        before = noted.get(checkpoint["checkpoint_id"], set())
        rows = _rows(checkpoint, taken, before, hidden)
        if not rows and not before:
            continue
        held = merge_rows(warehouse, TAINTS, takedown_id, rows)
        mine = [row for row in held if row["checkpoint_id"] == checkpoint["checkpoint_id"]]
        seen = sum(row["seen"] or 0 for row in mine)
        known = any(row["seen"] is not None for row in mine)
        shown = f"shown {seen} times in all" if known else "how often they were shown was not recorded"
        what = f"trained on {len(mine)} of the samples, {shown}"
        if tracking is not None:
            what += _mark(warehouse, tracking, checkpoint)
        told.append(
            {
                "step": "checkpoint",
                "place": f"{checkpoint['recipe']}/{checkpoint['checkpoint_id']}",
                "state": "tainted",
                "what": what,
                "count": len(mine),
            }
        )
    return told


def _set_rows(warehouse: Warehouse, checkpoint: Mapping[str, Any], hidden: Hidden) -> list[dict[str, Any]]:
    """The samples that are taken out and that the checkpoint's set has, in any file that still lies there."""
    with connect_all(warehouse, [TRAINING_SETS]) as connection:
        return rows_of(
            connection,
            "SELECT sample_id, any_value(image_sha256) AS image_sha256, any_value(texts) AS texts, "
            "any_value(probabilities) AS probabilities, coalesce(any_value(weight), 1.0) AS weight FROM training_sets "
            "WHERE recipe = ? AND set_version = ? AND outcome = 'kept' AND sample_id IN (SELECT unnest(?)) GROUP BY 1 ORDER BY 1",
            [checkpoint["recipe"], checkpoint["set_version"], hidden.sample_ids.to_pylist()],
        )


def _rows(
    checkpoint: Mapping[str, Any], taken: list[dict[str, Any]], noted: set[str], hidden: Hidden
) -> list[dict[str, Any]]:
    """What is to be noted.

    Args:
        noted: samples that an earlier run noted, when their set may still have known more of them.
    """
    folder = Path(checkpoint["uri"])
    shown = times_shown(checkpoint, taken, folder)
    common = {"checkpoint_id": checkpoint["checkpoint_id"], "recipe": checkpoint["recipe"]}
    rows = [
        {
            **common,
            "sample_id": row["sample_id"],
            "image_sha256": row["image_sha256"],
            "seen": shown[row["sample_id"]]["actual"],
            "expected": shown[row["sample_id"]]["expected"],
        }
        for row in taken
    ]
    known = {row["sample_id"] for row in taken} | noted
    rows += [
        {**common, "sample_id": sample_id, "image_sha256": None, "seen": found.seen, "expected": None}
        for sample_id, found in sorted(exposure_of(folder, hidden.sample_ids.to_pylist()).items())
        if sample_id not in known and found.seen
    ]
    return rows


def _mark(warehouse: Warehouse, tracking: Tracking, checkpoint: Mapping[str, Any]) -> str:
    """Tags the checkpoint's MLflow run with all takedowns that it is tainted by; says so where it cannot."""
    from mlflow.exceptions import MlflowException

    (found,) = read_rows(
        warehouse,
        "SELECT string_agg(DISTINCT takedown_id, ',' ORDER BY takedown_id) AS ids, count(DISTINCT sample_id) AS samples, "
        "coalesce(sum(seen), 0) AS seen FROM taints WHERE checkpoint_id = ?",
        [checkpoint["checkpoint_id"]],
        tables=["taints"],
    )
    tags = {"tainted_by": found["ids"], "tainted_samples": str(found["samples"]), "tainted_shown": str(found["seen"])}
    try:
        tracking.reopen(checkpoint["mlflow_run_id"]).set_tags(tags)
    except MlflowException as error:
        return f"; its MLflow run could not be marked: {str(error).splitlines()[0]}"
    return "; its MLflow run is marked"
