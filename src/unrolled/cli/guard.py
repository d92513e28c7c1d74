"""What every command does about a closed pipe and Ctrl-C; typer would turn both into exit code 1."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable

__all__ = ["guarded"]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """A reader that has seen enough (`| head`) is no error; an interrupted command returns 130."""

    @functools.wraps(command)
    def run(*args: object, **values: object) -> None:
        try:
            command(*args, **values)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered has no reader
            sys.exit(0)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                print("interrupted", file=sys.stderr)
            sys.exit(130)

    return run
