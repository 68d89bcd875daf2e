"""What a training set is like: rows by part and reason, and by source of text its length, its vocabulary, its share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from veclip_pipelines.config.model_config import tokenizer_for
from veclip_pipelines.config.recipe import ModelSettings
from veclip_pipelines.mixing.training_set import TrainingSet
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.schemas.training_schemas import SET_FIGURES
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.query import connect
from veclip_pipelines.tables.warehouse import Warehouse

#: Samples whose texts are tokenized for the figures; they are the first by sample_id, which is a hash.
SAMPLED = 20_000
#: CLIP's own context: longer texts are cut by most models.
CLIP_CONTEXT = 77
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Figure:
    """One figure: what is counted, of what, and the value."""

    figure: str
    of: str
    value: float


def set_figures(warehouse: Warehouse, model: ModelSettings, context_length: int, made: TrainingSet) -> list[Figure]:
    """Figures of a set. Lengths and vocabulary are over the first :data:`SAMPLED` samples; lengths in the recipe's own tokens."""
    where = f"recipe = ? AND set_version = ? AND outcome = '{KEPT}'"
    names = [made.recipe, made.set_version]
    found: list[Figure] = []
    with connect(warehouse, ["training_sets"]) as connection:
        for part, rows, seen in connection.execute(
            f"SELECT part, count(*), sum(weight) FROM training_sets WHERE {where} GROUP BY 1 ORDER BY 1",  # noqa: S608
            names,
        ).fetchall():
            found += [Figure("rows", part, rows), Figure("seen_an_epoch", part, seen)]
        for reason, rows in connection.execute(
            "SELECT reason, count(*) FROM training_sets WHERE recipe = ? AND set_version = ? AND reason IS NOT NULL "
            "GROUP BY 1 ORDER BY 1",
            names,
        ).fetchall():
            found.append(Figure("rejected", reason, rows))
        for source, share in connection.execute(
            "SELECT texts[i].source, sum(probabilities[i] * weight) / (SELECT sum(weight) FROM training_sets WHERE "  # noqa: S608
            f"{where}) FROM (SELECT texts, probabilities, weight, unnest(range(1, len(texts) + 1)) AS i FROM training_sets "
            f"WHERE {where}) GROUP BY 1 ORDER BY 1",
            [*names, *names],
        ).fetchall():
            found.append(Figure("share_of_draws", source, share))
        rows = connection.execute(
            f"SELECT list_transform(texts, lambda x: [x.source, x.text]) FROM training_sets WHERE {where} "  # noqa: S608
            f"ORDER BY sample_id LIMIT {SAMPLED}",
            names,
        ).fetchall()
    by_source: dict[str, list[str]] = {}
    for (texts,) in rows:
        for source, text in texts:
            by_source.setdefault(source, []).append(text)
    if by_source:
        tokenizer = tokenizer_for(model, context_length, (text for texts in by_source.values() for text in texts))
        for source, texts in sorted(by_source.items()):
            found += _text_figures(tokenizer, source, texts, context_length)
    return found


def _text_figures(tokenizer: object, source: str, texts: Sequence[str], context_length: int) -> list[Figure]:
    encoded = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]  # type: ignore[operator]
    lengths = np.array([len(ids) for ids in encoded])
    words = Counter(word for text in texts for word in _WORD.findall(text.lower()))
    return [
        Figure("tokens_mean", source, float(lengths.mean())),
        Figure("tokens_median", source, float(np.median(lengths))),
        Figure("tokens_95", source, float(np.quantile(lengths, 0.95))),
        Figure("tokens_max", source, float(lengths.max())),
        Figure(f"share_over_{CLIP_CONTEXT}", source, float((lengths > CLIP_CONTEXT).mean())),
        Figure("share_cut", source, float((lengths > context_length).mean())),
        Figure("distinct_words", source, float(len(words))),
        Figure("distinct_tokens", source, float(len({token for ids in encoded for token in ids}))),
        Figure("texts_looked_at", source, float(len(texts))),
    ]


def write_figures(
    warehouse: Warehouse, made: TrainingSet, figures: Sequence[Figure], *, properties: Mapping[str, str]
) -> None:
    """Writes the figures of a set; the same again change nothing."""
    partition = {"recipe": made.recipe, "set_version": made.set_version}
    expected = partition_files(warehouse.open(SET_FIGURES), partition)
    rows = table_of(
        SET_FIGURES, [{"figure": item.figure, "of": item.of, "value": float(item.value)} for item in figures]
    )
    file = write_file(warehouse, SET_FIGURES, partition, f"figures-{made.set_version}", rows)
    replace_partition(warehouse, SET_FIGURES, partition, [file], expected=expected, properties=properties)


def figures_table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table: one row for what is counted, one column for each of what."""
    columns = list(dict.fromkeys(item.of for item in figures))
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name in dict.fromkeys(item.figure for item in figures):
        values = {item.of: item.value for item in figures if item.figure == name}
        lines.append(f"| {name} | " + " | ".join(f"{values[of]:.4g}" if of in values else "" for of in columns) + " |")
    return "\n".join(lines)
