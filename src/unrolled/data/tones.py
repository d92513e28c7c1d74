"""Sung words, made here: recordings that need no file, whose texts and times are known.

found = tones(100, seed=1)
found.texts[0]                                       # 'sol la do'
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unrolled.data.audio import write_wav
from unrolled.data.recordings import Recordings

__all__ = ["NOTES", "RATE_HZ", "save_tones", "sung", "tones"]

RATE_HZ = 8000
#: Words and how high they are sung, in half tones above the voice.
NOTES = {"do": 0, "re": 2, "mi": 4, "fa": 5, "sol": 7, "la": 9, "ti": 11}
_LOWEST, _HIGHEST = 216.0, 224.0


def tones(n: int, seed: int, most: int = 5) -> Recordings:
    """Recordings of one to `most` words each, by voices of their own, with some noise beneath; samples float32 (N,)."""
    random, found = np.random.default_rng(seed), Recordings()
    for _ in range(n):
        words = random.choice(list(NOTES), int(random.integers(1, most + 1))).tolist()
        samples, _ = sung(words, random)
        found.add(samples, " ".join(words))
    return found


def sung(words: list[str], random: np.random.Generator) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Words one after another, with pauses: samples (N,) and when each begins and ends, in seconds."""
    voice, strength = random.uniform(_LOWEST, _HIGHEST), random.uniform(0.1, 0.5)
    overtones = random.uniform(0.1, 1.0, 4) / np.arange(1, 5)
    parts, times, at = [], [], 0
    for word in words:
        pause, length = (int(RATE_HZ * random.uniform(*some)) for some in ((0.05, 0.2), (0.15, 0.35)))
        t = np.arange(length) / RATE_HZ
        pitch = voice * 2 ** (NOTES[word] / 12)
        tone = sum(a * np.sin(2 * np.pi * pitch * (k + 1) * t) for k, a in enumerate(overtones)) / overtones.sum()
        edge = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.02 * RATE_HZ))
        parts += [np.zeros(pause), strength * tone * edge]
        times.append(((at + pause) / RATE_HZ, (at + pause + length) / RATE_HZ))
        at += pause + length
    parts.append(np.zeros(int(RATE_HZ * random.uniform(0.05, 0.2))))
    samples = np.concatenate(parts)
    noise = random.standard_normal(len(samples)) * strength * 10 ** random.uniform(-3, -1)
    return (samples + noise).astype(np.float32), times


def save_tones(recordings: Recordings, folder: Path) -> list[Path]:
    """Write recordings as folder/0.wav, 1.wav, ...: the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}.wav" for i in range(len(recordings))]
    for path, samples in zip(paths, recordings.files, strict=True):
        assert isinstance(samples, np.ndarray)
        write_wav(path, samples, RATE_HZ)
    return paths
