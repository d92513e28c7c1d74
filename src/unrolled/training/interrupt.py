"""Ctrl-C and SIGTERM: the first asks to stop after the step, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Within this context the first Ctrl-C or SIGTERM sets the event; the second one interrupts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def first(*_: Any) -> None:
        event.set()
        restore()

    for number in before:
        signal.signal(number, first)
    try:
        yield event
    finally:
        restore()
