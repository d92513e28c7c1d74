"""Classifiers over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from unrolled.errors import UnrolledError
from unrolled.server.served.base import Asked, Served, told

__all__ = ["ClassifyRequest", "ServedClassifier"]


class ClassifyRequest(Asked):
    """Options of a request to a classifier."""

    threshold: float | None = Field(None, ge=0, le=1, description="Answer from this probability on; unset: as at training.")


class ServedClassifier(Served):
    """Texts -> labels and their probabilities."""

    task = "classify"
    Predict = ClassifyRequest

    def facts(self) -> dict[str, Any]:
        """The labels, and whether a text can have several."""
        return {"labels": list(self.trained.labels.names), "labels_kind": self.trained.labels.kind}

    def predict(self, inputs: Sequence[str], options: ClassifyRequest) -> list[dict[str, Any] | UnrolledError]:
        """The label of each text."""
        return [told(found) for found in self.trained.predictions(inputs, options.threshold)]

    def explain(self, one: str, options: Asked) -> dict[str, Any]:
        """What each word adds, and how the answer turns as the text unfolds."""
        return self.trained.explain(one)
