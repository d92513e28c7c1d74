"""What a call of the kernels works with: memory that is used again, packed matrices, and threads.

A fresh array of some megabytes costs a page fault for every 4 KiB when it is first written: up to a fifth of a training
step of a small layer. Arrays are therefore views of buffers that stay here. A buffer is free when nobody refers to it.
"""

from __future__ import annotations

import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from unrolled.kernels.product import pack, pack_transposed, packed_size
from unrolled.kernels.threads import at_once

__all__ = ["Kept", "Workspace", "keeping", "once", "over_rows"]

#: Bytes, and buffers to look through, that are kept at most.
_KEPT, _MANY = 256 * 2**20, 256
_PAGE, _LINE = 4096, 64
#: Rows of a search from which on a second thread brings more than it costs.
_WORTH_THREADS = 24
_buffers: deque[tuple[np.ndarray, int]] = deque(maxlen=_MANY)
_lock = threading.Lock()
#: What was made of arrays, by where they lie, with the arrays: while they are kept, nothing else lies there.
Kept = dict[Any, tuple[tuple[np.ndarray, ...], np.ndarray]]
_kept: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def keeping(kept: Kept) -> Iterator[None]:
    """In here what is made of weights is made `once`: for weights that do not change while `kept` is used."""
    before = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(before)


def once(make: Callable[..., np.ndarray], *weights: np.ndarray) -> np.ndarray:
    """make(*weights), which within `keeping` is called once for the same weights."""
    kept = _kept.get()
    if kept is None:
        return make(*weights)
    key = tuple((w.__array_interface__["data"][0], w.shape) for w in weights)
    if key not in kept:
        kept[key] = weights, make(*weights)
    return kept[key][1]


class Workspace:
    """Hands out arrays of one kind of number, and work to threads."""

    def __init__(self, dtype: np.dtype, threads: int) -> None:
        self.dtype, self._threads = dtype, threads

    def new(self, *shape: int) -> np.ndarray:
        """An array with arbitrary content."""
        return _room(math.prod(shape) * self.dtype.itemsize).view(self.dtype).reshape(shape)

    def packed(self, w: np.ndarray) -> np.ndarray:
        """W as `multiply` reads it."""
        room = self.new(packed_size(w.shape[0], w.shape[1], self.dtype))
        pack(w, room)
        return room

    def packed_transposed(self, w: np.ndarray) -> np.ndarray:
        """W^T as `multiply` reads it."""
        return once(self._packed_transposed, w)

    def _packed_transposed(self, w: np.ndarray) -> np.ndarray:
        room = self.new(packed_size(w.shape[1], w.shape[0], self.dtype))
        pack_transposed(w, room)
        return room

    def evenly(self, *jobs: tuple[int, Callable[[int, int], object]]) -> None:
        """Of each job (n, run), call `run(first, last)` on as many even ranges of 0..n as there are threads."""
        if self._threads == 1:
            for n, run in jobs:
                run(0, n)
            return

        def share(k: int) -> None:
            for n, run in jobs:
                run(n * k // self._threads, n * (k + 1) // self._threads)

        at_once([partial(share, k) for k in range(self._threads)])

    def by_work(self, sizes: np.ndarray, run: Callable[[int, int], object]) -> None:
        """Call `run(first, last)` on ranges of the rows of a batch with about as many row-steps each.

        sizes (S,): rows at each step, never increasing. A range goes through all steps on its own: threads wait for each
        other once, at the end.
        """
        rows = int(sizes[0])
        if self._threads == 1:
            run(0, rows)
            return
        lengths = np.cumsum(np.bincount(sizes, minlength=rows + 1)[:0:-1])[::-1]
        work = np.cumsum(lengths)  # row-steps of the rows 0..r
        marks = work[-1] * np.arange(1, self._threads) / self._threads
        cuts = [0, *(np.searchsorted(work, marks) + 1).tolist(), rows]
        at_once([partial(run, first, last) for first, last in pairwise(cuts) if last > first])


def over_rows(n: int, run: Callable[[int, int], object], threads: int) -> None:
    """Call `run(first, last)` on even ranges of the n rows of a search: where they are few, on this thread alone."""
    Workspace(np.dtype(np.float32), threads if n >= _WORTH_THREADS else 1).evenly((n, run))


def _room(n: int) -> np.ndarray:
    """n bytes of a buffer, of a new one if none is free that has at most a quarter more; at a cache line's start."""
    with _lock:
        for buffer, start in _buffers:
            if n <= len(buffer) - _LINE <= n + n // 4 + _PAGE and sys.getrefcount(buffer) == _FREE:
                return buffer[start : start + n]
        buffer = np.empty(-(-n // _PAGE) * _PAGE + _LINE, np.uint8)
        start = -buffer.ctypes.data % _LINE
        _buffers.append((buffer, start))
        kept = sum(len(buffer) for buffer, _ in _buffers)
        while kept > _KEPT:
            kept -= len(_buffers.popleft()[0])
        return buffer[start : start + n]


def _references_when_free() -> int:
    """What `getrefcount` says in the loop of `_room` about a buffer that only `_buffers` refers to."""
    for buffer, _ in deque([(np.empty(1, np.uint8), 0)]):
        return sys.getrefcount(buffer)
    raise AssertionError


_FREE = _references_when_free()
