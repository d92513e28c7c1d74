"""unrolled: recurrent sequence models, from raw files to a trained, explained model.

import unrolled
model = unrolled.load("runs/books")
print(model.sample("It was", temperature=0.8, seed=1)[0])

from unrolled.layers import GRU, LSTM, RNN, Padded          # drop-in replacements of torch.nn's
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["__version__", "cells", "errors", "layers", "lines", "load", "resume", "train"]

__version__ = "0.1.0"

_LAZY = {
    "cells": ("unrolled.cells", ""),
    "errors": ("unrolled.errors", ""),
    "layers": ("unrolled.layers", ""),
    "lines": ("unrolled.data.text", "lines"),
    "load": ("unrolled.tasks", "load"),
    "resume": ("unrolled.run", "resume"),
    "train": ("unrolled.run", "train"),
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that `unrolled --help` needs no torch."""
    if name not in _LAZY:
        raise AttributeError(f"module 'unrolled' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted(__all__)
