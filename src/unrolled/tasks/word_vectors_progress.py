"""How far the training of word vectors is: what its iterator yields, and what is counted for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from unrolled.models.word2vec import Trained

__all__ = ["Epoch", "Part", "Progress", "Tally"]


class Progress(NamedTuple):
    """words read in all epochs; loss: mean over the inputs since the last report, in nats; left: seconds until the end."""

    words: int
    epoch: float
    loss: float
    seconds: float
    left: float | None


class Epoch(NamedTuple):
    """A pass over the text, or the run, has ended. row: a line of metrics.jsonl; best: so far, by the tests given;
    reason: why the run has ended, 'budget' or 'patience', or nothing.
    """

    row: dict[str, Any]
    best: bool
    reason: str = ""


class Part(NamedTuple):
    """A part of an epoch: its number among so many."""

    epoch: int
    number: int
    of: int

    def at(self, fraction: float) -> float:
        """Epochs that have passed when so much of the part is done."""
        return self.epoch + (self.number + fraction) / self.of


@dataclass
class Tally:
    """Sums over what was trained on."""

    words: int = 0
    inputs: int = 0
    loss: float = 0.0

    def add(self, found: Trained) -> None:
        self.words += found.words
        self.inputs += found.inputs
        self.loss += found.loss

    @property
    def mean(self) -> float:
        return self.loss / max(1, self.inputs)
