"""CLIP's vocabulary file becomes the tokenizer that it describes."""

from __future__ import annotations

import gzip
from itertools import islice, product
from pathlib import Path

import pytest

from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.open_clip_weights import tokenizer_of_vocabulary

MERGES = 49408 - 2 * 256 - 2
START, END = 49406, 49407


def write_vocabulary(path: Path, first: list[str]) -> Path:
    """As many merges as CLIP's, of which the first say something."""
    from tokenizers.pre_tokenizers import ByteLevel

    others = (f"{a} {b}" for a, b in product(sorted(ByteLevel.alphabet()), repeat=2) if f"{a} {b}" not in first)
    lines = ["what it is", *first, *islice(others, MERGES - len(first)), "more that is not read"]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_tokens_are_numbered_as_the_file_orders_them(tmp_path: Path) -> None:
    tokenizer = tokenizer_of_vocabulary(write_vocabulary(tmp_path / "bpe.txt.gz", ["c a", "ca t</w>"]))
    # Bytes that print come first, from "!" on; then the same at a word's end; then the merges.
    exclamation_mark, merged = 256, 512
    assert tokenizer("Cat !")["input_ids"] == [START, merged + 1, exclamation_mark, END]
    assert tokenizer("ca")["input_ids"] == [START, tokenizer.convert_tokens_to_ids("c"), 256 + ord("a") - ord("!"), END]
    assert len(tokenizer) == 49408


# Named: a gzip file holds the second in which it was made, and two workers must find tests of the same names.
@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"\xff\xfe"), gzip.compress(b"title\none two three\n")],
    ids=["no gzip", "no text", "no pairs"],
)
def test_what_is_no_vocabulary_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bpe.txt.gz").write_bytes(content)
    with pytest.raises(UsageError, match="is no vocabulary of CLIP's"):
        tokenizer_of_vocabulary(tmp_path / "bpe.txt.gz")
