"""vLLM's offline engine, in the worker's own process: continuous batching and prefix caching are vLLM's.

An extra (``pip install 'veclip-pipelines[vllm]'``), imported only where it is used; one worker per GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from veclip_pipelines.engines.base import EngineText, FinishReason, PictureBatch, TextBatch, go_on
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.profiles import Decoding
from veclip_pipelines.errors import EngineError, ModelMissingError, UsageError
from veclip_pipelines.extras import require


@dataclass(frozen=True)
class _Prepared:
    conversations: list[list[dict[str, Any]]]
    sampling: list[Any]


class _Vllm:
    """What the engines for text and for pictures share."""

    def __init__(self, spec: EngineSpec, **arguments: object) -> None:
        if spec.prompt is None:
            raise UsageError(f"engine profile {spec.profile.name!r} names no prompt, and vLLM needs one")
        self._vllm = vllm = require("vllm", ModelMissingError)
        self._prompt = spec.prompt
        self._profile = spec.profile
        try:
            # generation_config="vllm": no sampling defaults from the model's folder, as they are not in engine_id.
            self._llm = vllm.LLM(
                model=str(spec.model_folder),
                dtype=spec.profile.dtype,
                seed=spec.profile.decoding.seed,
                trust_remote_code=False,
                load_format="safetensors",
                enable_prefix_caching=True,
                generation_config="vllm",
                **arguments,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelMissingError(f"vLLM cannot load the model in {spec.model_folder}: {error}") from error

    def answer(self, prepared: _Prepared, stop: Callable[[], None] = go_on) -> list[EngineText]:
        """One answer per row, in order."""
        stop()
        try:
            outputs = self._llm.chat(prepared.conversations, prepared.sampling, use_tqdm=False)
        except ValueError:
            # One prompt that is too long makes the whole call fail: then rows are tried one by one, so that only that
            # row fails.
            return [self._answer_one(*row) for row in zip(prepared.conversations, prepared.sampling, strict=True)]
        except RuntimeError as error:
            raise EngineError(f"vLLM stopped: {error}") from error
        return [_text_of(output) for output in outputs]

    def _answer_one(self, conversation: list[dict[str, Any]], sampling: Any) -> EngineText:
        try:
            return _text_of(self._llm.chat([conversation], [sampling], use_tqdm=False)[0])
        except ValueError as error:
            return EngineText("", "failed", 0, detail=" ".join(str(error).split())[:300])

    def _sampling(self, keys: Sequence[str], attempt: int) -> list[Any]:
        decoding: Decoding = self._profile.decoding.of_attempt(attempt, self._profile.guards.retry_temperature)
        return [
            self._vllm.SamplingParams(
                max_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                repetition_penalty=decoding.repetition_penalty,
                seed=decoding.seed_of(key),
            )
            for key in keys
        ]


class VllmTextEngine(_Vllm):
    """A language model in vLLM."""

    def prepare(self, batch: TextBatch) -> _Prepared:
        chats: list[list[dict[str, Any]]] = [[*self._prompt.messages(values)] for values in batch.fields]
        return _Prepared(chats, self._sampling(batch.keys, batch.attempt))


class VllmImageTextEngine(_Vllm):
    """An image-text model in vLLM, one picture per prompt."""

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec, limit_mm_per_prompt={"image": 1})

    def prepare(self, batch: PictureBatch) -> _Prepared:
        rows = zip(batch.pictures, batch.fields, strict=True)
        return _Prepared([self._chat(*row) for row in rows], self._sampling(batch.keys, batch.attempt))

    def _chat(self, picture: Image.Image, values: Mapping[str, str]) -> list[dict[str, Any]]:
        parts = [{"type": "image_pil", "image_pil": picture}, {"type": "text", "text": self._prompt.question(values)}]
        return [*self._prompt.opening(), {"role": "user", "content": parts}]


def _text_of(output: Any) -> EngineText:
    best = output.outputs[0]
    reason: FinishReason = "length" if best.finish_reason == "length" else "stop"
    tokens = list(best.token_ids)
    # vLLM counts the end token, if the model produced one.
    said = len(tokens) - (best.finish_reason == "stop" and bool(tokens))
    return EngineText(best.text.strip(), reason, said, len(output.prompt_token_ids or ()))
