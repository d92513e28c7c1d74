"""Data that needs no file: real English that every Python ships, and a generated task whose answer is known."""

from __future__ import annotations

import importlib
import random
from datetime import date, timedelta

import torch
from torch import Tensor

from unrolled.data.labelled import Labelled
from unrolled.data.pairs import Pairs
from unrolled.data.text import Document
from unrolled.errors import DataError

__all__ = ["copy_task", "dates", "english", "help_pages"]

#: Pages of help() by what they are about.
_PAGES = {
    "classes": ("attribute-access", "class", "customization", "specialnames", "typesmethods", "objects", "types"),
    "debugging": ("debugger",),
    "strings": ("formatstrings", "strings", "string-methods", "typesseq", "bltin-ellipsis-object"),
    "statements": ("assert", "assignment", "async", "compound", "for", "function", "if", "import", "try", "while", "with"),
}

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


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


def dates(n: int, seed: int = 0) -> Pairs:
    """Days between 1950 and 2049 as people write them, and as machines do: "Saturday, 9th of May 1998" -> "1998-05-09"."""
    drawn, found = random.Random(seed), Pairs()
    for i in range(n):
        day = date(1950, 1, 1) + timedelta(days=drawn.randrange(36_500))
        found.add(_written(day, drawn), day.isoformat(), f"date {i + 1}")
    return found


def _written(day: date, drawn: random.Random) -> str:
    """A day in one of many ways."""
    ordinal = f"{day.day}{'th' if 10 < day.day < 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day.day % 10, 'th')}"
    month, year = drawn.choice((_MONTHS[day.month - 1], _MONTHS[day.month - 1][:3])), str(day.year)
    number = drawn.choice((str(day.day), ordinal))
    text = drawn.choice(
        (
            f"{number} {month} {year}",
            f"{number} of {month} {year}",
            f"{month} {number}, {year}",
            f"{month} {number} {year}",
            f"{day.day}.{day.month}.{year}",
            f"{day.month}/{day.day}/{year}",
            f"{day.day}-{month[:3]}-{year}",
        )
    )
    name = _DAYS[day.weekday()]
    text = drawn.choice((text, text, f"{name}, {text}", f"{name[:3]} {text}"))
    return drawn.choice((text, text, text.lower(), text.upper()))
