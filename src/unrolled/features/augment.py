"""Recordings made different for training, so that a small collection is heard as a large one.

    speed     faster or slower, and higher or lower with it (Ko et al. 2015)
    warp      the frequencies stretched, as if another person spoke (Jaitly and Hinton 2013)
    noise     a hiss or hum beneath, so many decibels weaker than the voice
    edges     the noise before and behind it, half of the time
    nothing   noise alone, which says nothing
    masks     bands of frequency and stretches of time left out (Park et al. 2019, arXiv:1904.08779)

All of it is drawn from a generator that is given: the same one gives the same sounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from unrolled.data.audio import resampled

__all__ = ["Augment", "noise"]

#: Where a sound is so weak that it has no loudness of its own.
_QUIET = 1e-4


@dataclass(frozen=True)
class Augment:
    """speed, warp: by how much at most, .1 for 10 %; noise: how often, at snr_low to snr_high dB; edge_seconds: at most, on
    either side; nothing: part of the rows that are noise alone; frequency_masks, time_masks: how many, each at most so
    large a part of the frequencies or of the frames. How much of it is usual: `options.transcribe.AugmentOptions`.
    """

    speed: float
    warp: float
    noise: float
    snr_low: float
    snr_high: float
    edge_seconds: float
    nothing: float
    frequency_masks: int
    frequency_part: float
    time_masks: int
    time_part: float

    def sound(self, samples: np.ndarray, rate_hz: int, random: np.random.Generator) -> np.ndarray:
        """One recording, float32 (N,), made different."""
        if self.speed:
            factor = 1 + self.speed * random.uniform(-1, 1)
            samples = resampled(samples, rate_hz * factor, rate_hz)
        before, behind = (int(self.edge_seconds * rate_hz * max(0.0, random.uniform(-1, 1))) for _ in range(2))
        if before or behind:
            samples = np.pad(samples, (before, behind))
        if random.random() < self.noise or before or behind:
            loudness = max(float(np.sqrt(np.mean(np.square(samples)))), _QUIET)
            level = loudness * 10 ** (-random.uniform(self.snr_low, self.snr_high) / 20)
            samples = samples + level * noise(len(samples), random)
        return samples

    def warps(self, n: int, random: np.random.Generator) -> list[float]:
        """What the frequencies of n recordings are multiplied by."""
        return (1 + self.warp * random.uniform(-1, 1, n)).tolist() if self.warp else []

    def masked(self, frames: Tensor, random: np.random.Generator) -> Tensor:
        """Normal frames (T, F) with parts of them left out: zero, their mean."""
        n_frames, n_features = frames.shape
        found = frames.clone()
        for _ in range(self.frequency_masks):
            width = int(random.integers(int(self.frequency_part * n_features) + 1))
            start = int(random.integers(n_features - width + 1))
            found[:, start : start + width] = 0
        for _ in range(self.time_masks):
            width = int(random.integers(int(self.time_part * n_frames) + 1))
            start = int(random.integers(n_frames - width + 1))
            found[start : start + width] = 0
        return found


def noise(n: int, random: np.random.Generator) -> np.ndarray:
    """Noise of loudness 1, float32 (n,): anything from a hiss to a rumble."""
    spectrum = np.fft.rfft(random.standard_normal(1 << max(1, n - 1).bit_length()))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** -random.uniform(0, 1)
    spectrum[0] = 0
    found = np.fft.irfft(spectrum)[:n]
    return (found / max(float(np.sqrt(np.mean(np.square(found)))), 1e-12)).astype(np.float32)
