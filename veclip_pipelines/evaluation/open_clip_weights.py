"""open_clip's checkpoints as transformers' CLIPModel, the same numbers under other names, and CLIP's vocabulary as its tokenizer.

Names are those of open_clip 3.3 (src/open_clip/transformer.py, model.py); anything that a config asks for beyond a
plain CLIP is refused.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veclip_pipelines.config.model_config import model_config
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import ModelMissingError, UsageError
from veclip_pipelines.evaluation.preprocessing import Preprocessing

OPEN_CLIP_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin", "model.pt")
_HEAD_WIDTH = 64
_END = 49407
_VISION = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
_BLOCK = re.compile(r"(?P<tower>visual\.)?transformer\.resblocks\.(?P<layer>\d+)\.(?P<rest>.+)")
_IN_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
_NAMED = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
#: Matrices that open_clip multiplies from the right.
_TURNED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
#: Not a part of what is scored: SigLIP's bias, and a mask that is rebuilt.
_LEFT = {"logit_bias", "attn_mask"}
#: Of CLIP's tokenizer: its ids, and the two special tokens at their end.
_VOCABULARY_SIZE, _SPECIAL = 49408, ("<|startoftext|>", "<|endoftext|>")


@dataclass(frozen=True)
class Architecture:
    """A model config of ours by its name, and the installation whose own files come first."""

    settings: Settings
    name: str


def load_open_clip(path: Path, architecture: Architecture | None) -> tuple[Any, Preprocessing]:
    """A CLIPModel and its preprocessing.

    Args:
        path: a folder with open_clip_config.json, or a checkpoint file, with or without such a config next to it.
        architecture: a model config of ours, where there is no such config.

    Raises:
        UsageError: the config asks for something that a plain CLIP does not have, or the weights do not fit it.
        ModelMissingError: there are no weights.
    """
    from transformers import CLIPConfig, CLIPModel

    folder = path if path.is_dir() else path.parent
    config, preprocess = _config(folder, architecture)
    weights = path if path.is_file() else next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise ModelMissingError(f"{folder} has no weights: one of {', '.join(_WEIGHTS)}")
    model = CLIPModel(CLIPConfig(**config)).eval()
    converted = convert(_read(weights))
    missing, unknown = model.load_state_dict(converted, strict=False)
    missing = [name for name in missing if not name.endswith("position_ids")]
    if missing or unknown:
        raise UsageError(f"{weights} does not fit its config: {len(missing)} weights are missing, {len(unknown)} are unknown: "
                         f"{', '.join([*missing, *unknown][:4])}")  # fmt: skip
    return model, Preprocessing.of_open_clip(config["vision_config"]["image_size"], preprocess)


def _config(folder: Path, architecture: Architecture | None) -> tuple[dict[str, Any], Mapping[str, Any]]:
    file = folder / OPEN_CLIP_CONFIG
    if not file.is_file():
        if architecture is None:
            raise UsageError(
                f"{folder} has no {OPEN_CLIP_CONFIG}: name the model's config with --architecture, such as vit-b-32."
            )
        config = model_config(architecture.settings, architecture.name)
        text = {"vocab_size": _END + 1, "eos_token_id": _END, **config["text_config"]}
        return {**config, "text_config": text}, {}
    content = json.loads(file.read_text("utf-8"))
    model = content.get("model_cfg", content)
    vision, text = model["vision_cfg"], model["text_cfg"]
    beyond = {*(set(vision) - _VISION), *(set(text) - _TEXT)} | (
        set(model) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    )
    if beyond := {name for name in beyond if _asks(model, vision, text, name)}:
        raise UsageError(f"{file} asks for {', '.join(sorted(beyond))}, which a plain CLIP does not have.")
    act = {"hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu"}
    width, text_width = vision["width"], text.get("width", 512)
    inner, text_inner = int(width * vision.get("mlp_ratio", 4.0)), int(text_width * text.get("mlp_ratio", 4.0))
    vocabulary = text.get("vocab_size", _END + 1)
    return {
        "projection_dim": model["embed_dim"],
        "vision_config": {
            **act, "hidden_size": width, "intermediate_size": inner, "projection_dim": model["embed_dim"],
            "num_hidden_layers": vision["layers"], "num_attention_heads": width // vision.get("head_width", _HEAD_WIDTH),
            "image_size": vision["image_size"], "patch_size": vision["patch_size"],
        },
        "text_config": {
            **act, "hidden_size": text_width, "intermediate_size": text_inner,
            "num_hidden_layers": text.get("layers", 12), "num_attention_heads": text.get("heads", 8), "vocab_size": vocabulary,
            "max_position_embeddings": text.get("context_length", 77), "projection_dim": model["embed_dim"],
            "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1,
        },
    }, content.get("preprocess_cfg", {})  # fmt: skip


def _asks(model: Mapping[str, Any], vision: Mapping[str, Any], text: Mapping[str, Any], name: str) -> bool:
    """Whether a setting that is not known here is set to anything."""
    return any(part.get(name) not in (None, False, "") for part in (model, vision, text))


def _read(path: Path) -> dict[str, Any]:
    """Weights by open_clip's names; from a pickle nothing but tensors is loaded."""
    import pickle

    import torch
    from safetensors.torch import load_file

    try:
        content = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise UsageError(f"{path} cannot be read as weights alone: {str(error).splitlines()[0]}") from error
    content = content.get("state_dict", content)
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): tensor for name, tensor in content.items()}


