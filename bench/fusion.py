"""Fusion on one worker: our text engine against transformers' text-generation pipeline.

Both answer greedily with the same token budget; the pipeline runs at each of several batch sizes and its best counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from bench.engine_rates import compare
from bench.outcome import Result
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.demo.sample_crawl import sample_drops
from veclip_pipelines.engines.base import TextBatch
from veclip_pipelines.engines.identity import resolve_engine
from veclip_pipelines.engines.transformers_text import TransformersTextEngine
from veclip_pipelines.media.texts import clean_alt_text, descriptive_part

_PIPELINE_BATCHES = (1, 8, 16, 32)


def rows(count: int) -> list[dict[str, str]]:
    """Prompts' fields from the sample crawl's AltTexts, each with a running number so that no two are the same."""

    def texts() -> Iterator[str]:
        entries = [entry for entries in sample_drops().values() for entry in entries]
        described = [text for entry in entries if (text := descriptive_part(clean_alt_text(entry.alt_text)))]
        for number in itertools.count():
            yield from (f"{text}, number {number}" for text in described)

    found = [{"alt_text": text, "concept": "a picture in blue and white"} for text in itertools.islice(texts(), count)]
    return sorted(found, key=lambda fields: len(fields["alt_text"]))


def run(count: int = 96) -> tuple[Result, Mapping[str, str]]:
    """Rows a second of both, in the precision that the profile takes on this machine, after a warm-up each."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    spec = resolve_engine(Settings.from_env(), "smollm2-fusion", "fusion", "bench")
    engine = TransformersTextEngine(spec)
    data = rows(count)
    batch = TextBatch(tuple(data), tuple(values["alt_text"] for values in data))
    prompts = [engine.prompt_text(values) for values in data]

    def ours() -> list[str]:
        return [answer.text for answer in engine.answer(engine.prepare(batch))]

    engine.answer(engine.prepare(TextBatch(batch.fields[:2], batch.keys[:2])))
    model = AutoModelForCausalLM.from_pretrained(spec.model_folder, dtype=engine.model.dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(spec.model_folder, padding_side="left")
    peer = pipeline("text-generation", model=model, tokenizer=tokenizer)
    arguments = {
        "max_new_tokens": spec.profile.decoding.max_new_tokens,
        "do_sample": False,
        "return_full_text": False,
        "add_special_tokens": False,
    }
    peer(prompts[:2], batch_size=2, **arguments)

    def theirs(size: int) -> list[str]:
        # One row at a time a third of them is enough, and they are of all lengths.
        some = prompts[::3] if size == 1 else prompts
        return [answer[0]["generated_text"].strip() for answer in peer(some, batch_size=size, **arguments)]

    return compare(
        "fusion",
        f"{spec.profile.model}, {engine.model.dtype}".replace("torch.", ""),
        ours,
        theirs,
        _PIPELINE_BATCHES,
        2,
    )
