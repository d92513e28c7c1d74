"""Tables that name files: .tsv, .csv, .jsonl (.gz of each), a header or fields with names, some of them optional.

file        text          split                  Row('clips.tsv, line 2', {'file': 'a.wav', 'text': 'one two',
a.wav       one two       train            ->                              'split': 'train'})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from unrolled.data.labelled import csv_rows
from unrolled.data.text import Document, json_lines, lines_of
from unrolled.errors import DataError, nearest

__all__ = ["Row", "chosen", "object_rows", "table_rows", "there"]

#: The names under which each column may stand, the usual one first.
Names = Mapping[str, Sequence[str]]


class Row(NamedTuple):
    """Where a row stands, for messages, and its values by the usual names of those columns that are there."""

    place: str
    values: dict[str, str]


def table_rows(document: Document, problems: list[str], columns: Names, needed: Sequence[str]) -> Iterator[Row]:
    """The rows of a table with a header, between tabs or commas. Rows that do not fit go to `problems`; DataError for a
    header without the columns that are needed.
    """
    first = next(lines_of(document), "")
    delimiter = "\t" if "\t" in first else ";" if ";" in first and "," not in first else ","
    if delimiter == "\t":
        rows = enumerate((line.rstrip("\r\n").split("\t") for line in lines_of(document)), start=1)
    else:
        rows = csv_rows(document, delimiter, problems)
    header = [name.strip().lower() for name in next(rows, (1, []))[1]]
    found = {kind: next((header.index(n) for n in names if n in header), None) for kind, names in columns.items()}
    if any(found[kind] is None for kind in needed):
        others = [kind for kind in columns if kind not in needed]
        raise DataError(
            f"{document.name}, line 1: a header with the columns {' and '.join(needed)} is expected"
            f"{' (and ' + ', '.join(others) + ', if there are any)' if others else ''}, got "
            f"{', '.join(map(repr, header[:10])) or 'nothing'}."
        )
    for number, row in rows:
        place = f"{document.name}, line {number}"
        if not any(row):
            continue
        if len(row) != len(header):
            problems.append(f"{place}: {len(row)} fields, but the header has {len(header)}: {delimiter.join(row)[:60]!r}")
            continue
        yield Row(place, {kind: row[at] for kind, at in found.items() if at is not None})


def object_rows(document: Document, problems: list[str], columns: Names, needed: Sequence[str]) -> Iterator[Row]:
    """The rows of a file of JSON lines, an object with texts each."""
    for place, line, row in json_lines(document, problems):
        row = row if isinstance(row, dict) else {}
        found = {kind: next((row[n] for n in names if row.get(n) is not None), None) for kind, names in columns.items()}
        values = {kind: value for kind, value in found.items() if value is not None}
        if any(kind not in values for kind in needed) or not all(isinstance(value, str) for value in values.values()):
            wanted = " and ".join(f'"{kind}"' for kind in needed)
            problems.append(f"{place}: needs the texts {wanted}: {line.strip()[:60]!r}")
            continue
        yield Row(place, values)


def there(path: Path) -> bool:
    """Whether a file that a table names is there."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have, a folder that may not be read
        return False


class _OfSplit(Protocol):
    @property
    def split(self) -> str | None: ...


Line = TypeVar("Line", bound=_OfSplit)


def chosen(lines: list[Line], split: str | None, name: str) -> list[Line]:
    """The lines of a part of the data; all where `split` is None. DataError where there is no such part."""
    if split is None:
        return lines
    splits = sorted({line.split for line in lines if line.split is not None})
    if split not in splits:
        known = f"there is {', '.join(splits)}." if splits else "it has no column 'split'."
        raise DataError(f"{name}: has no split '{split}'; {known}{nearest(split, splits)}")
    return [line for line in lines if line.split == split]
