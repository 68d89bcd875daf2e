"""The experiment's short version: all its parts in one run of the command, and nothing done twice."""

from __future__ import annotations

import json

import pytest
from installation import Installation

from veclip_pipelines.experiment.design import Plan
from veclip_pipelines.experiment.folders import report_folder
from veclip_pipelines.tables.query import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_small_experiment(installation: Installation) -> None:
    done = installation.veclip("experiment", "--small")
    recipes = [run.recipe for run in Plan.small().runs()]
    figures = json.loads((report_folder(installation.settings) / "figures.json").read_text("utf-8"))
    assert {row["recipe"] for row in figures["runs"]} == set(recipes)
    assert all(row["training_seconds"] < 120 for row in figures["runs"])
    assert {(mean["arm"], mean["metric"]) for mean in figures["means"]} == {
        (arm, metric) for arm in ("alttext", "mixed", "taught") for metric in ("I2T R@1", "T2I R@1", "acc@1")
    }
    assert (report_folder(installation.settings) / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert "the mix beats AltText in retrieval" in done.stdout

    # Captions by the ordinary engine, of the crawl alone: nobody captions what the captioner was taught on.
    captions = read_rows(
        installation.warehouse, "SELECT crawl_partition, text FROM concept_captions", tables=["concept_captions"]
    )
    assert {row["crawl_partition"] for row in captions} == {"scenes-1"}
    assert sum(" ground" in row["text"] for row in captions) > 0.95 * len(captions) > 500
    # A training set of the control has the captioner's pictures, and no other has them.
    sets = read_rows(
        installation.warehouse, "SELECT recipe, count(*) AS n FROM training_sets GROUP BY 1", tables=["training_sets"]
    )
    counts = {row["recipe"]: row["n"] for row in sets}
    taught = next(recipe for recipe in recipes if "taught" in recipe)
    assert counts[taught] - counts[recipes[0]] == 300

    again = installation.veclip("experiment", "--small")
    assert "0 runs in" in again.stderr + again.stdout
