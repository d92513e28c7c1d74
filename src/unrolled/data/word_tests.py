"""Files that word vectors are tested with: pairs of words with people's judgement of their similarity, and analogies.

tiger<TAB>cat<TAB>7.35                 a pair a line, as published: other columns and a header may be there
: capital-common-countries             analogies: a heading, then four words a line, the last to be guessed
Athens Greece Baghdad Iraq
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

from unrolled.data.text import read_documents
from unrolled.errors import DataError

__all__ = ["Analogies", "Similarities", "read_word_test"]

_NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"(?:word|term|lemma|w)[ _-]?[12ab]")
_SCORE = re.compile(r"simlex|score|human|mean|similarity|rating|average|gold")
_TAGGED = re.compile(r".+-[a-z]")
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
    four = lines and _FOUR_WORDS.fullmatch(lines[0][1])
    if any(line.startswith(":") for _, line in lines) or (four and _separator(lines[:2]) is None):
        return _analogies(document.name, lines)
    return _similarities(document.name, lines)


def _number(field: str) -> float | None:
    """A finite number, with a decimal point or comma; None for anything else."""
    return float(field.replace(",", ".")) if _NUMBER.fullmatch(field) else None


def _fields(line: str, separator: str) -> list[str]:
    """The fields of a line, without quotes and blanks around them. separator: a character, or a blank for any blanks."""
    fields = line.split() if separator == " " else next(csv.reader([line], delimiter=separator), [])
    return [field.strip() for field in fields]


def _separator(lines: list[tuple[int, str]]) -> str | None:
    """What stands between the fields: the first by which the last of these lines has two words and a number."""
    if lines:
        for separator in ("\t", ";", ",", " "):
            fields = _fields(lines[-1][1], separator)
            if any(_number(field) is not None for field in fields[2:]):
                return separator
    return None


def _similarities(name: str, lines: list[tuple[int, str]]) -> Similarities:
    separator = _separator(lines[:2]) or _separator(lines[:1]) or "\t"
    rows = [(n, line, _fields(line, separator)) for n, line in lines]
    header = [field.lower() for field in rows[0][2]] if rows else []
    if len(rows) > 1 and all(_number(field) is None for field in header[2:]):
        rows = rows[1:]
    else:
        header = []
    named = [i for i, field in enumerate(header) if _WORD.fullmatch(field)]
    first, second = named[:2] if len(named) > 1 else (0, 1)
    score = _score_column(header, rows[0][2] if rows else [], second)
    pairs, scores = list[tuple[str, str]](), list[float]()
    for n, line, fields in rows:
        value = _number(fields[score]) if len(fields) > score else None
        if value is None or not fields[first] or not fields[second]:
            raise DataError(
                f"{name}, line {n}: expected two words and a number, as in 'tiger<TAB>cat<TAB>7.35', or analogies of four "
                f"words below ': category' lines; got {line[:60]!r}."
            )
        pairs.append((fields[first], fields[second]))
        scores.append(value)
    if not pairs:
        raise DataError(f"{name}: holds no pairs of words with a number, and no analogies.")
    if separator == "," and all(len(fields) == 4 and all(map(str.isdigit, fields[2:])) for _, _, fields in rows):
        raise DataError(
            f"{name}, line {rows[0][0]}: {rows[0][1][:60]!r} has decimal commas between commas. Fix: write tabs between "
            "the fields, or decimal points."
        )
    return Similarities(name, _without_part_of_speech(pairs), scores)


def _score_column(header: list[str], fields: list[str], after: int) -> int:
    """The column with the score: the one whose name says so, or else the first number behind the words."""
    numbers = [i for i, field in enumerate(fields) if i > after and _number(field) is not None]
    named = [i for i in numbers if i < len(header) and _SCORE.search(header[i])]
    return (named or numbers or [after + 1])[0]


def _without_part_of_speech(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Words as MEN has them in one of its files, sun-n, without the part of speech, where all have one."""
    if all(_TAGGED.fullmatch(word) for pair in pairs for word in pair):
        return [(a[:-2], b[:-2]) for a, b in pairs]
    return pairs


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
