"""Long recordings in pieces: cut where it is quietest, each with some of what is around it, one in memory at a time.

a piece     | context |   its own part   | context |          words count that stand in the own part
the next              | context |   its own part   | context |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

__all__ = ["Segment", "segments"]

#: What is listened to for how quiet it is, and how finely, in seconds.
_QUIET, _FINE = 0.2, 0.02


class Segment(NamedTuple):
    """samples (N,), the first of them at `begin`; own: where its own part begins and ends; all in seconds of the recording.
    last: whether nothing follows.
    """

    samples: np.ndarray
    begin: float
    own: tuple[float, float]
    last: bool


def segments(pieces: Iterable[np.ndarray], rate_hz: int, longest: float, context: float = 1.0) -> Iterator[Segment]:
    """Samples (N,) that come in pieces -> segments of about `longest` seconds, context not counted; at least half of that.

    A recording of at most `longest` seconds is one segment; one without samples none.
    """
    most, around = int(longest * rate_hz), int(context * rate_hz)
    buffer, first, own = np.zeros(0, np.float32), 0, 0  # where the buffer, and the own part of what comes next, begin
    for piece in pieces:
        buffer = np.concatenate((buffer, piece))
        while first + len(buffer) - own > most + around:
            start = own - first
            cut = start + _quietest(buffer[start : start + most], rate_hz)
            found, end = buffer[: cut + around], first + cut
            yield Segment(found, first / rate_hz, (own / rate_hz, end / rate_hz), last=False)
            keep = max(0, cut - around)
            buffer, first, own = buffer[keep:], first + keep, end
    if first + len(buffer) > own:
        yield Segment(buffer, first / rate_hz, (own / rate_hz, (first + len(buffer)) / rate_hz), last=True)


def _quietest(samples: np.ndarray, rate_hz: int) -> int:
    """The middle of the quietest moment of the second half of samples (N,)."""
    hop = max(1, int(_FINE * rate_hz))
    half = len(samples) // 2
    energy = np.add.reduceat(np.square(samples[half:], dtype=np.float64), np.arange(0, len(samples) - half, hop))
    n = max(1, min(len(energy), round(_QUIET / _FINE)))
    sums = np.convolve(energy, np.ones(n), "valid")
    return half + (len(sums) - 1 - int(np.argmin(sums[::-1]))) * hop + n * hop // 2
