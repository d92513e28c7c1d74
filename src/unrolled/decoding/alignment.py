"""Where the symbols of a text stand in the frames: CTC's occupancy, the sum over all alignments, not the peaks of one.

gamma<t>(u)  = P(frame t stands at symbol u | text, frames)                                     Graves et al. 2006
begin, end   of a symbol: between them it stands with all but a tenth of its occupancy
confidence   = exp(mean of log p<t>(y<u>) over the frames, weighed by gamma<t>(u))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unrolled.decoding.frames import check_frames, check_symbols, log_occupancy
from unrolled.errors import DataError
from unrolled.kernels.ctc import occupancy

__all__ = ["Aligned", "align", "to_sound"]

#: Of a symbol's occupancy, what lies before its begin, and behind its end.
_OUTSIDE = 0.05
_LEAST = 1e-30
#: Part of the frames that are quieter than silence, how far loud is above it, of the way to a word's peak, and how many
#: frames a word is moved at most.
_FLOOR, _ABOVE, _FARTHEST = 0.05, 0.1, 30


class Aligned(NamedTuple):
    """Of each symbol (U,): begin and end in frames, which need not be whole, and how sure the model is; gamma (T, U);
    log_probability: of the text, all alignments together, in nats.
    """

    begins: np.ndarray
    ends: np.ndarray
    confidences: np.ndarray
    occupancy: np.ndarray
    log_probability: float


def align(log_probabilities: np.ndarray, symbols: np.ndarray, blank: int = 0) -> Aligned:
    """Align a text, ids (U,), with log-probabilities (T, K).

    DataError where it does not fit into the frames, or has probability 0; ShapeError for the blank or an id that is no
    symbol in the text; both as `check_frames` says.
    """
    logs, blank = check_frames(log_probabilities, blank), int(blank)
    symbols, _ = check_symbols([symbols], logs.shape[1], blank)
    gamma, loss = occupancy(np.exp(logs.astype(np.float64)), symbols, blank)
    if np.isnan(loss):
        gamma, log_p = log_occupancy(logs, symbols, blank)
        loss = -log_p
    if not np.isfinite(loss):
        raise DataError(
            f"a text of {len(symbols)} symbols cannot be aligned with {len(logs)} steps of sound: it does not "
            "fit, or is not what is said."
        )
    total = np.maximum(gamma.sum(0), _LEAST)
    before = np.concatenate([np.zeros((1, gamma.shape[1])), np.cumsum(gamma, 0)]) / total
    begins, ends = (np.array([_crossing(column, part) for column in before.T]) for part in (_OUTSIDE, 1 - _OUTSIDE))
    logs = np.log(np.maximum(np.exp(logs[:, symbols]), _LEAST))
    confidences = np.exp((gamma * logs).sum(0) / total)
    return Aligned(begins, ends, confidences, gamma, -float(loss))


def to_sound(spans: Sequence[tuple[float, float]], loudness: np.ndarray) -> list[tuple[float, float]]:
    """Words in order, from frame to frame, moved to where their sound begins and ends; loudness (T,) of the frames.

    A word grows, or shrinks, to where loudness crosses what is a little above the quietest (T) and below its own peak; not
    beyond the quietest frame between it and its neighbours.
    """
    n = len(loudness)
    if not n or not spans:
        return list(spans)
    smooth = np.convolve(np.pad(loudness, 1, mode="edge"), np.ones(3) / 3, "valid")
    floor = float(np.quantile(loudness, _FLOOR))
    begins = [min(max(round(begin) - 1, 0), n - 1) for begin, _ in spans]
    ends = [min(max(round(end) - 1, begin), n - 1) for (_, end), begin in zip(spans, begins, strict=True)]
    between = [0]
    for end, begin in zip(ends[:-1], begins[1:], strict=True):
        low, high = min(end, begin), max(end, begin)
        between.append(low + int(np.argmin(smooth[low : high + 1])))
    found = []
    for low, high, first, last in zip(between, [*between[1:], n - 1], begins, ends, strict=True):
        begin, end = max(first, low), min(max(last, first, low), high)
        loud = smooth >= floor + _ABOVE * (float(smooth[begin : end + 1].max(initial=floor)) - floor)
        while begin < end and not loud[begin]:
            begin += 1
        while end > begin and not loud[end]:
            end -= 1
        first, last = begin, end
        while begin > max(low, first - _FARTHEST) and loud[begin - 1]:
            begin -= 1
        while end < min(high, last + _FARTHEST) and loud[end + 1]:
            end += 1
        found.append((begin + 1.0, end + 2.25))  # in frames: from within the first that is loud, to the end of the last
    return found


def _crossing(rising: np.ndarray, level: float) -> float:
    """Where values (T + 1,) at the edges of frames pass a level, between two of them on a straight line."""
    at = int(np.searchsorted(rising, level))
    if at == 0:
        return 0.0
    low, high = rising[at - 1], rising[min(at, len(rising) - 1)]
    return at - 1 + (level - low) / max(high - low, _LEAST)
