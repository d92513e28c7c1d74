"""Sentences in two languages: two files aligned by line, one .tsv, or one .jsonl; .gz of each.

found = read_pairs(["train.de", "train.en"])
found.sources[0], found.targets[0], found.places[0]      # 'Ein Hund rennt.', 'A dog runs.', 'train.de, line 1'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from unrolled.data.paths import list_sources
from unrolled.data.text import Document, json_lines, lines_of, read_documents
from unrolled.errors import ConfigError, DataError, first_of

__all__ = ["Pairs", "read_pairs"]


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

    A .tsv has two columns, a .jsonl the fields "source" and "target". Raises DataError naming up to ten lines that are
    wrong, or where two files stop being aligned; ConfigError for another number of files, or the same one twice.
    """
    files = list_sources(files, Document)
    if len(files) not in (1, 2):
        raise ConfigError(f"give a source file and a target file, or one .tsv or .jsonl of both; got {len(files)} files")
    documents = read_documents(files, encoding)
    if len(documents) != len(files):
        raise DataError(f"{files[0]}: a folder holds no pairs of sentences; name two files, or one .tsv or .jsonl")
    found, problems = Pairs(), list[str]()
    if len(documents) == 2:
        _read_aligned(documents[0], documents[1], found)
    elif documents[0].name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        _read_jsonl(documents[0], found, problems)
    else:
        _read_tsv(documents[0], found, problems)
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


def _read_tsv(document: Document, found: Pairs, problems: list[str]) -> None:
    for number, line in enumerate(lines_of(document), start=1):
        fields = line.rstrip("\r\n").split("\t")
        place = f"{document.name}, line {number}"
        if not line.strip():
            continue
        if len(fields) != 2:
            problems.append(
                f"{place}: has {len(fields)} column{'s' * (len(fields) != 1)}; a source sentence, a tab and its "
                f"translation are expected: {line.strip()[:60]!r}"
            )
            continue
        found.add(fields[0], fields[1], place)


def _read_jsonl(document: Document, found: Pairs, problems: list[str]) -> None:
    for place, line, row in json_lines(document, problems):
        source, target = (row.get("source"), row.get("target")) if isinstance(row, dict) else (None, None)
        if not isinstance(source, str) or not isinstance(target, str):
            problems.append(f'{place}: needs the texts "source" and "target": {line.strip()[:60]!r}')
            continue
        found.add(source, target, place)
