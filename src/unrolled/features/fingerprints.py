"""Texts known by 64 bits each: to find equal ones without keeping them, and to hold some out, equal ones together."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from pathlib import Path

import numpy as np

from unrolled.errors import FolderError

__all__ = ["contradictory", "fingerprints", "held_out", "mixed", "read_seen"]


def fingerprints(texts: Iterable[str]) -> np.ndarray:
    """64 bits of each text (n,) uint64, equal for texts that differ in blanks only."""
    digests = (hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=8) for text in texts)
    return np.frombuffer(b"".join(digest.digest() for digest in digests), np.uint64)


def contradictory(keys: np.ndarray, answers: Iterable[Hashable]) -> int:
    """Texts that stand there more than once, not always with the same answer."""
    found: dict[int, set[Hashable]] = {}
    for key, answer in zip(keys.tolist(), answers, strict=True):
        found.setdefault(key, set()).add(answer)
    return sum(len(different) > 1 for different in found.values())


def read_seen(folder: Path) -> np.ndarray:
    """seen.bin of a model folder: the fingerprints of what it was trained on. FolderError if it is not there."""
    try:
        return np.fromfile(folder / "seen.bin", np.uint64)
    except OSError as error:
        raise FolderError(f"{folder}: seen.bin cannot be read ({error.strerror}). Copy the folder again.") from None


def mixed(keys: np.ndarray, seed: int) -> np.ndarray:
    """Fingerprints in an order of the seed's own (n,) uint64: as good as random numbers, and equal for equal texts."""
    found = (keys ^ np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    return found ^ (found >> np.uint64(32))


def held_out(keys: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Which texts (n,) are held out, about this part of them; equal texts are on one side."""
    drawn = mixed(keys, seed)
    return drawn <= np.sort(drawn)[max(0, round(len(keys) * fraction) - 1)]
