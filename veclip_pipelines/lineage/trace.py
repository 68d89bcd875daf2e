"""Where a row came from and where it went: from any end, backwards to the crawl and forwards to the scores."""

from __future__ import annotations

from collections.abc import Sequence

from veclip_pipelines.errors import UsageError
from veclip_pipelines.lineage.questions import KNOWN_BY, Kind, Question, condition_of
from veclip_pipelines.lineage.trace_forwards import Row, Trace, add_exposures, add_takedowns, forwards, names_of
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.query import Asker, connect
from veclip_pipelines.tables.warehouse import Warehouse

_TABLES = (
    "crawl_drops", "raw_crawl", "concept_captions", "vecap", "duplicates", "engines", "training_sets", "set_pins", "checkpoints",
    "benchmark_scores", "takedowns", "tombstones", "taints",
)  # fmt: skip
_SHOWN = (
    "sample_id", "crawl_partition", "outcome", "reason", "detail", "url", "final_url", "page_url", "fetched_at", "alt_text_raw",
    "alt_text", "image_sha256", "phash", "media_type", "width", "height", "shard_uri", "image_offset", "image_length", "source_uri",
    "source_key",
)  # fmt: skip


def trace(warehouse: Warehouse, question: Question, *, limit: int = 5) -> Trace:
    """Follows a question through all tables.

    Args:
        limit: rows of the crawl that are told one by one.

    Raises:
        UsageError: a score that is not named RECIPE/BENCHMARK/METRIC.
    """
    found = Trace(question)
    with connect(warehouse, _TABLES) as connection:
        connection.execute(f"CREATE TEMP MACRO is_kept(outcome) AS outcome = '{KEPT}'")
        ask = Asker(connection)
        if question.kind in (Kind.ENGINE, Kind.PROMPT):
            _from_engines(ask, found)
        elif question.kind in (Kind.TRAINING_SET, Kind.CHECKPOINT, Kind.SCORE):
            _from_model(ask, found)
        else:
            _from_rows(ask, found, limit)
        forwards(ask, found)
        add_takedowns(ask, found)
        add_exposures(found)
    return found


def _from_rows(ask: Asker, found: Trace, limit: int) -> None:
    value = found.question.value
    # One condition at a time: of an OR, DuckDB pushes nothing down to the files' bloom filters.
    conditions = list(condition_of(found.question))
    if found.question.kind is Kind.TEXT:
        conditions += [
            "image_sha256 IN (SELECT image_sha256 FROM concept_captions WHERE text = $v)",
            "sample_id IN (SELECT sample_id FROM vecap WHERE text = $v)",
        ]
    ask("CREATE TEMP TABLE asked (sample_id VARCHAR, crawl_partition VARCHAR, outcome VARCHAR)")
    for condition in conditions:
        ask(
            f"INSERT INTO asked SELECT sample_id, crawl_partition, outcome FROM raw_crawl WHERE {condition}",  # noqa: S608
            v=value,
        )
    ask("CREATE OR REPLACE TEMP TABLE asked AS SELECT DISTINCT * FROM asked")
    found.rows = ask("SELECT count(*) AS n FROM asked")[0]["n"]
    found.partitions = ask(
        "SELECT a.crawl_partition, d.uri, d.format, d.label, d.registered_by, d.registered_at, count(*) AS rows, "
        "count(*) FILTER (is_kept(outcome)) AS kept FROM asked a LEFT JOIN (SELECT * FROM crawl_drops QUALIFY row_number() "
        "OVER (PARTITION BY crawl_partition ORDER BY registered_at DESC) = 1) d USING (crawl_partition) GROUP BY ALL "
        "ORDER BY a.crawl_partition"
    )
    if found.question.kind is Kind.PICTURE:
        found.near = _near(ask, found.question)
    found.samples = _samples(ask, limit)
    found.engines = ask(
        "SELECT * FROM engines WHERE engine_id IN (SELECT unnest($ids))", ids=_engine_ids(found.samples)
    )
    found.sets = ask(
        "SELECT recipe, set_version, count(*) AS samples FROM training_sets WHERE is_kept(outcome) "
        "AND sample_id IN (SELECT sample_id FROM asked) GROUP BY ALL ORDER BY ALL"
    )


