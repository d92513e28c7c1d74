"""Text from the outside world: files, folders, .gz and standard input become named documents.

A file that cannot be text is refused with its name, the byte offset and a remedy. Line ends are normalised to "\\n" and a
byte order mark is dropped; nothing else is changed. Every file is read through once, in pieces; of what is long only
size, digest and alphabet are kept, and the text is read again, in chunks, by whoever needs it.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import hashlib
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from unrolled.data.paths import list_sources
from unrolled.data.valid_text import check_text, json_problem, without_nul
from unrolled.errors import DataError, first_of
from unrolled.kernels.words import mark

__all__ = [
    "CHUNK",
    "Document",
    "Facts",
    "LongDocument",
    "code_points",
    "json_lines",
    "lines",
    "lines_of",
    "read_documents",
    "size_on_disk",
]

#: Characters of a chunk.
CHUNK = 1 << 20
#: Characters that the documents of one call hold in memory; the text of further files stays where it is.
IN_MEMORY = 64 << 20
_SUFFIXES = (".txt", ".text", ".md", ".txt.gz", ".text.gz", ".md.gz")
_BOMS = {b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class Document:
    """One text: `name` for messages, `text` with "\\n" as line end, `path` of the file it was read from, if any."""

    name: str
    text: str
    path: str | None = None
    known: Facts | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Characters."""
        return len(self.text)

    def pieces(self) -> Iterator[str]:
        """The text in pieces of about CHUNK characters."""
        for at in range(0, len(self.text), CHUNK):
            yield self.text[at : at + CHUNK]

    def chunks(self) -> Iterator[str]:
        """The text in pieces that every tokenizer reads as if they were one: see `_between_lines`."""
        return _between_lines(self.pieces())

    def named(self, name: str) -> Document:
        """The same text under another name."""
        return Document(name, self.text, self.path, self.known)

    def part(self, start: int, stop: int, name: str) -> Document:
        """Characters start to stop as a document of their own."""
        return Document(name, self.text[start:stop])

    def line_start(self, before: int) -> int:
        """Where the line begins that holds character `before`."""
        start, at = 0, 0
        for piece in self.pieces():
            found = piece.rfind("\n", 0, max(0, before - at)) + 1
            start, at = (at + found if found else start), at + len(piece)
            if at >= before:
                break
        return start

    def facts(self) -> Facts:
        """Size, digest and alphabet; those of a file were noted when it was read."""
        if self.known:
            return self.known
        scan = _Scan()
        for piece in self.pieces():
            scan.add(piece)
        return scan.facts()


class LongDocument(Document):
    """A text that stays in its file: characters `start` to `stop` of it."""

    def __init__(self, name: str, path: str, encoding: str, facts: Facts, start: int = 0, stop: int | None = None) -> None:
        stop = facts.size if stop is None else stop
        known = facts if (start, stop) == (0, facts.size) else None
        self.__dict__.update(name=name, path=path, known=known, encoding=encoding, whole=facts, start=start, stop=stop)

    encoding: str
    whole: Facts
    start: int
    stop: int

    @property
    def text(self) -> str:  # type: ignore[override]
        """All of it at once."""
        return "".join(self.pieces())

    @property
    def size(self) -> int:
        return self.stop - self.start

    def pieces(self) -> Iterator[str]:
        assert self.path is not None
        at = 0
        for piece in _read_pieces(self.path, self.name, self.encoding):
            inside = piece[max(0, self.start - at) : max(0, self.stop - at)]
            at += len(piece)
            if inside:
                yield inside
            if at >= self.stop:
                break

    def named(self, name: str) -> LongDocument:
        return self.part(0, self.size, name)

    def part(self, start: int, stop: int, name: str) -> LongDocument:
        assert self.path is not None
        first = self.start + start
        return LongDocument(name, self.path, self.encoding, self.whole, first, min(self.stop, self.start + stop))

    @property
    def identity(self) -> tuple[str, int, int]:
        """Digest of the whole file, and which characters of it."""
        return self.whole.sha256, self.start, self.stop


class Facts(NamedTuple):
    """size in characters; sha256 of the text in UTF-8; alphabet: its different characters, in order."""

    size: int
    sha256: str
    alphabet: str


