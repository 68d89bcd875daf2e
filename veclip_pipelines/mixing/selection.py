"""Which samples a mix takes, with which texts: one query over the pinned tables, streamed, whatever the number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from veclip_pipelines.media.uids import read_uids
from veclip_pipelines.mixing.conditions import all_of, clauses_of, filter_clauses, first_fault, score_sql
from veclip_pipelines.schemas.shared_columns import KEPT, REJECTED

if TYPE_CHECKING:
    from veclip_pipelines.mixing.training_set import ResolvedPart, ResolvedText

_TABLES = {"vecap": ("vecap", "sample_id"), "concept_caption": ("concept_captions", "image_sha256")}
#: A sample's uid in DataComp: a column of its own, or its key.
_UID = "coalesce(json_extract_string(r.extra, '$.uid'), r.source_key)"


def select_rows(connection: duckdb.DuckDBPyConnection, parts: Sequence[ResolvedPart]) -> duckdb.DuckDBPyRelation:
    """Every kept sample of the parts' crawl partitions once, by sample_id, with its texts or with why it is left out.

    Args:
        connection: with views raw_crawl, concept_captions, vecap and duplicates.
    """
    queries, parameters = [], []
    for place, part in enumerate(parts):
        sql, values = _part_query(connection, place, part)
        queries.append(sql)
        parameters += values
    # A sample that several parts have goes to the first that takes it.
    once = "row_number() OVER (PARTITION BY sample_id ORDER BY reason IS NOT NULL, place, crawl_partition) = 1"
    sql = (
        "SELECT sample_id, image_sha256, crawl_partition, "  # noqa: S608 - table and column names are ours, all else parameters
        "CASE WHEN reason IS NULL THEN list_transform(texts, lambda x: {'source': x.source, 'engine_id': x.engine_id, 'text': x.text}) "
        "ELSE [] END AS texts, "
        "CASE WHEN reason IS NULL THEN list_transform(texts, lambda x: x.p / list_sum(list_transform(texts, lambda y: y.p))) ELSE [] END "
        "AS probabilities, part, weight, "
        f"CASE WHEN reason IS NULL THEN '{KEPT}' ELSE '{REJECTED}' END AS outcome, reason, "
        "CASE WHEN reason = 'no_text' THEN 'the sample has none of the recipe''s texts' "
        "WHEN reason IS NOT NULL THEN 'left out by a filter of part ' || part END AS detail "
        f"FROM ({' UNION ALL '.join(queries)}) QUALIFY {once} ORDER BY sample_id"
    )
    return connection.sql(sql, params=parameters)


def _part_query(connection: duckdb.DuckDBPyConnection, place: int, part: ResolvedPart) -> tuple[str, list[object]]:
    """SQL for the samples of one part: its candidates, the filters' reasons, then near duplicates among what is left."""
    items, joins, values, join_values = [], [], [], []
    for number, text in enumerate(part.texts):
        item, item_values, join, join_parameters = _text_item(number, text, list(part.crawl_partitions))
        items.append(item)
        values += item_values
        joins.append(join)
        join_values += join_parameters
    clauses = filter_clauses(part.filters, _least_score(connection, part))
    reason, reason_values = first_fault(clauses)
    if part.uids:
        listed = f"uids_{place}"
        connection.register(listed, read_uids(Path(part.uids)))
        halves = " AND ".join(
            f"{name} = TRY_CAST('0x' || {_UID}[{first}:{first + 15}] AS UBIGINT)"
            for name, first in (("hi", 1), ("lo", 17))
        )
        reason = f"CASE WHEN NOT EXISTS (SELECT 1 FROM {listed} WHERE {halves}) THEN 'not_listed' ELSE {reason} END"  # noqa: S608
    candidates = (
        f"SELECT r.sample_id, r.image_sha256, r.crawl_partition, {place} AS place, ? AS part, ?::DOUBLE AS weight, "  # noqa: S608
        f"list_filter([{', '.join(items)}], lambda x: coalesce(x.text, '') <> '') AS texts, {reason} AS filtered "
        f"FROM raw_crawl r {' '.join(joins)} WHERE r.outcome = '{KEPT}' AND list_contains(?, r.crawl_partition)"
    )
    parameters = [part.name, part.weight, *values, *reason_values, *join_values, list(part.crawl_partitions)]
    judged = "coalesce(c.filtered, CASE WHEN len(c.texts) = 0 THEN 'no_text' END)"
    if part.filters.near_duplicates == "one":
        first = (
            "row_number() OVER (PARTITION BY coalesce(d.group_id, c.sample_id), judged IS NULL ORDER BY c.sample_id)"
        )
        return (
            "SELECT sample_id, image_sha256, crawl_partition, place, part, weight, texts, "  # noqa: S608
            f"coalesce(judged, CASE WHEN nth > 1 THEN 'near_duplicate' END) AS reason FROM (SELECT c.*, {first} AS nth FROM "
            f"(SELECT c.*, {judged} AS judged FROM ({candidates}) c "
            "QUALIFY row_number() OVER (PARTITION BY sample_id ORDER BY judged IS NOT NULL, crawl_partition) = 1) c "
            "LEFT JOIN duplicates d USING (sample_id))"
        ), parameters
    return (
        f"SELECT c.sample_id, c.image_sha256, c.crawl_partition, c.place, c.part, c.weight, c.texts, {judged} AS reason "  # noqa: S608
        f"FROM ({candidates}) c"
    ), parameters


