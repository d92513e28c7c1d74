"""Captioners over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.data.images import decode_image
from unrolled.errors import UnrolledError
from unrolled.server.served.base import ExplainSearch, SearchOptions, ServedBeam, told

__all__ = ["ServedCaptioner"]


class ServedCaptioner(ServedBeam):
    """Images -> captions."""

    task = "caption"
    Predict = SearchOptions
    Explain = ExplainSearch
    files = "image/*"

    def decode(self, data: bytes, name: str) -> np.ndarray:
        """An image as the encoder takes it, (size, size, 3), which is little. DataError if it is none, or too large."""
        preparation = self.trained.preparation
        return preparation.square(decode_image(data, name, preparation.size, int(self.limits.pixels * 1e6)))

    def easy(self) -> np.ndarray:
        """Black."""
        size = self.trained.preparation.size
        return np.zeros((size, size, 3), np.uint8)

    def size(self, one: np.ndarray) -> int:
        """All images become equally large."""
        return 1

    def predict(self, inputs: Sequence[np.ndarray], options: SearchOptions) -> list[dict[str, Any] | UnrolledError]:
        """The caption of each image."""
        return [told(found) for found in self.trained.captions(inputs, self.search(options))]

    def explain(self, one: np.ndarray, options: ExplainSearch) -> dict[str, Any]:
        """Where each word looked."""
        return self.trained.explain(one, self.search(options))
