"""The transformers engines against a direct ``generate`` of the same model, token for token, batch by batch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from builders import picture, write_profile, write_tiny_llama
from PIL import Image
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    LlavaForConditionalGeneration,
)

from veclip_pipelines.compute.fanout import CancelledTaskError
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.base import EngineText, PictureBatch, TextBatch
from veclip_pipelines.engines.continuous import ContinuousDecoder
from veclip_pipelines.engines.generating import GeneratingDecoder
from veclip_pipelines.engines.identity import EngineSpec, resolve_engine
from veclip_pipelines.engines.loading import load_engine
from veclip_pipelines.engines.profiles import Decoding
from veclip_pipelines.engines.token_rows import Prompt
from veclip_pipelines.engines.transformers_common import choose_decoder
from veclip_pipelines.engines.transformers_image_text import TransformersImageTextEngine
from veclip_pipelines.engines.transformers_text import TransformersTextEngine
from veclip_pipelines.errors import ModelMissingError
from veclip_pipelines.media.pictures import decode

FIELDS = [
    {"alt_text": text, "concept": "a red circle on a blue square"}
    for text in (
        "a",
        "our cat Chelsea on the sofa",
        "Zierkies grau",
        "a much longer text about a photo of a red circle",
        "9",
    )
]
NEW_TOKENS = 12


def ask(engine: TransformersTextEngine, fields: list[dict[str, str]], attempt: int = 0) -> list[EngineText]:
    keys = tuple(values["alt_text"] for values in fields)
    return engine.answer(engine.prepare(TextBatch(tuple(fields), keys, attempt)))


def describe(engine: TransformersImageTextEngine, pictures: list[Image.Image]) -> list[EngineText]:
    fields = ({},) * len(pictures)
    keys = tuple(str(place) for place in range(len(pictures)))
    return engine.answer(engine.prepare(PictureBatch(tuple(pictures), fields, keys)))


def fusion_spec(settings: Settings, folder: Path, **fields: object) -> EngineSpec:
    write_profile(
        settings.home,
        "mine",
        **{
            "purpose": "fusion",
            "kind": "transformers-text",
            "model": str(folder),
            "prompt": "fusion",
            "decoding": {"max_new_tokens": NEW_TOKENS},
            **fields,
        },
    )
    return resolve_engine(settings, "mine", "fusion", "1")


def generate_directly(folder: Path, prompts: list[str], *, add_special_tokens: bool) -> list[list[int]]:
    """What the model says without our engine: left-padded, greedy, cut at the end token."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=add_special_tokens)
    encoded.pop("token_type_ids", None)
    with torch.inference_mode():
        tokens = model.generate(
            **encoded, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
    new = tokens[:, encoded["input_ids"].shape[1] :].tolist()
    return [row[: row.index(2)] if 2 in row else row for row in new]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("chat", [True, False])
def test_text_engine_equals_generate(settings: Settings, tmp_path: Path, seed: int, chat: bool) -> None:
    folder = write_tiny_llama(tmp_path / "llama", seed, chat=chat)
    engine = TransformersTextEngine(fusion_spec(settings, folder))
    assert isinstance(engine.decoder, ContinuousDecoder)
    assert len(engine.prefix) > 50
    for start, stop in ((0, 5), (0, 2), (2, 5), (4, 5)):
        batch = FIELDS[start:stop]
        answers = ask(engine, batch)
        expected = generate_directly(
            folder, [engine.prompt_text(values) for values in batch], add_special_tokens=not chat
        )
        tokenizer = engine.tokenizer
        assert [answer.text for answer in answers] == [
            tokenizer.decode(row, skip_special_tokens=True).strip() for row in expected
        ]
        assert [answer.token_count for answer in answers] == [len(row) for row in expected]
        assert [answer.finish_reason for answer in answers] == [
            "length" if len(row) == NEW_TOKENS else "stop" for row in expected
        ]


def test_a_rows_words_do_not_depend_on_its_batch(settings: Settings, tiny_llama: Path) -> None:
    engine = TransformersTextEngine(fusion_spec(settings, tiny_llama))
    together = ask(engine, FIELDS)
    assert together == [ask(engine, [values])[0] for values in FIELDS]


@pytest.mark.parametrize("budget", [64, 90, 200, 6144])
def test_rows_that_join_and_leave_say_the_same(
    settings: Settings, tiny_llama: Path, tmp_path: Path, budget: int
) -> None:
    """Whatever the token budget, and so whoever is in the batch with whom."""
    folder = tmp_path / "llama"
    shutil.copytree(tiny_llama, folder)
    # A random model hardly ever ends and says the same to all: with many end tokens and draws its rows end at many places.
    ends = {"eos_token_id": list(range(2, 340, 5)), "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(ends), "utf-8")
    decoding = {"max_new_tokens": NEW_TOKENS, "temperature": 1.0}
    fields = [{"alt_text": f"{'word ' * (place % 7)}number {place}", "concept": "a circle"} for place in range(23)]
    engine = TransformersTextEngine(fusion_spec(settings, folder, token_budget=budget, decoding=decoding))
    assert isinstance(engine.decoder, ContinuousDecoder)
    answers = ask(engine, fields)
    assert len({answer.token_count for answer in answers}) > 2, "the test's rows must not all end together"
    assert answers == [ask(engine, [values])[0] for values in fields]


def test_a_drawn_answer_hangs_on_its_key_and_not_on_its_batch(settings: Settings, tiny_llama: Path) -> None:
    decoding = {"max_new_tokens": NEW_TOKENS, "temperature": 1.0, "top_p": 0.9, "seed": 7}
    engine = TransformersTextEngine(fusion_spec(settings, tiny_llama, decoding=decoding))
    assert ask(engine, FIELDS) == [ask(engine, [values])[0] for values in FIELDS]


def test_a_retry_draws_other_words(settings: Settings, tiny_llama: Path) -> None:
    engine = TransformersTextEngine(fusion_spec(settings, tiny_llama, guards={"retry_temperature": 1.5}))
    first, again = ask(engine, FIELDS), ask(engine, FIELDS, attempt=1)
    assert first != again
    assert again == ask(engine, FIELDS, attempt=1)
    assert again != ask(engine, FIELDS, attempt=2)


def test_a_prompt_without_room_is_a_failed_row_and_no_other(settings: Settings, tiny_llama: Path) -> None:
    engine = TransformersTextEngine(fusion_spec(settings, tiny_llama))
    long = {"alt_text": "number " * 900, "concept": "a circle"}
    answers = ask(engine, [FIELDS[0], long, FIELDS[1]])
    assert [answer.finish_reason for answer in answers][1] == "failed"
    assert "room for" in answers[1].detail
    assert [answers[0], answers[2]] == ask(engine, FIELDS[:2])


def test_a_repetition_penalty_counts_the_shared_prefix_too(settings: Settings, tiny_llama: Path) -> None:
    decoding = {"max_new_tokens": NEW_TOKENS, "repetition_penalty": 1.3}
    engine = TransformersTextEngine(fusion_spec(settings, tiny_llama, decoding=decoding))
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    for values, answer in zip(FIELDS, ask(engine, FIELDS), strict=True):
        ids = torch.tensor([engine.token_ids(values)])
        with torch.inference_mode():
            tokens = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                repetition_penalty=1.3,
            )
        row = tokens[0, ids.shape[1] :].tolist()
        assert (
            answer.text == tokenizer.decode(row[: row.index(2)] if 2 in row else row, skip_special_tokens=True).strip()
        )


def test_a_model_with_another_attention_is_answered_by_generate(settings: Settings, tmp_path: Path) -> None:
    """Sliding windows: our attention says that it has none, and the engine goes on with transformers' own."""
    from transformers import MistralConfig, MistralForCausalLM

    folder = write_tiny_llama(tmp_path / "mistral")
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(folder)), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, sliding_window=16, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(folder)
    engine = TransformersTextEngine(fusion_spec(settings, folder))
    assert isinstance(engine.decoder, GeneratingDecoder)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = MistralForCausalLM.from_pretrained(folder).eval()
    for values, answer in zip(FIELDS, ask(engine, FIELDS), strict=True):
        ids = torch.tensor([engine.token_ids(values)])
        with torch.inference_mode():
            tokens = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
            )
        row = tokens[0, ids.shape[1] :].tolist()
        assert (
            answer.text == tokenizer.decode(row[: row.index(2)] if 2 in row else row, skip_special_tokens=True).strip()
        )


