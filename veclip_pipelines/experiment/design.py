"""The runs of the experiment: each is a recipe, and so a partition of the ordinary graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from veclip_pipelines.experiment.data import FIRST, MORE, NAMES, OF_CAPTIONER, RETRIEVAL

PREFIX = "scenes-"
CAPTIONER, FUSION = "scenes-captioner", "template"
TEXTS = ("alttext", "concept", "vecap", "mixed")
CONTROLS = ("shuffled", "longer", "taught")
SMALL, LARGE = "2500", "10000"


@dataclass(frozen=True)
class Run:
    """One training: on which texts, on how much data, with which seed.

    Attributes:
        arm: one of :data:`TEXTS` or :data:`CONTROLS`.
        prefix: prefix of the recipes' names.
    """

    arm: str
    size: str
    seed: int
    prefix: str = PREFIX

    @property
    def recipe(self) -> str:
        return f"{self.prefix}{self.arm}-{self.size}-s{self.seed}"


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        steps: optimiser steps of each run; the control of longer training takes twice as many.
        learning_rate: chosen in a pilot of the mix alone, on scenes that are in no part of the experiment: of 4e-4 to 1.5e-3
            the lowest learnt both names and retrieval within 400 steps, and the highest neither.
    """

    arms: tuple[str, ...] = TEXTS
    controls: tuple[str, ...] = CONTROLS
    sizes: tuple[str, ...] = (SMALL, LARGE)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 400
    batch_size: int = 128
    learning_rate: float = 4e-4

    @classmethod
    def small(cls) -> Plan:
        """The short version, of a few minutes: shows that all parts work together, but no effect."""
        return cls(arms=("alttext", "mixed"), controls=("taught",), sizes=(SMALL,), seeds=(0,), steps=40, batch_size=64)

    def runs(self) -> Iterator[Run]:
        """All runs; seed by seed, so that a part of them is a smaller experiment."""
        for seed in self.seeds:
            for size in self.sizes:
                for arm in self.arms:
                    yield Run(arm, size, seed)
            for control in self.controls:
                yield Run(control, self.sizes[-1], seed)


def texts_of(arm: str) -> list[dict[str, Any]]:
    """The texts that an arm trains on."""
    alt: dict[str, Any] = {"source": "alt_text"}
    concept: dict[str, Any] = {"source": "concept_caption", "engine": CAPTIONER}
    vecap: dict[str, Any] = {"source": "vecap", "engine": FUSION, "concept_engine": CAPTIONER}
    mixes: dict[str, Sequence[dict[str, Any]]] = {
        "alttext": [alt],
        "concept": [concept],
        "vecap": [vecap],
        "mixed": [alt, vecap],
        # As many texts of the same kind, each of another picture: they describe pictures in general, but not the
        # sample's own.
        "shuffled": [alt, {**vecap, "shuffled": True}],
        "longer": [alt],
        "taught": [alt],
    }
    chosen = mixes[arm]
    return [{**text, "probability": 1.0 / len(chosen)} for text in chosen]


def recipe_of(run: Run, plan: Plan) -> dict[str, Any]:
    """A run as the content of a recipe file."""
    recipe: dict[str, Any] = {
        "name": run.recipe,
        "description": f"Experiment on generated scenes: {run.arm}, {run.size} pictures, seed {run.seed}.",
        "crawl_partitions": [FIRST] if run.size == SMALL else [FIRST, MORE],
        "texts": texts_of(run.arm),
        "model": {"config": "scenes", "vocabulary_size": 1500},
        "training": {
            "steps": plan.steps * (2 if run.arm == "longer" else 1),
            "batch_size": plan.batch_size,
            "learning_rate": plan.learning_rate,
            "warmup_steps": 40,
            "seed": run.seed,
        },
        "benchmarks": [RETRIEVAL, NAMES],
    }
    if run.arm == "taught":
        recipe["datasets"] = [{"name": "captioner", "crawl_partitions": [OF_CAPTIONER]}]
    return recipe


def write_recipes(home: Path, plan: Plan) -> list[str]:
    """Writes a recipe file for each run; existing ones with the same content stay as they are. Returns their names."""
    folder = home / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for run in plan.runs():
        text = yaml.safe_dump(recipe_of(run, plan), sort_keys=False)
        path = folder / f"{run.recipe}.yaml"
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
        names.append(run.recipe)
    return names
