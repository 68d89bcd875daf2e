"""Rows of benchmark_scores as MLflow and the Dagster UI show them."""

from __future__ import annotations

from veclip_pipelines.evaluation.checkpoint_scores import as_metrics, as_percent

ROWS = [{"benchmark": "coco", "metric": "text_to_image_recall@5", "value": 0.25, "low": 0.1, "high": 0.4}]


def test_scores_are_named_as_mlflow_takes_them() -> None:
    assert as_metrics(ROWS) == {"coco/text_to_image_recall_at_5": 0.25}


def test_scores_are_shown_in_percent_with_their_interval() -> None:
    assert as_percent(ROWS) == {"coco/text_to_image_recall@5": "25.00 [10.00, 40.00]"}
