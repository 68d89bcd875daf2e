"""What a question is about: a picture, a URL, a text, an engine, a score ... each named in whatever way a person knows it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.pictures import PictureError, examine
from veclip_pipelines.media.storage import is_url
from veclip_pipelines.tables.query import HOST_OF, read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_HEX = re.compile(r"[0-9a-f]+")
_WEIGHTS = "model.safetensors"


class Kind(StrEnum):
    """What a trace can start from."""

    SAMPLE = "sample"
    PICTURE = "picture"
    URL = "url"
    PAGE = "page"
    DOMAIN = "domain"
    TEXT = "text"
    PARTITION = "partition"
    ENGINE = "engine"
    PROMPT = "prompt"
    TRAINING_SET = "training_set"
    CHECKPOINT = "checkpoint"
    SCORE = "score"


@dataclass(frozen=True)
class Question:
    """What is asked about.

    Attributes:
        value: as the tables have it: an id, a SHA-256, a URL, a host, a text, a name.
        phash: of a picture that was given as a file, as near copies of it are of interest too.
    """

    kind: Kind
    value: str
    phash: str | None = None


#: Few pictures are found elsewhere than at their url, so there is no column for the host of the other one.
_FINAL_HOST = HOST_OF.format("final_url")
#: Table and condition that find a value, by kind, in the order in which a name is tried; $v is the value.
KNOWN_BY: dict[Kind, tuple[str, str]] = {
    Kind.SAMPLE: ("raw_crawl", "sample_id = $v"),
    Kind.PICTURE: ("raw_crawl", "image_sha256 = $v"),
    Kind.URL: ("raw_crawl", "url = $v OR final_url = $v"),
    # The host of the page is a short column that narrows the search: its long address is read only where the host fits.
    Kind.PAGE: ("raw_crawl", f"page_host = {HOST_OF.format('$v')} AND page_url = $v"),
    Kind.CHECKPOINT: ("checkpoints", "$v IN (checkpoint_id, weights_sha256, mlflow_run_id)"),
    Kind.ENGINE: ("engines", "$v IN (engine_id, profile)"),
    Kind.PROMPT: ("engines", "prompt_name = $v OR split_part(prompt_name, '@', 1) = $v"),
    Kind.TRAINING_SET: ("set_pins", "$v IN (set_version, recipe, recipe || '@' || set_version)"),
    Kind.PARTITION: ("crawl_drops", "crawl_partition = $v"),
}
#: The only kinds that a name of this form can have, so that few tables are queried.
_BY_FORM: tuple[tuple[Callable[[str], bool], tuple[Kind, ...]], ...] = (
    (lambda v: v.startswith(("http://", "https://")), (Kind.URL, Kind.PAGE)),
    (lambda v: bool(_HEX.fullmatch(v)) and len(v) == 64, (Kind.PICTURE, Kind.CHECKPOINT)),
    (lambda v: bool(_HEX.fullmatch(v)) and len(v) == 32, (Kind.SAMPLE, Kind.ENGINE, Kind.CHECKPOINT, Kind.TRAINING_SET)),
    (lambda v: bool(_HEX.fullmatch(v)) and len(v) == 16, (Kind.CHECKPOINT, Kind.TRAINING_SET)),
    (lambda v: " " not in v, (Kind.PARTITION, Kind.TRAINING_SET, Kind.ENGINE, Kind.PROMPT)),
)  # fmt: skip


def understand(warehouse: Warehouse, text: str, kind: Kind | None = None, *, files: bool = True) -> Question:
    """What a person means: the kind that was named, or else the first whose table has the value.

    A file is a picture or a prompt, a folder a checkpoint; RECIPE/BENCHMARK/METRIC a score; anything that is no known
    id is a domain or a text.

    Args:
        files: whether the name of a file or folder of this machine means that file.

    Raises:
        UsageError: nothing is named; a file is neither a picture nor a prompt; a folder has no checkpoint.
    """
    value = text.strip()
    if not value:
        raise UsageError(
            "name what to trace: a picture, URL, domain, sample, text, engine, recipe, checkpoint or score"
        )
    path = Path(value).expanduser()
    if files and kind in (None, Kind.PICTURE, Kind.CHECKPOINT, Kind.PROMPT) and len(value) < 4096 and path.exists():
        return _of_path(path)
    if kind is not None:
        return Question(kind, value.lower() if kind is Kind.DOMAIN else value)
    if value.count("/") == 2 and not is_url(value) and " " not in value:
        return Question(Kind.SCORE, value)
    for fits, kinds in _BY_FORM:
        if fits(value):
            found = next((known for known in kinds if knows(warehouse, known, value)), None)
            if found is not None:
                return Question(found, value)
    if value.startswith(("http://", "https://")):
        return Question(Kind.URL, value)
    looks_like_host = re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*", value.lower()) is not None
    return Question(Kind.DOMAIN, value.lower()) if looks_like_host else Question(Kind.TEXT, value)


def knows(warehouse: Warehouse, kind: Kind, value: str) -> bool:
    """Whether a table has the value."""
    table, condition = KNOWN_BY[kind]
    sql = f"SELECT 1 FROM {table} WHERE {condition} LIMIT 1"  # noqa: S608
    return bool(read_rows(warehouse, sql, {"v": value}, tables=[table]))


def _of_path(path: Path) -> Question:
    if path.is_dir():
        if not (path / _WEIGHTS).is_file():
            raise UsageError(f"{path} is a folder without {_WEIGHTS}: no checkpoint to trace")
        return Question(Kind.CHECKPOINT, _sha256(path / _WEIGHTS))
    if path.suffix in (".yaml", ".yml"):
        return Question(Kind.PROMPT, path.stem)
    if path.suffix == ".safetensors":
        return Question(Kind.CHECKPOINT, _sha256(path))
    data = path.read_bytes()
    try:
        return Question(Kind.PICTURE, hashlib.sha256(data).hexdigest(), examine(data).phash)
    except PictureError as error:
        raise UsageError(f"{path} is neither a picture nor a prompt file (.yaml): {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def condition_of(question: Question) -> Iterator[str]:
    """Conditions on raw_crawl that the rows in question meet any of, with $v for the value; none where it is not about rows."""
    match question.kind:
        case Kind.SAMPLE | Kind.PICTURE | Kind.PAGE:
            yield KNOWN_BY[question.kind][1]
        case Kind.URL:
            yield from ("url = $v", "final_url = $v")
        case Kind.DOMAIN:
            # Host by host, as DuckDB tests a condition on one column before it reads others; and the cheap half of it
            # first. No row twice, as a row's id takes longer to read than its hosts, and most pages show pictures of
            # their own domain.
            of_url, of_page, of_final = (
                f"({host} = $v OR ends_with({host}, '.' || $v))" for host in ("url_host", "page_host", _FINAL_HOST)
            )
            yield f"ends_with(url_host, $v) AND {of_url}"
            yield f"ends_with(page_host, $v) AND {of_page} AND {of_url} IS NOT TRUE"
            yield f"final_url IS NOT NULL AND {of_final}"
        case Kind.TEXT:
            yield from ("alt_text = $v", "alt_text_raw = $v")
        case Kind.PARTITION:
            yield "crawl_partition = $v"
