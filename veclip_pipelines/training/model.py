"""A CLIP from a recipe's settings, and the tokenizer that goes with it."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from veclip_pipelines.recipe import ModelSettings

_PAD, _START, _END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], settings: ModelSettings) -> PreTrainedTokenizerFast:
    """A lower-case byte-level BPE of the training texts: no vocabulary can be fetched offline, and none is needed.

    Byte level, so that no text of whatever script has an unknown token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size,
        # The end must not get id 2: transformers takes that for OpenAI's early configs and pools at the largest id.
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
        model_max_length=settings.context_length,
        # A stranger's text may hold the mark of a special token: it stays text.
        split_special_tokens=True,
    )


def build_model(settings: ModelSettings, tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """A CLIPModel with random weights (Radford et al. 2021), both towers of the same width."""
    tower = {
        "hidden_size": settings.width,
        "intermediate_size": 4 * settings.width,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        "projection_dim": settings.embedding_size,
    }
    config = CLIPConfig(
        vision_config={**tower, "image_size": settings.image_size, "patch_size": settings.patch_size},
        text_config={
            **tower,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": settings.context_length,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        projection_dim=settings.embedding_size,
    )
    return CLIPModel(config)
