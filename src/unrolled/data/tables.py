"""Tables that examples are read from: .tsv, .csv, .jsonl, .json (.gz of each), with one rule for quotes.

file        text          split                  Row('clips.tsv, line 2', {'file': 'a.wav', 'text': 'one two',
a.wav       one two       train            ->                              'split': 'train'})

Between tabs, a field is unquoted only where a program has quoted all of it and doubled the quotes inside, as pandas and csv
do. Any other quotation mark belongs to the text: `5" disk`, `"Hello, he said.` Between commas, RFC 4180 applies.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from unrolled.data.text import Document, json_lines, lines_of, read_documents
from unrolled.data.valid_text import json_problem
from unrolled.errors import DataError, nearest

__all__ = [
    "Row",
    "check_format",
    "chosen",
    "field_rows",
    "is_json",
    "json_values",
    "object_rows",
    "read_tables",
    "table_rows",
    "there",
]

_LONGEST_FIELD = 1 << 30
#: Lines that a quoted field may have in a file between tabs.
_MOST_LINES = 1000
#: Formats of tables that are not read, and the function of pandas that does.
_BINARY = {
    "parquet": "read_parquet",
    "feather": "read_feather",
    "arrow": "read_feather",
    "orc": "read_orc",
    "xlsx": "read_excel",
    "xls": "read_excel",
    "ods": "read_excel",
    "pkl": "read_pickle",
    "pickle": "read_pickle",
    "dta": "read_stata",
}

#: The names under which each column may stand, the usual one first.
Names = Mapping[str, Sequence[str]]


class Row(NamedTuple):
    """Where a row stands, for messages, and its values by the usual names of those columns that are there."""

    place: str
    values: dict[str, str]


def read_tables(sources: Sequence[str | Path | Document], encoding: str) -> list[Document]:
    """`read_documents` of files with tables. DataError as of `check_format`."""
    for source in sources:
        if not isinstance(source, Document):
            check_format(source)
    return read_documents(sources, encoding)


def check_format(source: str | Path) -> None:
    """Raise DataError for tables of formats that are not text, with the command that converts them."""
    path = Path(source)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix in _BINARY and path.is_file():
        raise DataError(
            f'{path}: files of the format {suffix} are not read. Fix: convert it: python -c "import pandas; '
            f"pandas.{_BINARY[suffix]}('{path}').to_csv('{path.with_suffix('.csv')}', index=False)\""
        )


def field_rows(document: Document, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row, and the line at which it begins, from 1; what cannot be read goes to `problems`.

    Fields are between tabs in a .tsv and where the first line has a tab, else between commas, or semicolons where the
    first line has no comma.
    """
    first = next(lines_of(document), "")
    if "\t" in first or document.name.lower().removesuffix(".gz").endswith((".tsv", ".tab")):
        return _tsv_rows(document)
    return _csv_rows(document, ";" if ";" in first and "," not in first else ",", problems)


def _csv_rows(document: Document, delimiter: str, problems: list[str]) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_FIELD)
    name, rows = document.name, csv.reader(lines_of(document), delimiter=delimiter, strict=True)
    while True:
        begins = rows.line_num + 1
        try:
            yield begins, next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(
                f"{name}, line {begins}: a row cannot be read ({error}). A field with quotes, commas or line ends in it "
                'stands in quotes, and quotes inside it are doubled: "He said ""no"", and left".'
            )
            return


def _tsv_rows(document: Document) -> Iterator[tuple[int, list[str]]]:
    lines = [line.rstrip("\r\n").split("\t") for line in lines_of(document)]
    at, columns = 0, len(lines[0]) if lines else 0
    while at < len(lines):
        fields, used = lines[at], 1
        if _is_open(fields) or len(fields) != columns:
            fields, used = _over_lines(lines, at, columns) or (fields, 1)
        yield at + 1, [_unquoted(field) for field in fields] if used == 1 and fields is lines[at] else fields
        at += used


def _is_open(fields: list[str]) -> bool:
    """Whether the last field may be quoted and go on in the next line."""
    return fields[-1].startswith('"') and fields[-1].count('"') % 2 == 1


def _over_lines(lines: list[list[str]], at: int, columns: int) -> tuple[list[str], int] | None:
    """Read a row with quoted tabs or line ends: its fields and how many lines it has; None where that makes no row.

    Where the first line is a row by itself, and a line after it, too, its quotation mark belongs to the text.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    text = ""
    if not any(field.startswith('"') for field in lines[at]):
        return None
    for used, line in enumerate(lines[at : at + _MOST_LINES], start=1):
        if used > 1 and len(line) == columns == len(lines[at]):
            return None
        text += "\t".join(line) + "\n"
        if text.count('"') % 2:
            continue
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
        except csv.Error:
            return None
        return (rows[0], used) if len(rows) == 1 and len(rows[0]) == columns else None
    return None


def _unquoted(value: str) -> str:
    """The field as it is, unless a program has put it in quotes and doubled those inside."""
    inner = value[1:-1]
    quoted = len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else value


def table_rows(document: Document, problems: list[str], columns: Names, needed: Sequence[str]) -> Iterator[Row]:
    """The rows of a table with a header, between tabs or commas. Rows that do not fit go to `problems`; DataError for a
    header without the columns that are needed.
    """
    rows = field_rows(document, problems)
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
            problems.append(f"{place}: {len(row)} fields, but the header has {len(header)}: {' '.join(row)[:60]!r}")
            continue
        yield Row(place, {kind: row[at] for kind, at in found.items() if at is not None})


def is_json(document: Document) -> bool:
    """Whether a file's name says that it holds JSON: a value a line, or one list."""
    return document.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json"))


def json_values(document: Document, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Place and value of each line of JSON, or of each member of a list that is the whole file."""
    first = next((line for line in lines_of(document) if line.strip()), "").strip()
    if not first.startswith("[") or document.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        yield from ((place, value) for place, _, value in json_lines(document, problems))
        return
    try:
        values = json.loads(document.text)
    except (json.JSONDecodeError, RecursionError) as error:
        problems.append(f"{document.name}: is not JSON ({error}): {first[:60]!r}")
        return
    for number, value in enumerate(values, start=1):
        place, problem = f"{document.name}, item {number}", json_problem(value)
        if problem:
            problems.append(f"{place}: {problem}: {str(value)[:60]!a}")
        else:
            yield place, value


def object_rows(document: Document, problems: list[str], columns: Names, needed: Sequence[str]) -> Iterator[Row]:
    """The rows of a file of JSON objects. Texts that are needed may be null, which is an empty text; the other columns may
    have numbers.
    """
    for place, value in json_values(document, problems):
        row = value if isinstance(value, dict) else {}
        keys = {kind: next((n for n in names if n in row), None) for kind, names in columns.items()}
        values = {
            kind: row[key] for kind, key in keys.items() if key is not None and (kind in needed or row[key] is not None)
        }
        values = {
            kind: ""
            if value is None and kind != "file"
            else str(value)
            if _is_number(value) and kind not in needed
            else value
            for kind, value in values.items()
        }
        wrong = next(
            (f"; {keys[kind]!r} is {row[keys[kind]]!r}" for kind, v in values.items() if not isinstance(v, str)), ""
        )
        if wrong or any(kind not in values for kind in needed):
            wanted = " and ".join(f'"{kind}"' for kind in needed)
            problems.append(f"{place}: needs the texts {wanted}{wrong}: {json.dumps(value, ensure_ascii=False)[:60]!r}")
            continue
        yield Row(place, values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
