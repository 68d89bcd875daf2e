"""The data card of a training set, with the checkpoints that were trained on it: counted from the tables as the set pins them.

It follows the headings of data sheets (Gebru et al. 2018): where the samples come from, what was left out and why, who
or what wrote the texts, what was done with it since.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from veclip_pipelines.captioning.guard_rates import noted_counts
from veclip_pipelines.lineage.graph import Graph, Subject, lineage_graph
from veclip_pipelines.mixing.mix import Mix, ResolvedPart
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.stages import CRAWL_PARTITION, caption_stages, names_of
from veclip_pipelines.tables.pins import SetPins, connect_pinned, read_pins
from veclip_pipelines.tables.query import Asker
from veclip_pipelines.tables.warehouse import Warehouse

Row = dict[str, Any]
SHOWN = 20
#: Names that data sets use for a column with the licence.
LICENCE_COLUMNS = ("license", "licence", "license_url", "rights", "usage_rights", "copyright")


@dataclass(frozen=True)
class Card:
    """What is known about a training set.

    Attributes:
        parts: of the recipe, as they were resolved: texts with probability and engine, filters, weight.
        counts: rows kept, and rows left out by reason.
        sources: for each crawl partition its drop, and the samples that the set has of it.
        stages: rejects of raw_crawl and the captions, by reason. guards: for each engine how often each guard objected.
        languages, domains, licences, media: samples by each, the most frequent first; ``distinct`` says how many there are.
        sides: pixels of the pictures' shorter side: least, median, most.
        figures: those that were noted when the set was made: lengths, vocabulary, shares.
        samples: some, with their texts and probabilities.
        taken_down: takedowns that have removed samples from it. exports: where it was written to.
        tainted: for each checkpoint the samples that were taken down after it was trained.
    """

    subject: Subject
    graph: Graph
    pinned_at: datetime
    content_version: str
    run_id: str
    parts: Sequence[ResolvedPart]
    inputs: dict[str, str]
    counts: Row
    sources: Sequence[Row]
    stages: Sequence[Row]
    guards: Sequence[Row]
    languages: Sequence[Row]
    domains: Sequence[Row]
    licences: Sequence[Row]
    media: Sequence[Row]
    distinct: Row
    sides: Row
    figures: Sequence[Row]
    samples: Sequence[Row]
    taken_down: Sequence[Row]
    exports: Sequence[Row]
    tainted: dict[str, int]

    @property
    def version(self) -> str:
        return self.subject.set_version


def data_card(warehouse: Warehouse, subject: Subject, *, samples: int = 12) -> Card:
    """Makes the card. Raises VeclipError if the set's pinned files are gone.

    Args:
        samples: how many samples are shown: the first by sample_id, which is a hash; 0: the card has no text and no
            picture.
    """
    pins = read_pins(warehouse, subject.recipe, subject.set_version)
    graph = lineage_graph(warehouse, subject)
    also = ["training_sets", "set_figures", "set_pins", "takedowns", "exports", "taints"]
    pinned = {name: pins.tables[name] for name in names_of(CRAWL_PARTITION)}
    with connect_pinned(warehouse, pinned, also) as connection:
        ask = Asker(connection)
        _take(connection, subject)
        return _card(ask, subject, graph, pins, samples)


def _card(ask: Asker, subject: Subject, graph: Graph, pins: SetPins, samples: int) -> Card:
    names = {"recipe": subject.recipe, "version": subject.set_version}
    pinned = ask(
        "SELECT pinned_at, run_id, takedowns FROM set_pins WHERE recipe = $recipe AND set_version = $version ORDER BY pinned_at LIMIT 1",
        **names,
    )[0]
    reasons = ask(
        f"SELECT reason, count(*) AS rows FROM training_sets WHERE recipe = $recipe AND set_version = $version AND outcome <> '{KEPT}' "  # noqa: S608
        "GROUP BY 1 ORDER BY rows DESC, reason",
        **names,
    )
    kept = ask("SELECT count(*) AS rows, count(DISTINCT image_sha256) AS pictures FROM taken")[0]
    return Card(
        subject=subject,
        graph=graph,
        pinned_at=pinned["pinned_at"],
        content_version=pins.content_version,
        run_id=pinned["run_id"] or "",
        parts=Mix.from_json(subject.recipe, pins.mix).parts,
        inputs=dict(pins.inputs),
        counts={**kept, "rejected": sum(row["rows"] for row in reasons), "reasons": reasons},
        sources=_sources(ask, graph),
        stages=_stages(ask),
        guards=_guards(ask, graph),
        languages=_most(ask, "language"),
        domains=_most(ask, "url_host"),
        licences=_most(ask, "licence"),
        media=_most(ask, "media_type"),
        distinct=ask(
            "SELECT count(DISTINCT language) AS languages, count(DISTINCT url_host) AS domains, count(DISTINCT licence) AS licences "
            "FROM taken"
        )[0],
        sides=ask("SELECT min(side) AS least, median(side) AS median, max(side) AS most FROM taken")[0],
        figures=ask(
            "SELECT figure, of, value FROM set_figures WHERE recipe = $recipe AND set_version = $version ORDER BY figure, of",
            **names,
        ),
        samples=_samples(ask, subject, samples),
        taken_down=ask(
            "SELECT takedown_id, any_value(requested_by) AS requested_by, any_value(requested_at) AS requested_at, "
            "any_value(reason) AS reason "
            "FROM takedowns WHERE takedown_id IN (SELECT unnest($ids)) GROUP BY 1 ORDER BY requested_at",
            ids=pinned["takedowns"] or [],
        ),
        exports=ask(
            "SELECT format, uri, exported_at, exported_by FROM exports WHERE recipe = $recipe AND set_version = $version "
            "AND format <> 'page' "
            "ORDER BY exported_at",
            **names,
        ),
        tainted={
            row["checkpoint_id"]: row["samples"]
            for row in ask(
                "SELECT checkpoint_id, count(DISTINCT sample_id) AS samples FROM taints "
                "WHERE checkpoint_id IN (SELECT unnest($ids)) GROUP BY 1",
                ids=[row["checkpoint_id"] for row in graph.checkpoints],
            )
        },
    )


def _take(connection: duckdb.DuckDBPyConnection, subject: Subject) -> None:
    """The set's kept samples with what the crawl knows about each: narrow columns, read once."""
    licence = ", ".join(f"json_extract_string(r.extra, '$.{name}')" for name in LICENCE_COLUMNS)
    connection.execute(
        "CREATE TEMP TABLE taken AS SELECT t.sample_id, t.image_sha256, t.crawl_partition, r.language, r.url_host, r.media_type, "  # noqa: S608
        f"least(r.width, r.height) AS side, coalesce({licence}) AS licence FROM training_sets t "
        "JOIN raw_crawl r ON r.sample_id = t.sample_id AND r.crawl_partition = t.crawl_partition "
        f"WHERE t.recipe = $recipe AND t.set_version = $version AND t.outcome = '{KEPT}' AND r.outcome = '{KEPT}'",
        {"recipe": subject.recipe, "version": subject.set_version},
    )