def test_nobody_waiting_stops_an_engine_between_two_tokens(settings: Settings, tiny_llama: Path) -> None:
    engine = TransformersTextEngine(fusion_spec(settings, tiny_llama))
    steps = []

    def stop() -> None:
        steps.append(1)
        if len(steps) == 3:
            raise CancelledTaskError

    with pytest.raises(CancelledTaskError):
        engine.answer(engine.prepare(TextBatch(tuple(FIELDS), ("a", "b", "c", "d", "e"))), stop)
    assert len(steps) == 3
    assert len(ask(engine, FIELDS)) == 5


def test_sampling_repeats_for_a_seed(settings: Settings, tiny_llama: Path) -> None:
    decoding = {"max_new_tokens": NEW_TOKENS, "temperature": 1.0, "top_p": 0.9, "seed": 7}
    engine = TransformersTextEngine(fusion_spec(settings, tiny_llama, decoding=decoding))
    assert ask(engine, FIELDS) == ask(engine, FIELDS)


def test_an_engine_is_loaded_once(settings: Settings, tiny_llama: Path) -> None:
    spec = fusion_spec(settings, tiny_llama)
    assert load_engine(spec) is load_engine(spec)
    assert load_engine(spec) is not load_engine(fusion_spec(settings, tiny_llama, decoding={"max_new_tokens": 3}))


