"""Pages of Ogg files: whether all are there and whole, and where one stream ends and another begins (RFC 3533)."""

from __future__ import annotations

import struct
import zlib

from unrolled.data.sources import Data, cut_off
from unrolled.errors import DataError

__all__ = ["ogg_streams"]

_HEAD = struct.Struct("<4sBBqIIIB")
_BEGINS, _ENDS = 2, 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_streams(data: Data, name: str) -> list[list[bytes | memoryview]]:
    """Split a file into the streams that follow each other (a chain), each as what a decoder is to read.

    Raises DataError where a page is damaged or missing, or a stream has no end.
    """
    starts, at = list[int](), 0
    open_streams, began = dict[int, int](), False  # serial number -> number of the next page
    while at < len(data) and (open_streams or not starts or data.find(b"OggS", at) >= 0):  # tags may follow
        flags, serial, number, size = _page(data, at, name)
        if flags & _BEGINS:
            if not began:
                _check_ended(open_streams, name)
                starts.append(at)
            open_streams[serial] = number
        if open_streams.get(serial) != number or not starts:
            raise DataError(f"{name}: is damaged: pages are missing before byte {at:,}. Fix: copy or record it again.")
        began = bool(flags & _BEGINS)
        open_streams[serial] = number + 1
        if flags & _ENDS:
            del open_streams[serial]
        at += size
    _check_ended(open_streams, name)
    return [[memoryview(data)[first:last]] for first, last in zip(starts, [*starts[1:], len(data)], strict=True)]


def _check_ended(open_streams: dict[int, int], name: str) -> None:
    if open_streams:
        raise cut_off(name, "its last page is not marked as the end of the stream")


def _page(data: Data, at: int, name: str) -> tuple[int, int, int, int]:
    """Return flags, serial number, number and size of the page at a place, whose checksum is right."""
    head = data[at : at + _HEAD.size]
    if len(head) == _HEAD.size and head[:4] == b"OggS":
        _, _, flags, _, serial, number, checksum, segments = _HEAD.unpack(head)
        size = _HEAD.size + segments + sum(data[at + _HEAD.size : at + _HEAD.size + segments])
        page = data[at : at + size]
        if len(page) == size and at + size <= len(data):
            if _checksum(page[:22] + bytes(4) + page[26:]) == checksum:
                return flags, serial, number, size
            raise DataError(f"{name}: is damaged: the page at byte {at:,} has another checksum. Fix: copy it again.")
    if b"OggS" in data[at + 1 : at + (1 << 20)] or (len(head) == _HEAD.size and head[:4] != b"OggS"):
        raise DataError(f"{name}: is damaged: no page begins at byte {at:,}. Fix: copy or record it again.")
    raise cut_off(name, f"it ends within the page at byte {at:,}")


def _checksum(page: bytes) -> int:
    """CRC-32 with the highest bit first, which zlib has with the lowest first: bits are reversed before and after."""
    value = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)
