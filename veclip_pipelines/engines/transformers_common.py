"""What the two transformers engines share: device, precision, loading, and the choice of how answers are decoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from transformers.utils.logging import disable_progress_bar

from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.continuous import ContinuousDecoder
from veclip_pipelines.engines.generating import GeneratingDecoder
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.profiles import Decoding
from veclip_pipelines.engines.shared_prefix import ATTENTION, SharedPrefix
from veclip_pipelines.engines.token_rows import Answer, Prompt
from veclip_pipelines.errors import ModelMissingError

_LOG = logging.getLogger(__name__)
#: Largest allowed difference, relative to the largest logit, between our attention's logits and the model's own;
#: rounding alone stays below.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 6e-2, torch.float16: 2e-2}


class Decoder(Protocol):
    """Turns prompts into answers with a loaded model."""

    def answer(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        stop: Callable[[], None],
        prefix_tokens: Sequence[int] = (),
    ) -> list[Answer]: ...

    def without_prefix(self) -> Decoder: ...


def pick_device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelMissingError("the engine profile asks for device cuda, and this worker sees no CUDA device")
    return wanted


def pick_dtype(wanted: str, device: str) -> torch.dtype:
    """The precision of the weights; auto is bfloat16 where the hardware computes in it rather than only storing it."""
    if wanted != "auto":
        dtype: torch.dtype = getattr(torch, wanted)
        return dtype
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        native = any(probe is not None and probe() for probe in probes)
    return torch.bfloat16 if native else torch.float32


def load_model(auto_class: Any, spec: EngineSpec) -> Any:
    """Loads weights from safetensors or GGUF only, without a model's own code.

    Raises:
        ModelMissingError: with the library's own words.
    """
    arguments: dict[str, object] = (
        {"gguf_file": spec.profile.gguf_file} if spec.profile.gguf_file else {"use_safetensors": True}
    )
    # A worker often shares the terminal of the command that started it.
    disable_progress_bar()
    device = pick_device(spec.profile.device)
    dtype = pick_dtype(spec.profile.dtype, device)
    try:
        model = auto_class.from_pretrained(spec.model_folder, dtype=dtype, trust_remote_code=False, **arguments)
    except (OSError, ValueError, ImportError) as error:
        raise ModelMissingError(f"cannot load the model in {spec.model_folder}: {error}") from error
    return model.to(device).eval()


def end_token_ids(model: Any) -> set[int]:
    """The token ids that end an answer, by the model's generation settings.

    BLIP ends at its text model's separator, which its generation settings do not name.
    """
    ends = model.generation_config.eos_token_id
    separator = getattr(getattr(model.config, "text_config", None), "sep_token_id", None)
    found = [*(ends if isinstance(ends, list) else [ends]), separator]
    return {token for token in found if token is not None}


def choose_decoder(
    model: Any, probe: Prompt, pad_id: int, token_budget: int, prefix: SharedPrefix | None = None, shared: int = 0
) -> Decoder:
    """Continuous batching where the model's attention supports it, else transformers' own ``generate``.

    This is tested and not guessed from the model's name: the logits after one prompt must equal those of the unchanged
    model.

    Args:
        probe: a whole prompt, the shared prefix included.
        shared: tokens of the prefix.
    """
    prefix = prefix or SharedPrefix((), ())
    before = model.config._attn_implementation
    reason = ""
    try:
        if probe.token_inputs:
            raise NotImplementedError("its positions have three dimensions")
        with torch.inference_mode():
            inputs = {name: value.to(model.device) for name, value in probe.inputs.items()}
            expected = model(
                input_ids=torch.tensor([list(probe.tokens)], device=model.device), logits_to_keep=1, **inputs
            ).logits[0, -1]
        parts = ["text_config"] if "text_config" in getattr(model.config, "sub_configs", {}) else None
        model.set_attn_implementation({"text_config": ATTENTION} if parts else ATTENTION)
        decoder = ContinuousDecoder(model, prefix, end_token_ids(model), pad_id, token_budget)
        found = decoder.last_logits(Prompt(list(probe.tokens)[shared:], probe.key, probe.inputs))
        worst = float((found - expected).abs().max() / expected.abs().max())
        if worst <= _TOLERANCE[model.dtype]:
            return decoder
        reason = f"its logits differ by {worst:.3f}"
    except (NotImplementedError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
    _LOG.warning("%s is answered by generate, without continuous batching: %s", type(model).__name__, reason)
    model.set_attn_implementation(before)
    return GeneratingDecoder(model, end_token_ids(model), pad_id, token_budget)


def engine_texts(answers: Sequence[Answer], tokenizer: Any, prompt_tokens: Sequence[int]) -> list[EngineText]:
    """Answers as text, without special tokens and surrounding white space."""
    texts = tokenizer.batch_decode([answer.tokens for answer in answers], skip_special_tokens=True)
    return [
        EngineText(text.strip(), "stop" if answer.ended else "length", len(answer.tokens), read)
        for text, answer, read in zip(texts, answers, prompt_tokens, strict=True)
    ]
