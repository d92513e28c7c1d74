"""Frames of MPEG audio (MP3): how many there are, and how many the header of a file promises.

A file of variable bit rate whose first frame holds no count (Xing, Info or VBRI) has no length: decoders guess it from the
bit rate of the first frame and stop there. Here all frames are counted, and the decoder gets a count that is right.

ISO/IEC 11172-3 and 13818-3; the count of frames: http://gabriel.mp3-tech.org/mp3infotag.html
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from unrolled.data.sources import Data, cut_off

__all__ = ["mpeg_streams", "skip_id3"]

#: Kilobits per second by index of the bit rate, from 1: of MPEG 1 by layer, then of MPEG 2 and 2.5.
_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
#: Frames in a row that show where a stream begins: less occurs in other files at random.
_ENOUGH = 3
#: Bytes in which the first frame has to begin, behind tags: a stream that was joined late begins within a frame.
_SEARCHED = 1 << 16


class _Header(NamedTuple):
    """size in bytes; samples of each channel; version (1, 2; 2.5 is 3), layer and samples per second."""

    size: int
    samples: int
    version: int
    layer: int
    rate: int


def _headers() -> list[_Header | None]:
    """Return what the second and the third byte of a frame say, by their value as one number; None: no frame."""
    found = list[_Header | None]([None] * 65_536)
    for second in range(0xE0, 0x100):
        version, layer = {3: 1, 2: 2, 0: 3}.get(second >> 3 & 3), 4 - (second >> 1 & 3)
        if version is None or layer == 4:
            continue
        for third in range(256):
            index, rate_index, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
            if not 0 < index < 15 or rate_index == 3:
                continue
            rate = _RATES[rate_index] >> version - 1
            bits = 1000 * _KBPS[min(version, 2), layer][index - 1]
            samples = 384 if layer == 1 else 576 if layer == 3 and version > 1 else 1152
            size = (12 * bits // rate + padding) * 4 if layer == 1 else samples // 8 * bits // rate + padding
            found[second << 8 | third] = _Header(size, samples, version, layer, rate)
    return found


_HEADERS = _headers()


@dataclass
class _Run:
    """Frames of one kind, and where each begins and ends.

    count: the frame that holds the count, with its place there; empty without one. promised: frames by that count.
    silent: where frames begin whose data begin in frames that are not there, and the bytes of data before each.
    """

    header: _Header
    mono: bool
    count: bytes = b""
    place: int = 0
    promised: int = 0
    starts: array[int] = field(default_factory=lambda: array("Q"))
    ends: array[int] = field(default_factory=lambda: array("Q"))
    silent: dict[int, int] = field(default_factory=dict)

    def is_of(self, header: _Header, mono: bool) -> bool:
        """Whether a frame can belong to the same stream: the bit rate may change, no other property may."""
        return header[2:] == self.header[2:] and mono == self.mono


def mpeg_streams(data: Data, name: str) -> list[list[bytes | memoryview]]:
    """Split a file into its streams, each as the parts that a decoder is to read; none if it holds no MPEG audio.

    Raises DataError where a header promises more frames than are there.
    """
    runs, complete = _runs(data, min(len(data), skip_id3(data, 0) + _SEARCHED))
    for run in runs:
        missing = run.promised - len(run.starts)
        if missing > 1 or (missing == 1 and not complete and run is runs[-1]):
            there, said = (n * run.header.samples / run.header.rate for n in (len(run.starts), run.promised))
            raise cut_off(name, f"its header promises {said:,.2f} s, {there:,.2f} s are there")
    return [_parts(data, part) for run in runs for part in _by_promise(data, run) if len(part.starts)]


def skip_id3(data: Data, at: int) -> int:
    """Return where a file goes on behind the ID3v2 tags at a place, and the zeros that fill them up."""
    while data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 127
        at += 10 + size + (10 if data[at + 5] & 16 else 0)
        while data[at : at + 1] == b"\0":
            at += 1
    return at


def _runs(data: Data, first_before: int) -> tuple[list[_Run], bool]:
    """Return the runs of frames, the first before a place, and whether the last frame is whole."""
    runs, at = list[_Run](), _search(data, 0, first_before)
    before = 0  # bytes of data that the next frame may refer to
    while 0 <= at < len(data):
        header, mono = _header(data, at), data[at + 3 : at + 4] >= b"\xc0"
        same = header is not None and bool(runs) and runs[-1].is_of(header, mono)
        if header is None or not (same or _in_sync(data, at)):
            at, before = _search(data, at + (header is not None), len(data)), 0
            continue
        if at + header.size > len(data):
            return runs, False
        count = _count(data, at, header, mono)
        if count is not None:
            runs.append(_Run(header, mono, data[at : at + header.size], *count))
        elif not same:
            runs.append(_Run(header, mono))
        if not same or count is not None:
            before = 0
        if count is None:
            needed, own = _reservoir(data, at, header, mono)
            runs[-1].starts.append(at)
            runs[-1].ends.append(at + header.size)
            if needed > before:
                runs[-1].silent[at] = before
            before += own
        at += header.size
    return runs, True


def _header(data: Data, at: int) -> _Header | None:
    four = data[at : at + 4]
    return _HEADERS[four[1] << 8 | four[2]] if len(four) == 4 and four[0] == 0xFF else None


def _in_sync(data: Data, at: int) -> bool:
    """Whether some frames of one kind follow each other, or as many as there are before the end or a tag."""
    first = _header(data, at)
    if first is None or at + first.size > len(data):
        return False
    for n in range(_ENOUGH):
        if at >= len(data) or (n and _tag_size(data, at)):
            break
        header = _header(data, at)
        if header is None or header[2:] != first[2:]:
            return False
        at += header.size
    return True


def _search(data: Data, at: int, stop: int) -> int:
    """Return where the next frames begin, -1 if nowhere before `stop`. Tags are passed over, and what is damaged."""
    while 0 <= at < stop:
        tag = _tag_size(data, at)
        if not tag and _in_sync(data, at):
            return at
        at = at + tag if tag else data.find(b"\xff", at + 1)
    return -1


def _tag_size(data: Data, at: int) -> int:
    """Return the bytes of the tag that begins here: ID3v2, ID3v1 or APE; 0 if none does."""
    start = data[at : at + 16]
    if start[:3] == b"ID3":
        return skip_id3(data, at) - at
    if start[:8] == b"APETAGEX":
        return 32 + int.from_bytes(start[12:], "little")
    return 128 if start[:3] == b"TAG" else 0


def _count(data: Data, at: int, header: _Header, mono: bool) -> tuple[int, int] | None:
    """Return where in a frame the count of frames is, and its value, both 0 for a header without; None: another frame."""
    if header.layer != 3:
        return None
    usual = at + _place(header, mono)
    for place in (usual, usual + 2):  # behind a checksum
        if data[place : place + 4] in (b"Xing", b"Info"):
            flags, frames = struct.unpack(">II", data[place + 4 : place + 12].ljust(8, b"\0"))
            return (place - at, frames) if flags & 1 else (0, 0)
    if data[at + 36 : at + 40] == b"VBRI":
        return 0, int.from_bytes(data[at + 50 : at + 54], "big")
    return None


def _reservoir(data: Data, at: int, header: _Header, mono: bool) -> tuple[int, int]:
    """Return the bytes of earlier frames in which the data of a frame begin, and its own bytes of data."""
    if header.layer != 3:
        return 0, 0
    checksum = 0 if data[at + 1] & 1 else 2
    first, second = data[at + 4 + checksum : at + 6 + checksum]
    return (first << 1 | second >> 7) if header.version == 1 else first, header.size - checksum - _place(header, mono)


def _place(header: _Header, mono: bool) -> int:
    """Bytes before the count: header and side information."""
    return 4 + ((17 if mono else 32) if header.version == 1 else (9 if mono else 17))


def _by_promise(data: Data, run: _Run) -> Iterator[_Run]:
    """Split a run where its header ends it: what follows is another file that was joined to it."""
    n = run.promised
    if n == 0 or len(run.starts) <= n + 1:  # some writers count one frame more, or one less
        yield run
    elif _reservoir(data, run.starts[n], run.header, run.mono)[0]:  # no file begins here: the count is wrong
        yield _Run(run.header, run.mono, starts=run.starts, ends=run.ends, silent=run.silent)
    else:
        yield _Run(run.header, run.mono, run.count, run.place, n, run.starts[:n], run.ends[:n], run.silent)
        yield _Run(run.header, run.mono, starts=run.starts[n:], ends=run.ends[n:])


def _parts(data: Data, run: _Run) -> list[bytes | memoryview]:
    """Return the frames, those that follow each other together, behind a frame that holds their count."""
    view, parts = memoryview(data), list[bytes | memoryview]()
    start = end = run.starts[0]
    for first, last in zip(run.starts, run.ends, strict=True):
        if first > end or first in run.silent:
            parts.append(view[start:end])
            start = first
        if first in run.silent:  # without side information: its data are for the frames behind it alone
            own = first + (4 if data[first + 1] & 1 else 6)
            start = own + _place(run.header, run.mono) - 4
            begin = min(run.silent[first], 511) << 7 if run.header.version == 1 else min(run.silent[first], 255) << 8
            parts += [data[first:own], begin.to_bytes(2, "big").ljust(start - own, b"\0")]
        end = last
    parts = [part for part in [*parts, view[start:end]] if len(part)]
    if run.header.layer != 3:
        return parts
    head = bytearray(run.count) if run.place else _empty_frame(bytes(view[run.starts[0] : run.starts[0] + 4]), run.header)
    place = run.place or _place(run.header, run.mono)
    if not run.place:
        head[place : place + 8] = b"Xing" + (3).to_bytes(4, "big")
    head[place + 8 : place + 12] = len(run.starts).to_bytes(4, "big")
    if head[place + 7] & 2:  # decoders compare it with the size of the file
        head[place + 12 : place + 16] = min(len(head) + sum(map(len, parts)), 0xFFFFFFFF).to_bytes(4, "big")
    return [bytes(head), *parts]


def _empty_frame(four: bytes, header: _Header) -> bytearray:
    """Return a frame of 64 kbit/s without sound, of the kind of another one, whose first four bytes these are."""
    second, third = four[1] | 1, (5 if header.version == 1 else 8) << 4 | four[2] & 0b1100
    size = _HEADERS[second << 8 | third]
    assert size is not None
    frame = bytearray(size.size)
    frame[:4] = bytes((0xFF, second, third, four[3]))
    return frame
