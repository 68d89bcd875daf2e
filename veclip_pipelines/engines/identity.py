"""What an engine is, and the engine_id that stands for it in every caption's row."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from veclip_pipelines.config.catalogue import Catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.profiles import EngineProfile, profile_catalogue
from veclip_pipelines.engines.prompts import Prompt, Purpose, prompt_catalogue
from veclip_pipelines.engines.registry import engine_kind
from veclip_pipelines.errors import ModelMissingError, UsageError
from veclip_pipelines.schemas.crawl_schemas import ENGINES
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.warehouse import Warehouse

_WEIGHTS = ("*.safetensors", "*.gguf")
_LIBRARIES = (
    "torch", "transformers", "tokenizers", "safetensors", "pillow", "efficientnet-lite-pytorch", "vllm", "openai",
)  # fmt: skip


@dataclass(frozen=True)
class EngineSpec:
    """An engine as it is sent to a worker: all that is needed to load it, and its id.

    Attributes:
        models: folder of the installed models, where a worker finds the model of a guard.
    """

    engine_id: str
    profile: EngineProfile
    prompt: Prompt | None
    model_folder: Path
    weights_sha256: str
    code_version: str
    models: Path = Path()


def resolve_engine(settings: Settings, name: str, purpose: Purpose, code_version: str) -> EngineSpec:
    """Finds a profile's model and prompt and computes the engine_id; no model is loaded.

    The id is a hash over model, revision, weights, prompt, decoding, precision and the step's code version: what can
    change the words. Library versions are recorded with it, not hashed.

    Raises:
        UsageError: no such profile, prompt or kind of engine, or a profile for another purpose.
        ModelMissingError: the model's files are not there.
    """
    profiles: Catalogue[EngineProfile] = profile_catalogue(settings)
    profile = profiles.load(name)
    if profile.purpose != purpose:
        usable = [other for other in profiles.names() if profiles.load(other).purpose == purpose]
        raise UsageError(
            f"engine profile {name!r} makes {profile.purpose} captions, not {purpose} captions. Use one of: {', '.join(usable)}."
        )
    if profile.is_imported:
        return _imported(profile, code_version)
    kind = engine_kind(profile.kind, purpose)
    prompt = prompt_catalogue(settings).load(profile.prompt) if profile.prompt else None
    if prompt is not None and prompt.purpose != purpose:
        raise UsageError(
            f"engine profile {name!r} makes {purpose} captions, and its prompt {prompt.name!r} is for {prompt.purpose} captions"
        )
    if kind.served and not profile.server:
        raise UsageError(
            f"engine profile {name!r} is of kind {profile.kind} and names no server, such as http://host:8000/v1"
        )
    # A server's weights cannot be seen from here: the model's name and the profile's revision stand for them.
    folder = model_folder(settings.models, profile) if kind.weights else Path()
    weights = weights_sha256(folder, profile.gguf_file) if kind.weights else ""
    identity = {
        "kind": profile.kind,
        "model": profile.model,
        "revision": profile.revision,
        "weights_sha256": weights,
        "prompt": prompt.model_dump() if prompt else None,
        "decoding": decoding_of(profile),
        "code_version": code_version,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return EngineSpec(digest, profile, prompt, folder, weights, code_version, settings.models)


def _imported(profile: EngineProfile, code_version: str) -> EngineSpec:
    """An engine without a model: it is whatever the data set's maker used, of which we know only the name."""
    identity = {
        "kind": profile.kind,
        "model": profile.model,
        "revision": profile.revision,
        "column": profile.caption_column,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return EngineSpec(digest, profile, None, Path(), "", code_version)


def decoding_of(profile: EngineProfile) -> dict[str, object]:
    """All settings of a profile that can change the engine's words."""
    return {
        **profile.decoding.model_dump(),
        "dtype": profile.dtype,
        "threshold": profile.threshold,
        "guards": profile.guards.model_dump(),
    }


def model_folder(models: Path, profile: EngineProfile) -> Path:
    """The folder of a profile's model: under ``models``, absolute, or the hub's snapshot of it.

    Raises:
        ModelMissingError: with the hub's own message if it was asked.
    """
    for folder in (models / profile.model, Path(profile.model).expanduser()):
        if (folder.is_absolute() or folder.parent != Path()) and folder.is_dir():
            return folder.resolve()
    if profile.model.count("/") != 1 or profile.model.startswith(("/", ".", "~")):
        raise ModelMissingError(
            f"model {profile.model!r} of engine profile {profile.name!r} is not installed: there is no folder "
            f"{models / profile.model}. For the demo's models run: make models. Otherwise put the model's folder there."
        )
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            huggingface_hub.snapshot_download(
                profile.model,
                revision=profile.revision,
                allow_patterns=["*.json", "*.safetensors", "*.gguf", "*.model", "*.txt", "*.jinja"],
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ModelMissingError(
            f"model {profile.model!r} of engine profile {profile.name!r} is neither in {models} nor could the hub "
            f"give it: {type(error).__name__}: {error}. Download it where the hub can be reached, put the folder at "
            f"{models / profile.model}, and run it again."
        ) from error


def weights_sha256(folder: Path, gguf_file: str | None = None) -> str:
    """Hash over names and SHA-256 of the weight files. Cached next to them by size and time, as weights are large.

    Raises:
        ModelMissingError: the folder has no safetensors or GGUF weights (pickled weights are not loaded).
    """
    patterns = (gguf_file,) if gguf_file else _WEIGHTS
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if not files:
        raise ModelMissingError(
            f"{folder} has no weights in safetensors or GGUF: {', '.join(patterns)}. Pickled weights are not loaded."
        )
    key = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    cache = folder / ".veclip-weights.json"
    try:
        known = json.loads(cache.read_text("utf-8"))
        if known["files"] == key:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError):
        pass  # no cached hash, or one that cannot be read: hash again
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    with contextlib.suppress(OSError):  # a read-only models folder: hash again next time
        cache.write_text(json.dumps({"files": key, "sha256": digest.hexdigest()}), "utf-8")
    return digest.hexdigest()


def record_engine(warehouse: Warehouse, spec: EngineSpec, *, properties: Mapping[str, str]) -> None:
    """Records once what the engine_id stands for, before any caption carries it."""
    row: dict[str, object] = {
        "engine_id": spec.engine_id,
        "profile": spec.profile.name,
        "kind": spec.profile.kind,
        "model": spec.profile.model,
        "revision": spec.profile.revision,
        "weights_sha256": spec.weights_sha256,
        "prompt_name": spec.prompt.label if spec.prompt else None,
        "prompt_text": json.dumps(spec.prompt.model_dump(), ensure_ascii=False) if spec.prompt else None,
        "decoding": json.dumps(decoding_of(spec.profile), sort_keys=True),
        "code_version": spec.code_version,
        "library_versions": json.dumps(_library_versions(), sort_keys=True),
        "first_used_at": datetime.now(UTC),
    }
    append_new(warehouse, ENGINES, [row], properties=properties)


def _library_versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
