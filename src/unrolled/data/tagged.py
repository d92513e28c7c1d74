"""Words with a label each: CoNLL files of any number of columns, two columns among them; and plain text to restore.

found = read_tagged(["sentences.conll"])
found.words[0], found.labels[0]                # ['Harry', 'met', 'Hermione'], ['B-PER', 'O', 'B-PER']
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.data.paths import list_sources
from unrolled.data.restoring import STRETCH, taken_apart
from unrolled.data.text import Document, lines_of, read_documents
from unrolled.errors import DataError, first_of

__all__ = ["LONGEST", "Tagged", "TaggedColumns", "read_restorable", "read_tagged"]

#: A sentence of more words is cut: most likely the blank lines between sentences are missing.
LONGEST = 1000
#: Lines that show how a file is laid out.
_LOOKED_AT = 200
#: A comment before a sentence, as MultiCoNER's `# id 5<TAB>domain=en`.
_COMMENT = re.compile(r"#[ \t]+(?:id|sent_id|newdoc|newpar|text|domain)\b|#[ \t]*[\w.:-]+=")
#: Names of columns in a header.
_WORD_NAMES = ("word", "words", "token", "tokens", "form")
_TAG_NAMES = ("label", "labels", "tag", "tags", "ner", "ner_tag", "ner_tags", "pos", "pos_tag", "upos", "slot", "slots")


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

    CoNLL-U, by its name or its ten columns with numbered words, has the word in column 2 and its part of speech in
    column 4. A header names the columns; other files have word first, label last. `columns` goes before all of that.
    Raises DataError naming up to ten lines with another number of columns, or what is missing.
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


def read_restorable(
    sources: Iterable[str | Path | Document], encoding: str = "utf-8", normalization: str = "nfc"
) -> Tagged:
    """Plain text as words without capitals and marks, the labels being what was taken away; in stretches of 100 words.

    normalization: of the model that reads them; "none" for models of older versions.
    """
    sources = list_sources(sources, Document)
    found = Tagged()
    for document in read_documents(sources, encoding):
        before = 0
        for piece in document.chunks():
            words, labels = taken_apart(piece, normalization)
            for at in range(0, len(words), STRETCH):
                place = f"{document.name}, word {before + at + 1}"
                found.add(words[at : at + STRETCH], labels[at : at + STRETCH], place)
            before += len(words)
    if not found.words:
        raise DataError(f"{', '.join(map(str, sources)) or 'no file'}: holds no words.")
    return found


def _read(document: Document, columns: TaggedColumns, found: Tagged, problems: list[str]) -> None:
    layout = _layout(document, columns)
    words, labels = list[str](), list[str]()
    begun, expected = 1, 0
    for number, line in enumerate([*lines_of(document), ""], start=1):
        fields = _fields(line)
        if not line.strip() or fields[0] == "-DOCSTART-":
            found.add(words, labels, f"{document.name}, line {begun}")
            words, labels, begun = [], [], number + 1
            continue
        if number == layout.header or _is_comment(line, fields, layout, at_start=not words):
            continue
        problem = _unequal(fields, expected, layout.word, layout.tag)
        if not problem and layout.numbered and columns.word is None and not layout.universal:
            problem = "column 1 holds the numbers of the words. Say where they stand with --word-column and --tag-column"
        if problem:
            problems.append(f"{document.name}, line {number}: {problem}: {line.strip()[:60]!r}")
            if not expected and "column" in problem:
                return  # it is the same with all lines
            continue
        expected = len(fields)
        if layout.universal and not fields[0].isdigit():
            continue  # a word that stands for several, or one that was left out of the text
        words.append(fields[_place(layout.word)])
        labels.append(fields[_place(layout.tag)])


class _Layout(NamedTuple):
    """Columns of word and label; width: columns of most lines; header: its line; universal: CoNLL-U, or CoNLL-X."""

    word: int
    tag: int
    width: int
    tabs: bool
    header: int = 0
    numbered: bool = False
    universal: bool = False


def _layout(document: Document, columns: TaggedColumns) -> _Layout:
    """How a file is laid out, by its name and its first lines."""
    first = [(number, line) for number, line in enumerate(islice(lines_of(document), _LOOKED_AT), start=1)]
    rows = [(number, _fields(line)) for number, line in first if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    width = Counter(len(fields) for _, fields in rows).most_common(1)[0][0] if rows else 0
    tabs = any("\t" in line for _, line in first if not line.startswith("#"))
    numbers = [fields[0] for _, fields in rows if fields[0].isdecimal()]
    # 1 2 3 1 2: each number follows the one before, or begins a sentence
    follow = all(n == "1" or int(n) == int(before) + 1 for before, n in pairwise(["0", *numbers]))
    all_numbers = all(re.fullmatch(r"\d+(?:[-.]\d+)?", fields[0]) for _, fields in rows)
    numbered = width > 2 and bool(numbers) and all_numbers and follow
    universal = document.name.lower().removesuffix(".gz").endswith(".conllu") or (numbered and width == 10)
    word, tag, header = (2, 4, 0) if universal else (1, -1, 0)
    names = [field.strip().lower() for field in rows[0][1]] if rows else []
    by_name = [next((i for i, name in enumerate(names) if name in known), None) for known in (_WORD_NAMES, _TAG_NAMES)]
    if by_name[0] is not None and by_name[1] is not None and not universal:
        word, header = by_name[0] + 1, rows[0][0]
        tag = -1 if names[-1] in _TAG_NAMES else by_name[1] + 1
    word = columns.word if columns.word is not None else word
    tag = columns.tag if columns.tag is not None else tag
    return _Layout(word, tag, width, tabs, header, numbered, universal)


def _fields(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t") if "\t" in line else re.split(" +", line.strip(" \r\n"))


def _is_comment(line: str, fields: list[str], layout: _Layout, *, at_start: bool) -> bool:
    """Whether a line with # is about the sentence below it; else it is a word, as in texts of Twitter."""
    if not line.startswith("#"):
        return False
    if layout.universal or " = " in line or (at_start and _COMMENT.match(line)):
        return True
    other = len(fields) != layout.width or (layout.tabs and "\t" not in line)
    return at_start and line[1:2] in (" ", "\t") and other


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
