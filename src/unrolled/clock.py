"""A clock that stands still while kernels are compiled, which happens once on a machine: what is measured by it is the same
on a fresh one.
"""

from __future__ import annotations

import time

__all__ = ["begin_compiling", "compiling_seconds", "end_compiling", "now"]

_begun: list[float] = []
_spent = [0.0]


def now() -> float:
    """Seconds since some moment, those of compiling left out."""
    return (_begun[0] if _begun else time.perf_counter()) - _spent[0]


def compiling_seconds() -> float:
    """Seconds that this process has spent on compiling kernels."""
    return _spent[0]


def begin_compiling() -> None:
    """A kernel is being compiled; others may be, within it."""
    _begun.append(time.perf_counter())


def end_compiling() -> None:
    """The kernel that was begun last is compiled."""
    if not _begun:
        return
    began = _begun.pop()
    if not _begun:
        _spent[0] += time.perf_counter() - began
