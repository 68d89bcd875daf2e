"""CLIP's architecture and tokenizer, as named by a recipe: transformers' JSON configs, and tokenizers trained here or given."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from veclip_pipelines.config.recipe import ModelSettings
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import ModelMissingError, UsageError

TRAINED = "trained"
_SHIPPED = Path(__file__).parent / "model_configs"
_PAD, _START, _END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"


def model_config(settings: Settings, name: str) -> dict[str, Any]:
    """The CLIPConfig with a name, as parsed JSON; the user's file takes precedence over the one that ships.

    Raises:
        UsageError: there is no such file, or it is not a CLIPConfig.
    """
    folders = (settings.home / "model_configs", _SHIPPED)
    path = next((found for folder in folders if (found := folder / f"{name}.json").is_file()), None)
    if path is None:
        known = sorted({file.stem for folder in folders for file in folder.glob("*.json")})
        raise UsageError(
            f"there is no model config named {name!r}. Known: {', '.join(known)}. Add {folders[0]}/{name}.json."
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
        config["vision_config"]["image_size"], config["text_config"]["max_position_embeddings"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no CLIPConfig: {type(error).__name__}: {error}") from error
    return config


def tokenizer_for(model: ModelSettings, context_length: int, texts: Iterable[str]) -> Any:
    """A recipe's tokenizer.

    Args:
        texts: what a "trained" tokenizer is trained on; unused otherwise.

    Raises:
        ModelMissingError: a named one is neither a folder nor available from the hub.
    """
    if model.tokenizer == TRAINED:
        return train_tokenizer(texts, model.vocabulary_size, context_length)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model.tokenizer, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelMissingError(
            f"tokenizer {model.tokenizer!r} is neither a folder nor could the hub give it: {str(error).splitlines()[0]} "
            "Name a folder with its files in the recipe, under model: tokenizer."
        ) from error
    tokenizer.model_max_length = context_length
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, context_length: int) -> Any:
    """A lower-case byte-level BPE trained on the training texts: a vocabulary cannot be fetched offline, and is not needed.

    Byte-level so that no text, in any script, has an unknown token.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        # The end token must not get id 2: transformers takes that for one of OpenAI's early configs and pools at the largest id.
        special_tokens=[_PAD, _END, _START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = {token: tokenizer.token_to_id(token) for token in (_PAD, _START, _END)}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}", special_tokens=[(_START, ids[_START]), (_END, ids[_END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        bos_token=_START,
        eos_token=_END,
        model_max_length=context_length,
        # A stranger's text may contain the string of a special token: it must stay text.
        split_special_tokens=True,
    )
