"""Where the bytes of a recording or an image come from: a file's name, bytes, or an open file object."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from unrolled.errors import DataError

__all__ = ["ByteSource", "read_bytes", "source_name"]

#: A file's name, the bytes of a file, or a file object that is open for reading bytes.
ByteSource = str | Path | bytes | bytearray | memoryview | BinaryIO


def source_name(source: ByteSource) -> str:
    """Return what errors call a source; bytes of a name that are not UTF-8 are written as \\xNN."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    name = source if isinstance(source, str | Path) else getattr(source, "name", None)
    if not isinstance(name, str | bytes | os.PathLike):
        return "<file object>"
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_bytes(source: ByteSource, name: str) -> bytes:
    """Return all bytes of a source. Raises DataError where it cannot be read, TypeError for what is no source."""
    try:
        if isinstance(source, str | Path):
            return Path(source).read_bytes()
        if isinstance(source, bytes | bytearray | memoryview):
            return bytes(source)
        if not hasattr(source, "read"):
            raise TypeError(f"expected a file's name, bytes or a file object open for reading bytes, got {type(source)}")
        data = source.read()
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    if not isinstance(data, bytes):
        raise TypeError(f"{name}: expected a file object that gives bytes, got {type(data)}. Fix: open it with mode 'rb'.")
    return data
