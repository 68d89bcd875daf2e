"""Engine profiles: YAML files that say which model answers, by which engine, with which prompt and decoding."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from veclip_pipelines.catalogue import Catalogue
from veclip_pipelines.engines.prompts import Purpose
from veclip_pipelines.settings import Settings

#: Kind of a profile whose captions come with the drop.
IMPORTED = "imported"


class Decoding(BaseModel):
    """How words are chosen. Temperature 0 is greedy, and then the same input gives the same words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(default=48, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, ge=1.0)
    seed: int = 0


class EngineProfile(BaseModel):
    """A ready choice of engine.

    Attributes:
        kind: name in the registry.
        model: a folder under VECLIP_MODELS, an absolute folder, or a hub id.
        gguf_file: file in the model's folder, where the weights are GGUF.
        threshold: for the tagger: the probability from which a class name is said.
        batch_rows: rows in one call of the model.
        task_batches: batches in one Dask task, which is also one Parquet file.
        caption_column: for kind imported: the drop's column that holds the captions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    purpose: Purpose
    kind: str
    description: str
    model: str
    revision: str | None = None
    gguf_file: str | None = None
    prompt: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    decoding: Decoding = Decoding()
    threshold: float = Field(default=0.35, ge=0.0, le=1.0)
    batch_rows: int = Field(default=8, ge=1)
    task_batches: int = Field(default=1, ge=1)
    caption_column: str | None = None

    @property
    def is_imported(self) -> bool:
        """Whether its captions come with the drop, and no model is asked."""
        return self.kind == IMPORTED

    @model_validator(mode="after")
    def _names_a_column(self) -> EngineProfile:
        if self.is_imported != (self.caption_column is not None):
            raise ValueError(f"caption_column belongs to kind {IMPORTED}, and only to it")
        return self


def profile_catalogue(settings: Settings) -> Catalogue[EngineProfile]:
    return Catalogue("profiles", EngineProfile, settings.home)
