"""One training in several processes: each takes every n-th row of a batch, and gradients are summed once a step.

    rank 0   rows 0, n, 2n, ...  \
    rank 1   rows 1, n+1, ...     >  gradients of loss SUMS, the sums and the token counts: one all-reduce  ->  the same
    ...                          /   update everywhere; rank 0 validates and writes

`torchrun` starts the processes (or anything else that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT); without it
there is one, and nothing here costs anything. gloo carries the numbers on CPUs, NCCL on GPUs. When torchrun restarts the
processes of one machine after a failure, they find each other again; on several machines, set
TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for that (pytorch issue 135712).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, distributed

from unrolled.errors import RankError, UnrolledError

__all__ = ["Ranks", "count_processes", "joined", "speaks"]

if distributed.is_available():
    # Optimisers import this, and its functions keep, as a default, the group that there is then. Imported here, they keep
    # none: a group ends, with its threads, when it is destroyed, and not in the interpreter's last moments.
    importlib.import_module("torch.distributed.nn.functional")

#: A process may prepare its data, or wait for rank 0's validation, as long as this.
_PATIENCE = timedelta(hours=12)

Value = TypeVar("Value")


def speaks() -> bool:
    """Whether this process is the one, of those started together, that writes files and messages."""
    return os.environ.get("RANK", "0") == "0"


def count_processes() -> int:
    """Return how many processes were started together, by torchrun or as a group that there is already."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


class Ranks:
    """The processes of one training, seen from one of them: `rank` of `size`."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this process is the one that validates and writes."""
        return self.rank == 0

    def share(self, compute: Callable[[], Value]) -> Value:
        """What rank 0 computes, in every process."""
        if self.size == 1:
            return compute()
        found = [compute() if self.first else None]
        with _others():
            distributed.broadcast_object_list(found, src=0)
        return found[0]  # type: ignore[return-value]

    def gather(self, value: Value) -> list[Value]:
        """The values of all ranks, in every process."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with _others():
            distributed.all_gather_object(found, value)
        return found

    def sum(self, gradients: Sequence[Tensor], numbers: Sequence[float]) -> list[float]:
        """Sum the gradients over all ranks, in place, and the numbers with them: one all-reduce."""
        if self.size == 1:
            return list(numbers)
        like = gradients[0]
        tail = torch.tensor(numbers, dtype=like.dtype, device=like.device)
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), tail])
        with _others():
            distributed.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        *parts, tail = flat.split([*sizes, len(numbers)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return tail.tolist()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """The mean over all ranks, in place."""
        if self.size == 1:
            return
        with _others():
            for tensor in tensors:
                distributed.all_reduce(tensor)
                tensor /= self.size

    def fail(self, error: UnrolledError) -> NoReturn:
        """End all processes for a reason that each of them has found; rank 0 alone says it."""
        raise error if self.first else SystemExit(error.exit_code)

    def seed(self, seed: int, step: int = 0) -> None:
        """Random numbers of this rank's own (dropout), from here on; rank 0 at step 0 goes on as it is."""
        if self.rank or step:
            torch.manual_seed((seed + 1_000_003 * self.rank + 7_919 * step) % 2**63)


@contextmanager
def _others() -> Iterator[None]:
    """Around every exchange: an error there means that another process has ended."""
    try:
        yield
    except RuntimeError as error:
        raise RankError(
            "another process of this training has ended; its own message says why. "
            f"Then go on with --resume. ({str(error).splitlines()[0]})"
        ) from None


@contextmanager
def joined(device: str = "cpu") -> Iterator[Ranks]:
    """The processes that were started together, each with its own GPU where `device` is cuda; else this one alone."""
    if distributed.is_available() and distributed.is_initialized():
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    backend = "nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with _others():
        store, rank, size = next(distributed.rendezvous("env://", timeout=_PATIENCE))
        if os.environ.get("GROUP_WORLD_SIZE") == "1":  # torchrun's store keeps the addresses of processes that have ended
            store = distributed.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
