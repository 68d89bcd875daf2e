"""Engine profiles: YAML files that say which model answers, by which engine, with which prompt and decoding."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from veclip_pipelines.config.catalogue import Catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.prompts import Purpose

#: Kind of a profile whose captions come with the drop.
IMPORTED = "imported"
#: What happens to a row whose answers the guards refuse.
Fallback = Literal["template", "concept", "reject"]


class Decoding(BaseModel):
    """How words are chosen. Temperature 0 is greedy, and then the same input gives the same words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(default=48, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.0, ge=1.0)
    seed: int = 0

    def of_attempt(self, attempt: int, retry_temperature: float) -> Decoding:
        """The decoding of the n-th retry: another seed, and a temperature, as greedy decoding would only repeat itself."""
        if attempt == 0:
            return self
        temperature = max(self.temperature, retry_temperature)
        return self.model_copy(update={"seed": self.seed + attempt, "temperature": temperature})

    def seed_of(self, key: str, place: int = 0) -> int:
        """A seed for one row's draws, in the 31 bits that all servers take: it depends on the row's key and not on its batch."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}\0{key}\0{place}".encode()).digest()[:4], "big") >> 1


class GuardPolicy(BaseModel):
    """What is done when a guard objects to an answer. It is a part of engine_id, as it can change a row's text.

    Attributes:
        retries: how often a row is tried again with another seed before anything else.
        retry_temperature: temperature of the retries, if the decoding's own is lower.
        then: what follows if no retry helped. template: AltText and concept caption side by side; concept: the concept
            caption alone; reject: no text. A concept caption has nothing to fall back to and is always a reject.
        by_guard: another choice for single guards, by reason code.
        skip: guards that are not applied, by reason code.
        boilerplate_rows, boilerplate_share: a sentence that occurs in at least that many rows of a partition, and in
            that share of them, is boilerplate.
        minimum_similarity: image-text similarity that came with the drop (LAION, DataComp) below which AltText and
            picture are unrelated.
        relatedness: model whose text embeddings of AltText and concept caption are compared (cosine); none: not compared.
        minimum_relatedness: below it the two have nothing to do with each other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    retries: int = Field(default=0, ge=0, le=5)
    retry_temperature: float = Field(default=0.7, gt=0.0, le=2.0)
    then: Fallback = "template"
    by_guard: dict[str, Fallback] = {}
    skip: tuple[str, ...] = ()
    boilerplate_rows: int = Field(default=20, ge=2)
    boilerplate_share: float = Field(default=0.01, gt=0.0, le=1.0)
    minimum_similarity: float = Field(default=0.2, ge=-1.0, le=1.0)
    relatedness: str | None = None
    minimum_relatedness: float = Field(default=0.05, ge=-1.0, le=1.0)

    def fallback(self, reason: str) -> Fallback:
        return self.by_guard.get(reason, self.then)


class EngineProfile(BaseModel):
    """A ready choice of engine.

    Attributes:
        kind: name in the registry.
        model: a folder under VECLIP_MODELS, an absolute folder, or a hub id; for a server the name that it knows.
        gguf_file: file in the model's folder, where the weights are GGUF.
        dtype: precision of the weights; auto is bfloat16 where the worker's processor or GPU computes in it, else float32.
        threshold: for the tagger: the least probability at which a class name is used.
        server: base URL of an OpenAI-compatible server, such as http://10.0.0.7:8000/v1. Not a part of engine_id.
        api_key_env: environment variable of the workers that holds the server's key.
        in_flight: concurrent requests of a worker to the server.
        batch_rows: rows in one batch, which is one Parquet file and what a rerun can reuse.
        token_budget: tokens that one step of the model may hold, rows times (prompt + answer). Rows above it wait.
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
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    decoding: Decoding = Decoding()
    guards: GuardPolicy = GuardPolicy()
    threshold: float = Field(default=0.35, ge=0.0, le=1.0)
    server: str | None = None
    api_key_env: str | None = None
    in_flight: int = Field(default=16, ge=1)
    batch_rows: int = Field(default=32, ge=1)
    token_budget: int = Field(default=6144, ge=64)
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