def concept_spec(settings: Settings, folder: Path, **fields: object) -> EngineSpec:
    write_profile(
        settings.home,
        "seer",
        **{
            "purpose": "concept",
            "kind": "transformers-image-text",
            "model": str(folder),
            "prompt": "concept",
            "decoding": {"max_new_tokens": NEW_TOKENS},
            **fields,
        },
    )
    return resolve_engine(settings, "seer", "concept", "1")


def test_llava_engine_equals_generate(settings: Settings, tiny_llava: Path) -> None:
    spec = concept_spec(settings, tiny_llava)
    engine = load_engine(spec)
    assert isinstance(engine.decoder, ContinuousDecoder)
    pictures = [
        decode(picture(number, size)) for number, size in enumerate([(48, 40), (30, 90), (64, 64), (200, 20), (28, 28)])
    ]
    processor = AutoProcessor.from_pretrained(tiny_llava)
    processor.tokenizer.padding_side = "left"
    model = LlavaForConditionalGeneration.from_pretrained(tiny_llava).eval()
    assert spec.prompt is not None
    content = [{"type": "image"}, {"type": "text", "text": spec.prompt.question({})}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    for start, stop in ((0, 5), (0, 2), (2, 5)):
        batch = pictures[start:stop]
        encoded = processor(images=batch, text=[prompt] * len(batch), return_tensors="pt", padding=True)
        with torch.inference_mode():
            tokens = model.generate(**encoded, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
        expected = []
        for row in tokens[:, encoded["input_ids"].shape[1] :].tolist():
            kept = row[: row.index(2)] if 2 in row else row
            text = processor.tokenizer.decode(kept, skip_special_tokens=True).strip()
            expected.append((text, "stop" if 2 in row else "length", len(kept)))
        answers = describe(engine, batch)
        assert [(answer.text, answer.finish_reason, answer.token_count) for answer in answers] == expected
        assert all(answer.prompt_tokens == encoded["input_ids"].shape[1] for answer in answers)
    assert len({answer.text for answer in describe(engine, pictures)}) > 1


def test_blip_engine_equals_generate(settings: Settings, tmp_path: Path, tiny_llama: Path) -> None:
    """A captioner without a chat: the picture alone is its input."""
    from transformers import BertTokenizerFast, BlipImageProcessorPil, BlipProcessor

    folder = tmp_path / "blip"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "circle", "on", "square", "of"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(3)
    config = BlipConfig(
        text_config={**small, "vocab_size": len(words), "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
                     "encoder_hidden_size": 32},
        vision_config={**small, "image_size": 32, "patch_size": 16},
    )  # fmt: skip
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    engine = TransformersImageTextEngine(concept_spec(settings, folder, prompt=None))
    pictures = [decode(picture(number)) for number in range(3)]
    answers = describe(engine, pictures)
    pixels = AutoProcessor.from_pretrained(folder)(images=pictures, return_tensors="pt")
    with torch.inference_mode():
        tokens = (
            BlipForConditionalGeneration.from_pretrained(folder)
            .eval()
            .generate(**pixels, max_new_tokens=NEW_TOKENS, do_sample=False)
        )
    assert [answer.text for answer in answers] == [
        tokenizer.decode(row, skip_special_tokens=True).strip() for row in tokens
    ]
    # BLIP's output begins with its start token.
    assert all(answer.token_count <= NEW_TOKENS + 1 for answer in answers)


def test_inputs_of_one_value_a_token_go_along() -> None:
    """Qwen-VL: positions in three dimensions, pictures of different sizes, answered by ``generate`` as if each were alone.

    Its processor wants torchvision, which this environment does not have: the rows are made by hand.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    small = {"intermediate_size": 64, "hidden_size": 32}
    start, end, image, video = 100, 101, 102, 103
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            **small, "vocab_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 0,
        },
        vision_config={**small, "depth": 2, "num_heads": 2, "out_hidden_size": 32, "patch_size": 14, "fullatt_block_indexes": [1]},
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    pixels = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=28 * 28 * 16)
    prompts = []
    for number, size in enumerate([(48, 40), (30, 90), (64, 64), (200, 20)]):
        made = pixels(images=[decode(picture(number, size))], return_tensors="pt")
        places = int(made["image_grid_thw"].prod()) // 4
        tokens = [1, start, *[image] * places, end, *range(10, 15 + number)]
        kinds = [int(token == image) for token in tokens]
        prompts.append(Prompt(tokens, str(number), dict(made), {"mm_token_type_ids": kinds}))
    decoder = choose_decoder(model, prompts[0], 0, 4096)
    assert isinstance(decoder, GeneratingDecoder)
    answers = decoder.answer(prompts, Decoding(max_new_tokens=NEW_TOKENS), lambda: None)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt.tokens])
        kinds = torch.tensor([prompt.token_inputs["mm_token_type_ids"]])
        with torch.inference_mode():
            row = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=kinds, **prompt.inputs,
                max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0, eos_token_id=2,
            )[0, ids.shape[1] :].tolist()  # fmt: skip
        assert answer.tokens == (row[: row.index(2)] if 2 in row else row)


def test_a_processor_that_wants_more_than_is_installed_is_named(
    settings: Settings, tiny_llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wants(*_: object, **__: object) -> None:
        raise ImportError("Qwen2VLVideoProcessor requires the Torchvision library")

    monkeypatch.setattr("veclip_pipelines.engines.transformers_image_text.AutoProcessor.from_pretrained", wants)
    with pytest.raises(ModelMissingError, match="requires the Torchvision library"):
        TransformersImageTextEngine(concept_spec(settings, tiny_llava))


def test_a_folder_without_a_model_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 16)
    with pytest.raises((ModelMissingError, OSError, ValueError)):
        TransformersTextEngine(fusion_spec(settings, tmp_path))
