"""A recurrent network that answers along with the average of the words: z = w_0 z_network + w_1 z_average.

What they get wrong is different: the network knows the order of the words, the average knows more words and pairs of them
for having learned nothing else. The weights are chosen on the validation texts (`classify.blended`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.tasks.averages import AverageNetwork
from unrolled.tasks.reading import places
from unrolled.tasks.recurrent_network import RecurrentNetwork

__all__ = ["BlendedNetwork"]


class BlendedNetwork:
    """Implements `Network`."""

    def __init__(self, network: Any, average: AverageNetwork, weights: tuple[float, float]) -> None:
        self.network, self.average, self.weights = network, average, weights
        self.reading = network.reading

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """z (n, K)."""
        return self.mixed(self.network.logits(texts), self.average.logits(texts))

    def mixed(self, network: np.ndarray, average: np.ndarray) -> np.ndarray:
        """What both say, (n, K) each, weighed."""
        return self.weights[0] * network + self.weights[1] * average

    def explain(self, text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The tokens of the network; what the average says of a word is shared out among those that the word overlaps."""
        (tokens, parts, nothing), (words, said, bias) = self.network.explain(text), self.average.explain(text)
        parts, said = self.weights[0] * parts, self.weights[1] * said
        stand, alone = places(text, tokens, self.reading.normalization), list[tuple[int, str, np.ndarray]]()
        spans = places(text, words, self.average.reading.normalization)
        for (start, end), word, part in zip(spans, words, said, strict=True):
            over = np.flatnonzero((stand[:, 0] < end) & (stand[:, 1] > start))
            parts[over] += part / max(1, len(over))
            alone += [] if len(over) else [(start, word, part)]
        own = list(zip(stand[:, 0].tolist(), tokens, parts, strict=True))
        merged = sorted(own + alone, key=lambda one: one[0])
        found = np.array([part for _, _, part in merged]) if merged else parts
        return [token for _, token, _ in merged], found, self.mixed(nothing, bias)

    def save(self, folder: Path) -> dict[str, Any]:
        """The network, and the average in a folder of its own."""
        beside = folder / "average"
        beside.mkdir(exist_ok=True)
        found = self.network.save(folder)
        return found | {"average": self.average.save(beside), "weights": list(self.weights)}

    @staticmethod
    def load(folder: Path, config: dict[str, Any]) -> BlendedNetwork:
        """From what `save` wrote. FolderError if it is damaged."""
        first, second = config["weights"]
        average = AverageNetwork.load(folder / "average", config["average"])
        return BlendedNetwork(RecurrentNetwork.load(folder, config), average, (float(first), float(second)))
