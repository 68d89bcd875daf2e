"""The captioner of the generated crawl: a LLaVA of a few megabytes, trained by this project on scenes of its own.

``python -m veclip_pipelines.experiment.captioner FOLDER`` trains it afresh, in some fifteen minutes on two cores. Its
training scenes are a part of their own: no crawl partition and no benchmark has any of them.
"""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from veclip_pipelines.experiment.scenes import SIDE, picture, scene

#: Folder of the one that ships.
SHIPPED = Path(__file__).parent / "captioner_model"
#: Numbers of the scenes that it is trained on.
TAUGHT = range(5_000_000, 5_006_000)
QUESTION = "What is in this picture?"

_PATCH = 8
_TEMPLATE = (
    "{% for m in messages %}<s>{% for c in m.content %}{% if c.type == 'image' %}<image>"
    "{% else %} {{ c.text }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} :{% endif %}"
)
_PAD, _START, _END, _IMAGE = "<pad>", "<s>", "</s>", "<image>"


def make_captioner(folder: Path, *, steps: int = 6000, batch: int = 32, scenes: range = TAUGHT) -> None:
    """Makes model, processor and tokenizer from random weights, and writes them in bfloat16."""
    import torch

    torch.manual_seed(0)
    captions = [scene(number).caption() for number in scenes]
    processor = _processor(captions)
    model = _model(len(processor.tokenizer))
    _teach(model, processor, [picture(scene(number)) for number in scenes], captions, steps, batch)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)


def _processor(captions: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        [*captions, QUESTION],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=[_PAD, _START, _END, _IMAGE],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=_PAD, bos_token=_START, eos_token=_END,
        extra_special_tokens={"image_token": _IMAGE}, padding_side="left",
    )  # fmt: skip
    return LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        tokenizer, patch_size=_PATCH, vision_feature_select_strategy="default", chat_template=_TEMPLATE,
        num_additional_image_tokens=1,
    )  # fmt: skip


def _model(vocabulary: int) -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=160, intermediate_size=480, num_hidden_layers=4, num_attention_heads=4, image_size=SIDE,
                patch_size=_PATCH, projection_dim=160,
            ),
            text_config=LlamaConfig(
                vocab_size=vocabulary, hidden_size=160, intermediate_size=448, num_hidden_layers=4,
                num_attention_heads=4, num_key_value_heads=4, bos_token_id=1, eos_token_id=2, pad_token_id=0,
                max_position_embeddings=512,
            ),
            image_token_index=3, vision_feature_layer=-1, vision_feature_select_strategy="default",
        )
    )  # fmt: skip


def _teach(model: Any, processor: Any, pictures: list[bytes], captions: list[str], steps: int, batch: int) -> None:
    import torch

    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [Image.open(io.BytesIO(data)) for data in pictures]
    pixels = torch.cat(
        [processor.image_processor(part, return_tensors="pt")["pixel_values"] for part in _parts(images, 256)]
    )
    prefix = processor(images=[images[0]], text=[prompt], return_tensors="pt")["input_ids"][0]
    answers = [processor.tokenizer(f" {caption}{_END}", add_special_tokens=False)["input_ids"] for caption in captions]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    draw = torch.Generator().manual_seed(0)
    model.train()
    for step in range(steps):
        rate = min(1.0, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * rate
        chosen = torch.randint(len(captions), (batch,), generator=draw)
        longest = max(len(answers[index]) for index in chosen)
        ids = torch.zeros(batch, len(prefix) + longest, dtype=torch.long)
        labels = torch.full_like(ids, -100)
        ids[:, : len(prefix)] = prefix
        for row, index in enumerate(chosen):
            answer = torch.tensor(answers[index])
            ids[row, len(prefix) : len(prefix) + len(answer)] = answer
            labels[row, len(prefix) : len(prefix) + len(answer)] = answer
        mask = (torch.arange(ids.shape[1]) < len(prefix)) | (labels != -100)
        # Pictures are shifted by up to two pixels, or the model would learn 6,000 of them by heart.
        shifted = pixels[chosen].roll(torch.randint(-2, 3, (2,), generator=draw).tolist(), (2, 3))
        loss = model(input_ids=ids, attention_mask=mask.long(), pixel_values=shifted, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 0:
            print(f"step {step}, loss {loss.item():.3f}", flush=True)
    model.eval()


def _parts(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


if __name__ == "__main__":
    make_captioner(Path(sys.argv[1]), steps=int(sys.argv[2]) if len(sys.argv) > 2 else 6000)
