"""Versions of the prompt and profile files as they are now: what the configuration assets record and their sensor compares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from veclip_pipelines.config.catalogue import Catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.profiles import profile_catalogue
from veclip_pipelines.engines.prompts import Purpose, prompt_catalogue

PURPOSES: tuple[Purpose, ...] = ("concept", "fusion")


def prompt_hashes(settings: Settings, purpose: Purpose) -> dict[str, str]:
    """Hash of each prompt file of a purpose, by name."""
    return _hashes(prompt_catalogue(settings), purpose)


def profile_hashes(settings: Settings, purpose: Purpose) -> dict[str, str]:
    """Hash of each engine profile of a purpose, by name."""
    return _hashes(profile_catalogue(settings), purpose)


def combined(hashes: Mapping[str, str]) -> str:
    """One version of several files: 32 hex digits of SHA-256."""
    return hashlib.sha256(json.dumps(dict(hashes), sort_keys=True).encode()).hexdigest()[:32]


def configuration_versions(settings: Settings) -> dict[tuple[str, ...], str]:
    """Data version of each unpartitioned configuration asset as the files are now, by asset key."""
    versions: dict[tuple[str, ...], str] = {}
    for purpose in PURPOSES:
        versions[f"{purpose}_prompts",] = combined(prompt_hashes(settings, purpose))
        versions[f"{purpose}_profiles",] = combined(profile_hashes(settings, purpose))
    return versions


def _hashes(catalogue: Catalogue[Any], purpose: Purpose) -> dict[str, str]:
    return {name: catalogue.content_hash(name) for name in catalogue.names() if catalogue.load(name).purpose == purpose}
