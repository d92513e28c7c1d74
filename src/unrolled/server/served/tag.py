"""Taggers over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unrolled.errors import UnrolledError
from unrolled.server.served.base import Asked, Served, told

__all__ = ["ServedTagger"]


class ServedTagger(Served):
    """Texts -> the label of every word, or the text with its capitals and marks."""

    task = "tag"

    def facts(self) -> dict[str, Any]:
        """The labels, and whether they are capitals and marks."""
        return {"labels": list(self.trained.labels.names), "restores": self.trained.reading.restores}

    def predict(self, inputs: Sequence[str], options: Asked) -> list[dict[str, Any] | UnrolledError]:
        """The labels of each text."""
        return [told(found) for found in self.trained.predictions(inputs)]

    def explain(self, one: str, options: Asked) -> dict[str, Any]:
        """What each word adds to the label of each."""
        return self.trained.explain(one)
