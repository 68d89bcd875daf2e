"""Models to score: any transformers CLIP or SigLIP folder, the released VeCLIP, and open_clip's checkpoints, behind one interface.

Weights come from safetensors, or from a pickle that holds nothing but tensors; no code that comes with a model is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veclip_pipelines.errors import ModelMissingError, UsageError
from veclip_pipelines.evaluation.open_clip_weights import OPEN_CLIP_CONFIG, Architecture, load_open_clip
from veclip_pipelines.evaluation.preprocessing import Preprocessing

Embeddings = npt.NDArray[np.float32]
#: T5's vocabulary and its end token: the folders of the released VeCLIP are recognised by these, as they hold no
#: tokenizer.
_T5_VOCABULARY, _T5_END, _T5 = 32128, 1, "google-t5/t5-base"
_CLIP = "openai/clip-vit-base-patch32"


@dataclass(frozen=True)
class ModelSource:
    """A model as a person names it.

    Attributes:
        path: folder or checkpoint file.
        tokenizer: folder, hub id, or OpenAI's bpe_simple_vocab_16e6.txt.gz; None: what the model's folder holds, else the
            maker's own from the hub.
        architecture: a model config of ours, for an open_clip checkpoint that comes without open_clip_config.json.
    """

    path: str
    tokenizer: str | None = None
    architecture: Architecture | None = None


@dataclass(frozen=True)
class ScoredModel:
    """A model that is loaded.

    Attributes:
        clip: transformers' CLIPModel or SiglipModel.
        padding: tokens to which each text is padded; None: to the longest of its batch.
        maker: what the model was recognised as, for people.
    """

    clip: Any
    tokenizer: Any
    preprocessing: Preprocessing
    context_length: int
    padding: int | None
    maker: str

    def embed_pictures(self, pixels: npt.NDArray[np.float32]) -> Embeddings:
        """Normalised embeddings, shape (pictures, dim), of pixels, shape (pictures, 3, size, size)."""
        import torch

        with torch.inference_mode():
            device = next(self.clip.parameters()).device
            found = self.clip.vision_model(pixel_values=torch.from_numpy(pixels).to(device)).pooler_output
            if hasattr(self.clip, "visual_projection"):
                found = self.clip.visual_projection(found)
            return torch.nn.functional.normalize(found.float(), dim=-1).cpu().numpy()

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Normalised embeddings, shape (texts, dim); longer texts are cut to the model's context, with the end token kept."""
        import torch

        encoded = self.tokenizer(
            list(texts),
            padding="max_length" if self.padding else True,
            max_length=self.padding or self.context_length,
            truncation=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            device = next(self.clip.parameters()).device
            inputs = {"input_ids": encoded["input_ids"].to(device)}
            if not self.padding:  # SigLIP is trained without a mask: it sees the padding
                inputs["attention_mask"] = encoded["attention_mask"].to(device)
            found = self.clip.text_model(**inputs).pooler_output
            if hasattr(self.clip, "text_projection"):
                found = self.clip.text_projection(found)
            return torch.nn.functional.normalize(found.float(), dim=-1).cpu().numpy()


@lru_cache(maxsize=1)
def load_model(source: ModelSource) -> ScoredModel:
    """Loads a model; a worker keeps the last one.

    Raises:
        ModelMissingError: it is missing, or its tokenizer is and the hub cannot be reached.
        UsageError: it is no CLIP or SigLIP that is known here.
    """
    path = Path(source.path).expanduser()
    if path.is_file() or (path / OPEN_CLIP_CONFIG).is_file():
        clip, preprocessing = load_open_clip(path, source.architecture)
        model = ScoredModel(
            clip, _tokenizer(source, path, _CLIP), preprocessing, _context(clip), None, "open_clip checkpoint"
        )
    elif (path / "config.json").is_file():
        model = _load_transformers(source, path)
    else:
        raise ModelMissingError(
            f"{path} is no model: a transformers folder has config.json, an open_clip folder {OPEN_CLIP_CONFIG}, and a checkpoint "
            "file ends in .safetensors or .pt."
        )
    import torch

    model.clip.to("cuda:0" if torch.cuda.is_available() else "cpu")
    return model


def _load_transformers(source: ModelSource, path: Path) -> ScoredModel:
    from transformers import CLIPModel, SiglipModel

    config = json.loads((path / "config.json").read_text("utf-8"))
    kind = config.get("model_type")
    classes: dict[str, Any] = {"clip": CLIPModel, "siglip": SiglipModel}
    if kind not in classes:
        raise UsageError(
            f"{path} is a model of type {kind!r}; what can be scored is {', '.join(classes)}, or an open_clip folder."
        )
    try:
        clip = classes[kind].from_pretrained(path, use_safetensors=True).eval()
    except OSError as error:
        raise ModelMissingError(f"{path} has no weights in safetensors: {str(error).splitlines()[0]}") from error
    size, text = clip.config.vision_config.image_size, clip.config.text_config
    preprocessor = path / "preprocessor_config.json"
    if (
        kind == "clip"
        and text.eos_token_id == _T5_END
        and text.vocab_size >= _T5_VOCABULARY - 28
        and not preprocessor.is_file()
    ):
        released = Preprocessing(size, maker="veclip")
        return ScoredModel(clip, _tokenizer(source, path, _T5), released, _context(clip), None, "released VeCLIP")
    if preprocessor.is_file():
        preprocessing = Preprocessing.of_transformers(json.loads(preprocessor.read_text("utf-8")))
    elif kind == "siglip":
        preprocessing = Preprocessing(size, mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    else:
        preprocessing = Preprocessing(size)
    padding = text.max_position_embeddings if kind == "siglip" else None
    tokenizer = _tokenizer(source, path, _CLIP if kind == "clip" else None)
    return ScoredModel(clip, tokenizer, preprocessing, _context(clip), padding, f"transformers {type(clip).__name__}")


def _context(clip: Any) -> int:
    return int(clip.config.text_config.max_position_embeddings)


def _tokenizer(source: ModelSource, path: Path, default: str | None) -> Any:
    """The tokenizer that was named, or the folder's own, or the maker's from the hub."""
    from transformers import AutoTokenizer

    if source.tokenizer and source.tokenizer.endswith(".txt.gz"):
        from veclip_pipelines.evaluation.open_clip_weights import tokenizer_of_vocabulary

        return tokenizer_of_vocabulary(Path(source.tokenizer).expanduser())
    folder = path if path.is_dir() else path.parent
    own = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "spiece.model"))
    name = source.tokenizer or (str(folder) if own else default)
    if name is None:
        raise ModelMissingError(f"{folder} has no tokenizer: name one with --tokenizer")
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelMissingError(
            f"tokenizer {name!r} is neither a folder nor could the hub give it: {str(error).splitlines()[0]} "
            "Name a folder with its files: --tokenizer FOLDER"
        ) from error


def weights_id(source: ModelSource) -> str:
    """SHA-256 over a model's weight files, which identifies what was scored."""
    path = Path(source.path).expanduser()
    files = [path] if path.is_file() else sorted([*path.glob("*.safetensors"), *path.glob("*.bin")])
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
