"""Recipes: a YAML file says what a training set mixes, at what probability, and how CLIP is trained and scored on it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from veclip_pipelines.catalogue import Catalogue
from veclip_pipelines.settings import Settings

TextSourceName = Literal["alt_text", "concept_caption", "vecap"]


class TextSource(BaseModel):
    """One of the texts that training draws from.

    Attributes:
        engine: profile of the engine that made it (concept captions and VeCap).
        concept_engine: profile whose concept captions the VeCap was fused with; none where the VeCap is imported.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: TextSourceName
    probability: float = Field(gt=0.0, le=1.0)
    engine: str | None = None
    concept_engine: str | None = None

    @model_validator(mode="after")
    def _engines_named(self) -> TextSource:
        if self.source != "alt_text" and not self.engine:
            raise ValueError(f"source {self.source} needs an engine profile")
        return self


class ModelSettings(BaseModel):
    """A CLIP of two transformers, as transformers' CLIPModel takes it. The default trains on a laptop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_size: int = Field(default=64, ge=16)
    patch_size: int = Field(default=16, ge=4)
    width: int = Field(default=128, ge=16)
    layers: int = Field(default=3, ge=1)
    heads: int = Field(default=4, ge=1)
    embedding_size: int = Field(default=64, ge=8)
    context_length: int = Field(default=48, ge=8, le=77)
    vocabulary_size: int = Field(default=1024, ge=300)


class TrainingSettings(BaseModel):
    """Optimisation: AdamW, linear warm-up, cosine decay, InfoNCE (Radford et al. 2021)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=200, ge=1)
    batch_size: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=4e-4, gt=0.0)
    warmup_steps: int = Field(default=20, ge=0)
    weight_decay: float = Field(default=0.1, ge=0.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    seed: int = 0


class Recipe(BaseModel):
    """A recipe file.

    Attributes:
        crawl_partitions: the partitions it takes, or "all" that are materialised when the set is made.
        benchmarks: names of folders under VECLIP_BENCHMARKS, or "all" that are there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    crawl_partitions: Literal["all"] | tuple[str, ...] = "all"
    texts: tuple[TextSource, ...] = Field(min_length=1)
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    benchmarks: Literal["all"] | tuple[str, ...] = "all"

    @model_validator(mode="after")
    def _probabilities_sum_to_one(self) -> Recipe:
        total = sum(text.probability for text in self.texts)
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"the texts' probabilities sum to {total}, not to 1")
        return self


def recipe_catalogue(settings: Settings) -> Catalogue[Recipe]:
    return Catalogue("recipes", Recipe, settings.home)
