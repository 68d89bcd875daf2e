"""A training step of ViT-B/32 by open_clip and by us, in turns in one process: same batch, same texts, same optimiser.

Each does what it does in a training of its own: open_clip pads every text to 77 tokens, we to the longest of the batch.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import open_clip
import torch
from transformers import CLIPConfig, CLIPModel

from veclip_pipelines.config.recipe import TrainingSettings
from veclip_pipelines.training.group import Group
from veclip_pipelines.training.optimisation import Contrastive, accumulate_gradients, make_optimiser


def theirs(batch, texts):
    model = open_clip.create_model("ViT-B-32").train()
    loss_of = open_clip.ClipLoss()
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.1}], lr=1e-4, betas=(0.9, 0.98)
    )
    tokens = open_clip.get_tokenizer("ViT-B-32")(texts)

    def step():
        optimiser.zero_grad()
        out = model(batch, tokens)
        image, text, scale = (
            out if isinstance(out, tuple) else (out["image_features"], out["text_features"], out["logit_scale"])
        )
        loss = loss_of(image, text, scale)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)
        return loss.item()

    return step


def ours(batch, texts, config_file, padded):
    config = json.loads(Path(config_file).read_text("utf-8"))
    ids = {"vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    clip = CLIPModel(CLIPConfig(**{**config, "text_config": {**config["text_config"], **ids}}))
    settings = TrainingSettings(batch_size=len(texts), learning_rate=1e-4)
    model = Contrastive(clip, "infonce").train()
    optimiser = make_optimiser(model, settings)
    full = open_clip.get_tokenizer("ViT-B-32")(texts)
    longest = 77 if padded else int((full != 0).sum(1).max())
    ids = torch.where(full == 0, 49407, full)[:, :longest]
    tokens = {"input_ids": ids, "attention_mask": (full != 0)[:, :longest].long()}

    def step():
        optimiser.zero_grad(set_to_none=True)
        found = accumulate_gradients(model, batch, tokens, settings, Group())
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimiser.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0.0, 4.6052)
        return found.loss

    return step


if __name__ == "__main__":
    config_file, size, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    texts = json.loads(Path(sys.argv[4]).read_text("utf-8"))[:size]
    torch.manual_seed(0)
    batch = torch.randn(size, 3, 224, 224)
    steps = {
        "theirs": theirs(batch, texts),
        "ours": ours(batch, texts, config_file, False),
        "ours_padded": ours(batch, texts, config_file, True),
    }
    seconds = {name: [] for name in steps}
    for step in steps.values():
        step()  # the first allocates
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    print(json.dumps({name: statistics.median(values) for name, values in seconds.items()}))
