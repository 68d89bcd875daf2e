"""Concept captions on one worker: our image-text engine against transformers' image-text-to-text pipeline.

From a JPEG's bytes to the caption, both ways: reading and cutting pictures is a part of the work.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from bench.engine_rates import compare
from bench.outcome import Result
from bench.small_llava import QUESTION, make_small_llava, scene
from veclip_pipelines.compute.fanout import stop_if_cancelled
from veclip_pipelines.engines.base import PictureBatch
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.loading import answers
from veclip_pipelines.engines.profiles import Decoding, EngineProfile
from veclip_pipelines.engines.prompts import Prompt
from veclip_pipelines.media.pictures import decode

_MODELS = Path(__file__).parent / ".models"
_PIPELINE_BATCHES = (1, 8, 16, 32, 64)
_FIRST = 10**6  # pictures that it was not taught on
_NEW_TOKENS = 64


def run(count: int = 128) -> tuple[Result, Mapping[str, str]]:
    """Rows a second of both, bfloat16 where the processor has it."""
    from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

    folder = _MODELS / "small-llava"
    if not folder.exists():
        make_small_llava(folder)
    prompt = Prompt(name="bench", version=1, purpose="concept", description="", user=QUESTION)
    profile = EngineProfile(
        name="small-llava", purpose="concept", kind="transformers-image-text", description="", model=str(folder), dtype="auto",
        decoding=Decoding(max_new_tokens=_NEW_TOKENS), token_budget=20000,
    )  # fmt: skip
    spec = EngineSpec("bench", profile, prompt, folder, "", "1")
    data = [scene(number)[0] for number in range(_FIRST, _FIRST + count)]

    def ours() -> list[str]:
        batches = (
            PictureBatch(tuple(decode(one) for one in part), ({},) * len(part), tuple(str(start + at) for at in range(len(part))))
            for start in range(0, count, 128)
            if (part := data[start : start + 128])
        )  # fmt: skip
        return [answer.text for _, found in answers(spec, batches, stop_if_cancelled) for answer in found]

    ours()
    from veclip_pipelines.engines.loading import load_engine

    dtype = load_engine(spec).model.dtype  # type: ignore[attr-defined]
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).eval()
    peer = pipeline("image-text-to-text", model=model, processor=AutoProcessor.from_pretrained(folder), dtype=dtype)

    def theirs(size: int) -> list[str]:
        part = data[::4] if size == 1 else data
        chats = [
            [{"role": "user", "content": [{"type": "image", "image": Image.open(io.BytesIO(one))}, {"type": "text", "text": QUESTION}]}]
            for one in part
        ]  # fmt: skip
        found = peer(
            text=chats, batch_size=size, return_full_text=False, generate_kwargs={"max_new_tokens": _NEW_TOKENS, "do_sample": False}
        )  # fmt: skip
        return [(row[0] if isinstance(row, list) else row)["generated_text"].strip() for row in found]

    theirs(32)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    name = f"small LLaVA from a config, {parameters:.0f} million parameters, {dtype}".replace("torch.", "")
    return compare("captioning", name, ours, theirs, _PIPELINE_BATCHES, 2)
