"""FLAC streams: where each begins, and how many samples there are where the header does not say (RFC 9639)."""

from __future__ import annotations

import re

from unrolled.data.sources import Data

__all__ = ["flac_streams"]

#: The mark of a stream and the head of the block that follows it: STREAMINFO, 34 bytes, the last block or not.
_BEGIN = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)
_SAMPLES = 21  # the place of the 36 bits that count the samples: the low half of this byte, and four more
#: Bytes at the end in which the last frame begins.
_SEARCHED = 1 << 22


def flac_streams(data: Data, start: int) -> list[list[bytes | memoryview]]:
    """Split a file into streams that follow each other, each as the parts that a decoder is to read.

    A stream that was written to a pipe counts 0 samples: the count is taken from its last frame.
    """
    view, found = memoryview(data), list[list[bytes | memoryview]]()
    starts = [match.start() for match in _BEGIN.finditer(view, start)] or [start]
    for first, last in zip(starts, [*starts[1:], len(data)], strict=True):
        head = bytearray(view[first : first + _SAMPLES + 5])
        if len(head) == _SAMPLES + 5 and not head[_SAMPLES] & 15 and not any(head[_SAMPLES + 1 :]):
            samples = _last_sample(bytes(view[max(first, last - _SEARCHED) : last]), int.from_bytes(head[10:12], "big"))
            head[_SAMPLES] |= samples >> 32 & 15
            head[_SAMPLES + 1 :] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
            found.append([bytes(head), view[first + len(head) : last]])
        else:
            found.append([view[first:last]])
    return found


def _last_sample(data: bytes, block: int) -> int:
    """Return the samples up to the end of the last frame, 0 if there is none. block: samples of a frame by STREAMINFO."""
    at = len(data)
    while (at := data.rfind(b"\xff", 0, at)) >= 0:
        if data[at + 1 : at + 2] in (b"\xf8", b"\xf9"):
            header = _frame_header(data[at : at + 16])
            if header is not None:
                number, size = header
                return (number if data[at + 1] & 1 else number * block) + size
    return 0


def _frame_header(data: bytes) -> tuple[int, int] | None:
    """Return the number of a frame (or of its first sample) and its samples; None where no header is there."""
    if len(data) < 7 or data[3] & 1:
        return None
    extra = 8 - (data[4] ^ 0xFF).bit_length()  # leading ones, as in UTF-8
    length = max(1, extra)
    number = data[4] & (0x7F >> extra if extra else 0x7F)
    for byte in data[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    at, code = 4 + length, data[2] >> 4
    wide = {6: 1, 7: 2}.get(code, 0)
    size = {1: 192}.get(code, 576 << code - 2 if code < 6 else 256 << code - 8 if code > 7 else 0)
    if wide:
        size = int.from_bytes(data[at : at + wide], "big") + 1
    at += wide + {12: 1, 13: 2, 14: 2}.get(data[2] & 15, 0)
    return (number, size) if code and at < len(data) and _crc8(data[:at]) == data[at] else None


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (7 if value & 0x80 else 0)) & 0xFF
    return value
