"""What CTC's decoders are given, checked; and sums over alignments in log space, where probabilities would become 0.

    a<t>(s) = log of the sum over all beginnings of alignments that stand at place s in frame t
    b<t>(s) = the same for their ends, frame t included
    log P   = log of the sum over s of exp(a<t>(s) + b<t>(s) - log p<t>(y<s>)), in every frame t

Places s are b y<1> b y<2> ... y<U> b. Graves et al. 2006, section 4.1.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.errors import DataError, ShapeError

__all__ = ["check_frames", "check_symbols", "log_occupancy", "probabilities"]

#: Rounding that log-probabilities may have above 0.
_ABOVE_ZERO = 1e-3
#: The least probability that single precision keeps all digits of is 1.2e-38. Below this, double precision computes.
_LEAST_SINGLE = 1e-37


def check_frames(log_probabilities: Any, blank: int, *, nan: bool = False) -> np.ndarray:
    """Return log-probabilities (T, K) as a contiguous float32 or float64 array.

    Args:
        log_probabilities: (T, K), floating-point.
        blank: a symbol, in 0..K-1.
        nan: whether NaN may be among them. DataError if not.

    Raises:
        ShapeError: other axes, another kind of number, a blank out of range, or a number above 0: a logit.
    """
    logs = np.asarray(log_probabilities)
    if logs.ndim != 2 or logs.dtype.kind != "f":
        raise ShapeError(f"frames are floating-point log-probabilities (T, K), got {logs.dtype} {logs.shape}")
    if not 0 <= operator.index(blank) < logs.shape[1]:
        raise ShapeError(
            f"frames are log-probabilities (T, K) with the blank {blank} among K, got {logs.shape}: it must lie in "
            f"0..{logs.shape[1] - 1}"
        )
    logs = np.ascontiguousarray(logs, np.float64 if logs.dtype.itemsize > 4 else np.float32)
    most = logs.max(initial=-np.inf)
    if most > _ABOVE_ZERO:
        raise ShapeError(f"frames are log-probabilities, at most 0, got {most:g}. Fix: log_softmax of the logits")
    if np.isnan(most) and not nan:
        at = int(np.isnan(logs).any(1).argmax())
        raise DataError(f"frame {at} of {len(logs)} holds NaN: no text can be found. Fix: check the model and its input")
    return logs


def check_symbols(texts: Sequence[Any], n_symbols: int, blank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids (N,) of texts, (U,) each, one behind the other, and where those of each begin (n + 1,), int64.

    ShapeError for a text that is no array of integers, or has an id that is out of range or the blank.
    """
    arrays = [np.asarray(text) for text in texts]
    for number, ids in enumerate(arrays):
        if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
            raise ShapeError(f"text {number}: got {ids.dtype} {ids.shape}, expected symbols as integers (U,)")
    labels = np.concatenate([np.zeros(0, np.int64), *arrays], dtype=np.int64, casting="unsafe")
    starts = np.cumsum([0, *map(len, arrays)])
    wrong = (labels < 0) | (labels >= n_symbols) | (labels == blank)
    if wrong.any():
        at = int(wrong.argmax())
        number = int(np.searchsorted(starts, at, side="right")) - 1
        raise ShapeError(
            f"text {number}: got symbol {labels[at]}, expected one of 0..{n_symbols - 1} that is not the blank, {blank}"
        )
    return labels, starts


def probabilities(logs: np.ndarray) -> np.ndarray:
    """Return exp of log-probabilities (T, K), in double precision if single precision would round one to 0."""
    p = np.exp(logs)
    if p.dtype == np.float32 and bool(((p < _LEAST_SINGLE) & (logs > -np.inf)).any()):
        return np.exp(logs.astype(np.float64))
    return p


def log_occupancy(logs: np.ndarray, label: np.ndarray, blank: int) -> tuple[np.ndarray, float]:
    """Compute in log space how likely it is that frame t stands at symbol u of a label (U,): (T, U); and log P.

    logs (T, K), T > 0. Zero and -inf where no alignment has any probability; NaN where logs hold NaN.
    """
    places = np.full(2 * len(label) + 1, blank)
    places[1::2] = label
    of_places = logs[:, places].astype(np.float64)  # (T, 2U + 1)
    begun = _begun(of_places, places)
    ended = _begun(of_places[::-1, ::-1], places[::-1])[::-1, ::-1]
    log_p = float(np.logaddexp.reduce(begun[-1, -2:]))
    if not np.isfinite(log_p):
        return np.zeros((len(logs), len(label))), log_p
    with np.errstate(invalid="ignore"):  # -inf less -inf: a place without probability
        share = np.exp(begun + ended - of_places - log_p)
    return np.nan_to_num(share[:, 1::2], nan=0.0), log_p


def _begun(of_places: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Compute a<t>(s) (T, S) from log p<t> of each place (T, S)."""
    begun = np.full(of_places.shape, -np.inf)
    begun[0, :2] = of_places[0, :2]
    skips = np.zeros(len(places), bool)  # a symbol may follow another at once
    skips[2:] = places[2:] != places[:-2]
    for t in range(1, len(of_places)):
        total = begun[t - 1].copy()
        total[1:] = np.logaddexp(total[1:], begun[t - 1, :-1])
        total[2:] = np.where(skips[2:], np.logaddexp(total[2:], begun[t - 1, :-2]), total[2:])
        begun[t] = total + of_places[t]
    return begun