def _samples(ask: Asker, limit: int) -> list[Row]:
    """The first rows with their captions, fusions and what the training sets have of them."""
    columns = ", ".join(_SHOWN)
    # The few values themselves: what is joined with a table is not looked up in the files' filters.
    first = ask(
        "SELECT sample_id, crawl_partition FROM asked ORDER BY outcome, sample_id, crawl_partition LIMIT $limit",
        limit=limit,
    )
    wanted = {(row["sample_id"], row["crawl_partition"]) for row in first}
    found = ask(
        f"SELECT {columns} FROM raw_crawl WHERE sample_id IN (SELECT unnest($ids)) AND crawl_partition IN (SELECT unnest($keys)) "  # noqa: S608
        "ORDER BY outcome, sample_id, crawl_partition",
        ids=sorted({sample for sample, _ in wanted}),
        keys=sorted({key for _, key in wanted}),
    )
    samples = [row for row in found if (row["sample_id"], row["crawl_partition"]) in wanted][:limit]
    pictures, ids = (sorted({row[name] for row in samples if row[name]}) for name in ("image_sha256", "sample_id"))
    texts = (
        "text, engine_text, route, outcome, reason, detail, faults, attempts, finish_reason, engine_id, crawl_partition"
    )
    of_picture = f"SELECT image_sha256, {texts} FROM concept_captions WHERE image_sha256 IN (SELECT unnest($keys))"  # noqa: S608
    of_sample = f"SELECT sample_id, concept_engine_id, {texts} FROM vecap WHERE sample_id IN (SELECT unnest($keys))"  # noqa: S608
    seen, fused = ask(of_picture, keys=pictures), ask(of_sample, keys=ids)
    sets = ask(
        "SELECT sample_id, recipe, set_version, part, coalesce(weight, 1.0) AS weight, outcome, reason, texts, probabilities "
        "FROM training_sets WHERE sample_id IN (SELECT unnest($keys)) ORDER BY recipe, set_version",
        keys=ids,
    )
    for row in samples:
        row["concept_captions"] = [item for item in seen if item["image_sha256"] == row["image_sha256"]]
        row["vecap"] = [item for item in fused if item["sample_id"] == row["sample_id"]]
        row["training_sets"] = [item for item in sets if item["sample_id"] == row["sample_id"]]
    return samples


def _near(ask: Asker, question: Question) -> list[Row]:
    """Other pictures of the picture's groups; of one that the crawl has not, those within six bits of its hash."""
    members = ask(
        "SELECT DISTINCT image_sha256, phash, distance FROM duplicates WHERE group_id IN "
        "(SELECT group_id FROM duplicates WHERE image_sha256 = $v) AND image_sha256 != $v ORDER BY distance, image_sha256",
        v=question.value,
    )
    if members or question.phash is None or ask("SELECT 1 FROM asked LIMIT 1"):
        return members
    return ask(
        "SELECT DISTINCT image_sha256, phash, bit_count(xor(('0x' || phash)::UBIGINT, ('0x' || $phash)::UBIGINT))::INTEGER AS distance "
        "FROM raw_crawl WHERE is_kept(outcome) AND distance <= 6 ORDER BY distance, image_sha256 LIMIT 100",
        phash=question.phash,
    )


def _engine_ids(samples: Sequence[Row]) -> list[str]:
    made = [item for row in samples for item in (*row["concept_captions"], *row["vecap"])]
    return sorted({item[name] for item in made for name in ("engine_id", "concept_engine_id") if item.get(name)})


