"""Recordings in a file: how many bytes of samples its header promises, how many are there, and whether others follow.

libsndfile shortens what the header promises to what is there, reads the first of several recordings only, and nothing where
the program that wrote to a pipe left a size of 0 in the header. So the sizes are read here, before it decodes.

RIFF, RIFX (WAV), RF64, W64, AIFF, AIFC, CAF: chunks, each with a key and a size. AU, SPH: a header, then samples.
"""

from __future__ import annotations

import io
import math
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from unrolled.data.flac import flac_streams
from unrolled.data.mpeg import mpeg_streams, skip_id3
from unrolled.data.ogg import ogg_streams
from unrolled.data.sources import Data, cut_off
from unrolled.errors import DataError

__all__ = ["JoinedParts", "streams_in"]

Parts = list[bytes | memoryview]
_W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")
#: Bytes behind the samples that may be anything: more are samples that the header does not mention.
_IGNORED = 1 << 16
_SPH_FIELD = re.compile(rb"(sample_count|sample_n_bytes|channel_count) -\w+ (\d+)")


class _Layout(NamedTuple):
    """How chunks are written. first: bytes before the first; key: bytes of a key; size: format of a size; own: bytes of a
    chunk's head that its size counts; align: chunks begin at multiples of so many bytes; data: key of the samples.
    """

    first: int
    key: int
    size: str
    own: int
    align: int
    data: bytes


_RIFF = _Layout(12, 4, "<I", 0, 2, b"data")
_LAYOUTS = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"RIFX": _RIFF._replace(size=">I"),
    b"FORM": _Layout(12, 4, ">I", 0, 2, b"SSND"),
    b"caff": _Layout(8, 4, ">q", 0, 1, b"data"),
    b"riff": _Layout(40, 16, "<q", 24, 8, b"data" + _W64),
}


class _Samples(NamedTuple):
    """Where the samples of a recording begin, and their bytes by the header, None where it does not say.

    field: where the header has their size, its format, and what is added to it.
    """

    begin: int
    promised: int | None
    field: tuple[int, str, int]


def streams_in(data: Data, name: str) -> list[Parts]:
    """Split a file into its recordings, each as the parts that a decoder is to read.

    Returns an empty list for a file that a decoder can read as it is, or whose format has no sizes. Raises DataError
    where the file is cut off, damaged, or holds samples that its header does not mention.
    """
    start = skip_id3(data, 0)
    if data[start : start + 4] == b"OggS":
        return _unless_whole(ogg_streams(data, name), data)
    if data[start : start + 4] == b"fLaC":
        return _unless_whole(flac_streams(data, start), data)
    found, at = list[Parts](), start
    while (samples := _samples(data, at)) is not None:
        parts, at = _recording(data, at, samples, name)
        found.append(parts)
    if found:
        rest = len(data) - at
        if rest > _IGNORED and bytes(data[at : at + _IGNORED]).strip(b"\0"):
            raise DataError(
                f"{name}: has {rest:,} bytes behind the samples that its header mentions: its header is wrong, as of files "
                "of more than 4 GB. Fix: write it anew, for example: ffmpeg -ignore_length 1 -i OLD.wav NEW.wav"
            )
        return _unless_whole(found, data)
    return mpeg_streams(data, name)


def _unless_whole(found: list[Parts], data: Data) -> list[Parts]:
    """Nothing for a file with one recording that goes to the decoder unchanged."""
    unchanged = len(found) == 1 and len(found[0]) == 1 and isinstance(found[0][0], memoryview)
    return [] if unchanged and data[:3] != b"ID3" else found


