"""Words with a label each: CoNLL files of any number of columns, two columns among them; and plain text to restore.

found = read_tagged(["sentences.conll"])
found.words[0], found.labels[0]                # ['Harry', 'met', 'Hermione'], ['B-PER', 'O', 'B-PER']
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.data.paths import list_sources
from unrolled.data.restoring import STRETCH, taken_apart
from unrolled.data.text import Document, lines_of, read_documents
from unrolled.errors import DataError, first_of

__all__ = ["LONGEST", "Tagged", "TaggedColumns", "read_restorable", "read_tagged"]

#: A sentence of more words is cut: most likely the blank lines between sentences are missing.
LONGEST = 1000


class TaggedColumns(NamedTuple):
    """Which columns hold word and label, counted from 1, or from the end: -1 is the last. None: by the file's name."""

    word: int | None = None
    tag: int | None = None


@dataclass
class Tagged:
    """Sentences (n): the words and the labels of each, and where each was found. cut: sentences too long to be ones."""

    words: list[list[str]] = field(default_factory=list)
    labels: list[list[str]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    cut: int = 0

    def __len__(self) -> int:
        return len(self.words)

    def columns(self) -> tuple[Sequence[Any], ...]:
        """All that is learned from: words and labels, (n,) each."""
        return self.words, self.labels

    def part(self, rows: Iterable[int]) -> Tagged:
        """Some of the sentences."""
        rows = list(rows)
        return Tagged([self.words[i] for i in rows], [self.labels[i] for i in rows], [self.places[i] for i in rows])

    def add(self, words: Sequence[str], labels: Sequence[str], place: str) -> None:
        """One sentence more, if it has words."""
        self.cut += len(words) > LONGEST
        for at in range(0, len(words), LONGEST):
            self.words.append(list(words[at : at + LONGEST]))
            self.labels.append(list(labels[at : at + LONGEST]))
            self.places.append(place)


def read_tagged(
    sources: Iterable[str | Path | Document], columns: TaggedColumns | None = None, encoding: str = "utf-8"
) -> Tagged:
    """Read files: a word a line with its columns between tabs or blanks, a blank line after each sentence.

    `.conllu` files have the word in column 2 and its part of speech in column 4, others word first, label last, unless
    `columns` says otherwise. Raises DataError naming up to ten lines with another number of columns, or what is missing.
    """
    sources = list_sources(sources, Document)
    found, problems = Tagged(), list[str]()
    for document in read_documents(sources, encoding):
        _read(document, columns or TaggedColumns(), found, problems)
    if problems:
        raise DataError(first_of(problems))
    if not found.words:
        raise DataError(f"{', '.join(map(str, sources)) or 'no file'}: holds no labelled words.")
    return found


def read_restorable(sources: Iterable[str | Path | Document], encoding: str = "utf-8") -> Tagged:
    """Plain text as words without capitals and marks, the labels being what was taken away; in stretches of 100 words."""
    sources = list_sources(sources, Document)
    found = Tagged()
    for document in read_documents(sources, encoding):
        before = 0
        for piece in document.chunks():
            words, labels = taken_apart(piece)
            for at in range(0, len(words), STRETCH):
                place = f"{document.name}, word {before + at + 1}"
                found.add(words[at : at + STRETCH], labels[at : at + STRETCH], place)
            before += len(words)
    if not found.words:
        raise DataError(f"{', '.join(map(str, sources)) or 'no file'}: holds no words.")
    return found


def _read(document: Document, columns: TaggedColumns, found: Tagged, problems: list[str]) -> None:
    universal = document.name.lower().removesuffix(".gz").endswith(".conllu")
    word = columns.word if columns.word is not None else 2 if universal else 1
    tag = columns.tag if columns.tag is not None else 4 if universal else -1
    words, labels = list[str](), list[str]()
    begun, expected = 1, 0
    for number, line in enumerate([*lines_of(document), ""], start=1):
        fields = line.rstrip("\r\n").split("\t") if "\t" in line else re.split(" +", line.strip(" \r\n"))
        if not line.strip() or fields[0] == "-DOCSTART-":
            found.add(words, labels, f"{document.name}, line {begun}")
            words, labels, begun = [], [], number + 1
            continue
        if line.startswith("#") and (universal or " = " in line):
            continue
        problem = _unequal(fields, expected, word, tag)
        if problem:
            problems.append(f"{document.name}, line {number}: {problem}: {line.strip()[:60]!r}")
            if not expected and "column" in problem:
                return  # it is the same with all lines
            continue
        expected = len(fields)
        if universal and not fields[0].isdigit():
            continue  # a word that stands for several, or one that was left out of the text
        words.append(fields[_place(word)])
        labels.append(fields[_place(tag)])


def _unequal(fields: list[str], expected: int, word: int, tag: int) -> str:
    """What is wrong with a line's columns, if something is."""
    n = len(fields)
    if expected and n != expected:
        return (
            f"has {n} column{'s' * (n != 1)}, the lines above have {expected}. Each line needs the same columns, between "
            "tabs or blanks, and a blank line ends a sentence"
        )
    if 0 in (word, tag):
        return "columns are counted from 1, or from the end (-1); there is no column 0"
    if n < 2 or not (-n <= word <= n and -n <= tag <= n):
        return (
            f"has {n} column{'s' * (n != 1)}, but the word is to be in column {word} and its label in column {tag}. Say "
            "where they stand with --word-column and --tag-column"
        )
    if not fields[_place(word)].strip() or not fields[_place(tag)].strip():
        return "has an empty word or label"
    return ""


def _place(column: int) -> int:
    return column - 1 if column > 0 else column
