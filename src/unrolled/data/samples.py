"""Data that needs no file: real English that every Python ships, and a generated task whose answer is known."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from unrolled.data.labelled import Labelled
from unrolled.data.text import Document
from unrolled.errors import DataError

__all__ = ["copy_task", "english", "help_pages"]

#: Pages of help() by what they are about.
_PAGES = {
    "classes": ("attribute-access", "class", "customization", "specialnames", "typesmethods", "objects", "types"),
    "debugging": ("debugger",),
    "strings": ("formatstrings", "strings", "string-methods", "typesseq", "bltin-ellipsis-object"),
    "statements": ("assert", "assignment", "async", "compound", "for", "function", "if", "import", "try", "while", "with"),
}


def english() -> Document:
    """The manual pages inside Python's own `help()`: about half a million characters, differing between versions."""
    topics = _help_topics("a text file")
    return Document("pydoc_data.topics", "\n".join(topics[key] for key in sorted(topics)))


def help_pages() -> Labelled:
    """The paragraphs of `help()`, each labelled with what its page is about: classes, debugging, strings or statements."""
    topics, found = _help_topics("labelled texts"), Labelled()
    for label, names in _PAGES.items():
        for name in names:
            for n, paragraph in enumerate(topics.get(name, "").split("\n\n")):
                if len(paragraph.split()) >= 12:
                    found.add(paragraph, (label,), 1.0, f"help({name!r}), paragraph {n + 1}")
    return found


def _help_topics(instead: str) -> dict[str, str]:
    """The pages of help() by name. DataError, naming what to train on instead, where a Python ships none."""
    try:
        return importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise DataError(f"This Python ships no pydoc_data.topics. Train on {instead} of your own instead.") from None


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
