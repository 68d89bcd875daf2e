"""Other people's models: preprocessing exact to the pixel, open_clip's weights, the released VeCLIP's twin, SigLIP, and refusals."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import write_clip
from builders import picture
from PIL import Image
from safetensors.torch import save_file
from training_jobs import CONFIG
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from veclip_pipelines.config.model_config import train_tokenizer
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import ModelMissingError, UsageError
from veclip_pipelines.evaluation.models import ModelSource, load_model
from veclip_pipelines.evaluation.open_clip_weights import Architecture, convert
from veclip_pipelines.evaluation.preprocessing import Preprocessing
from veclip_pipelines.media.pictures import decode

SIZES = [(90, 61), (61, 90), (40, 40), (33, 47), (16, 16), (300, 20)]


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_transformers_processors(size: tuple[int, int]) -> None:
    for processor in (
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, resample=2),
        SiglipImageProcessorPil(size={"height": 32, "width": 32}),
    ):
        config = json.loads(processor.to_json_string())
        expected = processor(images=noise(size), return_tensors="np")["pixel_values"][0]
        assert np.abs(Preprocessing.of_transformers(config).pixels(noise(size)) - expected).max() < 1e-5


def test_a_preprocessing_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match="is not known here"):
        Preprocessing.of_transformers({"size": {"height": 32, "width": 48}})
    with pytest.raises(UsageError, match="resize_mode 'longest'"):
        Preprocessing.of_open_clip(32, {"resize_mode": "longest"})


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("VECLIP_TEST_FULL"), reason="TensorFlow is installed by make test-full alone")
def test_veclips_pictures_are_cut_as_tensorflow_cuts_them(tmp_path: Path) -> None:
    """On pictures larger and smaller than the crop, on pixels of 0 to 1."""
    from bench.peers import TENSORFLOW

    sizes = [
        (640, 480),
        (480, 640),
        (120, 100),
        (223, 37),
        (224, 224),
        (500, 225),
        (333, 1000),
        (50, 51),
        (449, 448),
        (517, 331),
    ]
    pictures = {f"p{number}": np.asarray(noise(size, number)) for number, size in enumerate(sizes)}
    np.savez(tmp_path / "in.npz", **pictures)
    script = Path(__file__).parents[2] / "peer_scripts" / "tf_resize.py"
    subprocess.run([TENSORFLOW.python(), script, tmp_path / "in.npz", tmp_path / "out.npz", "224"], check=True)
    ours = Preprocessing(224, maker="veclip", mean=(0.0,) * 3, std=(1.0,) * 3)
    with np.load(tmp_path / "out.npz") as theirs:
        for name, pixels in pictures.items():
            expected = theirs[name].transpose(2, 0, 1) / 255.0
            assert np.abs(ours.pixels(Image.fromarray(pixels)) - expected).max() < 1e-3


@pytest.mark.parametrize("size", SIZES)
def test_veclips_resize_has_no_antialias(size: tuple[int, int]) -> None:
    """By its definition at pixel centres: each new pixel is made of the four next to its place, however far it is scaled down."""
    found = Preprocessing(16, maker="veclip", mean=(0.0,) * 3, std=(1.0,) * 3).pixels(noise(size))
    pixels = np.asarray(noise(size), dtype=np.float64)
    scale = 16 / min(size)
    high, wide = (round(side * scale) for side in (size[1], size[0]))
    top, left = int((high - 16) / 2), int((wide - 16) / 2)
    for y, x in ((0, 0), (7, 3), (15, 15)):
        at = [
            (place + 0.5) * old / new - 0.5 for place, old, new in ((y + top, size[1], high), (x + left, size[0], wide))
        ]
        low = [int(np.floor(value)) for value in at]
        expected = sum(
            pixels[min(max(low[0] + dy, 0), size[1] - 1), min(max(low[1] + dx, 0), size[0] - 1)]
            * (1 - abs(at[0] - low[0] - dy)) * (1 - abs(at[1] - low[1] - dx))
            for dy in (0, 1) for dx in (0, 1)
        )  # fmt: skip
        assert np.abs(found[:, y, x] - expected / 255).max() < 1e-4


def as_open_clip(model: CLIPModel) -> dict[str, torch.Tensor]:
    """A CLIPModel's weights under open_clip's names: the way back of what is tested, written by itself."""
    theirs: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        prefix = "visual." if name.startswith("vision_model") else ""
        rest = name.removeprefix("vision_model.").removeprefix("text_model.")
        if name == "logit_scale":
            theirs[name] = tensor
        elif name in ("visual_projection.weight", "text_projection.weight"):
            theirs["visual.proj" if name.startswith("visual") else "text_projection"] = tensor.T.contiguous()
        elif rest.startswith("encoder.layers."):
            number, _, rest = rest.removeprefix("encoder.layers.").partition(".")
            block = f"{prefix}transformer.resblocks.{number}."
            if "q_proj" in rest:
                kind = rest.rpartition(".")[2]
                parts = [model.state_dict()[name.replace("q_proj", other)] for other in ("q_proj", "k_proj", "v_proj")]
                theirs[f"{block}attn.in_proj_{kind}"] = torch.cat(parts)
            elif "k_proj" not in rest and "v_proj" not in rest:
                for ours, other in (("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("self_attn.out_proj", "attn.out_proj"),
                                    ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):  # fmt: skip
                    rest = rest.replace(ours, other)
                theirs[block + rest] = tensor
        elif "position_ids" not in name:
            for ours, other in (("embeddings.class_embedding", "class_embedding"), ("embeddings.patch_embedding", "conv1"),
                                ("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post"), ("final_layer_norm", "ln_final"),
                                ("embeddings.token_embedding", "token_embedding"),
                                ("embeddings.position_embedding.weight", "positional_embedding")):  # fmt: skip
                rest = rest.replace(ours, other)
            theirs[prefix + rest] = tensor
    return theirs


def open_clip_folder(folder: Path, model: CLIPModel, vocabulary: int) -> Path:
    config = {
        "model_cfg": {
            "embed_dim": 8,
            "vision_cfg": {
                "image_size": 16,
                "layers": 1,
                "width": 16,
                "head_width": 8,
                "patch_size": 8,
                "mlp_ratio": 2.0,
            },
            "text_cfg": {
                "context_length": 16,
                "vocab_size": vocabulary,
                "width": 16,
                "heads": 2,
                "layers": 1,
                "mlp_ratio": 2.0,
            },
        },
        "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"},
    }
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(as_open_clip(model), folder / "open_clip_model.safetensors")
    return folder


def test_open_clips_weights_give_the_same_embeddings(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a red circle"], 300, 16)
    ids = {"bos_token_id": 298, "eos_token_id": 299, "vocab_size": 300}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(**{**CONFIG, "text_config": {**CONFIG["text_config"], **ids}})).eval()
    folder = open_clip_folder(tmp_path / "theirs", model, 300)
    tokenizer.save_pretrained(folder)
    loaded = load_model(ModelSource(str(folder)))
    assert loaded.maker == "open_clip checkpoint"
    for name, tensor in loaded.clip.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    # As open_clip's own training saves it: a pickle with prefixes, beside no config.
    saved = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in as_open_clip(model).items()}}
    (tmp_path / "run").mkdir()
    torch.save(saved, tmp_path / "run" / "epoch_3.pt")
    tokenizer.save_pretrained(tmp_path / "run")
    with pytest.raises(UsageError, match="--architecture"):
        load_model(ModelSource(str(tmp_path / "run" / "epoch_3.pt")))
    (tmp_path / "run" / "open_clip_config.json").write_text((folder / "open_clip_config.json").read_text())
    again = load_model(ModelSource(str(tmp_path / "run" / "epoch_3.pt")))
    assert torch.equal(again.clip.text_projection.weight, model.text_projection.weight)


def test_what_a_plain_clip_is_not_is_refused(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "model", ["x"])
    model = CLIPModel.from_pretrained(folder)
    theirs = open_clip_folder(tmp_path / "theirs", model, 300)
    config = json.loads((theirs / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["timm_model_name"] = "vit_x"
    (theirs / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="asks for timm_model_name"):
        load_model(ModelSource(str(theirs)))
    with pytest.raises(UsageError, match="is of no plain CLIP"):
        convert({"visual.attn_pool.query": torch.zeros(1)})


def test_a_pickle_that_holds_more_than_tensors_is_refused(settings: Settings, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UsageError, match="cannot be read as weights alone"):
        load_model(ModelSource(str(tmp_path / "evil.pt"), architecture=Architecture(settings, "tiny")))
    assert not (tmp_path / "ran").exists()


def write_veclip_twin(folder: Path) -> Path:
    """A released VeCLIP's shape with random weights: T5's ids, and no tokenizer or preprocessor in the folder."""
    text = {**CONFIG["text_config"], "vocab_size": 32128, "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(**{**CONFIG, "text_config": text})).save_pretrained(folder)
    return folder


def test_a_released_veclip_is_known_by_its_vocabulary(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder = write_veclip_twin(tmp_path / "veclip_b16_12m")
    with pytest.raises(
        ModelMissingError, match=r"tokenizer 'google-t5/t5-base' is neither a folder nor could the hub give it"
    ):
        load_model(ModelSource(str(folder)))
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁red", -1.0), ("▁circle", -1.0)]
    raw = Tokenizer(models.Unigram(words, unk_id=2))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path / "t5")
    model = load_model(ModelSource(str(folder), tokenizer=str(tmp_path / "t5")))
    assert (model.maker, model.preprocessing.maker, model.preprocessing.size) == ("released VeCLIP", "veclip", 16)
    # Pooled at </s>, whatever is padded behind it.
    alone, beside = (
        model.embed_texts(["a red circle"]),
        model.embed_texts(["a red circle", "a red circle a red circle"]),
    )
    assert np.allclose(alone[0], beside[0], atol=1e-6)


def test_a_siglip_is_padded_and_squashed(tmp_path: Path) -> None:
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        vision_config={**tower, "image_size": 16, "patch_size": 8},
        text_config={**tower, "vocab_size": 300, "max_position_embeddings": 12, "projection_size": 16},
    )
    torch.manual_seed(0)
    model = SiglipModel(config).eval()
    model.save_pretrained(tmp_path / "siglip")
    tokenizer = train_tokenizer(["a red circle"], 300, 12)
    tokenizer.save_pretrained(tmp_path / "siglip")
    loaded = load_model(ModelSource(str(tmp_path / "siglip")))
    image = decode(picture(3, (40, 24)))
    pixels = loaded.preprocessing.pixels(image)[None]
    encoded = tokenizer(["a red circle"], padding="max_length", max_length=12, return_tensors="pt")
    with torch.inference_mode():
        expected = model(input_ids=encoded["input_ids"], pixel_values=torch.from_numpy(pixels))
    assert np.allclose(loaded.embed_pictures(pixels), expected.image_embeds.numpy(), atol=1e-5)
    assert np.allclose(loaded.embed_texts(["a red circle"]), expected.text_embeds.numpy(), atol=1e-5)


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="is no model"):
        load_model(ModelSource(str(tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="a model of type 'bert'"):
        load_model(ModelSource(str(tmp_path)))