def _samples(data: Data, at: int) -> _Samples | None:
    """Find the samples of the recording that begins at a place; None if none begins there, or has none."""
    magic = bytes(data[at : at + 4])
    if magic in (b".snd", b"dns."):
        order = ">" if magic == b".snd" else "<"
        offset, size = struct.unpack(f"{order}II", data[at + 4 : at + 12].ljust(8, b"\0"))
        return _Samples(at + offset, _known(size, at + offset, len(data)), (at + 8, f"{order}I", 0))
    if data[at : at + 8] == b"NIST_1A\n" and b"embedded" not in data[at : at + 1024]:
        sizes = [int(number) for _, number in _SPH_FIELD.findall(bytes(data[at : at + 1024]))]
        return _Samples(at + 1024, math.prod(sizes), (at, "", 0)) if len(sizes) == 3 else None
    layout = _LAYOUTS.get(magic)
    if layout is None or (magic == b"RIFF" and data[at + 8 : at + 12] != b"WAVE"):
        return None
    long = None
    for key, body, size in _chunks(data, at + layout.first, layout):
        if key == b"ds64":
            long = struct.unpack("<q", data[body + 8 : body + 16].ljust(8, b"\0"))[0], (body + 8, "<q", 0)
        if key == layout.data:
            place = body - struct.calcsize(layout.size), layout.size, layout.own
            promised, place = long if long is not None and size == 0xFFFFFFFF else (size, place)
            return _Samples(body, _known(promised, body, len(data)), place)
    return None


def _known(size: int, begin: int, end: int) -> int | None:
    """A size by the header; None where it is one of those that programs write that do not know it yet, as to a pipe."""
    unknown = 0x7EFFFF00 <= size <= 0x80000000 or 0xFFFFFF00 <= size <= 0xFFFFFFFF
    return None if size <= 0 or (unknown and begin + size > end) else size


def _chunks(data: Data, at: int, layout: _Layout) -> Iterator[tuple[bytes, int, int]]:
    """Key, place of the content and its bytes of the chunks from a place on."""
    head = layout.key + struct.calcsize(layout.size)
    while len(key := bytes(data[at : at + layout.key])) == layout.key and all(32 <= byte < 127 for byte in key[:4]):
        raw = data[at + layout.key : at + head]
        if len(raw) < head - layout.key or key[:4] in _LAYOUTS:
            return
        size = struct.unpack(layout.size, raw)[0] - layout.own
        yield key, at + head, size
        if size < 0:
            return
        at += head + size + -size % layout.align


def _recording(data: Data, start: int, samples: _Samples, name: str) -> tuple[Parts, int]:
    """Return the parts of a recording, and where the next one may begin."""
    there = len(data) - samples.begin
    layout = _LAYOUTS.get(bytes(data[start : start + 4]))
    if samples.promised is None:
        return _unknown(data, start, samples, layout)
    if samples.promised > there:
        raise cut_off(name, f"its header promises {samples.promised:,} bytes of samples, {max(0, there):,} are there")
    end = samples.begin + samples.promised
    if layout is not None:
        end = min(len(data), end + -samples.promised % layout.align)
        end += layout.align == 1 and data[end : end + 1] == b"\0"  # libsndfile fills up to an even size
        for _, body, size in _chunks(data, end, layout):
            if size < 0 or body + size > len(data):
                break
            end = min(len(data), body + size + -size % layout.align)
    return [memoryview(data)[start:end]], end


def _unknown(data: Data, start: int, samples: _Samples, layout: _Layout | None) -> tuple[Parts, int]:
    """Return all that follows, with its size in the header; nothing where other chunks follow up to the end."""
    end, place = len(data), samples.field
    if layout is not None:
        chunks = [body + size + -size % layout.align for _, body, size in _chunks(data, samples.begin, layout)]
        if chunks and chunks[-1] in (end, end + 1):
            return [memoryview(data)[start:end]], end
    head = bytearray(data[start : samples.begin])
    at, form, own = place
    size = min(max(0, end - samples.begin) + own, 0xFFFFFFFF if form.endswith("I") else 1 << 62)
    head[at - start : at - start + struct.calcsize(form)] = struct.pack(form, size)
    return [bytes(head), memoryview(data)[samples.begin : end]], end


class JoinedParts(io.RawIOBase):
    """Parts of files as one file object, without a copy."""

    def __init__(self, parts: Sequence[bytes | memoryview]) -> None:
        self._parts, self._ends, self._at = parts, list(accumulate(map(len, parts))), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1]}[whence]
        self._at = max(0, begin + offset)  # libsndfile may ask for more, and knows no exceptions
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        into, done = memoryview(buffer).cast("B"), 0
        while done < len(into) and self._at < self._ends[-1]:
            i = bisect_right(self._ends, self._at)
            first = self._at - (self._ends[i] - len(self._parts[i]))
            chunk = self._parts[i][first : first + len(into) - done]
            into[done : done + len(chunk)] = chunk
            done, self._at = done + len(chunk), self._at + len(chunk)
        return done
