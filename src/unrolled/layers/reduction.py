"""Fewer and larger steps in time: what stands between the frames of a sound and the recurrent layers.

    Stacked      r frames side by side become one step                          (B, T, F) -> (B, ceil(T / r), r F)
    Convolved    two convolutions over time and frequency, each with a stride   (B, T, F) -> (B, ceil(T / r), C ceil(F / 4))

Step i looks at frames r i ... r i + window - 1 and no others; behind a row's end it sees zeros. So rows do not depend on
those beside them, and steps of sound that is still coming are the same as afterwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional

from unrolled.errors import ConfigError

__all__ = ["REDUCTIONS", "Convolved", "Reduction", "Stacked"]

_CHANNELS = 32


class Reduction(nn.Module, ABC):
    """factor: r; window: frames that a step looks at; output_size: numbers of a step."""

    factor: int
    window: int
    output_size: int

    def __init__(self, n_features: int, factor: int) -> None:
        super().__init__()
        if factor < 1:
            raise ConfigError(f"reduction must be at least 1, got {factor}")
        self.n_features, self.factor = n_features, factor

    def steps(self, lengths: Tensor) -> Tensor:
        """How many steps so many frames give."""
        return (lengths + self.factor - 1) // self.factor

    def forward(self, frames: Tensor) -> Tensor:
        """frames (B, T, F), zero behind a row's end -> steps (B, ceil(T / r), output_size)."""
        n = -(-frames.shape[1] // self.factor)
        return self.reduce(functional.pad(frames, (0, 0, 0, (n - 1) * self.factor + self.window - frames.shape[1])))

    @abstractmethod
    def reduce(self, frames: Tensor) -> Tensor:
        """frames (B, (n - 1) r + window, F) -> n steps."""


class Stacked(Reduction):
    """Frames side by side; nothing is learned."""

    def __init__(self, n_features: int, factor: int) -> None:
        super().__init__(n_features, factor)
        self.window, self.output_size = factor, factor * n_features

    def reduce(self, frames: Tensor) -> Tensor:
        return frames.reshape(len(frames), -1, self.output_size)


class Convolved(Reduction):
    """As in front of Deep Speech 2's and ESPnet's recurrent layers, without padding in time."""

    def __init__(self, n_features: int, factor: int) -> None:
        super().__init__(n_features, factor)
        if factor not in (1, 2, 4):
            raise ConfigError(f"convolutions can make 1, 2 or 4 frames one step, not {factor}")
        first, second = (min(2, factor), max(1, factor // 2))
        self.layers = nn.Sequential(
            nn.Conv2d(1, _CHANNELS, 3, stride=(first, 2), padding=(0, 1)),
            nn.ReLU(inplace=True),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, stride=(second, 2), padding=(0, 1)),
            nn.ReLU(inplace=True),
        )
        self.window = 2 * first + 3
        self.output_size = _CHANNELS * -(-n_features // 4)

    def reduce(self, frames: Tensor) -> Tensor:
        found = self.layers(frames.unsqueeze(1))  # (B, C, n, F / 4)
        return found.permute(0, 2, 1, 3).flatten(2)


#: By name.
REDUCTIONS: dict[str, type[Reduction]] = {"stack": Stacked, "convolution": Convolved}
