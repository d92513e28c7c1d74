"""Work for several threads at once: those that torch keeps, where its OpenMP library can be asked, else Python's.

After an operation on several threads, torch's threads go on spinning for some milliseconds, waiting for the next. Threads
of our own would have to share the processor cores with them; so the work is handed to the very threads that are waiting.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["at_once"]

Run = Callable[[], object]


def at_once(runs: Sequence[Run]) -> None:
    """Call all of `runs`, each on a thread; return when all are done. The first error, if any, is raised."""
    if len(runs) == 1:
        runs[0]()
        return
    openmp = _openmp(os.getpid())
    if openmp is None:
        waiting = [_pool(os.getpid()).submit(run) for run in runs[1:]]
        try:
            runs[0]()
        finally:
            wait(waiting)
        for done in waiting:
            done.result()
        return
    left, errors = list(runs), list[BaseException]()

    def work(_: Any) -> None:
        while left:
            try:
                run = left.pop()
            except IndexError:  # another thread was quicker
                return
            try:
                run()
            except BaseException as error:
                errors.append(error)

    openmp.GOMP_parallel(_FUNCTION(work), None, len(runs), 0)
    if errors:
        raise errors[0]


_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PARENT = os.getpid()


@cache
def _openmp(process: int) -> Any:
    """The OpenMP library of torch; None where there is none, and in a forked child, which has none of its threads."""
    torch = find_spec("torch")
    if process != _PARENT or torch is None or torch.origin is None:
        return None
    folder = Path(torch.origin).parent / "lib"
    for path in (path for name in ("libgomp*", "libomp*", "libiomp*") for path in sorted(folder.glob(name))):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        if hasattr(library, "GOMP_parallel"):
            return library
    return None


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked child makes its own."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix=f"unrolled-{process}")