def _most(ask: Asker, column: str) -> list[Row]:
    return ask(
        f"SELECT {column} AS value, count(*) AS samples FROM taken GROUP BY 1 ORDER BY samples DESC, value NULLS LAST LIMIT {SHOWN}"  # noqa: S608
    )


def _sources(ask: Asker, graph: Graph) -> list[Row]:
    counts = ask(
        f"SELECT crawl_partition, count(*) AS entries, count(*) FILTER (outcome = '{KEPT}') AS kept FROM raw_crawl GROUP BY 1 ORDER BY 1"  # noqa: S608
    )
    taken = {row["p"]: row["n"] for row in ask("SELECT crawl_partition AS p, count(*) AS n FROM taken GROUP BY 1")}
    nothing = dict.fromkeys(("uri", "format", "fingerprint", "registered_by", "registered_at", "label"))
    return [
        {**nothing, **graph.drops.get(row["crawl_partition"], {}), **row, "samples": taken.get(row["crawl_partition"], 0)}
        for row in counts
    ]  # fmt: skip


def _stages(ask: Asker) -> list[Row]:
    parts = [
        f"SELECT '{table}' AS stage, reason, count(*) AS rows, (SELECT count(*) FROM {table}) AS of_rows "  # noqa: S608
        f"FROM {table} WHERE outcome <> '{KEPT}' GROUP BY reason"
        for table in names_of(CRAWL_PARTITION)
    ]
    return ask(f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY stage, rows DESC, reason")  # noqa: S608


def _guards(ask: Asker, graph: Graph) -> list[Row]:
    """For each engine: rows, the share of each route, and the share that each guard objected to."""
    found = []
    for table in [stage.name for stage in caption_stages()]:
        for row in ask(f"SELECT engine_id, count(*) AS rows FROM {table} GROUP BY 1 ORDER BY 1"):  # noqa: S608
            engine = {"engine": row["engine_id"]}
            counted = f"FROM {table} WHERE engine_id = $engine GROUP BY 1 ORDER BY n DESC, what"
            routes = ask(f"SELECT coalesce(route, 'none') AS what, count(*) AS n {counted}", **engine)
            faults = ask(f"SELECT unnest(faults) AS what, count(*) AS n {counted}", **engine)
            profile = _profile(graph, row["engine_id"])
            found.append(
                {
                    "table": table,
                    "profile": profile,
                    "rows": row["rows"],
                    "routes": _shares(routes, row),
                    "faults": _shares(faults, row),
                }
            )
    return found + _guards_before(graph, {row["profile"] for row in found})


def _guards_before(graph: Graph, told: Collection[str]) -> list[Row]:
    """For engines whose captions the set uses only indirectly, such as fused concept captions: what their materialisations recorded."""
    found: dict[str, Row] = {}
    for one in graph.made:
        profile = _profile(graph, one.engine)
        if one.guards and profile not in told:
            counts = noted_counts(one)
            row = found.setdefault(profile, {"table": one.asset, "profile": profile, "rows": 0, "faults": Counter()})
            row["rows"] += counts.rows
            row["faults"].update(counts.faults)
    return [
        {
            **row,
            "routes": [],
            "faults": _shares([{"what": what, "n": n} for what, n in row["faults"].most_common()], row),
        }
        for row in found.values()
        if row["rows"]
    ]


def _profile(graph: Graph, engine_id: str) -> str:
    return str(graph.engines.get(engine_id, {}).get("profile", engine_id))


def _shares(counted: Sequence[Row], of: Row) -> list[Row]:
    return [{"what": row["what"], "share": row["n"] / of["rows"]} for row in counted]


def _samples(ask: Asker, subject: Subject, count: int) -> list[Row]:
    return ask(
        "SELECT t.sample_id, t.image_sha256, t.crawl_partition, r.url, r.alt_text_raw, t.texts, t.probabilities, t.weight "
        "FROM training_sets t "
        "JOIN raw_crawl r ON r.sample_id = t.sample_id AND r.crawl_partition = t.crawl_partition "
        "WHERE t.sample_id IN (SELECT sample_id FROM taken ORDER BY sample_id LIMIT $count) AND t.recipe = $recipe "
        "AND t.set_version = $version AND r.outcome = $kept ORDER BY t.sample_id",
        count=count, recipe=subject.recipe, version=subject.set_version, kept=KEPT,
    )  # fmt: skip


def card_json(card: Card) -> Row:
    """The card as JSON has it."""
    told = {name: value for name, value in vars(card).items() if name not in ("graph", "parts")}
    return {
        **told,
        "subject": vars(card.subject),
        "parts": [json.loads(part.model_dump_json(exclude_defaults=True)) for part in card.parts],
        "engines": list(card.graph.engines.values()),
        "checkpoints": list(card.graph.checkpoints),
        "scores": list(card.graph.scores),
    }
