"""Sentences in two languages: two files aligned by line, or one table (.tsv, .csv, .jsonl, .json); .gz of each.

found = read_pairs(["train.de", "train.en"])
found.sources[0], found.targets[0], found.places[0]      # 'Ein Hund rennt.', 'A dog runs.', 'train.de, line 1'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from unrolled.data.paths import list_sources
from unrolled.data.tables import field_rows, is_json, object_rows, read_tables
from unrolled.data.text import Document, lines_of
from unrolled.errors import ConfigError, DataError, first_of

__all__ = ["Pairs", "read_pairs"]

_SOURCE = ("source", "src", "source_text", "source_sentence")
_TARGET = ("target", "tgt", "trg", "target_text", "target_sentence", "translation")
#: Codes of ISO 639-1, with or without a region, and names of languages, as headers have them.
_CODES = (
    "af am ar az be bg bn bo bs ca co cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr ht hu hy id "
    "ig is it ja jv ka kk km kn ko ku ky la lb lo lt lv mg mi mk ml mn mr ms mt my nb ne nl nn no ny or pa pl ps pt "
    "ro ru rw sd si sk sl sm sn so sq sr st su sv sw ta te tg th ti tk tl tr tt ug uk ur uz vi wo xh yi yo zh zu "
)
_NAMES = (
    "afrikaans arabic basque bulgarian catalan chinese croatian czech danish dutch english estonian finnish french "
    "german greek hebrew hindi hungarian icelandic indonesian irish italian japanese korean latin latvian "
    "lithuanian norwegian persian polish portuguese romanian russian serbian slovak slovenian spanish swahili "
    "swedish thai turkish ukrainian urdu vietnamese welsh "
)
_LANGUAGE = re.compile(
    rf"(?:(?:text|sentence|source|src|target|tgt)[ _-])?(?:(?:{'|'.join(_CODES.split())})(?:[-_][a-z]{{2,4}})?"
    rf"|{'|'.join(_NAMES.split())})(?:[ _-](?:text|sentence))?"
)


@dataclass
class Pairs:
    """Sentences (n), what each is translated as, and where it was found. empty: pairs left out as one side has no text."""

    sources: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    empty: int = 0

    def __len__(self) -> int:
        return len(self.sources)

    def columns(self) -> tuple[Sequence[Any], ...]:
        """All that is learned from: both sides, (n,) each."""
        return self.sources, self.targets

    def part(self, rows: Iterable[int]) -> Pairs:
        """Some of the pairs."""
        rows = list(rows)
        return Pairs([self.sources[i] for i in rows], [self.targets[i] for i in rows], [self.places[i] for i in rows])

    def add(self, source: str, target: str, place: str) -> None:
        """One pair more, if both sides have a text."""
        if not source.strip() or not target.strip():
            self.empty += 1
            return
        self.sources.append(source.strip())
        self.targets.append(target.strip())
        self.places.append(place)


def read_pairs(files: str | Path | Document | Iterable[str | Path | Document], encoding: str = "utf-8") -> Pairs:
    """Read a source file and a target file, or one file of both.

    A .tsv or .csv has two columns, source first, or a header that names source and target; two names of languages are a
    header, too. A .jsonl or .json has objects with "source" and "target". Raises DataError naming up to ten lines that are
    wrong, or where two files stop being aligned; ConfigError for another number of files, or the same one twice.
    """
    files = list_sources(files, Document)
    if len(files) not in (1, 2):
        raise ConfigError(
            f"give a source file and a target file, or one .tsv, .csv or .jsonl of both; got {len(files)} files"
        )
    documents = read_tables(files, encoding)
    if len(documents) != len(files):
        raise DataError(f"{files[0]}: a folder holds no pairs of sentences; name two files, or one .tsv, .csv or .jsonl")
    found, problems = Pairs(), list[str]()
    if len(documents) == 2:
        _read_aligned(documents[0], documents[1], found)
    elif is_json(documents[0]):
        _read_json(documents[0], found, problems)
    else:
        _read_table(documents[0], found, problems)
    if problems:
        raise DataError(first_of(problems))
    if not len(found):
        raise DataError(f"{', '.join(document.name for document in documents)}: hold no pair of sentences.")
    return found


def _read_aligned(source: Document, target: Document, found: Pairs) -> None:
    left, right = ([line.rstrip("\r\n") for line in lines_of(document)] for document in (source, target))
    if (source.path is not None and source.path == target.path) or (len(left) > 1 and left == right):
        raise ConfigError(f"{source.name} and {target.name}: the same text is source and target. Name two files.")
    if len(left) != len(right):
        shorter, longer = (source, target) if len(left) < len(right) else (target, source)
        raise DataError(
            f"{source.name} has {len(left):,} lines, {target.name} {len(right):,}: line i of one must be the translation "
            f"of line i of the other. {_divergence(left, right)} Has {shorter.name} lost lines, or {longer.name} been "
            "wrapped?"
        )
    for number, (a, b) in enumerate(zip(left, right, strict=True), start=1):
        found.add(a, b, f"{source.name}, line {number}")


def _divergence(left: list[str], right: list[str]) -> str:
    """Where the lines first look as if they were no longer aligned: one side empty, or lengths that do not go together."""
    ratio = sum(map(len, left)) / max(1, sum(map(len, right)))
    for number, (a, b) in enumerate(zip_longest(left, right, fillvalue=""), start=1):
        expected = (len(b) * ratio, len(a)) if a and b else (0, 1)
        if bool(a.strip()) != bool(b.strip()) or max(expected) > 4 * min(expected) + 20:
            return f"They seem to part at line {number}: {a[:50]!r} against {b[:50]!r}."
    return ""


def _read_table(document: Document, found: Pairs, problems: list[str]) -> None:
    """Rows of two columns, or of more below a header that names them."""
    header, at = list[str](), None
    for n, (number, fields) in enumerate(field_rows(document, problems)):
        place = f"{document.name}, line {number}"
        if n == 0 and (at := _columns(fields)) is not None:
            header = fields
            continue
        if not any(field.strip() for field in fields) and len(fields) != 2:
            continue
        if len(fields) != (len(header) or 2):
            expected = "a source sentence, a tab and its translation are expected"
            expected = f"the header has {len(header)}" if header else expected
            given = " ".join(fields).strip()[:60]
            problems.append(f"{place}: has {len(fields)} column{'s' * (len(fields) != 1)}; {expected}: {given!r}")
            continue
        source, target = at or (0, 1)
        found.add(fields[source], fields[target], place)


def _columns(fields: list[str]) -> tuple[int, int] | None:
    """Which columns hold source and target, if the first row is a header; None if it is a pair."""
    names = [field.strip().lower() for field in fields]
    source, target = (next((names.index(n) for n in known if n in names), None) for known in (_SOURCE, _TARGET))
    if source is not None and target is not None:
        return source, target
    languages = len(names) == 2 and names[0] != names[1] and all(_LANGUAGE.fullmatch(name) for name in names)
    return (0, 1) if languages else None


def _read_json(document: Document, found: Pairs, problems: list[str]) -> None:
    for row in object_rows(document, problems, {"source": _SOURCE, "target": _TARGET}, ("source", "target")):
        found.add(row.values["source"], row.values["target"], row.place)
