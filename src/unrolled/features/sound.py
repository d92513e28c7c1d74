"""Sound as frames of numbers: log-mel energies and cepstra (MFCC), as Kaldi computes them, of many recordings at once.

    frame t   = 25 ms of samples, every 10 ms; its mean taken away, its high tones raised (x[n] - .97 x[n-1]), windowed
    energy    = |Fourier transform|^2, summed in triangles that stand evenly on the mel scale, 1127 log(1 + f / 700)
    log-mel   = log energy
    cepstra   = cosine transform of log-mel, of which the first say how the mouth is shaped; lifted as in HTK
    deltas    = how each number changes over two frames on either side; and how that changes

Frames are cut without padding: N samples give 1 + (N - window) // hop of them. No frame waits for those after it but for
deltas, so that sound that is still coming gives the same frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unrolled.data.recordings import FRAMES
from unrolled.errors import ConfigError, DataError, check_bounds, unknown_name

__all__ = ["KINDS", "FrontEnd", "Normal"]

KINDS = ("log-mel", "mfcc", "given")
#: Full scale of 16-bit samples, and the smallest energy: Kaldi's.
_SCALE, _FLOOR = 32768.0, 1.1920929e-07
_LIFTER = 22.0


@dataclass(frozen=True)
class FrontEnd:
    """kind: log-mel, mfcc, or given, for frames (T, n_mels) that were made elsewhere; n_mels: triangles; n_cepstra: numbers
    of mfcc; low_hz, high_hz: where the triangles begin and end (0: at half the rate).
    """

    kind: str = "log-mel"
    rate_hz: int = 16_000
    n_mels: int = 80
    n_cepstra: int = 13
    deltas: bool = False
    window_ms: float = 25.0
    hop_ms: float = 10.0
    low_hz: float = 20.0
    high_hz: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("kind of frames", self.kind, KINDS)
        bounds = {"rate_hz": (1000, 400_000), "n_mels": (1, 100_000), "window_ms": (1, 1000), "hop_ms": (1, 1000)}
        check_bounds(self, bounds | {"low_hz": (0, self.rate_hz / 2), "high_hz": (0, self.rate_hz / 2)})
        if self.kind == "mfcc" and not 1 <= self.n_cepstra <= self.n_mels:
            raise ConfigError(f"n-cepstra must lie in 1..{self.n_mels}, the number of mels, got {self.n_cepstra}")
        if self.kind != "given" and not self.low_hz < self.highest_hz:
            raise ConfigError(f"low-hz must lie below high-hz, got {self.low_hz:g} and {self.highest_hz:g}")

    def check_kind(self, file: Path) -> None:
        """DataError for a file of sound where frames are read that were made elsewhere."""
        if self.kind == "given" and file.suffix.lower() not in FRAMES:
            raise DataError(f"{file}: is no file of frames ({', '.join(FRAMES)}), which is what is read here.")

    @property
    def highest_hz(self) -> float:
        """Where the last triangle ends."""
        return self.high_hz or self.rate_hz / 2

    @property
    def n_features(self) -> int:
        """F, numbers of a frame."""
        one = self.n_cepstra if self.kind == "mfcc" else self.n_mels
        return 3 * one if self.deltas else one

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return int(self.rate_hz * self.window_ms / 1000)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return int(self.rate_hz * self.hop_ms / 1000)

    def n_frames(self, samples: int) -> int:
        """How many frames so many samples give."""
        return max(0, 1 + (samples - self.window) // self.hop)

    def frames(self, recordings: Sequence[np.ndarray], warps: Sequence[float] = ()) -> list[Tensor]:
        """Samples from -1 to 1, float32 (N,) each -> frames (T, F) each; a recording shorter than a window gives one.

        warps: what the frequencies of each recording are multiplied by before they meet the triangles, as if another person
        spoke (Jaitly and Hinton 2013); for training.
        """
        cut = [torch.from_numpy(x).unfold(0, self.window, self.hop) for x in map(self._long_enough, recordings)]
        counts = [len(x) for x in cut]
        rows = torch.cat(cut) * _SCALE
        rows = rows - rows.mean(1, keepdim=True)
        before = torch.cat((rows[:, :1], rows[:, :-1]), 1)
        spectrum = torch.fft.rfft((rows - 0.97 * before) * self._povey, n=self.padded)
        power = (spectrum.real.square() + spectrum.imag.square())[:, :-1]
        if warps:
            parts = zip(power.split(counts), warps, strict=True)
            mels = torch.cat([part @ _triangles(self, round(warp, 2)) for part, warp in parts])
        else:
            mels = power @ _triangles(self, 1.0)
        found = mels.clamp_min(_FLOOR).log()
        if self.kind == "mfcc":
            found = found @ self._cosines
        each = list(found.split(counts))
        return [_with_deltas(x) for x in each] if self.deltas else each

    def _long_enough(self, x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x, np.float32)
        return x if len(x) >= self.window else np.pad(x, (0, self.window - len(x)))

    @property
    def padded(self) -> int:
        """Samples that are transformed: a power of two."""
        return 1 << (self.window - 1).bit_length()

    @cached_property
    def _povey(self) -> Tensor:
        """Kaldi's window: Hann's to the power of .85."""
        return torch.hann_window(self.window, periodic=False).pow(0.85)

    @cached_property
    def _cosines(self) -> Tensor:
        """The cosine transform and what lifts it (n_mels, n_cepstra)."""
        k, n = torch.arange(self.n_cepstra, dtype=torch.float64), torch.arange(self.n_mels, dtype=torch.float64)
        found = torch.cos(torch.pi / self.n_mels * (n.unsqueeze(1) + 0.5) * k) * math.sqrt(2 / self.n_mels)
        found[:, 0] = math.sqrt(1 / self.n_mels)
        return (found * (1 + 0.5 * _LIFTER * torch.sin(torch.pi * k / _LIFTER))).float()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@lru_cache(maxsize=128)
def _triangles(front: FrontEnd, warp: float) -> Tensor:
    """What each frequency, multiplied by `warp`, adds to each mel energy (padded / 2, n_mels)."""
    f = torch.arange(front.padded // 2, dtype=torch.float64) * front.rate_hz / front.padded
    low, high = (1127 * math.log1p(f / 700) for f in (front.low_hz, front.highest_hz))
    edges = low + (high - low) / (front.n_mels + 1) * torch.arange(front.n_mels + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    mel = (1127 * torch.log1p(f * warp / 700)).unsqueeze(1)
    return torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp_min(0).float()


def _with_deltas(x: Tensor) -> Tensor:
    """(T, F) -> (T, 3 F): beside each number how it changes, and how that changes, by regression over five frames; the
    first and last frame stand for those beyond the ends.
    """
    once = (torch.arange(-2.0, 3.0) / 10).view(1, 1, 5)
    twice = functional.conv1d(once, once.flip(2), padding=4)
    padded = functional.pad(x.t().unsqueeze(0), (4, 4), mode="replicate").transpose(0, 1)
    first = functional.conv1d(padded[:, :, 2:-2], once)
    second = functional.conv1d(padded, twice)
    return torch.cat((x, first[:, 0].t(), second[:, 0].t()), 1)


@dataclass(frozen=True)
class Normal:
    """What frames are made of before a network reads them: (x - mean) / deviation, mean and deviation (F,) those of the
    training; with `own_mean` the mean is the recording's own, so that loudness and microphone do not count.
    """

    mean: list[float] = field(default_factory=list)
    deviation: list[float] = field(default_factory=list)
    own_mean: bool = True

    @staticmethod
    def of(frames: Sequence[Tensor], *, own_mean: bool) -> Normal:
        """Mean and deviation of many recordings."""
        every = torch.cat([x - x.mean(0) if own_mean else x for x in frames]).double()
        deviation = every.std(0).clamp_min(1e-3)
        return Normal(every.mean(0).tolist(), deviation.tolist(), own_mean)

    def __call__(self, x: Tensor) -> Tensor:
        """Frames (T, F)."""
        mean = x.mean(0) if self.own_mean and len(x) else self._mean
        return (x - mean) / self._deviation

    @cached_property
    def _mean(self) -> Tensor:
        return torch.tensor(self.mean)

    @cached_property
    def _deviation(self) -> Tensor:
        return torch.tensor(self.deviation)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
