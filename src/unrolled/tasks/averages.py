"""The averaged classifier with what it needs to read text: words and n-grams to vectors to logits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from unrolled.errors import FolderError
from unrolled.features.bags import TextFeatures
from unrolled.features.words import READERS
from unrolled.folders import read_json, write_bytes, write_json
from unrolled.models.average import AverageClassifier, AverageConfig
from unrolled.training.weights import load_weights, save_weights

__all__ = ["AverageNetwork", "without_tags"]

_TAG = re.compile(r"</?[A-Za-z][^<>]{0,1000}>")


def without_tags(texts: Sequence[str]) -> list[str]:
    """The texts with a blank in place of what looks like a tag of HTML."""
    return [_TAG.sub(" ", text) for text in texts]


class AverageNetwork:
    """Implements `Network`. strip_tags: leave out tags of HTML."""

    def __init__(self, model: AverageClassifier, features: TextFeatures, *, strip_tags: bool = False) -> None:
        self.model, self.features, self.strip_tags = model, features, strip_tags

    def prepared(self, texts: Sequence[str]) -> Sequence[str]:
        """The texts as they are read."""
        return without_tags(texts) if self.strip_tags else texts

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """z (n, K)."""
        return self.model.logits(self.features.encode(self.prepared(texts)))

    def explain(self, text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Exact: z is a sum over words and n-grams; what an n-gram adds is shared out among its words."""
        (read,) = self.prepared([text])
        words = self.features.split(read)
        known = [i for i, (_, row) in enumerate(words) if row >= 0]
        rows = np.array([words[i][1] for i in known], np.int32)
        spans = self.features.spans(rows)
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
        write_json(folder / "vocabulary.json", {"words": self.features.words})
        write_bytes(folder / "n-grams.safetensors", safetensors.numpy.save({"keys": self.features.keys}))
        reading = {"tokens": self.features.tokens, "ngrams": self.features.longest, "strip_tags": self.strip_tags}
        return {"model": self.model.config.to_json() | {"weighted": len(self.model.importance) > 0}, "reading": reading}

    @staticmethod
    def load(folder: Path, config: dict[str, Any]) -> AverageNetwork:
        """From what `save` wrote. FolderError if it is damaged."""
        reading, sizes = config["reading"], dict(config["model"])
        weighted = sizes.pop("weighted")
        words = read_json(folder / "vocabulary.json")["words"]
        try:
            keys = safetensors.numpy.load((folder / "n-grams.safetensors").read_bytes())["keys"]
        except (OSError, SafetensorError, KeyError) as error:
            raise FolderError(f"{folder / 'n-grams.safetensors'}: is damaged ({error}). Copy the folder again.") from None
        if reading["tokens"] not in READERS:
            raise FolderError(f"{folder}: reads {reading['tokens']!r}, which this version does not know.")
        features = TextFeatures(reading["tokens"], words, reading["ngrams"], keys)
        if len(features) != sizes["n_features"]:
            raise FolderError(
                f"{folder}: {len(features)} words and n-grams, but config.json asks for {sizes['n_features']}."
            )
        model = AverageClassifier(AverageConfig(**sizes), weighted=weighted)
        load_weights(model, folder / "model.safetensors")
        return AverageNetwork(model, features, strip_tags=reading["strip_tags"])