def _of_another(key: str) -> str:
    """SQL for the text of the next row in an order that says nothing; the last has the first's."""
    order = f"(ORDER BY md5({key}), crawl_partition ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)"
    return f"coalesce(lead(text) OVER {order}, first_value(text) OVER {order})"


def _text_item(number: int, text: ResolvedText, partitions: list[str]) -> tuple[str, list[object], str, list[object]]:
    """A text as an item of the list, and the join that brings it."""
    join = ""
    join_values: list[object] = []
    values: list[object] = []
    if text.source == "alt_text":
        found = "r.alt_text"
    elif text.source == "caption":
        found = "list_filter(coalesce(r.captions, []), lambda y: y.name = ?)[1].text"
        values = [text.column]
    else:
        table, key = _TABLES[text.source]
        found = f"t{number}.text"
        words = _of_another(key) if text.shuffled else "text"
        texts = (
            f"(SELECT {key}, crawl_partition, {words} AS text FROM {table} "  # noqa: S608
            f"WHERE engine_id = ? AND outcome = '{KEPT}' AND list_contains(?, crawl_partition))"
        )
        join = f"LEFT JOIN {texts} t{number} ON t{number}.{key} = r.{key} AND t{number}.crawl_partition = r.crawl_partition"
        join_values = [text.engine_id, partitions]
    if text.when is not None:
        condition, condition_values = all_of(list(clauses_of(text.when)))
        found, values = f"CASE WHEN {condition} THEN {found} END", [*condition_values, *values]
    item = f"{{'source': ?, 'engine_id': ?::VARCHAR, 'text': {found}, 'p': ?::DOUBLE}}"
    return item, [text.source, text.engine_id, *values, text.probability], join, join_values


def _least_score(connection: duckdb.DuckDBPyConnection, part: ResolvedPart) -> float | None:
    """The score from which a part's samples are kept: as the recipe says, or so that the best share of those with a score is."""
    score = part.filters.score
    if score is None or score.at_least is not None:
        return None if score is None else score.at_least
    sql, path = score_sql(score.column)
    found = connection.execute(
        f"SELECT quantile_cont(s, 1.0 - {float(score.keep_share or 1.0)!r}) FROM (SELECT {sql} AS s FROM raw_crawl r "  # noqa: S608
        f"WHERE r.outcome = '{KEPT}' AND list_contains(?, r.crawl_partition)) WHERE s IS NOT NULL",
        [path, list(part.crawl_partitions)],
    ).fetchall()
    return found[0][0] if found[0][0] is not None else float("inf")
