"""Data that needs no file: real English that every Python ships, and a generated task whose answer is known."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from unrolled.data.text import Document
from unrolled.errors import DataError

__all__ = ["copy_task", "english"]


def english() -> Document:
    """The manual pages inside Python's own `help()`: about half a million characters, differing between versions."""
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise DataError("This Python ships no pydoc_data.topics. Train on a text file of your own instead.") from None
    return Document("pydoc_data.topics", "\n".join(topics[key] for key in sorted(topics)))


def copy_task(
    n_rows: int, lag: int, generator: torch.Generator, *, n_symbols: int = 8, n_distractors: int = 1
) -> tuple[Tensor, Tensor]:
    """One symbol first, then `lag` distractors drawn at random, then a cue: the first symbol is to be named at the cue.

    Returns inputs (B, lag + 2) and answers (B,). Ids: symbols from 0, then distractors (one: plain blanks), then the cue.
    """
    answers = torch.randint(n_symbols, (n_rows,), generator=generator)
    inputs = n_symbols + torch.randint(n_distractors, (n_rows, lag + 2), generator=generator)
    inputs[:, 0], inputs[:, -1] = answers, n_symbols + n_distractors
    return inputs, answers
