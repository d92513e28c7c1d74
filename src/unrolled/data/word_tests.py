"""Files that word vectors are tested with: pairs of words with people's judgement of their similarity, and analogies.

tiger<TAB>cat<TAB>7.35                 a pair a line, blanks, commas or tabs between; # and headings are passed over
: capital-common-countries             analogies: a heading, then four words a line, the last to be guessed
Athens Greece Baghdad Iraq
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from unrolled.data.text import read_documents
from unrolled.errors import DataError

__all__ = ["Analogies", "Similarities", "read_word_test"]


_FOUR_WORDS = re.compile(r"[^\s,;]+( +[^\s,;]+){3}")


class Similarities(NamedTuple):
    """Pairs of words and a score for each; higher is more alike."""

    name: str
    pairs: list[tuple[str, str]]
    scores: list[float]


class Analogies(NamedTuple):
    """Questions "a is to b as c is to d", by category."""

    name: str
    categories: dict[str, list[tuple[str, str, str, str]]]


def read_word_test(path: str | Path, encoding: str = "utf-8") -> Similarities | Analogies:
    """Read either kind of file; they are told apart by their lines. DataError names file and line."""
    (document,) = read_documents([path], encoding)
    lines = [(n, line.strip()) for n, line in enumerate(document.text.split("\n"), start=1)]
    lines = [(n, line) for n, line in lines if line and not line.startswith("#")]
    if any(line.startswith(":") for _, line in lines) or (lines and _FOUR_WORDS.fullmatch(lines[0][1])):
        return _analogies(document.name, lines)
    return _similarities(document.name, lines)


def _pair(line: str) -> tuple[str, str, float] | None:
    fields = [field for field in re.split(r"[\t,;]|\s+" if "\t" not in line else r"\t", line) if field.strip()]
    try:
        return fields[0].strip(), fields[1].strip(), float(fields[2])
    except (IndexError, ValueError):
        return None


def _similarities(name: str, lines: list[tuple[int, str]]) -> Similarities:
    pairs, scores = [], []
    for i, (n, line) in enumerate(lines):
        found = _pair(line)
        if found is None:
            if i == 0:  # a heading
                continue
            raise DataError(
                f"{name}, line {n}: expected two words and a number, as in 'tiger<TAB>cat<TAB>7.35', or analogies of four "
                f"words below ': category' lines; got {line[:60]!r}."
            )
        pairs.append(found[:2])
        scores.append(found[2])
    if not pairs:
        raise DataError(f"{name}: holds no pairs of words with a number, and no analogies.")
    return Similarities(name, pairs, scores)


def _analogies(name: str, lines: list[tuple[int, str]]) -> Analogies:
    categories: dict[str, list[tuple[str, str, str, str]]] = {}
    here = "all"
    for n, line in lines:
        if line.startswith(":"):
            here = line[1:].strip() or "all"
            continue
        words = line.split()
        if len(words) != 4:
            raise DataError(
                f"{name}, line {n}: an analogy is four words, as in 'Athens Greece Oslo Norway'; got {line[:60]!r}."
            )
        categories.setdefault(here, []).append((words[0], words[1], words[2], words[3]))
    return Analogies(name, categories)
