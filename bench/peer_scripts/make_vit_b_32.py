"""Saves open_clip's ViT-B-32 with random weights as open_clip saves to the hub, and says where its vocabulary lies."""

import json
import sys
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32")
    preprocess = {
        "mean": list(open_clip.OPENAI_DATASET_MEAN),
        "std": list(open_clip.OPENAI_DATASET_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": preprocess}
    (target / "open_clip_config.json").write_text(json.dumps(config))
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        target / "open_clip_model.safetensors",
    )
    print(json.dumps({"vocabulary": str(Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz")}))
