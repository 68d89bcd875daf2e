"""What tests build: pictures that the project draws, drops in img2dataset's layout, small real models."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from veclip_pipelines.compute.fanout import HereRunner, Runner
from veclip_pipelines.crawl.drops import Drop, inspect_drop
from veclip_pipelines.crawl.index import Crawl, IndexResult, index_drop
from veclip_pipelines.crawl.policy import CrawlPolicy
from veclip_pipelines.tables.warehouse import Warehouse

COLOURS = ("red", "green", "blue", "orange", "purple", "gray")


def picture(number: int = 0, size: tuple[int, int] = (48, 40), kind: str = "PNG") -> bytes:
    """A picture that differs for each number: a coloured shape on a ground."""
    image = Image.new("RGB", size, COLOURS[number % len(COLOURS)])
    pen = ImageDraw.Draw(image)
    left = 2 + number % 20
    pen.ellipse((left, 4, left + 18, 30), fill=COLOURS[(number // 6 + 3) % len(COLOURS)])
    pen.point((number % size[0], number // size[0] % size[1]), fill=(number % 256, number // 256 % 256, 7))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@dataclass(frozen=True)
class DropEntry:
    """One entry of a built drop. ``image`` None and a status other than success: it failed to download."""

    alt_text: str = "a text"
    image: bytes | None = field(default_factory=picture)
    url: str = ""
    status: str = "success"
    error: str | None = None
    extension: str = "png"


def write_drop(folder: Path, entries: list[DropEntry], per_shard: int = 10) -> Path:
    """Writes img2dataset's webdataset layout."""
    folder.mkdir(parents=True)
    for shard, start in enumerate(range(0, len(entries), per_shard)):
        part = entries[start : start + per_shard]
        rows = []
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for index, entry in enumerate(part):
                key = f"{shard:05d}{index:04d}"
                url = entry.url or f"https://pictures.example/{folder.name}/{key}.png"
                rows.append(
                    {
                        "url": url,
                        "caption": entry.alt_text,
                        "key": key,
                        "status": entry.status,
                        "error_message": entry.error,
                    }
                )
                if entry.image is not None:
                    add_member(tar, f"{key}.{entry.extension}", entry.image)
                    add_member(tar, f"{key}.txt", entry.alt_text.encode("utf-8", "surrogatepass"))
                    add_member(tar, f"{key}.json", json.dumps({"url": url, "key": key}).encode())
        # As img2dataset does: the column of messages is of type null where no row failed.
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps({"count": len(part)}), "utf-8")
    return folder


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def index(
    warehouse: Warehouse, drop: Drop | Path, key: str, runner: Runner | None = None, **policy: object
) -> IndexResult:
    """Indexes a drop here, one shard after the other, into a crawl partition."""
    return index_drop(crawl(warehouse, drop, key, **policy), runner or HereRunner(), properties={})


def crawl(warehouse: Warehouse, drop: Drop | Path, key: str, **policy: object) -> Crawl:
    """A drop as a crawl partition, with tars of our own beside the warehouse."""
    found = inspect_drop(str(drop)) if isinstance(drop, Path) else drop
    return Crawl(
        warehouse,
        key,
        found,
        f"{warehouse.root}-shards",
        CrawlPolicy.model_validate({"minimum_success_share": 0, **policy}),
    )


def numbered_entries(count: int, first: int = 0) -> list[DropEntry]:
    """Entries with distinct pictures and texts."""
    return [DropEntry(f"shape number {number} on the table", picture(number)) for number in range(first, first + count)]


def write_tiny_llama(folder: Path, seed: int = 0, *, chat: bool = True) -> Path:
    """A real LlamaForCausalLM with small random weights and a tokenizer of its own, as a folder of safetensors."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(chat)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_tiny_llava(folder: Path, seed: int = 0) -> Path:
    """A real LlavaForConditionalGeneration with small random weights and its processor."""
    import torch
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = _tokenizer(chat=False)
    torch.manual_seed(seed)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**small, image_size=28, patch_size=14),
        text_config=LlamaConfig(
            **small, vocab_size=len(tokenizer), num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=0
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    template = (
        "{% for m in messages %}{{ m.role|upper }}: {% for c in m.content %}{% if c.type == 'image' %}<image>"
        "{% else %} {{ c.text }}{% endif %}{% endfor %}\n{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    model = LlavaForConditionalGeneration(config)
    _teach_colours(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _teach_colours(model, processor, steps: int = 120) -> None:  # type: ignore[no-untyped-def]
    """Trains the captioner to say the ground's colour and to stop: as it is made it would say the same of every picture."""
    import torch

    from veclip_pipelines.config.settings import Settings
    from veclip_pipelines.engines.prompts import prompt_catalogue
    from veclip_pipelines.media.pictures import decode

    question = prompt_catalogue(Settings.from_env({})).load("concept").question({})
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    prompt = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    processor.tokenizer.padding_side = "left"
    for step in range(steps):
        numbers = range(step * 6, step * 6 + 6)
        answers = [f" a {COLOURS[number % len(COLOURS)]} shape</s>" for number in numbers]
        encoded = processor(
            images=[decode(picture(number % 60)) for number in numbers],
            text=[prompt + answer for answer in answers],
            return_tensors="pt",
            padding=True,
        )
        labels = torch.full_like(encoded["input_ids"], -100)
        for row, answer in enumerate(answers):
            length = len(processor.tokenizer(answer, add_special_tokens=False)["input_ids"])
            labels[row, -length:] = encoded["input_ids"][row, -length:]
        loss = model(**encoded, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    assert loss.item() < 0.2, f"the test's captioner did not learn: loss {loss.item()}"


def _tokenizer(chat: bool):  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        ["a photo of a red circle on a blue square", "Text: Seen: Caption: user assistant system"] * 4,
        trainers.BpeTrainer(
            vocab_size=340,
            special_tokens=["<pad>", "<s>", "</s>", "<image>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )
    if chat:
        made.chat_template = (
            "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
        )
    return made


def write_profile(home: Path, name: str, **fields: object) -> None:
    """An engine profile in the user's folder."""
    import yaml

    folder = home / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "description": "of a test", **fields}), "utf-8")
