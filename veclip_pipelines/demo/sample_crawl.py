"""Writes the sample crawl: two drops in img2dataset's webdataset layout, and a retrieval benchmark over its pictures."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from veclip_pipelines.errors import ModelMissingError
from veclip_pipelines.extras import missing
from veclip_pipelines.media.storage import whole_folder

BENCHMARK = "sample-retrieval"
ENTRIES_PER_SHARD = 10

_FOLDERS = {
    "skimage": "data",
    "sklearn": "datasets/images",
    "matplotlib": "mpl-data/sample_data",
}
_HTML = b"<!DOCTYPE html><html><head><title>404</title></head><body>This page is no more.</body></html>"
_SIDECAR = pa.schema(
    [
        ("url", pa.string()),
        ("caption", pa.string()),
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("exif", pa.string()),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True)
class SampleEntry:
    """One entry of the YAML file."""

    file: str
    url: str
    alt_text: str
    caption: str
    damage: str = ""

    def picture(self) -> bytes:
        """The bytes that the crawl got, including any damage.

        Raises:
            ModelMissingError: the package that ships the picture is not installed.
        """
        if self.damage == "html":
            return _HTML
        package, _, name = self.file.partition("/")
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise missing(package, ModelMissingError)
        data = (Path(found.submodule_search_locations[0]) / _FOLDERS[package] / name).read_bytes()
        return data[: len(data) // 2] if self.damage == "truncated" else data


def sample_drops() -> dict[str, list[SampleEntry]]:
    """The entries of each drop."""
    content: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "sample_entries.yaml").read_text("utf-8"))
    return {name: [SampleEntry(**entry) for entry in entries] for name, entries in content["drops"].items()}


def write_sample_drops(folder: Path) -> list[Path]:
    """Writes each drop that is not there yet; a drop appears under its name only when it is complete."""
    drops = []
    for name, entries in sample_drops().items():
        target = folder / name
        if not target.is_dir():
            with whole_folder(target) as scratch:
                for shard, start in enumerate(range(0, len(entries), ENTRIES_PER_SHARD)):
                    write_shard(scratch, shard, entries[start : start + ENTRIES_PER_SHARD])
        drops.append(target)
    return drops


def write_shard(folder: Path, shard: int, entries: list[SampleEntry]) -> None:
    """Writes one shard as img2dataset 1.47 does: tar, Parquet sidecar with the failures in it, stats."""
    rows, failed = [], 0
    with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
        for index, entry in enumerate(entries):
            key = f"{shard:05d}{index:04d}"
            row: dict[str, object] = {
                "url": entry.url,
                "caption": entry.alt_text,
                "key": key,
                "status": "success",
            }
            if entry.damage == "failed_download":
                failed += 1
                row |= {"status": "failed_to_download", "error_message": "<urlopen error timed out>"}
            else:
                # img2dataset names every member it did not re-encode .jpg, whatever is in it.
                extension = "png" if entry.file.endswith(".png") else "jpg"
                _add(tar, f"{key}.{extension}", entry.picture())
                _add(tar, f"{key}.txt", entry.alt_text.encode())
                _add(tar, f"{key}.json", json.dumps(row).encode())
            rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=_SIDECAR), folder / f"{shard:05d}.parquet")
    stats = {
        "count": len(rows),
        "successes": len(rows) - failed,
        "failed_to_download": failed,
        "failed_to_resize": 0,
        "duration": 0.0,
        "start_time": 0.0,
        "end_time": 0.0,
        "status_dict": {"success": len(rows) - failed},
    }
    (folder / f"{shard:05d}_stats.json").write_text(json.dumps(stats), "utf-8")


def write_sample_benchmark(benchmarks: Path) -> Path:
    """Writes the retrieval benchmark in Karpathy's JSON layout: each picture once, with this project's caption for it."""
    target = benchmarks / BENCHMARK
    if target.is_dir():
        return target
    images = []
    with whole_folder(target) as scratch:
        (scratch / "images").mkdir()
        for entry in (entry for entries in sample_drops().values() for entry in entries if entry.caption):
            name = entry.file.replace("/", "-")
            (scratch / "images" / name).write_bytes(entry.picture())
            images.append({"filename": name, "split": "test", "sentences": [{"raw": entry.caption}]})
        (scratch / "dataset.json").write_text(json.dumps({"dataset": BENCHMARK, "images": images}, indent=1), "utf-8")
    return target


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
