"""What the two transformers engines share: device, loading, decoding settings and reading answers off token ids."""

from __future__ import annotations

from typing import Any

import torch

from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.profiles import Decoding
from veclip_pipelines.errors import ModelMissingError


def pick_device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelMissingError("the engine profile asks for device cuda, and this worker sees no CUDA device")
    return wanted


def load_model(auto_class: Any, spec: EngineSpec) -> Any:
    """Loads weights from safetensors or GGUF only, without a model's own code.

    Raises:
        ModelMissingError: with the library's own words.
    """
    arguments: dict[str, object] = (
        {"gguf_file": spec.profile.gguf_file} if spec.profile.gguf_file else {"use_safetensors": True}
    )
    try:
        model = auto_class.from_pretrained(
            spec.model_folder, dtype=getattr(torch, spec.profile.dtype), trust_remote_code=False, **arguments
        )
    except (OSError, ValueError, ImportError) as error:
        raise ModelMissingError(f"cannot load the model in {spec.model_folder}: {error}") from error
    return model.to(pick_device(spec.profile.device)).eval()


def generate_arguments(decoding: Decoding) -> dict[str, Any]:
    """The arguments of ``generate`` that a profile's decoding stands for."""
    arguments: dict[str, Any] = {
        "max_new_tokens": decoding.max_new_tokens,
        "do_sample": decoding.temperature > 0,
    }
    if decoding.temperature > 0:
        arguments |= {"temperature": decoding.temperature, "top_p": decoding.top_p}
    if decoding.repetition_penalty != 1.0:
        arguments["repetition_penalty"] = decoding.repetition_penalty
    return arguments


def read_answers(new_tokens: torch.Tensor, tokenizer: Any, end_ids: set[int]) -> list[EngineText]:
    """Answers from token ids.

    Args:
        new_tokens: what the model produced after the prompt, shape (rows, tokens), padded after each row's end token.
    """
    answers = []
    for row in new_tokens.tolist():
        ends = [place for place, token in enumerate(row) if token in end_ids]
        kept = row[: ends[0]] if ends else row
        text = tokenizer.decode(kept, skip_special_tokens=True).strip()
        answers.append(EngineText(text, "stop" if ends else "length", len(kept)))
    return answers


def end_token_ids(model: Any) -> set[int]:
    """The token ids that end an answer, by the model's generation settings.

    BLIP ends at its text model's separator, which its generation settings do not name.
    """
    ends = model.generation_config.eos_token_id
    separator = getattr(getattr(model.config, "text_config", None), "sep_token_id", None)
    found = [*(ends if isinstance(ends, list) else [ends]), separator]
    return {token for token in found if token is not None}