def _from_engines(ask: Asker, found: Trace) -> None:
    """An engine's or a prompt's captions by partition, and the sets that draw from them."""
    table, condition = KNOWN_BY[found.question.kind]
    found.engines = ask(f"SELECT * FROM {table} WHERE {condition} ORDER BY first_used_at", v=found.question.value)  # noqa: S608
    ids = [row["engine_id"] for row in found.engines]
    found.partitions = ask(
        "SELECT crawl_partition, engine_id, 'concept_captions' AS asset, count(*) AS rows, "
        "count(*) FILTER (is_kept(outcome)) AS kept FROM concept_captions WHERE engine_id IN (SELECT unnest($ids)) GROUP BY ALL "
        "UNION ALL SELECT crawl_partition, engine_id, 'vecap', count(*), "
        "count(*) FILTER (is_kept(outcome)) FROM vecap WHERE engine_id IN (SELECT unnest($ids)) "
        "OR concept_engine_id IN (SELECT unnest($ids)) "
        "GROUP BY ALL ORDER BY ALL",
        ids=ids,
    )
    found.rows = sum(row["rows"] for row in found.partitions)
    # A concept caption reaches a set also through the engine that fused it.
    fusing = ask("SELECT DISTINCT engine_id FROM vecap WHERE concept_engine_id IN (SELECT unnest($ids))", ids=ids)
    found.sets = ask(
        "SELECT recipe, set_version FROM set_pins WHERE len(list_filter($ids, lambda engine: contains(mix, engine))) > 0 ORDER BY ALL",
        ids=[*ids, *(row["engine_id"] for row in fusing)],
    )


def _from_model(ask: Asker, found: Trace) -> None:
    """A set, a checkpoint or a score: backwards to the set, what it was made from, and its engines."""
    kind, value = found.question.kind, found.question.value
    if kind is Kind.TRAINING_SET:
        table, condition = KNOWN_BY[kind]
        found.sets = ask(f"SELECT recipe, set_version FROM {table} WHERE {condition} ORDER BY pinned_at DESC", v=value)  # noqa: S608
    elif kind is Kind.CHECKPOINT:
        table, condition = KNOWN_BY[kind]
        found.checkpoints = ask(f"SELECT * FROM {table} WHERE {condition}", v=value)  # noqa: S608
    else:
        parts = value.split("/")
        if len(parts) != 3:
            raise UsageError(
                f"a score is named RECIPE/BENCHMARK/METRIC or CHECKPOINT/BENCHMARK/METRIC, and not {value!r}"
            )
        found.scores = ask(
            "SELECT * FROM benchmark_scores WHERE $who IN (recipe, checkpoint_id) AND benchmark = $benchmark AND metric = $metric "
            "ORDER BY scored_at DESC",
            who=parts[0],
            benchmark=parts[1],
            metric=parts[2],
        )
        found.checkpoints = ask(
            "SELECT * FROM checkpoints WHERE checkpoint_id IN (SELECT unnest($ids))",
            ids=[row["checkpoint_id"] for row in found.scores],
        )
    if kind is not Kind.TRAINING_SET:
        found.sets = [
            {"recipe": recipe, "set_version": version}
            for recipe, version in sorted({(row["recipe"], row["set_version"]) for row in found.checkpoints})
        ]
    names = names_of(found.sets)
    counts = ask(
        "SELECT recipe, set_version, count(*) AS rows, "
        "count(*) FILTER (is_kept(outcome)) AS samples FROM training_sets "
        "WHERE recipe || '@' || set_version IN (SELECT unnest($names)) GROUP BY ALL",
        names=names,
    )
    by_set = {(row["recipe"], row["set_version"]): row for row in counts}
    found.sets = [by_set.get((row["recipe"], row["set_version"]), row) for row in found.sets]
    found.partitions = ask(
        "SELECT crawl_partition, count(*) AS rows, "
        "count(*) FILTER (is_kept(outcome)) AS kept FROM training_sets WHERE recipe || '@' || set_version IN (SELECT unnest($names)) "
        "GROUP BY 1 ORDER BY 1",
        names=names,
    )
    found.rows = sum(row["rows"] for row in found.partitions)
    drawn = ask(
        "SELECT DISTINCT e.engine_id FROM engines e, set_pins p WHERE contains(p.mix, e.engine_id) "
        "AND p.recipe || '@' || p.set_version IN (SELECT unnest($names))",
        names=names,
    )
    # And those whose concept captions were fused.
    found.engines = ask(
        "SELECT * FROM engines WHERE engine_id IN (SELECT unnest($ids)) OR engine_id IN (SELECT concept_engine_id FROM vecap "
        "WHERE engine_id IN (SELECT unnest($ids)) AND crawl_partition IN (SELECT unnest($keys))) ORDER BY first_used_at",
        ids=[row["engine_id"] for row in drawn],
        keys=[row["crawl_partition"] for row in found.partitions],
    )
