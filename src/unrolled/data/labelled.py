"""Labelled texts: tables (.csv, .tsv), JSON (.jsonl, .json), one folder a label, `__label__` lines; .gz of each.

found = read_labelled(["reviews.csv"], Columns(text="review", label="sentiment"))
found.texts[0], found.labels[0], found.places[0]        # 'Not bad at all.', ('pos',), 'reviews.csv, line 2'
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.data.paths import list_sources
from unrolled.data.tables import check_format, field_rows, json_values
from unrolled.data.text import Document, lines_of, read_documents
from unrolled.errors import DataError, first_of, nearest

__all__ = ["Columns", "Labelled", "read_labelled"]

_MARK = "__label__"
#: A label wherever it stands, between the characters that fastText splits at.
_LABEL = re.compile(rf"(?<![^ \t\r\n\v\f]){_MARK}([^ \t\r\n\v\f]*)[ \t\r\n\v\f]*")


class Columns(NamedTuple):
    """Where things stand in a table or in JSON. weight: how much an example counts; separator: between several labels
    of one example, which has just one where this is None.
    """

    text: str = "text"
    label: str = "label"
    weight: str | None = None
    separator: str | None = None


@dataclass
class Labelled:
    """Texts (n), the labels of each, how much each counts (1 where nothing is said), and where each was found.

    empty: how many had no text and were left out.
    """

    texts: list[str] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    empty: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    def columns(self) -> tuple[Sequence[Any], ...]:
        """All that is learned from: texts, labels and weights, (n,) each."""
        return self.texts, self.labels, self.weights

    def part(self, rows: Iterable[int]) -> Labelled:
        """Some of the examples."""
        rows = list(rows)
        return Labelled(
            [self.texts[i] for i in rows],
            [self.labels[i] for i in rows],
            [self.weights[i] for i in rows],
            [self.places[i] for i in rows],
        )

    def add(self, text: str, labels: tuple[str, ...], weight: float, place: str) -> None:
        """One example more, if it has a text."""
        if not text.strip():
            self.empty += 1
            return
        self.texts.append(text)
        self.labels.append(labels)
        self.weights.append(weight)
        self.places.append(place)


def read_labelled(
    sources: str | Path | Iterable[str | Path], columns: Columns | None = None, encoding: str = "utf-8"
) -> Labelled:
    """Read files and folders, one after another, each by what its name ends in.

    Raises DataError naming up to ten places that cannot be read, or what is missing.
    """
    sources = list_sources(sources)
    columns, found, problems = columns or Columns(), Labelled(), list[str]()
    for source in sources:
        try:
            _read(Path(source), columns, encoding, found, problems)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(first_of(problems))
    if not found.texts:
        raise DataError(f"{', '.join(map(str, sources)) or 'no file'}: holds no labelled text.")
    return found


def _read(path: Path, columns: Columns, encoding: str, found: Labelled, problems: list[str]) -> None:
    if path.is_dir():
        _read_folders(path, encoding, found, problems)
        return
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    check_format(path)
    if kind not in _READERS:
        raise DataError(
            f"{path}: labelled texts are read from .csv, .tsv, .jsonl, .json or .txt files (.gz of each), or from a folder "
            f"with a folder for each label. Rename the file, or convert it."
        )
    (document,) = read_documents([path], encoding)
    _READERS[kind](document, columns, found, problems)


def _read_folders(path: Path, encoding: str, found: Labelled, problems: list[str]) -> None:
    """The label is the name of the folder that a text lies in."""
    labels = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not labels:
        raise DataError(f"{path}: holds no folders. A folder of labelled texts has one folder for each label.")
    for label in labels:
        for file in sorted(p for p in label.rglob("*") if p.is_file() and not p.name.startswith(".")):
            if not file.stat().st_size:
                found.empty += 1
                continue
            try:
                (document,) = read_documents([file], encoding)
            except DataError as error:
                problems.append(str(error))
                continue
            found.add(document.text, (label.name,), 1.0, str(file))


def _read_table(document: Document, columns: Columns, found: Labelled, problems: list[str]) -> None:
    """Rows below a header that names the columns."""
    name, rows = document.name, field_rows(document, problems)
    _, header = next(rows, (1, []))
    wanted = [columns.text, columns.label] + ([columns.weight] if columns.weight else [])
    for flag, column in zip(("--text", "--label", "--weight"), wanted, strict=False):
        if column not in header:
            there = ", ".join(repr(value[:40]) for value in header[:20])
            raise DataError(
                f"{name}, line 1: there is no column {column!r}; the columns are {there}. Say which one with {flag}."
                f"{nearest(column, header)}"
            )
    at = [header.index(column) for column in wanted]
    for number, row in rows:
        place = f"{name}, line {number}"
        if not any(row):
            continue
        if len(row) != len(header):
            problems.append(f"{place}: {len(row)} fields, but the header has {len(header)}: {' '.join(row)[:60]!r}")
            continue
        values = [row[i] for i in at]
        _add(values[0], values[1], values[2] if columns.weight else 1.0, columns, place, found, problems)


def _read_jsonl(document: Document, columns: Columns, found: Labelled, problems: list[str]) -> None:
    for place, row in json_values(document, problems):
        names = [columns.text, columns.label] + ([columns.weight] if columns.weight else [])
        missing = next((key for key in names if not isinstance(row, dict) or key not in row), None)
        if missing is not None:
            there = ", ".join(map(repr, row)) if isinstance(row, dict) else "not named: it is no object"
            problems.append(f"{place}: has no {missing!r}; the fields are {there}")
        elif not isinstance(row[columns.text], str):
            problems.append(f"{place}: {columns.text!r} is no text but {str(row[columns.text])[:60]}")
        else:
            weight = row[columns.weight] if columns.weight else 1.0
            _add(row[columns.text], row[columns.label], weight, columns, place, found, problems)


def _read_marked(document: Document, columns: Columns, found: Labelled, problems: list[str]) -> None:
    """Lines with their labels, as fastText's, wherever these are: `__label__pos Not bad at all.`"""
    for number, line in enumerate(lines_of(document), start=1):
        place = f"{document.name}, line {number}"
        labels = _LABEL.findall(line)
        text = _LABEL.sub("", line).strip()
        if not labels and not text:
            continue
        if "" in labels:
            problems.append(f"{place}: has an empty label, a {_MARK} without a name: {line.strip()[:60]!r}")
        elif not labels and columns.separator is None:
            problems.append(f"{place}: has no {_MARK}: {line.strip()[:60]!r}. Other formats: .csv, .tsv, .jsonl.")
        else:
            _add(text, labels, 1.0, columns, place, found, problems)


