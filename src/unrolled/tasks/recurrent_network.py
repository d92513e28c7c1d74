"""The recurrent classifier with what it needs to read text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.errors import FolderError
from unrolled.features.batching import bounds_of
from unrolled.features.texts import padded_rows
from unrolled.models.classifier import Classifier, ClassifierConfig
from unrolled.tasks.reading import EncoderReading, Reading, load_reading
from unrolled.training.weights import load_weights, save_weights

__all__ = ["RecurrentNetwork"]

#: Ids read at once when texts are answered; changes no result.
_TOKENS = 16_384
#: Steps of the integral of the gradients.
_STEPS = 64


class RecurrentNetwork:
    """Implements `Network`. nothing (K,): the logits of a text without a known word; None: those of the network."""

    def __init__(self, model: Classifier, reading: Reading | EncoderReading, nothing: np.ndarray | None = None) -> None:
        self.model, self.reading, self.nothing = model, reading, nothing

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """z (n, K)."""
        return self.read(self.reading.encode(texts).rows())

    @torch.no_grad()
    def read(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """z (n, K) of texts as ids, those of similar length together."""
        self.model.eval()
        config = self.model.config
        z = np.zeros((len(rows), config.n_outputs), np.float32)
        sizes = np.array([max(1, len(row)) for row in rows], np.int64)
        order = np.argsort(sizes, kind="stable")
        for start, end in pairwise(bounds_of(sizes[order], _TOKENS)):
            ids, lengths = padded_rows([rows[i] for i in order[start:end]], config.n_symbols)
            z[order[start:end]] = self.model(ids.to(self.model.device), lengths.to(self.model.device)).cpu().numpy()
        if self.nothing is not None:
            z[[not self.reading.has_known(row) for row in rows]] = self.nothing
        return z

    def explain(self, text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365): from words that say nothing, zero vectors, to
        the words of the text. What is there without any is the logit of the zero vectors; the rest is shared out.
        """
        words, lead = self.reading.split(text), self.reading.lead
        known = [i for i, (_, row) in enumerate(words) if row >= 0]
        self.model.eval()
        n_outputs, n_symbols = self.model.config.n_outputs, self.model.config.n_symbols
        ids = torch.tensor([*lead, *(words[i][1] for i in known)] or [n_symbols])
        parts = np.zeros((len(words), n_outputs))
        embedded = self.model.embedding(ids).detach()  # (T, D)
        lengths = torch.full((_STEPS,), len(ids))
        for k in range(n_outputs):
            at = ((torch.arange(_STEPS) + 0.5) / _STEPS).view(1, -1, 1)
            x = (embedded.unsqueeze(1) * at).requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.model.read(x, lengths)[:, k].sum(), x)
            added = (gradient.mean(1) * embedded).sum(1).numpy()
            parts[known, k] = added[len(lead) :][: len(known)]
        with torch.no_grad():
            nothing = self.model.read(torch.zeros_like(embedded).unsqueeze(1), lengths[:1])[0].numpy()
        if self.nothing is not None and not self.reading.has_known(ids.numpy()):
            nothing, parts = self.nothing.copy(), np.zeros_like(parts)
        return [word for word, _ in words], parts, nothing

    def save(self, folder: Path) -> dict[str, Any]:
        """Weights and vocabulary."""
        save_weights(self.model, folder / "model.safetensors")
        nothing = {} if self.nothing is None else {"nothing": self.nothing.tolist()}
        return {"model": self.model.config.to_json(), "reading": self.reading.save(folder)} | nothing

    @staticmethod
    def load(folder: Path, config: dict[str, Any]) -> RecurrentNetwork:
        """From what `save` wrote. FolderError if it is damaged."""
        reading, sizes = load_reading(folder, config["reading"]), ClassifierConfig(**config["model"])
        if (n := reading.n_symbols) != sizes.n_symbols:
            raise FolderError(f"{folder}: the vocabulary has {n} words, config.json asks for {sizes.n_symbols}.")
        model = Classifier(sizes)
        load_weights(model, folder / "model.safetensors")
        nothing = np.array(config["nothing"], np.float32) if "nothing" in config else None
        return RecurrentNetwork(model.eval(), reading, nothing)
