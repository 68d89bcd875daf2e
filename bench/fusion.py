"""Fusion on one worker: our text engine against transformers' text-generation pipeline, same model, rows and precision.

Both answer greedily with the same token budget; the pipeline runs at each of several batch sizes and its best counts.
The pilot's other ideas (bfloat16, rows dropped as they finish) are not in the engine yet.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from bench.report import Result
from veclip_pipelines.captioning.fusion import CODE_VERSION
from veclip_pipelines.demo.sample_crawl import sample_drops
from veclip_pipelines.engines.identity import resolve_engine
from veclip_pipelines.engines.transformers_text import TransformersTextEngine
from veclip_pipelines.settings import Settings
from veclip_pipelines.texts import clean_alt_text, descriptive_part

_PIPELINE_BATCHES = (1, 8, 16)
_OUR_BATCH = 16


def rows(count: int) -> list[dict[str, str]]:
    """Prompts' fields from the sample crawl's AltTexts, each with a running number so that no two are the same."""

    def texts() -> Iterator[str]:
        entries = [entry for entries in sample_drops().values() for entry in entries]
        described = [text for entry in entries if (text := descriptive_part(clean_alt_text(entry.alt_text)))]
        for number in itertools.count():
            yield from (f"{text}, number {number}" for text in described)

    found = [{"alt_text": text, "concept": "a picture in blue and white"} for text in itertools.islice(texts(), count)]
    return sorted(found, key=lambda fields: len(fields["alt_text"]))


def run(count: int = 64) -> tuple[Result, dict[str, str]]:
    """Rows a second of both, after a warm-up of one batch each."""
    from transformers import pipeline

    spec = resolve_engine(Settings.from_env(), "smollm2-fusion", "fusion", CODE_VERSION)
    engine = TransformersTextEngine(spec)
    data = rows(count)
    engine.generate(data[:2])
    started = time.perf_counter()
    ours = [
        answer.text
        for start in range(0, count, _OUR_BATCH)
        for answer in engine.generate(data[start : start + _OUR_BATCH])
    ]
    our_rate = count / (time.perf_counter() - started)

    peer = pipeline("text-generation", model=engine.model, tokenizer=engine.tokenizer)
    engine.tokenizer.padding_side = "left"
    prompts = [engine.prompt_text(fields) for fields in data]
    budget = spec.profile.decoding.max_new_tokens
    arguments = {"max_new_tokens": budget, "do_sample": False, "return_full_text": False, "add_special_tokens": False}
    peer(prompts[:2], batch_size=2, **arguments)
    rates, theirs = {}, []
    for batch in _PIPELINE_BATCHES:
        started = time.perf_counter()
        theirs = [answer[0]["generated_text"].strip() for answer in peer(prompts, batch_size=batch, **arguments)]
        rates[batch] = count / (time.perf_counter() - started)
    best = max(rates, key=lambda batch: rates[batch])
    same = sum(left == right for left, right in zip(ours, theirs, strict=True))
    result = Result(
        "fusion", "rows/s", count, our_rate, rates[best], f"transformers pipeline, batch {best}", our_rate / rates[best]
    )
    details = {
        "model": f"{spec.profile.model}, {spec.profile.dtype}",
        "pipeline by batch": ", ".join(f"{batch}: {rate:.2f}" for batch, rate in rates.items()),
        "same answers": f"{same} of {count}",
    }
    return result, details
