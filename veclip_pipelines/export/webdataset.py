"""A training set as webdataset shards that open_clip trains on directly.

A sample is three consecutive members: picture, .txt, .json. The .json has each text in a field of its own (alt_text,
vecap, …), so that open_clip draws the paper's mix itself: --json-text-key "alt_text;vecap" --json-text-key-probs 0.5
0.5. The key is the sample_id, which has no dot. sizes.json gives open_clip each shard's true number of samples.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from veclip_pipelines.errors import UsageError
from veclip_pipelines.export.exported_samples import ExportedSample, exported_samples
from veclip_pipelines.media.pictures import decode
from veclip_pipelines.media.shards import read_range
from veclip_pipelines.media.storage import put_bytes, scratch_in, whole_file
from veclip_pipelines.tables.warehouse import Warehouse

SIZES, MANIFEST = "sizes.json", "manifest.json"
#: Extensions that open_clip's loader decodes; other pictures are written as PNG, losslessly.
_AS_IS = {"jpg": b"\xff\xd8\xff", "png": b"\x89PNG", "webp": b"RIFF"}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        text_keys, text_probabilities: options for open_clip, for the mix that most samples have.
    """

    folder: Path
    samples: int
    shards: int
    text_keys: tuple[str, ...]
    text_probabilities: tuple[float, ...]

    def open_clip_arguments(self) -> list[str]:
        """Arguments of open_clip's training for this export."""
        data = f"{self.folder}/{{00000..{self.shards - 1:05d}}}.tar"
        keys = ["--json-text-key", ";".join(self.text_keys)]
        probabilities = ["--json-text-key-probs", *(f"{value:g}" for value in self.text_probabilities)]
        return [
            "--train-data",
            data,
            "--train-num-samples",
            str(self.samples),
            "--dataset-type",
            "webdataset",
            *keys,
            *probabilities,
        ]


def export_webdataset(
    warehouse: Warehouse, recipe: str, set_version: str, folder: Path, *, per_shard: int = 10_000
) -> Exported:
    """Writes the missing shards: a shard appears under its name when it is complete, and is the same each time.

    Raises:
        UsageError: the folder holds another set's export, or the set has no samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"recipe": recipe, "set_version": set_version, "per_shard": per_shard}
    _claim(folder, manifest)
    sizes: dict[str, int] = {}
    mixes: dict[tuple[tuple[str, float], ...], int] = {}
    samples = exported_samples(warehouse, recipe, set_version)
    for number, part in enumerate(_parts(samples, per_shard)):
        name = f"{number:05d}.tar"
        if not (folder / name).is_file():
            _write_shard(folder / name, part, manifest)
        sizes[name] = len(part)
        for sample in part:
            mix = tuple(sorted(sample.probabilities.items()))
            mixes[mix] = mixes.get(mix, 0) + 1
    if not sizes:
        raise UsageError(f"training set {set_version} of recipe {recipe!r} has no samples to export")
    most = max(mixes, key=lambda mix: (mixes[mix], mix))
    put_bytes(folder / SIZES, json.dumps(sizes, indent=1).encode())
    return Exported(
        folder, sum(sizes.values()), len(sizes), tuple(name for name, _ in most), tuple(share for _, share in most)
    )


def _claim(folder: Path, manifest: dict[str, object]) -> None:
    path = folder / MANIFEST
    if path.is_file():
        if json.loads(path.read_text("utf-8")) != manifest:
            raise UsageError(
                f"{folder} holds another export ({path.read_text('utf-8').strip()}): choose another folder."
            )
    elif any(folder.glob("*.tar")):
        raise UsageError(f"{folder} holds tars that are no export of ours: choose another folder.")
    else:
        put_bytes(path, json.dumps(manifest).encode())


def remove_from_webdataset(folder: Path, sample_ids: Collection[str], announce: Callable[[int], None]) -> None:
    """Removes samples from an export: a shard that has some is rewritten without them, and sizes.json is updated.

    The manifest records this: the folder is no longer what an export of its set would write, and no export continues
    in it.

    Args:
        announce: called with how many of them the export has, if any, before it is changed.
    """
    # Left by an export that was killed; until release 0.1 it was called .00000.tar.PID.
    for scratch in {*scratch_in(folder), *folder.glob(".*.tar.*")}:
        scratch.unlink()
    members = {path: _members(path) for path in sorted(folder.glob("*.tar"))}
    found = {path: gone for path, names in members.items() if (gone := names & set(sample_ids))}
    if not found:
        return
    announce(sum(len(gone) for gone in found.values()))
    # Before the shards: after a kill in between, the rerun still finds samples in the remaining shards, and at the end
    # these files are right.
    if (folder / SIZES).is_file():
        sizes: dict[str, int] = json.loads((folder / SIZES).read_text("utf-8"))
        sizes |= {path.name: len(members[path] - gone) for path, gone in found.items() if path.name in sizes}
        put_bytes(folder / SIZES, json.dumps(sizes, indent=1).encode())
    if (folder / MANIFEST).is_file():
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        put_bytes(folder / MANIFEST, json.dumps({**manifest, "taken_down": True}).encode())
    for path, gone in found.items():
        _rewrite_without(path, gone)


def _members(path: Path) -> set[str]:
    """The samples of a shard."""
    with tarfile.open(path) as tar:
        return {name.partition(".")[0] for name in tar.getnames()}


def _rewrite_without(path: Path, sample_ids: Collection[str]) -> None:
    with (
        whole_file(path) as scratch,
        tarfile.open(path) as tar,
        tarfile.open(scratch, "w", format=tarfile.USTAR_FORMAT) as rest,
    ):
        for member in tar:
            if member.name.partition(".")[0] not in sample_ids:
                rest.addfile(member, tar.extractfile(member))


def _parts(samples: Iterator[ExportedSample], size: int) -> Iterator[list[ExportedSample]]:
    while part := list(islice(samples, size)):
        yield part


def _write_shard(path: Path, samples: Sequence[ExportedSample], manifest: dict[str, object]) -> None:
    with whole_file(path) as scratch, tarfile.open(scratch, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            extension, data = _picture(sample)
            facts = json.dumps(_facts(sample, manifest), ensure_ascii=False, sort_keys=True)
            _add(tar, f"{sample.sample_id}.{extension}", data)
            _add(tar, f"{sample.sample_id}.txt", _first_text(sample).encode())
            _add(tar, f"{sample.sample_id}.json", facts.encode())


def _picture(sample: ExportedSample) -> tuple[str, bytes]:
    """Extension and bytes: as they are in the shard if open_clip can read them, else as a PNG."""
    data = read_range(sample.picture)
    if data.startswith(_AS_IS.get(sample.extension, b"\0")):
        return sample.extension, data
    buffer = io.BytesIO()
    picture: Image.Image = decode(data)
    picture.save(buffer, "PNG")
    return "png", buffer.getvalue()


def _first_text(sample: ExportedSample) -> str:
    """The most probable text, for loaders that do not read the .json."""
    return sample.texts[max(sample.texts, key=lambda source: (sample.probabilities[source], source))]


def _facts(sample: ExportedSample, manifest: dict[str, object]) -> dict[str, object]:
    return {
        **sample.texts,
        "probabilities": sample.probabilities,
        "sample_id": sample.sample_id,
        "sha256": sample.image_sha256,
        "uid": sample.uid,
        "url": sample.url,
        "width": sample.width,
        "height": sample.height,
        "part": sample.part,
        "weight": sample.weight,
        "recipe": manifest["recipe"],
        "set_version": manifest["set_version"],
    }


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A member without time and owner, so that the same set gives the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
