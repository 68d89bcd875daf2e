"""A small LLaVA made from a config and taught for some two minutes: its captions differ in length, as real ones do.

Pictures and captions are this project's: a coloured shape on a ground, described in 5 to 45 words.
"""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

COLOURS = ("red", "green", "blue", "orange", "purple", "white", "black", "yellow")
SHAPES = ("circle", "square", "bar")
_MORE = (
    "seen from the front", "in the middle of an otherwise empty picture", "with a sharp and even edge all around it",
    "without any shadow, text or other thing beside it", "lying flat and filling about a third of all that there is to see",
)  # fmt: skip
QUESTION = "Describe what can be seen in this picture in one concise sentence of fewer than 20 words."
_SIDE = 112


def scene(number: int, side: int = 256) -> tuple[bytes, str]:
    """A JPEG and its caption."""
    draw = random.Random(number)
    ground, colour = draw.sample(COLOURS, 2)
    shape = draw.choice(SHAPES)
    image = Image.new("RGB", (side, side), ground)
    pen, left, top = ImageDraw.Draw(image), draw.randrange(side // 3), draw.randrange(side // 3)
    box = (left, top, left + side // 2, top + (side // 6 if shape == "bar" else side // 2))
    (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    more = _MORE[: COLOURS.index(colour) % (len(_MORE) + 1)]
    return buffer.getvalue(), ", ".join([f"a {colour} {shape} on {ground}", *more])


def make_small_llava(folder: Path, steps: int = 90) -> None:
    """Writes model, processor and tokenizer; some 13 million parameters."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        [scene(number)[1] for number in range(200)] + [QUESTION, "USER: ASSISTANT:"],
        trainers.BpeTrainer(
            vocab_size=512,
            special_tokens=["<pad>", "<s>", "</s>", "<image>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"}, padding_side="left",
    )  # fmt: skip
    template = (
        "{% for m in messages %}<s>USER: {% for c in m.content %}{% if c.type == 'image' %}<image>\n"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE}),
        tokenizer, patch_size=16, vision_feature_select_strategy="default", chat_template=template,
        num_additional_image_tokens=1,
    )  # fmt: skip
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4, image_size=_SIDE,
            patch_size=16, projection_dim=256,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=384, intermediate_size=1024, num_hidden_layers=6,
            num_attention_heads=6, num_key_value_heads=3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            max_position_embeddings=1024,
        ),
        image_token_index=3, vision_feature_layer=-1, vision_feature_select_strategy="default",
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    _teach(model, processor, steps)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _teach(model: Any, processor: Any, steps: int) -> None:
    import torch

    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=6e-4)
    model.train()
    for step in range(steps):
        rows = [scene(number) for number in range(step * 12, step * 12 + 12)]
        answers = [f" {caption}</s>" for _, caption in rows]
        encoded = processor(
            images=[Image.open(io.BytesIO(data)) for data, _ in rows],
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
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    model.eval()
