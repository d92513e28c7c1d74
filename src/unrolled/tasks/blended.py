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
from unrolled.tasks.recurrent_network import RecurrentNetwork

__all__ = ["BlendedNetwork"]


class BlendedNetwork:
    """Implements `Network`."""

    def __init__(self, network: Any, average: AverageNetwork, weights: tuple[float, float]) -> None:
        self.network, self.average, self.weights = network, average, weights
        self.reading = network.reading

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """z (n, K)."""
        return self.weights[0] * self.network.logits(texts) + self.weights[1] * self.average.logits(texts)

    def explain(self, text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """What each says of its tokens; a token of both, at the same place, has the sum."""
        added: dict[tuple[int, int, str], np.ndarray] = {}
        nothing: Any = 0.0
        for weight, network in zip(self.weights, (self.network, self.average), strict=True):
            tokens, parts, bias = network.explain(text)
            nothing, at = nothing + weight * bias, 0
            for token, part in zip(tokens, parts, strict=True):
                start = text.find(token, at)
                start = at if start < 0 else start
                at = min(len(text), start + len(token))
                key = start, at, token
                added[key] = added.get(key, 0) + weight * part
        keys = sorted(added)
        parts = np.array([added[key] for key in keys]) if keys else np.zeros((0, len(nothing)))
        return [token for _, _, token in keys], parts, nothing

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
