"""Translators over HTTP."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import UnrolledError
from unrolled.server.served.base import ExplainSearch, Phrase, SearchOptions, ServedBeam, told
from unrolled.tasks.translation import Wishes

__all__ = ["ExplainTranslation", "ServedTranslator", "TranslateRequest"]

_Norm = Annotated[
    Literal["none", "average", "gnmt"] | None,
    Field(description="What scores are divided by; unset: as at training."),
]


class ExplainTranslation(ExplainSearch):
    """How a translation is searched for, before it is explained."""

    norm: _Norm = None
    reference: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        None, description="A right translation: is it search or model that misses it?"
    )


class TranslateRequest(SearchOptions):
    """Options of a request to a translator."""

    norm: _Norm = None
    prefix: Phrase = Field("", description="What each translation begins with.")
    require: list[Phrase] = Field([], max_length=10, description="Words or phrases each translation has.")
    replace_unknown: bool = Field(False, description="Unknown words become those of the source looked at.")


class ServedTranslator(ServedBeam):
    """Texts -> translations."""

    task = "translate"
    Predict = TranslateRequest
    Explain = ExplainTranslation

    def search(self, options: ExplainSearch) -> BeamOptions:
        """How to search, by the norm of the request too."""
        assert isinstance(options, (ExplainTranslation, TranslateRequest))
        found = super().search(options)
        return replace(found, norm=options.norm or found.norm)

    def predict(self, inputs: Sequence[str], options: TranslateRequest) -> list[dict[str, Any] | UnrolledError]:
        """The translation of each text; where one cannot have what is wished, that."""
        wishes, search = Wishes(options.prefix, tuple(options.require), options.replace_unknown), self.search(options)
        try:
            return [told(found) for found in self.trained.translations(inputs, search, wishes)]
        except UnrolledError as error:
            if len(inputs) == 1:
                return [error]
            return [found for one in inputs for found in self.predict([one], options)]

    def explain(self, one: str, options: ExplainTranslation) -> dict[str, Any]:
        """Where each word looked, what it cost, and the tree of the beam."""
        asked = copy.copy(self.trained)  # with a search of its own
        asked.search = self.search(options)
        return asked.explain(one, options.reference)
