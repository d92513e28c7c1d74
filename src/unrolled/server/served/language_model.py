"""Language models over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from pydantic import Field, create_model

from unrolled.decoding.sampling import SamplingOptions
from unrolled.errors import UnrolledError
from unrolled.server.served.base import Asked, Served, told
from unrolled.tasks.explain_language_model import explain_text
from unrolled.tasks.writing import watched

__all__ = ["ServedLanguageModel", "WriteRequest"]


class WriteRequest(Asked):
    """Options of a request to write: those of `unrolled sample`."""

    length: int  # at most what the server allows: `ServedLanguageModel.Generate`
    temperature: float = Field(
        1.0, ge=0, le=100, description="0 takes the likeliest token, 1 the model's own distribution."
    )
    top_k: int = Field(0, ge=0, le=2**31, description="Draw from the k likeliest tokens; 0: from all.")
    top_p: float = Field(1.0, gt=0, le=1, description="Draw from the likeliest tokens that reach this probability.")
    min_p: float = Field(0.0, ge=0, le=1, description="Draw from tokens this likely, relative to the likeliest.")
    repetition_penalty: float = Field(1.0, ge=1, le=100, description="Above 1: tokens already there become less likely.")
    seed: int = Field(0, ge=0, le=2**53 - 1, description="Same seed, same text.")
    alternatives: int = Field(5, ge=0, le=50, description="Likeliest tokens that are told beside each that was drawn.")


class ServedLanguageModel(Served):
    """Texts -> what they cost; prompts -> texts."""

    task = "language-model"

    @cached_property
    def Generate(self) -> Any:  # type: ignore[override]
        """Options of a text that is written, as long as the server lets it be."""
        most = self.limits.length
        length = Field(min(200, most), ge=0, le=most, description="Tokens to write.")
        return create_model("WriteRequest", __base__=WriteRequest, length=(int, length))

    def facts(self) -> dict[str, Any]:
        """What a token is, and how many there are."""
        return {"unit": self.trained.codec.tokenizer.unit, "symbols": len(self.trained.codec.vocabulary)}

    def predict(self, inputs: Sequence[str], options: Asked) -> list[dict[str, Any] | UnrolledError]:
        """Log-probability, perplexity, and the surprisal of each token."""
        return [told(found) for found in self.trained.scores(inputs)]

    def explain(self, one: str, options: Asked) -> dict[str, Any]:
        """Surprise, alternatives, gates, states, gradients."""
        return explain_text(self.trained, one)

    def generate(self, prompt: str, options: WriteRequest) -> Iterator[dict[str, Any]]:
        """The tokens as they are drawn: text, probability, and the likeliest others."""
        kinds = options.model_dump(exclude={"length", "alternatives"})
        drawn = watched(self.trained, prompt, options.length, SamplingOptions(**kinds), options.alternatives)
        return (piece.to_json() for piece in drawn)