class _Scan:
    """Notes the facts of a text while it goes by."""

    def __init__(self) -> None:
        self.size, self.blank = 0, True
        self._seen = np.zeros(_CODE_POINTS, dtype=bool)
        self._digest = hashlib.sha256()

    def add(self, piece: str) -> None:
        self.size += len(piece)
        self.blank = self.blank and not piece.strip()
        mark(code_points(piece), self._seen)
        self._digest.update(piece.encode("utf-8"))

    def facts(self) -> Facts:
        return Facts(self.size, self._digest.hexdigest(), "".join(map(chr, np.flatnonzero(self._seen))))


def code_points(text: str) -> np.ndarray:
    """The numbers of the characters, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def lines_of(document: Document) -> Iterator[str]:
    """The lines with their ends."""
    rest = ""
    for piece in document.pieces():
        *whole, rest = (rest + piece).split("\n")
        for line in whole:
            yield line + "\n"
    if rest:
        yield rest


def json_lines(document: Document, problems: list[str]) -> Iterator[tuple[str, str, Any]]:
    """Place, line and value of each line of JSON that is not blank; what is no JSON goes to `problems`."""
    for number, line in enumerate(lines_of(document), start=1):
        place = f"{document.name}, line {number}"
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            problem = json_problem(value) if "\\u" in line else None  # JSON writes NUL and surrogates as \\uXXXX only
        except (json.JSONDecodeError, RecursionError) as error:
            problems.append(f"{place}: is not JSON ({error}): {line.strip()[:60]!r}")
            continue
        if problem:
            problems.append(
                f"{place}: {problem}: {line.strip()[:60]!r}. Cut texts end like this: remove the escape or the line, or "
                "write \\ufffd in its place"
            )
        else:
            yield place, line, value


def _between_lines(pieces: Iterable[str], size: int = CHUNK) -> Iterator[str]:
    """Pieces cut anew, each after a line end that stands between two characters that are not blank.

    There every tokenizer starts afresh, so that tokens do not depend on the cuts. Where no such place comes within 16
    times the size, the cut is made after a blank, or anywhere.
    """
    held = ""
    for piece in pieces:
        held += piece
        while len(held) > size:
            cut = _cut(held)
            if not cut and len(held) <= 16 * size:
                break
            cut = cut or held.rfind(" ", 0, 16 * size) + 1 or 16 * size
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _cut(text: str) -> int:
    """The last place to cut at, 0 if there is none."""
    at = text.rfind("\n", 0, len(text) - 1)
    while at > 0:
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at + 1
        at = text.rfind("\n", 0, at)
    return 0


def lines(some: Iterable[str | Iterable[str]], name: str = "lines") -> Document:
    """Lines from Python as a document: strings, or words that are joined by blanks. The iterable is gone through once.

    >>> lines(["to be or not", ["to", "be"]]).text
    'to be or not\\nto be\\n'
    """
    text = "".join(f"{line if isinstance(line, str) else ' '.join(line)}\n" for line in some)
    if not text.strip():
        raise DataError(f"{name}: holds no text.")
    check_text(text, name)
    return Document(name, text)


def read_documents(
    sources: str | Path | Document | Iterable[str | Path | Document], encoding: str = "utf-8"
) -> list[Document]:
    """Read files, every text file below a folder, .gz files, and "-" for standard input; documents pass as they are.

    Raises DataError naming up to ten files that are missing, empty, binary, cut off or in another encoding.
    """
    documents: list[Document] = []
    problems: list[str] = []
    room = IN_MEMORY
    for source in list_sources(sources, Document):
        if isinstance(source, Document):
            documents.append(source)
            continue
        try:
            paths = _expand(str(source))
        except DataError as error:
            problems.append(str(error))
            continue
        for path in paths:
            try:
                documents.append(_read(path, encoding, room))
                room -= 0 if isinstance(documents[-1], LongDocument) else documents[-1].size
            except DataError as error:
                problems.append(str(error))
    if problems:
        raise DataError(first_of(problems))
    if not documents:
        raise DataError("No text was given. Name one or more text files, a folder, or - for standard input.")
    return documents


def size_on_disk(sources: Iterable[str | Path]) -> int:
    """Bytes of the files that `read_documents` would read; a source that it would refuse counts nothing."""
    size = 0
    for source in sources:
        with contextlib.suppress(DataError):
            size += sum(Path(path).stat().st_size for path in _expand(str(source)) if path != "-")
    return size


def _expand(source: str) -> list[str]:
    if source == "-":
        return [source]
    path = Path(source)
    if path.is_dir():
        found = sorted(str(p) for p in path.rglob("*") if p.is_file() and p.name.lower().endswith(_SUFFIXES))
        if not found:
            raise DataError(f"{source}: no text files in this folder (looked for {', '.join(_SUFFIXES)}).")
        return found
    if not path.exists():
        raise DataError(f"{source}: no such file or folder.")
    return [source]


def _read(source: str, encoding: str, room: int) -> Document:
    """One file, in memory if it has at most `room` characters or is standard input."""
    name = "<standard input>" if source == "-" else source.encode("utf-8", "backslashreplace").decode()
    scan, held = _Scan(), []
    fits = True
    for piece in _read_pieces(source, name, encoding):
        scan.add(piece)
        fits = fits and (source == "-" or scan.size <= room)
        if fits:
            held.append(piece)
        else:
            held.clear()
    if scan.blank:
        raise DataError(f"{name}: the file holds no text.")
    path = None if source == "-" else str(Path(source).resolve())
    if fits or path is None:
        return Document(name, "".join(held), path, scan.facts())
    return LongDocument(name, path, encoding, scan.facts())


def _read_pieces(source: str, name: str, encoding: str) -> Iterator[str]:
    """The text of a file in pieces, decoded and checked, line ends normalised."""
    decoder = _decoder(encoding)
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    at, size, first = 0, 0, b""
    for block in _blocks(source, name):
        if not at:
            first = block
            _check_mark(block, name, encoding)
        pending = decoder.getstate()[0]
        try:
            text = newlines.decode(decoder.decode(block, final=False))
        except UnicodeDecodeError as error:
            raise _undecodable(error, at - len(pending), first, name, encoding) from None
        except UnicodeError as error:
            raise DataError(f"{name}: cannot be read as {encoding!a} ({error}).") from None
        at += len(block)
        yield without_nul(text, size, name)
        size += len(text)
    pending = decoder.getstate()[0]
    try:
        text = newlines.decode(decoder.decode(b"", final=True), final=True)
    except UnicodeDecodeError as error:
        raise _undecodable(error, at - len(pending), first, name, encoding) from None
    if text:
        yield without_nul(text, size, name)


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    try:
        plain = encoding.lower() in ("utf-8", "utf8")
        return codecs.getincrementaldecoder("utf-8-sig" if plain else encoding)(errors="strict")
    except LookupError:
        raise DataError(
            f"'{encoding}' is not an encoding Python knows. Examples: utf-8, latin-1, gb18030, utf-16."
        ) from None


def _blocks(source: str, name: str) -> Iterator[bytes]:
    """The bytes of a file, unpacked if it is a gzip file."""
    try:
        with io.BytesIO(sys.stdin.buffer.read()) if source == "-" else Path(source).open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file: BinaryIO = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            while block := file.read(CHUNK):
                yield block
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{name}: the gzip file is damaged or cut off ({error}). Compress or copy it again.") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error}).") from None


def _check_mark(block: bytes, name: str, encoding: str) -> None:
    for start, utf in _BOMS.items():
        if block.startswith(start) and encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
            raise DataError(f"{name}: starts with the mark of {utf}, not utf-8. Name the encoding: --encoding {utf}")


def _undecodable(error: UnicodeDecodeError, at: int, first: bytes, name: str, encoding: str) -> DataError:
    """The error for bytes that the encoding does not have; `at`: where error.object begins in the file."""
    if b"\x00" in first[:4096]:
        return DataError(f"{name}: is a binary file, not text (NUL byte at {first.index(0)}).")
    around = error.object[max(0, error.start - 10) : error.start + 10]
    return DataError(
        f"{name}: not {encoding} at byte {at + error.start} (byte 0x{error.object[error.start]:02x} in {around!r}). "
        "If the file is text, name its encoding, for example: --encoding latin-1 or --encoding gb18030"
    )
