"""Where the bytes of a recording or an image come from: a file's name, bytes, or an open file object."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path
from typing import BinaryIO

from unrolled.errors import DataError

__all__ = ["ByteSource", "Data", "cut_off", "map_bytes", "read_bytes", "source_name"]

#: A file's name, the bytes of a file, or a file object that is open for reading bytes.
ByteSource = str | Path | bytes | bytearray | memoryview | BinaryIO

#: The content of a file: in memory, or mapped.
Data = bytes | mmap.mmap


def source_name(source: ByteSource) -> str:
    """Return what errors call a source; bytes of a name that are not UTF-8 are written as \\xNN."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    name = source if isinstance(source, str | Path) else getattr(source, "name", None)
    if not isinstance(name, str | bytes | os.PathLike):
        return "<file object>"
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def cut_off(name: str, detail: str) -> DataError:
    """Return the error for a recording of which a part is missing."""
    return DataError(
        f"{name}: is cut off: {detail}. Fix: copy or record it again; to keep the rest, convert it: ffmpeg -i OLD NEW.wav"
    )


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


def map_bytes(source: ByteSource, name: str) -> Data:
    """Return all bytes of a source; those of a file are mapped, not read. Raises as `read_bytes` does."""
    if not isinstance(source, str | Path):
        return read_bytes(source, name)
    try:
        with Path(source).open("rb") as file:
            facts = os.fstat(file.fileno())
            if stat.S_ISREG(facts.st_mode) and facts.st_size:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return file.read()  # a pipe is read to its end
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None
