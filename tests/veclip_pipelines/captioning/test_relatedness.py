"""Relatedness by embeddings: a real BERT architecture with small random weights; this tests the plumbing, not the quality."""

from __future__ import annotations

from pathlib import Path

import pytest

from veclip_pipelines.captioning.relatedness import unrelated_pairs
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.profiles import EngineProfile, GuardPolicy
from veclip_pipelines.errors import ModelMissingError

FIELDS = [
    {"alt_text": "a red circle", "concept": "a red circle"},
    {"alt_text": "terms of use", "concept": "a blue square"},
    {"alt_text": "a blue square", "concept": "a blue square"},
]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("embedder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"a red blue circle square terms of use".split()]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(1)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(words), **small)).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def spec(**policy: object) -> EngineSpec:
    profile = EngineProfile(
        name="x", purpose="fusion", kind="transformers-text", description="", model="m", guards=GuardPolicy.model_validate(policy)
    )  # fmt: skip
    return EngineSpec("e", profile, None, Path("/nowhere"), "", "1")


def test_pairs_below_the_minimum_are_named_with_what_was_measured(embedder: Path) -> None:
    found = unrelated_pairs(spec(relatedness=str(embedder), minimum_relatedness=0.999), FIELDS, [0, 1, 2])
    assert list(found) == [1]
    assert found[1].startswith("AltText and concept caption: cosine 0.")
    assert unrelated_pairs(spec(relatedness=str(embedder), minimum_relatedness=-1), FIELDS, [0, 1, 2]) == {}
    assert unrelated_pairs(spec(relatedness=str(embedder), minimum_relatedness=0.999), FIELDS, [0, 2]) == {}


def test_it_is_not_asked_where_no_model_is_named(embedder: Path) -> None:
    assert unrelated_pairs(spec(), FIELDS, [0, 1, 2]) == {}
    skipped = spec(relatedness=str(embedder), minimum_relatedness=0.999, skip=["unrelated"])
    assert unrelated_pairs(skipped, FIELDS, [1]) == {}


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelMissingError, match="all-minilm"):
        unrelated_pairs(spec(relatedness="all-minilm"), FIELDS, [1])
