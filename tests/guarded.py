"""Arrays that lie against a page that must not be touched, and kernels that are given nothing else.

A read or write one number outside of such an array ends the process with SIGSEGV, where it would else go unnoticed.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher

__all__ = ["guarded", "guarding"]

_PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)
_PROT_NONE = 0
#: Rooms of so many pages that no array lies in.
_free: dict[int, list[mmap.mmap]] = {}


def guarded(array: np.ndarray, *, before: bool = False) -> np.ndarray:
    """Return a copy that ends where a forbidden page begins; or begins where one ends."""
    if not array.size:
        return array
    first = array.__array_interface__["data"][0]
    low, high = np.lib.array_utils.byte_bounds(array)  # the memory that the strides span
    size = high - low
    pages = -(-size // _PAGE)
    room = _free[pages].pop() if _free.get(pages) else _fenced(pages)
    at = _PAGE if before else (pages + 1) * _PAGE - size
    copy = np.ndarray(array.shape, array.dtype, room, at + first - low, array.strides)
    copy[...] = array
    copy.flags.writeable = array.flags.writeable
    return copy


def _fenced(pages: int) -> mmap.mmap:
    """Pages between two that must not be touched."""
    room = mmap.mmap(-1, (pages + 2) * _PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    for page in (0, pages + 1):
        if _LIBC.mprotect(ctypes.c_void_p(start + page * _PAGE), ctypes.c_size_t(_PAGE), _PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    return room


def _give_back(copy: np.ndarray) -> None:
    room = copy.base
    assert isinstance(room, mmap.mmap)
    _free.setdefault(len(room) // _PAGE - 2, []).append(room)


@contextmanager
def guarding(reached: set[str], *, before: bool = False) -> Iterator[None]:
    """In here, each kernel that Python calls works on guarded copies of its arrays, which are copied back afterwards.

    reached: the names of the kernels that were called are added.
    """

    def call(kernel: Any, *args: Any) -> Any:
        reached.add(f"{kernel.py_func.__module__.rpartition('.')[2]}.{kernel.py_func.__name__}")
        arrays = list(_arrays(args))
        bounds = [np.lib.array_utils.byte_bounds(array) for array in arrays]
        copies: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray]] = {}
        for i, array in enumerate(arrays):
            # arrays that share a part of their memory stay together where they are
            apart = all(
                high <= bounds[i][0] or bounds[i][1] <= low or _key(arrays[j]) == _key(array)
                for j, (low, high) in enumerate(bounds)
            )
            if apart and array.flags.aligned and array.size and _key(array) not in copies:
                copies[_key(array)] = array, guarded(array, before=before)
        result = original(kernel, *_replaced(args, copies))
        for array, copy in copies.values():
            if array.flags.writeable:
                array[...] = copy
            if not any(True for _ in _arrays([result] if not isinstance(result, tuple) else result)):
                _give_back(copy)
        return result

    original = Dispatcher.__call__
    Dispatcher.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        del Dispatcher.__call__


def _key(array: np.ndarray) -> tuple[Any, ...]:
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str


def _arrays(args: Any) -> Iterator[np.ndarray]:
    for arg in args:
        if isinstance(arg, np.ndarray):
            yield arg
        elif isinstance(arg, tuple):
            yield from _arrays(arg)


def _replaced(args: Any, copies: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray]]) -> list[Any]:
    found = list[Any]()
    for arg in args:
        if isinstance(arg, np.ndarray):
            found.append(copies[_key(arg)][1] if _key(arg) in copies else arg)
        elif isinstance(arg, tuple):
            parts = _replaced(arg, copies)
            found.append(type(arg)(*parts) if hasattr(arg, "_fields") else tuple(parts))
        else:
            found.append(arg)
    return found
