"""The averaged classifier with what it needs to read text: words and n-grams to vectors to logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.errors import FolderError
from unrolled.models.average import AverageClassifier, AverageConfig
from unrolled.tasks.reading import Reading
from unrolled.training.weights import load_weights, save_weights

__all__ = ["AverageNetwork"]


class AverageNetwork:
    """Implements `Network`."""

    def __init__(self, model: AverageClassifier, reading: Reading) -> None:
        self.model, self.reading = model, reading

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """z (n, K)."""
        return self.model.logits(self.reading.encode(texts))

    def explain(self, text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Exact: z is a sum over words and n-grams; what an n-gram adds is shared out among its words."""
        words = self.reading.split(text)
        known = [i for i, (_, row) in enumerate(words) if row >= 0]
        rows = np.array([words[i][1] for i in known], np.int32)
        spans = self.reading.features.spans(rows)
        features = np.concatenate([rows, np.array([row for row, _, _ in spans], np.int32)]).astype(np.int32)
        added = self.model.contributions(features)
        parts = np.zeros((len(words), added.shape[1]))
        parts[known] = added[: len(rows)]
        for (_, first, n), what in zip(spans, added[len(rows) :], strict=True):
            for k in range(first, first + n):
                parts[known[k]] += what / n
        return [word for word, _ in words], parts, self.model.bias.numpy().copy()

    def save(self, folder: Path) -> dict[str, Any]:
        """Weights, vocabulary and n-grams."""
        save_weights(self.model, folder / "model.safetensors")
        sizes = self.model.config.to_json() | {"weighted": len(self.model.importance) > 0}
        return {"model": sizes, "reading": self.reading.save(folder)}

    @staticmethod
    def load(folder: Path, config: dict[str, Any]) -> AverageNetwork:
        """From what `save` wrote. FolderError if it is damaged."""
        reading, sizes = Reading.load(folder, config["reading"]), dict(config["model"])
        weighted, n = sizes.pop("weighted"), len(reading.features)
        if n != sizes["n_features"]:
            raise FolderError(f"{folder}: {n} words and n-grams, but config.json asks for {sizes['n_features']}.")
        model = AverageClassifier(AverageConfig(**sizes), weighted=weighted)
        load_weights(model, folder / "model.safetensors")
        return AverageNetwork(model, reading)
