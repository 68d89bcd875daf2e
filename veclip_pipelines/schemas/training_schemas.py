"""The tables of what is trained and scored: training sets with their pins and figures, checkpoints, scores."""

from __future__ import annotations

import pyarrow as pa

from veclip_pipelines.schemas.shared_columns import OUTCOME_COLUMNS, RUN_ID, TIME
from veclip_pipelines.schemas.spec import table_spec, text_column

_WEIGHTED_TEXT = pa.struct(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("engine_id", pa.string()),
        pa.field("text", pa.string(), nullable=False),
    ]
)

TRAINING_SETS = table_spec(
    "training_sets",
    "a sample of a recipe's set",
    [
        text_column("sample_id", "the sample", required=True),
        text_column("image_sha256", "its picture", required=True),
        text_column("crawl_partition", "where its row and its picture are", required=True),
        (pa.field("texts", pa.list_(_WEIGHTED_TEXT), nullable=False), "the texts that training draws from"),
        (
            pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
            "the probability of each text, summing to 1",
        ),
        text_column("part", "the recipe's part that took it: main, or a further data set's name"),
        (pa.field("weight", pa.float64()), "times that it is seen an epoch, on average"),
        *OUTCOME_COLUMNS,
        text_column("recipe", "the recipe", required=True),
        text_column("set_version", "hash of the recipe and of the versions of all its inputs", required=True),
    ],
    partition_by=("recipe", "set_version"),
    keys=("sample_id",),
    lookups=("sample_id",),
    hidden_by=("sample_id", "image_sha256"),
)

SET_PINS = table_spec(
    "set_pins",
    "what a training set was made from, exactly: with these data files and this recipe it is made again byte for byte",
    [
        text_column("recipe", "the recipe", required=True),
        text_column("set_version", "the set", required=True),
        text_column("mix", "the recipe's parts and the engine_id of each text, JSON", required=True),
        text_column("inputs", "version of each input, JSON: the set's version is their hash", required=True),
        text_column("files", "of each table: its Delta version and the data files that were read, JSON", required=True),
        text_column("content_version", "hash of the set's rows", required=True),
        text_column(
            "rebuilt_version", "after a takedown: hash of what the set's pins give now; none where nothing was taken"
        ),
        (pa.field("takedowns", pa.list_(pa.string())), "the takedowns that took samples out of it"),
        (pa.field("pinned_at", TIME, nullable=False), "when"),
        RUN_ID,
    ],
    keys=("recipe", "set_version"),
)

SET_FIGURES = table_spec(
    "set_figures",
    "a figure about a training set: rows by part, lengths, vocabulary",
    [
        text_column("figure", "what is counted", required=True),
        text_column("of", "of what: a part, a source of texts, a reason; all", required=True),
        (pa.field("value", pa.float64(), nullable=False), "the figure"),
        text_column("recipe", "the recipe", required=True),
        text_column("set_version", "the set", required=True),
    ],
    partition_by=("recipe", "set_version"),
    keys=("figure", "of"),
)

CHECKPOINTS = table_spec(
    "checkpoints",
    "a trained CLIP model",
    [
        text_column("checkpoint_id", "hash of training set version, training settings and code", required=True),
        text_column("recipe", "the recipe it was trained by", required=True),
        text_column("set_version", "the training set it was trained on", required=True),
        text_column("uri", "folder with config.json, model.safetensors, tokenizer.json", required=True),
        text_column("weights_sha256", "SHA-256 of model.safetensors", required=True),
        text_column("mlflow_run_id", "its MLflow run", required=True),
        text_column("settings", "model config and training settings, JSON", required=True),
        (pa.field("samples", pa.int64(), nullable=False), "samples in the set"),
        (pa.field("steps", pa.int64(), nullable=False), "optimiser steps"),
        (pa.field("final_loss", pa.float64(), nullable=False), "mean loss of the last tenth of the steps"),
        (pa.field("trained_at", TIME, nullable=False), "when training ended"),
        RUN_ID,
    ],
    keys=("checkpoint_id",),
)

BENCHMARK_SCORES = table_spec(
    "benchmark_scores",
    "one metric of one checkpoint on one benchmark",
    [
        text_column("checkpoint_id", "the model", required=True),
        text_column("recipe", "the recipe it was trained by", required=True),
        text_column("benchmark", "the benchmark", required=True),
        text_column("benchmark_sha256", "hash over the benchmark's pictures and texts", required=True),
        text_column(
            "metric",
            "image_to_text_recall@k, text_to_image_recall@k; acc@1, acc@5, mean_per_class_recall",
            required=True,
        ),
        (pa.field("value", pa.float64(), nullable=False), "between 0 and 1"),
        (pa.field("low", pa.float64()), "lower end of its 95 % bootstrap interval"),
        (pa.field("high", pa.float64()), "upper end"),
        (pa.field("queries", pa.int64(), nullable=False), "number of queries"),
        text_column("code_version", "version of the evaluation's code", required=True),
        (pa.field("scored_at", TIME, nullable=False), "when it was scored"),
        RUN_ID,
    ],
    keys=("checkpoint_id", "benchmark", "benchmark_sha256", "metric", "code_version"),
)
