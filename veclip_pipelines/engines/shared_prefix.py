"""Attention to a prefix that all rows share, and the cache that goes with it.

Five sixths of a fusion prompt are the same for every row (instruction and examples). Its keys and values are kept once
and not once per row: each step multiplies all rows' queries by them in one product, and neither copies nor reads them
row by row (the idea of cascade attention in serving engines; the softmax runs over both parts together, so nothing is
approximated).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, Cache
from transformers.cache_utils import CacheLayerMixin

#: Name under which transformers finds this attention.
ATTENTION = "veclip_shared_prefix"
#: Features that a model's attention may need and that are missing here; such a model answers by ``generate``.
_UNSUPPORTED = ("sliding_window", "softcap", "s_aux", "position_bias", "head_mask")


@dataclass(frozen=True)
class SharedPrefix:
    """Keys and values of the tokens that every row begins with, by layer: shape (key-value heads, tokens, head size)."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    @property
    def length(self) -> int:
        return self.keys[0].shape[1] if self.keys else 0


class _Layer(CacheLayerMixin):
    """One layer's keys and values: buffers of shape (places, key-value heads, columns, head size)."""

    is_sliding = False
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, cache: RowsCache) -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        places, columns = self._cache.places, self._cache.columns
        # Zeros, not uninitialised memory: padding is masked, but a NaN in it would get through.
        self.keys = key_states.new_zeros((places, key_states.shape[1], columns, key_states.shape[3]))
        self.values = value_states.new_zeros((places, value_states.shape[1], columns, value_states.shape[3]))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache = self._cache
        end = cache.end + key_states.shape[2]
        self.keys[: cache.rows, :, cache.end : end] = key_states
        self.values[: cache.rows, :, cache.end : end] = value_states
        return self.keys[: cache.rows, :, cache.start : end], self.values[: cache.rows, :, cache.start : end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self._cache.end - self._cache.start

    def get_max_length(self) -> int:
        return self._cache.columns


class RowsCache(Cache):
    """Each row's own tokens, for all layers: all rows end at column ``end`` and begin at different columns.

    A row that leaves is overwritten by the last one, and a row that joins is written behind it: nothing else is copied,
    except when places or columns run out.

    Args:
        layers: number of layers.
        rows: rows that it holds at present; at most ``places``. columns: tokens that a place has room for.
    """

    def __init__(self, layers: int, rows: int, places: int, columns: int, device: torch.device) -> None:
        self.rows, self.places, self.columns = rows, places, columns
        self.start = self.end = 0
        self._mask = torch.zeros((places, columns), dtype=torch.bool, device=device)
        #: The layers with their own type; ``Cache`` knows them by their base class.
        self.buffers = [_Layer(self) for _ in range(layers)]
        super().__init__(layers=list(self.buffers))

    @property
    def mask(self) -> torch.Tensor:
        """Which own tokens are real: shape (rows, end - start)."""
        return self._mask[: self.rows, self.start : self.end]

    @property
    def full(self) -> bool:
        """Whether no column is left for one more token."""
        return self.end == self.columns

    def expect(self, mask: torch.Tensor) -> None:
        """Notes which of the tokens that come next are real: shape (rows, tokens)."""
        self._mask[: self.rows, self.end : self.end + mask.shape[1]] = mask

    def advance(self, tokens: int) -> None:
        """Counts the tokens that a forward pass has added to each row."""
        self.end += tokens

    def remove(self, gone: Sequence[int]) -> list[int]:
        """Takes rows out; returns the rows that are left, in their new order, by their old number."""
        order = list(range(self.rows))
        for place in sorted(gone, reverse=True):
            last = len(order) - 1
            if place != last:
                for layer in self.buffers:
                    layer.keys[place] = layer.keys[last]
                    layer.values[place] = layer.values[last]
                self._mask[place] = self._mask[last]
                order[place] = order[last]
            order.pop()
        self.rows = len(order)
        if order:
            self.start += int(self.mask.any(0).int().argmax())
        return order

    def absorb(self, fresh: RowsCache, room: int) -> None:
        """Appends the rows of another cache.

        Args:
            room: tokens that each row may still get.
        """
        width = fresh.end - fresh.start
        if self.rows + fresh.rows > self.places or width > self.end or self.end + room > self.columns:
            self.rebuild(max(self.places, self.rows + fresh.rows), max(width, self.end - self.start), room)
        begin, rows = self.end - width, slice(self.rows, self.rows + fresh.rows)
        self.start = min(self.start, begin)
        self._mask[rows] = False
        self._mask[rows, begin : self.end] = fresh.mask
        for mine, its in zip(self.buffers, fresh.buffers, strict=True):
            mine.keys[rows, :, begin : self.end] = its.keys[: fresh.rows, :, fresh.start : fresh.end]
            mine.values[rows, :, begin : self.end] = its.values[: fresh.rows, :, fresh.start : fresh.end]
        self.rows += fresh.rows

    def rebuild(self, places: int, width: int, room: int) -> None:
        """Moves its rows to buffers of another size, with ``width`` columns up to ``end`` and room behind it."""
        # Twice the room: so that not every row that joins moves all others.
        columns, old = width + 2 * room, slice(self.start, self.end)
        new = slice(width - (self.end - self.start), width)
        for layer in self.buffers:
            for name in ("keys", "values"):
                buffer = getattr(layer, name)
                moved = buffer.new_zeros((places, buffer.shape[1], columns, buffer.shape[3]))
                moved[: self.rows, :, new] = buffer[: self.rows, :, old]
                setattr(layer, name, moved)
        mask = self._mask.new_zeros((places, columns))
        mask[: self.rows, new] = self.mask
        self._mask, self.places, self.columns, self.start, self.end = mask, places, columns, new.start, width


def shared_prefix_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    shared_prefix: SharedPrefix | None = None,
    own_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface: of each row to the shared prefix and to its own tokens.

    Args:
        query: shape (rows, heads, new tokens, head size); key and value: (rows, key-value heads, own tokens, head size).
        own_mask: which of a row's own tokens each of its new tokens sees: (rows, new tokens, own tokens). None: those before
            it, in rows without padding and prefix.

    Raises:
        NotImplementedError: the model's attention needs more than this.
    """
    del attention_mask, dropout
    if asked := [name for name in _UNSUPPORTED if kwargs.get(name) is not None]:
        raise NotImplementedError(f"shared-prefix attention has no {', '.join(asked)}")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    index = getattr(module, "layer_idx", 0)
    prefix = None if shared_prefix is None or not shared_prefix.length else shared_prefix
    rows, heads, tokens, size = query.shape
    if prefix is None and tokens > 1:
        mask = None if own_mask is None else own_mask[:, None]
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None, scale=scaling, enable_gqa=heads != key.shape[1]
        )
        return out.transpose(1, 2).contiguous(), None
    # One new token per row: plain products are faster than torch's fused attention on a CPU (1.5 ms a layer in
    # bfloat16).
    groups = key.shape[1]
    each = heads // groups * tokens
    grouped = query.reshape(rows, groups, each, size)
    scores = torch.matmul(grouped, key.transpose(2, 3))
    if own_mask is not None:
        spread = own_mask[:, None, None].expand(-1, 1, heads // groups, -1, -1).reshape(rows, 1, each, -1)
        scores = scores.masked_fill(~spread, torch.finfo(scores.dtype).min)
    length = 0
    if prefix is not None:
        length = prefix.length
        by_group = grouped.transpose(0, 1).reshape(groups, rows * each, size)
        to_prefix = torch.bmm(by_group, prefix.keys[index].transpose(1, 2)).view(groups, rows, each, -1).transpose(0, 1)
        scores = torch.cat([to_prefix, scores], dim=-1)
    weights = torch.softmax(scores * scaling, dim=-1, dtype=torch.float32).to(query.dtype)
    out = torch.matmul(weights[..., length:], value)
    if prefix is not None:
        of_prefix = weights[..., :length].transpose(0, 1).reshape(groups, rows * each, length)
        out = out + torch.bmm(of_prefix, prefix.values[index]).view(groups, rows, each, -1).transpose(0, 1)
    return out.reshape(rows, heads, tokens, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, shared_prefix_attention)
