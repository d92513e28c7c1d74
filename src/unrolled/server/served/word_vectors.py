"""Word vectors over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from unrolled.errors import DataError, UnrolledError
from unrolled.server.served.base import Asked, Served
from unrolled.tasks.explain_word_vectors import explain_vectors

__all__ = ["Analogy", "MapRequest", "NeighborsRequest", "ServedVectors"]

#: Unknown words of a request for which others are suggested.
_SUGGESTED = 3
_Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Analogy(Asked):
    """What is to c as b is to a?"""

    a: _Word
    b: _Word
    c: _Word


class NeighborsRequest(Asked):
    """Options of a request for neighbours."""

    n: int = Field(10, ge=1, le=1000, description="Words for each.")


class MapRequest(Asked):
    """Options of a map."""

    words: int = Field(500, ge=1, le=2000, description="The most frequent words, so many.")


class ServedVectors(Served):
    """Words -> neighbours; analogies -> answers."""

    task = "word-vectors"
    Predict = NeighborsRequest
    Explain = MapRequest

    @property
    def Input(self) -> Any:
        """A word, or an analogy."""
        return _Word | Analogy

    @property
    def Explained(self) -> Any:
        """Nothing: the map is of all."""
        return None

    def easy(self) -> str:
        """The most frequent word."""
        return str(self.trained.words[0])

    def facts(self) -> dict[str, Any]:
        """How many words, how many numbers each."""
        return {"words": len(self.trained), "size": self.trained.size}

    def predict(self, inputs: Sequence[str | Analogy], options: NeighborsRequest) -> list[dict[str, Any] | UnrolledError]:
        """The neighbours of each word, the answers to each analogy."""
        words = [one for one in inputs if isinstance(one, str) and one in self.trained]
        near = dict(zip(words, self.trained.neighbors_of(words, options.n), strict=True)) if words else {}
        unknown = {word for one in inputs for word in _words(one) if word not in self.trained}
        problems = {word: self._problem(word, n) for n, word in enumerate(sorted(unknown))}
        return [self._answer(one, near, problems, options.n) for one in inputs]

    def _problem(self, word: str, n: int) -> DataError:
        """That a word has no vector; of the first few, words spelled alike, which take long to find."""
        return DataError(self.trained.unknown(word) if n < _SUGGESTED else f"the word {word!r} has no vector.")

    def _answer(
        self, one: str | Analogy, near: dict[str, Any], problems: dict[str, DataError], n: int
    ) -> dict[str, Any] | UnrolledError:
        wrong = [problems[word] for word in _words(one) if word in problems]
        if wrong:
            return wrong[0]
        if isinstance(one, str):
            return {"word": one, "neighbors": [list(pair) for pair in near[one]]}
        return one.model_dump() | {"answers": [list(pair) for pair in self.trained.analogy(one.a, one.b, one.c, n)]}

    def explain(self, one: None, options: MapRequest) -> dict[str, Any]:
        """The map."""
        return explain_vectors(self.trained, min(options.words, len(self.trained)))


def _words(one: str | Analogy) -> tuple[str, ...]:
    return (one,) if isinstance(one, str) else (one.a, one.b, one.c)