def _add(text: str, label: Any, weight: Any, columns: Columns, place: str, found: Labelled, problems: list[str]) -> None:
    """One example, its label and weight checked."""
    if isinstance(label, list):
        labels = tuple(dict.fromkeys(_name(one) for one in label))
    elif columns.separator is not None and isinstance(label, str):
        labels = tuple(dict.fromkeys(part.strip() for part in label.split(columns.separator) if part.strip()))
    else:
        labels = (_name(label),) if label is not None and _name(label) else ()
    try:
        number = float(weight)
    except (TypeError, ValueError):
        number = math.nan
    if columns.separator is None and len(labels) != 1:
        what = "has no label" if not labels else f"has {len(labels)} labels; if that is right, say --labels many"
        problems.append(f"{place}: {what}: {text[:60]!r}")
    elif not (number >= 0 and math.isfinite(number)):
        problems.append(f"{place}: the weight {weight!r} is no number from 0 on")
    else:
        found.add(text, labels, number, place)


def _name(label: Any) -> str:
    """A label as it is written; JSON's true is 'true', 3.0 is '3.0'."""
    return label.strip() if isinstance(label, str) else json.dumps(label)


_READERS: dict[str, Callable[[Document, Columns, Labelled, list[str]], None]] = {
    "csv": _read_table,
    "tsv": _read_table,
    "tab": _read_table,
    "jsonl": _read_jsonl,
    "ndjson": _read_jsonl,
    "json": _read_jsonl,
    "txt": _read_marked,
}
