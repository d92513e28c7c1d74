"""Text from the outside world: files, folders, .gz and standard input become named documents.

A file that cannot be text is refused with its name, the byte offset and a remedy. Line ends are normalised to "\\n" and a
byte order mark is dropped; nothing else is changed.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unrolled.errors import DataError

__all__ = ["Document", "read_documents"]

#: How many problems are collected before giving up.
MAX_PROBLEMS = 10
_SUFFIXES = (".txt", ".text", ".md", ".txt.gz", ".text.gz", ".md.gz")
_BOMS = {b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class Document:
    """One text: `name` for messages, `text` with "\\n" as line end, `path` of the file it was read from, if any."""

    name: str
    text: str
    path: str | None = None


def read_documents(sources: Iterable[str | Path], encoding: str = "utf-8") -> list[Document]:
    """Read files, every text file below a folder, .gz files, and "-" for standard input.

    Raises DataError naming up to ten files that are missing, empty, binary, cut off or in another encoding.
    """
    documents, problems = [], []
    for source in sources:
        try:
            paths = _expand(str(source))
        except DataError as error:
            problems.append(str(error))
            continue
        for path in paths:
            try:
                documents.append(_read(path, encoding))
            except DataError as error:
                problems.append(str(error))
    if problems:
        more = f"\n... and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise DataError("\n".join(problems[:MAX_PROBLEMS]) + more)
    if not documents:
        raise DataError("No text was given. Name one or more text files, a folder, or - for standard input.")
    return documents


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


def _read(source: str, encoding: str) -> Document:
    name = "<standard input>" if source == "-" else source.encode("utf-8", "backslashreplace").decode()
    raw = _bytes(source, name)
    text = _decode(raw, name, encoding)
    if not text.strip():
        raise DataError(f"{name}: the file holds no text ({len(raw)} bytes).")
    return Document(name, text, None if source == "-" else str(Path(source).resolve()))


def _bytes(source: str, name: str) -> bytes:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{name}: the gzip file is damaged or cut off ({error}). Compress or copy it again.") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error}).") from None


def _decode(raw: bytes, name: str, encoding: str) -> str:
    for mark, utf in _BOMS.items():
        if raw.startswith(mark) and encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
            raise DataError(f"{name}: starts with the mark of {utf}, not utf-8. Name the encoding: --encoding {utf}")
    try:
        text = raw.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        around = raw[max(0, error.start - 10) : error.start + 10]
        if b"\x00" in raw[:4096]:
            raise DataError(f"{name}: is a binary file, not text (NUL byte at {raw.index(0)}).") from None
        raise DataError(
            f"{name}: not {encoding} at byte {error.start} (byte 0x{raw[error.start]:02x} in {around!r}). "
            "If the file is text, name its encoding, for example: --encoding latin-1 or --encoding gb18030"
        ) from None
    except UnicodeError as error:
        raise DataError(f"{name}: cannot be read as {encoding!a} ({error}).") from None
    except LookupError:
        raise DataError(
            f"'{encoding}' is not an encoding Python knows. Examples: utf-8, latin-1, gb18030, utf-16."
        ) from None
    if "\x00" in text:
        raise DataError(f"{name}: is a binary file, not text (NUL character at position {text.index(chr(0))}).")
    return text.replace("\r\n", "\n").replace("\r", "\n")
