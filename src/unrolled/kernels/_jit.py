"""`kernel`: numba's `njit` whose cache of compiled code can never be the reason for a failure.

Code is compiled at the first call and kept in <cache>/kernels-<digest of all kernel sources>, so a changed kernel is
never answered with old code. A folder that cannot be written, a full disk or a damaged file mean one more compilation.

The cache leans on two things of numba that are not public, `FunctionCache` and `Dispatcher._cache`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

from unrolled.clock import begin_compiling, end_compiling
from unrolled.folders import cache_folder

__all__ = ["kernel"]

#: What numba may do with floating-point numbers: all that keeps NaN and infinity what they are.
FAST = {"contract", "reassoc", "arcp", "nsz"}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` when it is first called, without the interpreter's lock; keep the result for later processes."""
    dispatcher: Any = numba.njit(nogil=True, fastmath=FAST, error_model="numpy")(function)
    config: Any = numba.config
    before = config.CACHE_DIR
    try:
        config.CACHE_DIR = str(_folder())
        dispatcher._cache = _Cache(function)
    except (RuntimeError, OSError):  # nowhere to write: every process compiles
        pass
    finally:
        config.CACHE_DIR = before
    return dispatcher


class _Cache(FunctionCache):
    """A cache that forgets what it cannot read and lets pass what it cannot write."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except Exception:
            with contextlib.suppress(Exception):
                self.flush()
            found = None
        if found is None:
            _say_once()
            begin_compiling()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        end_compiling()
        with contextlib.suppress(Exception):
            super().save_overload(sig, data)


@cache
def _folder() -> Path:
    """One folder per state of all kernel sources; older ones are deleted when a new one is made."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    base = Path(os.environ["NUMBA_CACHE_DIR"]) if os.environ.get("NUMBA_CACHE_DIR") else cache_folder()
    folder = base / f"kernels-{digest}"
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in base.glob("kernels-*"):
            if old != folder and time.time() - old.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    return folder


#: Compiled code of other versions is deleted once it is older: another environment may be using it.
_KEPT_SECONDS = 30 * 24 * 3600


@cache
def _say_once() -> None:
    print("compiling the fast kernels: once on this machine, a few seconds", file=sys.stderr)
