"""Recipes: a YAML file says what a training set mixes, at what probability, and how CLIP is trained and scored on it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from veclip_pipelines.config.catalogue import Catalogue
from veclip_pipelines.config.settings import Settings

TextSourceName = Literal["alt_text", "concept_caption", "vecap", "caption"]
#: The name of a recipe's first part; further data sets have names of their own.
MAIN = "main"
_STRICT = ConfigDict(extra="forbid", frozen=True)


class Condition(BaseModel):
    """What a sample must be like; what is not named does not matter. A sample that lacks a value asked for does not qualify.

    Attributes:
        languages: ISO 639 codes of the AltText.
        minimum_language_confidence: of fastText's lid.176.
        with_flags, without_flags: flags of the AltText: empty, file_name, boilerplate, too_short, too_long, email, phone.
        minimum_words, maximum_words, minimum_characters: of the clean AltText.
        minimum_side: pixels of the shorter side; maximum_aspect: longer side over shorter side.
        maximum_nsfw: probability that the picture is not safe for work.
        minimum_scores: numeric columns of the drop, such as clip_l14_similarity_score, each with its smallest accepted value.
    """

    model_config = _STRICT

    languages: tuple[str, ...] = ()
    minimum_language_confidence: float = Field(default=0.0, ge=0.0, le=1.0)
    with_flags: tuple[str, ...] = ()
    without_flags: tuple[str, ...] = ()
    minimum_words: int = Field(default=0, ge=0)
    maximum_words: int | None = Field(default=None, ge=1)
    minimum_characters: int = Field(default=0, ge=0)
    minimum_side: int = Field(default=0, ge=0)
    maximum_aspect: float | None = Field(default=None, ge=1.0)
    maximum_nsfw: float | None = Field(default=None, ge=0.0, le=1.0)
    minimum_scores: dict[str, float] = {}


#: DataComp's basic filter (Gadre et al. 2023, section 3.3): English, more than two words and five characters, no small or
#: very long picture.
BASIC = Condition(languages=("en",), minimum_words=3, minimum_characters=6, minimum_side=201, maximum_aspect=2.999999)


class ScoreFilter(BaseModel):
    """Keeps the samples with the highest of a score that came with the drop, as DataComp's CLIP-score filter does.

    Attributes:
        column: the drop's column, such as clip_l14_similarity_score.
        at_least: the smallest score with which a sample is kept; or
        keep_share: the share of the part's samples that is kept.
    """

    model_config = _STRICT

    column: str
    at_least: float | None = None
    keep_share: float | None = Field(default=None, gt=0.0, le=1.0)

    @model_validator(mode="after")
    def _one_of_both(self) -> ScoreFilter:
        if (self.at_least is None) == (self.keep_share is None):
            raise ValueError("a score filter has at_least or keep_share")
        return self


class Filters(BaseModel):
    """Which samples of a part are used; the others are rejects of the set, each with its reason.

    Attributes:
        basic: DataComp's basic filter.
        where: further conditions.
        score: a filter by a score that came with the drop.
        near_duplicates: "one" keeps one sample of each group of near duplicates (asset duplicates).
    """

    model_config = _STRICT

    basic: bool = False
    where: Condition | None = None
    score: ScoreFilter | None = None
    near_duplicates: Literal["keep", "one"] = "keep"


class TextSource(BaseModel):
    """One of the texts that training draws from.

    Attributes:
        engine: profile of the engine that made it (concept captions and VeCap).
        concept_engine: profile whose concept captions the VeCap was fused from; none if the VeCap is imported.
        column: for source caption: the column of a caption that came with the drop, such as re_caption.
        when: only for samples that meet these conditions; the others draw from the remaining texts.
        shuffled: for a control: each sample gets this text of another sample, which says nothing about its own picture.
    """

    model_config = _STRICT

    source: TextSourceName
    probability: float = Field(gt=0.0, le=1.0)
    engine: str | None = None
    concept_engine: str | None = None
    column: str | None = None
    when: Condition | None = None
    shuffled: bool = False

    @model_validator(mode="after")
    def _engines_named(self) -> TextSource:
        made = self.source in ("concept_caption", "vecap")
        if made and not self.engine:
            raise ValueError(f"source {self.source} needs an engine profile")
        if (self.source == "caption") != (self.column is not None):
            raise ValueError("source caption needs a column, and only it has one")
        if self.shuffled and not made:
            raise ValueError("only captions that an engine made can be shuffled")
        return self


class Part(BaseModel):
    """Crawl partitions that are used in the same way.

    Attributes:
        crawl_partitions: names, or "all": those materialised when the set is made and not used by a further data set.
        uids: file with DataComp's uids (sorted, numpy u8,u8): only these samples are used, in the way of DFN's lists.
        weight: how often a sample is seen per epoch, on average: 1 is once, 0.5 every second epoch; drawn by counter.
    """

    model_config = _STRICT

    crawl_partitions: Literal["all"] | tuple[str, ...] = "all"
    texts: tuple[TextSource, ...] = Field(default=(), validate_default=False)
    filters: Filters = Filters()
    uids: str | None = None
    weight: float = Field(default=1.0, gt=0.0, le=100.0)

    @model_validator(mode="after")
    def _probabilities_sum_to_one(self) -> Part:
        total = sum(text.probability for text in self.texts)
        if self.texts and abs(total - 1.0) > 1e-6:
            raise ValueError(f"the texts' probabilities sum to {total}, not to 1")
        return self


class Dataset(Part):
    """A further data set beside the recipe's own, such as DFN beside VeCap. Without texts of its own it uses the recipe's."""

    name: str


class ModelSettings(BaseModel):
    """A CLIP of two transformers, as transformers' CLIPModel takes it. The default trains on a laptop.

    Attributes:
        config: a CLIPConfig in JSON: one that ships (tiny, vit-b-32, vit-b-16, vit-l-14, vit-h-14, vit-h-14-336), or one of
            VECLIP_HOME/model_configs.
        tokenizer: "trained": a byte-level BPE of the set's own texts; or the folder or hub id of a tokenizer, such as
            openai/clip-vit-base-patch32, or google-t5/t5-base, which the released VeCLIP uses.
        vocabulary_size: of a trained tokenizer.
    """

    model_config = _STRICT

    config: str = "tiny"
    tokenizer: str = "trained"
    vocabulary_size: int = Field(default=1024, ge=300)


class TrainingSettings(BaseModel):
    """Optimisation: AdamW, linear warm-up, cosine decay, InfoNCE (Radford et al. 2021) or SigLIP's loss (Zhai et al. 2023).

    Attributes:
        steps: optimiser steps; derived from ``epochs`` if that is given.
        batch_size: pictures that are contrasted with one another, over all ranks.
        micro_batch: pictures that a rank computes at a time: less memory, the same gradients (GradCache, Gao et al. 2021).
        precision: bfloat16 computes in bfloat16 and keeps the weights in float32.
        activation_checkpointing: recomputes a tower's activations for the gradients instead of keeping them.
        ema_decay: the checkpoint holds this moving average of the weights.
        crop_scale: smallest share of a picture that a random crop shows; 1 takes a centre crop, as in scoring.
        checkpoint_steps: steps between two saved states, from each of which training can resume.
    """

    model_config = _STRICT

    steps: int = Field(default=200, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=2)
    micro_batch: int | None = Field(default=None, ge=1)
    loss: Literal["infonce", "sigmoid"] = "infonce"
    learning_rate: float = Field(default=4e-4, gt=0.0)
    warmup_steps: int = Field(default=20, ge=0)
    weight_decay: float = Field(default=0.1, ge=0.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)
    precision: Literal["float32", "bfloat16"] = "float32"
    activation_checkpointing: bool = False
    ema_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    crop_scale: float = Field(default=1.0, gt=0.0, le=1.0)
    checkpoint_steps: int = Field(default=500, ge=1)
    seed: int = 0


class Recipe(Part):
    """A recipe file: its own part, and further data sets.

    Attributes:
        benchmarks: names of folders under VECLIP_BENCHMARKS, or "all" of them.
    """

    name: str
    description: str
    texts: tuple[TextSource, ...] = Field(min_length=1)
    datasets: tuple[Dataset, ...] = ()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    benchmarks: Literal["all"] | tuple[str, ...] = "all"

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Recipe:
        names = [MAIN, *(dataset.name for dataset in self.datasets)]
        if len(set(names)) < len(names):
            raise ValueError(f"data sets need names of their own, other than {MAIN}")
        if any(dataset.crawl_partitions == "all" for dataset in self.datasets):
            raise ValueError("a further data set names its crawl partitions")
        return self

    def parts(self) -> dict[str, Part]:
        """All parts by name, each with its texts."""
        own = Part(**{name: getattr(self, name) for name in Part.model_fields})
        further = {
            dataset.name: Part(
                **{name: getattr(dataset, name) for name in Part.model_fields if name != "texts"},
                texts=dataset.texts or self.texts,
            )
            for dataset in self.datasets
        }
        return {MAIN: own, **further}


def recipe_catalogue(settings: Settings) -> Catalogue[Recipe]:
    return Catalogue("recipes", Recipe, settings.home)
