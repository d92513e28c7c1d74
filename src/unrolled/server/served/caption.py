"""Captioners over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unrolled.data.images import decode_image
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import UnrolledError
from unrolled.server.served.base import SearchOptions, Served, told

__all__ = ["ServedCaptioner"]


class ServedCaptioner(Served):
    """Images -> captions."""

    task = "caption"
    Predict = SearchOptions
    Explain = SearchOptions
    files = "image/*"

    def facts(self) -> dict[str, Any]:
        """How it searches unless told otherwise, and whether it has attention."""
        return {"beam": self.trained.search.width, "attention": self.trained.model.attention is not None}

    def decode(self, data: bytes, name: str) -> np.ndarray:
        """The pixels of an image. DataError if it is none, or too large."""
        return decode_image(data, name, most=int(self.limits.pixels * 1e6))

    def size(self, one: np.ndarray) -> int:
        """All images become equally large."""
        return 1

    def _search(self, options: SearchOptions) -> BeamOptions:
        own = self.trained.search
        return replace(own, width=options.beam or max(own.width, options.n_best), n_best=options.n_best)

    def predict(self, inputs: Sequence[np.ndarray], options: SearchOptions) -> list[dict[str, Any] | UnrolledError]:
        """The caption of each image."""
        return [told(found) for found in self.trained.captions(inputs, self._search(options))]

    def explain(self, one: np.ndarray, options: SearchOptions) -> dict[str, Any]:
        """Where each word looked."""
        return self.trained.explain(one, self._search(options))
