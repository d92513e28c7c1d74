"""Files of inputs to predict: a text file with an input a line, or one column of a table (.csv, .tsv, .jsonl, .json).

list(read_inputs("reviews.csv", ["review"]))         # the texts of the column "review"
list(read_paths("photos.txt"))                       # paths, relative to the folder of photos.txt
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from unrolled.data.tables import check_format, field_rows, is_json, json_values
from unrolled.data.tagged import TaggedColumns, read_tagged
from unrolled.data.text import Document, lines_of, read_documents
from unrolled.errors import DataError, first_of, nearest

__all__ = ["read_inputs", "read_paths", "read_sentences"]

_TABLES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json")
#: Files with a word a line, and an empty line after each sentence.
_WORD_FILES = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".bioes")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def read_inputs(path: str | Path, columns: Sequence[str], encoding: str = "utf-8", *, header: bool = True) -> Iterator[str]:
    """Yield the inputs of a file in order; an empty line or field is an empty input, so that each keeps its place.

    columns: names that the column of a table may have, the best first; header: whether a table must name one of them,
    else a table without such a header is read by its first column. Raises DataError for what cannot be read.
    """
    check_format(path)
    (document,) = read_documents([path], encoding)
    if not _has_suffix(path, _TABLES):
        return (line.rstrip("\r\n") for line in lines_of(document))
    problems = list[str]()
    if is_json(document):
        values = list(_json_column(document, columns, problems))
    else:
        values = list(_table_column(document, columns, problems, header=header))
    if problems:
        raise DataError(first_of(problems))
    return iter(values)


def read_sentences(
    path: str | Path, columns: Sequence[str], layout: TaggedColumns, encoding: str = "utf-8"
) -> Iterator[str | list[str]]:
    """Yield texts as `read_inputs`, or lists of words of a file with a word a line (.conll, .conllu, .iob, .bio)."""
    if not _has_suffix(path, _WORD_FILES):
        yield from read_inputs(path, columns, encoding)
        return
    (document,) = read_documents([path], encoding)
    lines = [line.strip() for line in lines_of(document)]
    if any(len(line.split()) > 1 for line in lines):
        yield from read_tagged([document], layout).words
        return
    for has_words, group in groupby(lines, bool):  # words without columns
        if has_words:
            yield list(group)


def read_paths(path: str | Path, columns: Sequence[str] = (), encoding: str = "utf-8") -> Iterator[str]:
    """Yield the paths that a file lists, a line or a row each; those that are relative begin at the folder of the file."""
    folder = Path() if str(path) == "-" else Path(path).parent
    for name in read_inputs(path, columns, encoding):
        if name.strip():
            yield name if _DRIVE.match(name) else str(folder / name.strip())


def _has_suffix(path: str | Path, suffixes: tuple[str, ...]) -> bool:
    return Path(path).name.lower().removesuffix(".gz").endswith(suffixes)


def _table_column(document: Document, columns: Sequence[str], problems: list[str], *, header: bool) -> Iterator[str]:
    rows = field_rows(document, problems)
    number, first = next(rows, (1, []))
    names = [name.strip() for name in first]
    column = _find_column(names, columns)
    if column is None and header:
        problems.append(f"{document.name}, line 1: {_no_column(columns, names)}")
        return
    if column is None:
        yield first[0] if first else ""
    at = 0 if column is None else column
    for number, row in rows:
        if len(row) != len(first) and any(row):
            problems.append(f"{document.name}, line {number}: got {len(row)} fields, expected {len(first)} as in line 1.")
        elif any(row) or column is None:
            yield row[at] if any(row) else ""


def _json_column(document: Document, columns: Sequence[str], problems: list[str]) -> Iterator[str]:
    for place, row in json_values(document, problems):
        if isinstance(row, str):  # a line that is a text
            yield row
            continue
        fields = list(row) if isinstance(row, dict) else []
        at = _find_column(fields, columns)
        value = None if at is None else row[fields[at]]
        if at is None:
            problems.append(f"{place}: {_no_column(columns, fields)}")
        elif not isinstance(value, (str, type(None))):
            problems.append(f"{place}: got {str(value)[:60]} in {fields[at]!r}, expected a text.")
        else:
            yield value or ""


def _find_column(names: Sequence[str], columns: Sequence[str]) -> int | None:
    """The place of the first wanted column, with its exact name or in other case."""
    lower = [name.lower() for name in names]
    for column in columns:
        if column in names:
            return list(names).index(column)
        if column.lower() in lower:
            return lower.index(column.lower())
    return None


def _no_column(columns: Sequence[str], names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20]) or "none"
    wanted = " or ".join(map(repr, columns[:3]))
    return f"got the columns {shown}, expected {wanted}. Fix: name the column, --text NAME.{nearest(columns[0], names)}"
