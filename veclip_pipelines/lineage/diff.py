"""What changed between two training sets, or between two engines' captions of the same crawl, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from veclip_pipelines.errors import UsageError
from veclip_pipelines.lineage.questions import KNOWN_BY, Kind
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.stages import STAGES, caption_stages
from veclip_pipelines.tables.query import Asker, connect
from veclip_pipelines.tables.warehouse import Warehouse

Row = dict[str, Any]
EXAMPLES = 20

#: A text's words, each once, in lower case and without punctuation: texts are compared by these.
_WORDS = "list_distinct(regexp_extract_all(lower({}), '[\\p{{L}}\\p{{N}}]+'))"
_OVERLAP = f"""
    CASE WHEN l.text = r.text THEN 1.0 ELSE len(list_intersect({_WORDS.format("l.text")}, {_WORDS.format("r.text")}))
    / greatest(1, len(list_distinct(list_concat({_WORDS.format("l.text")}, {_WORDS.format("r.text")})))) END"""


@dataclass(frozen=True)
class Diff:
    """Two sides, compared.

    Attributes:
        kind: training sets, concept_captions or vecap.
        rows: counts: left, right, both, only_left, only_right, changed (in the text of at least one source).
        sources: for each source of texts: texts on each side, mean words, share that changed, mean overlap of words.
        faults: share of rows with each guard's objection, reason of a reject or route, on each side.
        examples: the most different texts, each with its picture.
    """

    left: str
    right: str
    kind: str
    rows: Mapping[str, int]
    sources: list[Row]
    faults: list[Row]
    examples: list[Row]


def diff(warehouse: Warehouse, left: str, right: str, *, examples: int = EXAMPLES) -> Diff:
    """Compares two training sets (RECIPE or RECIPE@VERSION) or two engines (profile or engine_id).

    A recipe means its newest set, and a profile its newest engine. Engines are compared over the crawl partitions that
    both have captioned.

    Raises:
        UsageError: a side is unknown, or the sides are of different kinds.
    """
    tables = ["training_sets", "set_pins", "engines", "raw_crawl", *(stage.name for stage in caption_stages())]
    with connect(warehouse, tables) as connection:
        ask = Asker(connection)
        sides = [_side(ask, name) for name in (left, right)]
        if sides[0].kind != sides[1].kind:
            raise UsageError(
                f"{left!r} is of {sides[0].kind} and {right!r} of {sides[1].kind}: these cannot be compared"
            )
        if sides[0].kind == "training sets":
            _sets(ask, sides)
        else:
            _captions(ask, sides)
        _join(ask)
        return Diff(
            sides[0].name, sides[1].name, sides[0].kind, _rows(ask), _sources(ask), _faults(ask), _examples(ask, examples)
        )  # fmt: skip


@dataclass(frozen=True)
class _Side:
    kind: str
    name: str
    facts: Row


def _side(ask: Asker, name: str) -> _Side:
    table, condition = KNOWN_BY[Kind.TRAINING_SET]
    sets = ask(f"SELECT recipe, set_version FROM {table} WHERE {condition} ORDER BY pinned_at DESC LIMIT 1", v=name)  # noqa: S608
    if sets:
        return _Side("training sets", f"{sets[0]['recipe']}@{sets[0]['set_version']}", sets[0])
    table, condition = KNOWN_BY[Kind.ENGINE]
    engines = ask(
        f"SELECT engine_id, profile FROM {table} WHERE {condition} ORDER BY first_used_at DESC LIMIT 1",  # noqa: S608
        v=name,
    )
    if not engines:
        raise UsageError(f"there is no training set and no engine named {name!r}")
    facts = engines[0]
    names = [stage.name for stage in caption_stages()]
    engine = {"engine": facts["engine_id"]}
    made = [name for name in names if ask(f"SELECT 1 FROM {name} WHERE engine_id = $engine LIMIT 1", **engine)]  # noqa: S608
    return _Side((made or names[-1:])[0], f"{facts['profile']} ({facts['engine_id']})", facts)


def _sets(ask: Asker, sides: list[_Side]) -> None:
    """Two tables of texts; several texts of one source are distinguished by their order."""
    for table, side in zip(("l", "r"), sides, strict=True):
        ask(
            f"CREATE TEMP TABLE rows_{table} AS SELECT sample_id AS key, sample_id, image_sha256, crawl_partition, outcome, reason, texts, "  # noqa: S608
            "[]::VARCHAR[] AS faults, NULL::VARCHAR AS route FROM training_sets WHERE recipe = $recipe AND set_version = $set_version",
            **side.facts,
        )
        ask(
            f"CREATE TEMP TABLE {table} AS SELECT key, sample_id, image_sha256, "  # noqa: S608
            "text.source || CASE WHEN place > 1 THEN ' ' || place ELSE '' END AS source, text.text AS text FROM "
            "(SELECT *, row_number() OVER (PARTITION BY key, text.source) AS place FROM "
            f"(SELECT key, sample_id, image_sha256, unnest(texts) AS text FROM rows_{table} WHERE outcome = '{KEPT}'))"
        )


def _captions(ask: Asker, sides: list[_Side]) -> None:
    """Two tables of captions, over the partitions that both sides have."""
    table = sides[0].kind
    key = STAGES[table].describes
    ask(
        f"CREATE TEMP TABLE shared AS SELECT crawl_partition FROM {table} WHERE engine_id = $left "  # noqa: S608
        f"INTERSECT SELECT crawl_partition FROM {table} WHERE engine_id = $right",
        left=sides[0].facts["engine_id"],
        right=sides[1].facts["engine_id"],
    )
    for name, side in zip(("l", "r"), sides, strict=True):
        ask(
            f"CREATE TEMP TABLE rows_{name} AS SELECT {key} AS key, outcome, reason, coalesce(faults, []) AS faults, route, text "  # noqa: S608
            f"FROM {table} WHERE engine_id = $engine AND crawl_partition IN (SELECT crawl_partition FROM shared)",
            engine=side.facts["engine_id"],
        )
        ask(
            f"CREATE TEMP TABLE {name} AS SELECT key, NULL::VARCHAR AS sample_id, key AS image_sha256, '{table}' AS source, text "  # noqa: S608
            f"FROM rows_{name} WHERE outcome = '{KEPT}'"
        )


def _join(ask: Asker) -> None:
    ask(
        "CREATE TEMP TABLE pairs AS SELECT l.key, l.source, l.image_sha256, l.text AS left_text, r.text AS right_text, "  # noqa: S608
        f"{_OVERLAP} AS overlap FROM l JOIN r USING (key, source)"
    )


def _rows(ask: Asker) -> dict[str, int]:
    sides = {
        name: f"(SELECT DISTINCT key FROM rows_{table} WHERE outcome = '{KEPT}')"  # noqa: S608
        for name, table in (("left", "l"), ("right", "r"))
    }
    counts = {
        "left": sides["left"],
        "right": sides["right"],
        "both": f"({sides['left']} INTERSECT {sides['right']})",
        "only_left": f"({sides['left']} EXCEPT {sides['right']})",
        "only_right": f"({sides['right']} EXCEPT {sides['left']})",
        "changed": "(SELECT DISTINCT key FROM pairs WHERE left_text != right_text)",
    }
    return {name: int(ask(f"SELECT count(*) AS n FROM {sql}")[0]["n"]) for name, sql in counts.items()}  # noqa: S608


def _sources(ask: Asker) -> list[Row]:
    words = "avg(len(string_split(trim(text), ' ')))"
    return ask(
        "SELECT coalesce(a.source, b.source) AS source, coalesce(a.texts, 0) AS left_texts, coalesce(b.texts, 0) AS right_texts, "  # noqa: S608
        "a.words AS left_words, b.words AS right_words, p.changed, p.overlap FROM "
        f"(SELECT source, count(*) AS texts, {words} AS words FROM l GROUP BY 1) a FULL JOIN "
        f"(SELECT source, count(*) AS texts, {words} AS words FROM r GROUP BY 1) b USING (source) LEFT JOIN "
        "(SELECT source, avg((left_text != right_text)::INT) AS changed, avg(overlap) AS overlap FROM pairs GROUP BY 1) p "
        "ON p.source = coalesce(a.source, b.source) ORDER BY 1"
    )


def _faults(ask: Asker) -> list[Row]:
    """Shares of rows: by guard that objected, by route, by reason of a reject."""
    sides = {
        table: f"SELECT what, count(*) / (SELECT greatest(1, count(*)) FROM rows_{table}) AS share FROM ("  # noqa: S608
        f"SELECT unnest(list_distinct(list_concat(list_transform(list_filter(faults, lambda f: f IS NOT NULL), lambda f: 'guard ' || f), "
        f"[CASE WHEN outcome != '{KEPT}' THEN 'rejected ' || coalesce(reason, '') END, 'route ' || route]))) AS what FROM rows_{table}"
        ") WHERE what IS NOT NULL GROUP BY 1"
        for table in ("l", "r")
    }
    return ask(
        f"SELECT what, coalesce(a.share, 0) AS left_share, coalesce(b.share, 0) AS right_share FROM ({sides['l']}) a "  # noqa: S608
        f"FULL JOIN ({sides['r']}) b USING (what) ORDER BY abs(coalesce(a.share, 0) - coalesce(b.share, 0)) DESC, what"
    )


def _examples(ask: Asker, limit: int) -> list[Row]:
    """The pairs that share fewest words; each with its picture and a sample's AltText."""
    found = ask(
        "SELECT * FROM pairs WHERE left_text != right_text ORDER BY overlap, key, source LIMIT $limit", limit=limit
    )
    of_samples = (
        "SELECT sample_id, image_sha256, any_value(alt_text) AS alt_text, any_value(crawl_partition) AS crawl_partition "  # noqa: S608
        f"FROM raw_crawl WHERE outcome = '{KEPT}' AND (sample_id IN (SELECT unnest($keys)) OR image_sha256 IN (SELECT unnest($keys))) "
        "GROUP BY ALL ORDER BY sample_id"
    )
    about = ask(of_samples, keys=[row["key"] for row in found])
    for row in found:
        known = next((item for item in about if row["key"] in (item["sample_id"], item["image_sha256"])), {})
        row |= {name: known.get(name) for name in ("sample_id", "image_sha256", "alt_text", "crawl_partition")}
    return found
