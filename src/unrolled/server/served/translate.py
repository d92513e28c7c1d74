"""Translators over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import UnrolledError
from unrolled.server.served.base import SearchOptions, Served, told
from unrolled.tasks.translation import Wishes

__all__ = ["ExplainTranslation", "ServedTranslator", "TranslateRequest"]

_Phrase = Annotated[str, StringConstraints(max_length=200)]


class ExplainTranslation(SearchOptions):
    """How a translation is searched for, before it is explained."""

    norm: Literal["none", "average", "gnmt"] | None = Field(None, description="How scores are made fair to length.")
    reference: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        None, description="A right translation: is it search or model that misses it?"
    )


class TranslateRequest(SearchOptions):
    """Options of a request to a translator."""

    norm: Literal["none", "average", "gnmt"] | None = Field(None, description="How scores are made fair to length.")
    prefix: _Phrase = Field("", description="What each translation begins with.")
    require: list[_Phrase] = Field([], max_length=10, description="Words or phrases each translation has.")
    replace_unknown: bool = Field(False, description="Unknown words become those of the source looked at.")


class ServedTranslator(Served):
    """Texts -> translations."""

    task = "translate"
    Predict = TranslateRequest
    Explain = ExplainTranslation

    def facts(self) -> dict[str, Any]:
        """How it searches unless told otherwise, and whether it has attention."""
        return {"beam": self.trained.search.width, "attention": self.trained.model.attention is not None}

    def _search(self, options: SearchOptions) -> BeamOptions:
        own, norm = self.trained.search, getattr(options, "norm", None)
        width = options.beam or max(own.width, options.n_best)
        return replace(own, width=width, n_best=options.n_best, norm=norm or own.norm)

    def predict(self, inputs: Sequence[str], options: TranslateRequest) -> list[dict[str, Any] | UnrolledError]:
        """The translation of each text."""
        wishes = Wishes(options.prefix, tuple(options.require), options.replace_unknown)
        return [told(found) for found in self.trained.translations(inputs, self._search(options), wishes)]

    def explain(self, one: str, options: ExplainTranslation) -> dict[str, Any]:
        """Where each word looked, what it cost, and the tree of the beam."""
        before = self.trained.search
        self.trained.search = self._search(options)  # one thread asks: nobody sees the change
        try:
            return self.trained.explain(one, options.reference)
        finally:
            self.trained.search = before