def convert(weights: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's state_dict under transformers' names. Raises UsageError for a name that no plain CLIP has."""
    found: dict[str, Any] = {}
    for full, tensor in weights.items():
        name = full.removeprefix("text.")  # the name's prefix in models with a text tower of their own
        if name in _LEFT:
            continue
        if name in _NAMED:
            found[_NAMED[name]] = tensor
        elif name in _TURNED:
            found[_TURNED[name]] = tensor.T.contiguous()
        elif match := _BLOCK.fullmatch(name):
            tower = "vision_model" if match["tower"] else "text_model"
            found |= _block(f"{tower}.encoder.layers.{match['layer']}.", match["rest"], tensor)
        else:
            raise UsageError(f"weight {full!r} is of no plain CLIP of open_clip's")
    return found


def _block(prefix: str, rest: str, tensor: Any) -> dict[str, Any]:
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        parts = zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True)
        return {f"{prefix}self_attn.{name}.{kind}": part for name, part in parts}
    module, _, kind = rest.rpartition(".")
    if module not in _IN_BLOCK:
        raise UsageError(f"weight {rest!r} of a block is of no plain CLIP of open_clip's")
    return {f"{prefix}{_IN_BLOCK[module]}.{kind}": tensor}


def tokenizer_of_vocabulary(path: Path) -> Any:
    """transformers' CLIPTokenizer with the ids of open_clip's SimpleTokenizer, from bpe_simple_vocab_16e6.txt.gz.

    That one file is what OpenAI and open_clip publish the tokenizer in.

    Raises:
        UsageError: the file is not there, or is no such vocabulary.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise UsageError(f"{path} is no vocabulary of CLIP's: {error}") from error
    symbols = sorted(ByteLevel.alphabet(), key=_byte_order)
    # The first line says what it is; what is left out are the two special tokens and the single bytes, bare and at a
    # word's end.
    merges = [tuple(line.split()) for line in lines[1 : _VOCABULARY_SIZE - 2 * len(symbols) - 2 + 1]]
    if any(len(merge) != 2 for merge in merges):
        raise UsageError(f"{path} is no vocabulary of CLIP's: a line does not hold two symbols")
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *("".join(merge) for merge in merges), *_SPECIAL]
    # Its annotation says list[str]; tokenizers takes pairs.
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=merges)  # type: ignore[arg-type]


def _byte_order(symbol: str) -> tuple[bool, int]:
    """The order of CLIP's table: bytes that print as themselves first, then those that stand for others."""
    return ord(symbol) >= 256, ord(symbol)
