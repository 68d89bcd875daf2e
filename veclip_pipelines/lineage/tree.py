"""A trace as a tree: the question at the root, then where it came from and where it went. The terminal and the page render it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from veclip_pipelines.lineage.questions import Kind
from veclip_pipelines.lineage.trace_forwards import Row, Trace
from veclip_pipelines.stages import caption_stages
from veclip_pipelines.tables.query import TAKEN_DOWN

_SHORT = 12


@dataclass(frozen=True)
class Branch:
    """A line of the tree, and its branches.

    Attributes:
        text: may contain strangers' words: escape it.
        picture: SHA-256 of a picture to show beside it.
    """

    text: str
    branches: tuple[Branch, ...] = ()
    picture: str | None = None


def tree_of(found: Trace) -> Branch:
    """A whole trace as one tree."""
    return Branch(
        f"{found.question.kind.value} {found.question.value}",
        tuple(
            branch
            for branch in (
                *(_sample(row, found) for row in found.samples),
                _more(found),
                _part("taken down", (_takedown(row) for row in found.takedowns)),
                _part("near pictures", (_near(row) for row in found.near)),
                _part("crawl partitions", (_partition(row) for row in found.partitions)),
                _part("engines", (_engine(row) for row in found.engines)),
                _part("training sets", (_set(row, found) for row in found.sets)),
            )
            if branch is not None
        ),
    )


def _part(title: str, branches: Iterable[Branch]) -> Branch | None:
    made = tuple(branches)
    return Branch(f"{title} ({len(made)})", made) if made else None


def _more(found: Trace) -> Branch | None:
    rest = found.rows - len(found.samples)
    of_rows = found.question.kind not in (Kind.ENGINE, Kind.PROMPT, Kind.TRAINING_SET, Kind.CHECKPOINT, Kind.SCORE)
    return Branch(f"and {rest} more rows of the crawl") if of_rows and found.samples and rest else None


def _sample(row: Row, found: Trace) -> Branch:
    state = "" if row["outcome"] == "kept" else f", rejected: {row['reason']} {row['detail'] or ''}"
    return Branch(f"sample {row['sample_id']}{state}", tuple(_facts(row, found)), row["image_sha256"])


def _facts(row: Row, found: Trace) -> Iterator[Branch]:
    yield Branch(f"from {row['url'] or row['source_key']}", tuple(_origin(row)))
    if row["reason"] == TAKEN_DOWN:
        return
    yield Branch(f"AltText {row['alt_text']!r}", (Branch(f"as it came: {row['alt_text_raw']!r}"),))
    if row["image_sha256"]:
        size = f", {row['width']}x{row['height']}" if row["width"] else ""
        yield Branch(f"picture {row['image_sha256']}, {row['media_type']}{size}, perceptual hash {row['phash']}")
    engines = {engine["engine_id"]: engine for engine in found.engines}
    for stage in caption_stages():
        for item in row[stage.name]:
            yield Branch(f"{stage.called} {item['text']!r}", tuple(_making(item, engines)))
    for item in row["training_sets"]:
        yield Branch(f"in set {item['recipe']}@{item['set_version']}", tuple(_use(item, row, found)))


def _origin(row: Row) -> Iterator[Branch]:
    if row["page_url"]:
        yield Branch(f"page {row['page_url']}")
    if row["final_url"]:
        yield Branch(f"found at {row['final_url']}")
    if row["fetched_at"]:
        yield Branch(f"fetched {row['fetched_at']}")
    if row["shard_uri"]:
        yield Branch(
            f"bytes {row['image_offset']} to {row['image_offset'] + row['image_length']} of {row['shard_uri']}"
        )
    yield Branch(f"crawl partition {row['crawl_partition']}, entry {row['source_key']} of {row['source_uri']}")


def _making(item: Row, engines: dict[str, Row]) -> Iterator[Branch]:
    route = f"by {item['route']}" if item["outcome"] == "kept" else f"rejected: {item['reason']} {item['detail'] or ''}"
    objected = f"; objected to by {', '.join(item['faults'])}" if item["faults"] else ""
    yield Branch(f"{route}, asked {item['attempts'] or 0} times{objected}")
    if item["engine_text"] and item["engine_text"] != item["text"]:
        yield Branch(f"the engine's own words: {item['engine_text']!r}")
    if engine := engines.get(item["engine_id"]):
        yield _engine(engine)


def _engine(row: Row) -> Branch:
    model = f"{row['model']} {row['revision']}" if row["revision"] else row["model"]
    facts = [Branch(f"{model}, weights {row['weights_sha256'] or '-'}")]
    if row["prompt_name"]:
        facts.append(Branch(f"prompt {row['prompt_name']}: {row['prompt_text']!r}"))
    facts.append(Branch(f"decoding {row['decoding']}, code {row['code_version']}"))
    return Branch(f"engine {row['profile']} ({row['kind']}) {row['engine_id']}", tuple(facts))


def _use(item: Row, row: Row, found: Trace) -> Iterator[Branch]:
    if item["outcome"] != "kept":
        yield Branch(f"left out: {item['reason']}")
        return
    for text, probability in zip(item["texts"], item["probabilities"], strict=True):
        yield Branch(f"{probability:.2f} {text['source']}: {text['text']!r}")
    known = {checkpoint["checkpoint_id"] for checkpoint in found.checkpoints if _same_set(checkpoint, item)}
    for seen in row.get("seen", []):
        if seen["checkpoint_id"] in known:
            actual = "not recorded" if seen["actual"] is None else f"{seen['actual']} times{_drawn(seen)}"
            yield Branch(f"checkpoint {seen['checkpoint_id']}: to be seen {seen['expected']} times, seen {actual}")


def _drawn(seen: Row) -> str:
    return f" ({', '.join(f'{source} {times}' for source, times in seen['drawn'].items())})" if seen["drawn"] else ""


def _takedown(row: Row) -> Branch:
    who = f"asked for by {row['requested_by']} {row['requested_at']:%Y-%m-%d}: {row['reason']}"
    return Branch(f"takedown {row['takedown_id']}, {who}")


def _near(row: Row) -> Branch:
    return Branch(f"{row['image_sha256']}, {row['distance']} bits apart", picture=row["image_sha256"])


def _partition(row: Row) -> Branch:
    about = f"{row['asset']}: " if row.get("asset") else ""
    drop = f", {row['format']} drop {row['uri']}" if row.get("uri") else ""
    who = f", registered by {row['registered_by']} {row['registered_at']}" if row.get("registered_by") else ""
    return Branch(f"{row['crawl_partition']}: {about}{row['rows']} rows, {row['kept']} kept{drop}{who}")


def _set(row: Row, found: Trace) -> Branch:
    samples = f", {row['samples']} of the samples" if row.get("samples") is not None else ""
    facts = [Branch(f"{name} {version}") for name, version in sorted(json.loads(row.get("inputs") or "{}").items())]
    inputs = [Branch(f"made from ({len(facts)})", tuple(facts))] if facts else []
    models = [_checkpoint(item, found) for item in found.checkpoints if _same_set(item, row)]
    return Branch(f"{row['recipe']}@{row['set_version']}{samples}", (*inputs, *models))


def _checkpoint(row: Row, found: Trace) -> Branch:
    scores: Sequence[Row] = [item for item in found.scores if item["checkpoint_id"] == row["checkpoint_id"]]
    lines = [Branch(f"{item['benchmark']} {item['metric']} {100 * item['value']:.2f} %") for item in scores]
    if tainted := row.get("tainted"):
        shown = "unknown times" if tainted["seen"] is None else f"{tainted['seen']} times"
        by = ", ".join(tainted["takedowns"])
        lines.append(
            Branch(
                f"tainted: {tainted['samples']} of its samples, shown {shown}, were taken down since (takedown {by})"
            )
        )
    about = f"{row['steps']} steps, weights {row['weights_sha256'][:_SHORT]}…, MLflow run {row['mlflow_run_id']}"
    return Branch(f"checkpoint {row['checkpoint_id']}: {about}, {row['uri']}", tuple(lines))


def _same_set(one: Row, other: Row) -> bool:
    return (one["recipe"], one["set_version"]) == (other["recipe"], other["set_version"])


def as_json(found: Trace) -> dict[str, Any]:
    """A trace as JSON has it."""
    told = {name: value for name, value in vars(found).items() if name != "question"}
    return {"kind": found.question.kind.value, "value": found.question.value, **told}
