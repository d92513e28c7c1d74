"""Speech recognisers over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from unrolled.data.audio import read_audio
from unrolled.errors import DataError, UnrolledError
from unrolled.server.served.base import ExplainSearch, Phrase, SearchOptions, Served, told
from unrolled.tasks.fusion import Fusion
from unrolled.tasks.hearing import Search

__all__ = ["ExplainTranscript", "ServedRecognizer", "TranscribeRequest"]


class ExplainTranscript(ExplainSearch):
    """How a recording is heard, before that is explained."""

    hotwords: list[Phrase] = Field([], max_length=100, description="Words and phrases to listen for.")
    phrases: list[Phrase] = Field([], max_length=1000, description="The only phrases there are.")


class TranscribeRequest(ExplainTranscript, SearchOptions):
    """Options of a request to a recogniser."""


class ServedRecognizer(Served):
    """Recordings -> texts, and when each word was said."""

    task = "transcribe"
    Predict = TranscribeRequest
    Explain = ExplainTranscript
    files = "audio/*"

    def facts(self) -> dict[str, Any]:
        """At what rate it listens, and whether it can while sound is coming."""
        streaming = not self.trained.model.config.bidirectional
        if self.trained.front.kind == "given":
            raise DataError(f"{self.name}: reads frames made elsewhere, no sound: it cannot be served")
        return {"rate_hz": self.trained.front.rate_hz, "beam": self.trained.ear.width, "streaming": streaming}

    def decode(self, data: bytes, name: str) -> np.ndarray:
        """The samples of a recording. DataError if it is none, or too long."""
        return read_audio(data, self.trained.front.rate_hz, self.limits.seconds, name)

    def easy(self) -> np.ndarray:
        """Silence."""
        return np.zeros(self.trained.front.rate_hz, np.float32)

    def size(self, one: np.ndarray) -> int:
        """A recording as long as may be is as much work as a text as long as may be."""
        return int(self.limits.text * len(one) / (self.limits.seconds * self.trained.front.rate_hz))

    def _search(self, options: ExplainTranscript) -> Search:
        hotwords = [self.trained.spoken(phrase) for phrase in options.hotwords]
        fusion = Fusion.of(self.trained.side, hotwords=hotwords, phrases=options.phrases)
        return Search(options.beam, getattr(options, "n_best", 1), fusion)

    def predict(self, inputs: Sequence[np.ndarray], options: TranscribeRequest) -> list[dict[str, Any] | UnrolledError]:
        """What is said in each recording."""
        return [told(found) for found in self.trained.transcripts(inputs, self._search(options))]

    def explain(self, one: np.ndarray, options: ExplainTranscript) -> dict[str, Any]:
        """The sound, the symbol of each step, and where each word stands."""
        return self.trained.explain(one, self._search(options))
