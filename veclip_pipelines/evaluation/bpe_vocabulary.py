"""CLIP's tokenizer from the one file that OpenAI and open_clip publish it in: bpe_simple_vocab_16e6.txt.gz."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from veclip_pipelines.errors import UsageError

_SIZE = 49408
_START, _END = "<|startoftext|>", "<|endoftext|>"


def tokenizer_of_vocabulary(path: Path) -> Any:
    """transformers' CLIPTokenizer with the ids of open_clip's SimpleTokenizer.

    Raises:
        UsageError: the file is not there, or is no such vocabulary.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise UsageError(f"{path} is no vocabulary of CLIP's: {error}") from error
    symbols = sorted(ByteLevel.alphabet(), key=_byte_order)
    # The first line says what it is; what is left are the two special tokens and the single bytes, bare and at a word's end.
    merges = [tuple(line.split()) for line in lines[1 : _SIZE - 2 * len(symbols) - 2 + 1]]
    if any(len(merge) != 2 for merge in merges):
        raise UsageError(f"{path} is no vocabulary of CLIP's: a line does not hold two symbols")
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *("".join(merge) for merge in merges), _START, _END]
    # Its annotation says list[str]; tokenizers takes pairs.
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=merges)  # type: ignore[arg-type]


def _byte_order(symbol: str) -> tuple[bool, int]:
    """The order of CLIP's table: bytes that print as themselves first, then those that stand for others."""
    return ord(symbol) >= 256, ord(symbol)
