"""Reads an export back with open_clip's own loader, each sample once, and trains one step on it with open_clip itself."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import open_clip
import torch
import webdataset as wds
from open_clip_train.data import get_dataset_size, get_wds_dataset

if __name__ == "__main__":
    folder, batch = Path(sys.argv[1]), int(sys.argv[2])
    shards = len(list(folder.glob("*.tar")))
    data = f"{folder}/{{00000..{shards - 1:05d}}}.tar"
    model, train, evaluation = open_clip.create_model_and_transforms("ViT-B-32")
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    size, found_shards = get_dataset_size(data)
    args = Namespace(
        train_data=data, val_data=data, train_num_samples=None, val_num_samples=size, train_data_upsampling_factors=None,
        dataset_resampled=False, seed=0, workers=1, world_size=1, batch_size=batch,
    )  # fmt: skip
    seen = sum(len(images) for images, _ in get_wds_dataset(args, evaluation, False, tokenizer=tokenizer).dataloader)
    keys = [
        sample["__key__"]
        for sample in wds.WebDataset([str(path) for path in sorted(folder.glob("*.tar"))], shardshuffle=False)
    ]
    facts = json.loads(next(iter(wds.WebDataset(str(folder / "00000.tar"), shardshuffle=False)))["json"])
    images, texts = next(iter(get_wds_dataset(args, train, True, tokenizer=tokenizer).dataloader))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    out = model(images, texts)
    loss = open_clip.ClipLoss()(
        *(out if isinstance(out, tuple) else (out["image_features"], out["text_features"], out["logit_scale"]))
    )
    loss.backward()
    optimiser.step()
    print(
        json.dumps(
            {
                "size": size,
                "shards": found_shards,
                "seen": seen,
                "keys": len(set(keys)),
                "fields": sorted(facts),
                "loss": loss.item(),
            }
        )
    )
