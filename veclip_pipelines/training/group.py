"""The ranks that train one model together: torch.distributed, or a single rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

#: If a rank is lost, the others fail at once; this is for one that hangs.
_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Group:
    """This rank among the others.

    Attributes:
        device: where this rank computes.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    def gather(self, *tensors: torch.Tensor) -> tuple[list[torch.Tensor], slice]:
        """All ranks' rows of each tensor in the order of ranks, and the slice of this rank's own. Shares may differ in size."""
        share = len(tensors[0])
        if self.world == 1:
            return list(tensors), slice(0, share)
        sizes = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world)]
        dist.all_gather(sizes, torch.tensor([share], device=self.device))
        counts = [int(size.item()) for size in sizes]
        gathered: list[torch.Tensor] = []
        for tensor in tensors:
            padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
            padded[:share] = tensor
            parts = [torch.empty_like(padded) for _ in counts]
            dist.all_gather(parts, padded)
            gathered.append(torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]))
        first = sum(counts[: self.rank])
        return gathered, slice(first, first + share)

    def sum_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Adds up each tensor over the ranks, in place and in one exchange."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Waits until all ranks are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined(rank: int, world: int, address: str, device: str) -> Iterator[Group]:
    """Joins the ranks that meet at an address, tcp://host:port; NCCL on GPUs, gloo on processors. A single rank joins nothing."""
    if world == 1:
        yield Group(device=device)
        return
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, init_method=address, rank=rank, world_size=world, timeout=_TIMEOUT)
    try:
        yield Group(rank, world, device)
    finally:
        dist.destroy_process_group()
