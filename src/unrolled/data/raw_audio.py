"""Sound that is still coming, on standard input: WAV, as `arecord` sends it, or bare 16-bit samples (`arecord -t raw`)."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from unrolled.data.audio import Resampler
from unrolled.errors import DataError

__all__ = ["raw_pieces"]

#: Seconds of a piece, if so much is there.
_SECONDS = 0.1
_NAME = "<standard input>"
#: Bytes of samples that WAV announces where it does not know how many will come, at least.
_ENDLESS = 0x7FFF0000


def raw_pieces(stream: BinaryIO, rate_hz: int) -> Iterator[np.ndarray]:
    """Samples (N,) as they come. WAV says its rate and channels; bare samples are little-endian, of one channel, at
    `rate_hz`. DataError for other kinds; a stream that stops in the middle of a sample just ends.
    """
    head = stream.read(12)
    rate, channels, left, room = rate_hz, 1, head, math.inf
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        (rate, channels, room), left = _wav_header(stream), b""
    elif head[:4] in (b"fLaC", b"OggS", b"ID3\x03", b"ID3\x04") or head[:2] in (b"\xff\xfb", b"\xff\xf3"):
        raise DataError(f"{_NAME}: is a compressed file. Name it instead, or send 16-bit samples or WAV.")
    size, resampler = 2 * channels, Resampler(rate, rate_hz)
    block = max(1, int(_SECONDS * rate)) * size
    read = stream.read1 if hasattr(stream, "read1") else stream.read
    while new := read(int(min(block, room))):
        room -= len(new)
        data = left + new
        whole = len(data) // size * size
        left = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").astype(np.float32).reshape(-1, channels).mean(1) / 32768
        yield resampler.feed(samples)
    yield resampler.feed(np.zeros(0, np.float32), last=True)


def _wav_header(stream: BinaryIO) -> tuple[int, int, float]:
    """Rate, channels and bytes of samples; the stream then stands at the samples. Who does not know how long it will be
    says 0, or about as much as can be said.
    """
    rate = channels = 0
    while True:
        chunk = stream.read(8)
        if len(chunk) < 8:
            raise DataError(f"{_NAME}: is a WAV file without samples.")
        name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"data":
            break
        body = stream.read(size + size % 2)
        if name == b"fmt ":
            kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
            if kind not in (1, 0xFFFE) or bits != 16 or not channels or not rate:
                raise DataError(f"{_NAME}: is WAV of {bits} bits, kind {kind}; 16-bit samples are read: arecord -f S16_LE")
    if not rate:
        raise DataError(f"{_NAME}: is a WAV file that does not say its rate.")
    return rate, channels, size if 0 < size < _ENDLESS else math.inf
