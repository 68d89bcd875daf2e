"""Makes a small open_clip model and teaches it some steps on the pictures of a webdataset benchmark, so that its scores say something.

Saved as open_clip saves to the hub: open_clip_config.json and safetensors.
"""

import io
import json
import sys
import tarfile
from pathlib import Path

import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 3, "width": 128, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
}


def samples(root):
    for path in sorted((Path(root) / "test").glob("*.tar")):
        with tarfile.open(path) as tar:
            found = {}
            for member in tar:
                key, _, kind = member.name.partition(".")
                found.setdefault(key, {})[kind] = tar.extractfile(member).read()
        yield from found.values()


if __name__ == "__main__":
    root, target, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(target / "model.json")
    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms("model")
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    rows = list(samples(root))
    names = (Path(root) / "classnames.txt").read_text().splitlines() if (Path(root) / "classnames.txt").exists() else []
    texts = [
        row["txt"].decode().splitlines()[0] if "txt" in row else f"a photo of a {names[int(row['cls'])]}."
        for row in rows
    ]
    pixels = torch.stack(
        [transform(Image.open(io.BytesIO(row.get("jpg") or row["png"])).convert("RGB")) for row in rows]
    )
    tokens = tokenizer(texts)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)
    loss_of = open_clip.ClipLoss()
    model.train()
    for step in range(steps):
        chosen = torch.randint(len(rows), (64,), generator=torch.Generator().manual_seed(step))
        out = model(pixels[chosen], tokens[chosen])
        loss = loss_of(
            *(out if isinstance(out, tuple) else (out["image_features"], out["text_features"], out["logit_scale"]))
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    preprocess = {
        "mean": list(open_clip.OPENAI_DATASET_MEAN),
        "std": list(open_clip.OPENAI_DATASET_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    (target / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": preprocess}))
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        target / "open_clip_model.safetensors",
    )
    vocabulary = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    print(json.dumps({"loss": loss.item(), "vocabulary": str(vocabulary)}))
