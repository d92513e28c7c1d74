"""What the server may know of a task: what is asked, in which options, and three questions: predict, explain, generate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from unrolled.data.valid_text import text_problem
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import UnrolledError
from unrolled.options.serve import LimitOptions

__all__ = ["Asked", "ExplainSearch", "Phrase", "SearchOptions", "Served", "ServedBeam", "told"]


#: A few words among the options of a request.
Phrase = Annotated[str, StringConstraints(max_length=200)]


def _valid_text(text: str) -> str:
    """The text; ValueError for one with a NUL character, which would stop the texts that are read together with it."""
    problem = text_problem(text)
    if problem:
        raise ValueError(f"the text {problem}")
    return text


class Asked(BaseModel):
    """Base of all options of requests: frozen, finite, and strict about unknown names."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class ExplainSearch(Asked):
    """How what is explained was searched for."""

    beam: int | None = Field(None, ge=1, le=100, description="Hypotheses side by side; 1: greedy; unset: as at training.")


class SearchOptions(ExplainSearch):
    """How an answer is searched for."""

    n_best: int = Field(1, ge=1, le=20, description="So many answers.")


class Served:
    """A model under a name. One thread calls it: `predict` with inputs of several requests that ask with equal options.

    Predict, Explain, Generate: the options of each question, None where it cannot be asked; files: kinds of files that are
    its inputs, such as "image/*"; none: inputs are JSON.
    """

    task: ClassVar[str]
    Predict: ClassVar[type[Asked]] = Asked
    Explain: ClassVar[type[Asked]] = Asked
    Generate: ClassVar[type[Asked] | None] = None
    files: ClassVar[str] = ""

    def __init__(self, name: str, trained: Any, limits: LimitOptions) -> None:
        self.name, self.trained, self.limits = name, trained, limits

    @property
    def Input(self) -> Any:
        """The type of an input, as pydantic checks it: a text, unless a task says otherwise."""
        return Annotated[str, StringConstraints(max_length=self.limits.text), AfterValidator(_valid_text)]

    @property
    def Explained(self) -> Any:
        """The type of what is explained: an input that is not empty."""
        return Annotated[self.Input, Field(min_length=1, json_schema_extra={"pattern": r"\S"})]

    def facts(self) -> dict[str, Any]:
        """What is told of the model, beside its task: labels, rates, sizes."""
        return {}

    def size(self, one: Any) -> int:
        """About how much work an input is: those alike are read together."""
        return len(one) if hasattr(one, "__len__") else 1

    def decode(self, data: bytes, name: str) -> Any:
        """The content of a file as an input. DataError if it cannot be read or is too large."""
        raise NotImplementedError

    def easy(self) -> Any:
        """An input that any model of the task has an answer to."""
        return "a"

    def warm_up(self) -> None:
        """Answer an easy question, so that nobody who asks waits for what is done once: kernels that are compiled."""
        self.predict([self.easy()], self.Predict())
        if self.Generate is not None:
            list(self.generate("", self.Generate.model_validate({"length": 1})))

    def predict(self, inputs: Sequence[Any], options: Any) -> list[dict[str, Any] | UnrolledError]:
        """What `unrolled predict --json` says of each input, or the error of those that cannot be read."""
        raise NotImplementedError

    def explain(self, one: Any, options: Any) -> dict[str, Any]:
        """What `unrolled explain` says of an input."""
        raise NotImplementedError

    def generate(self, prompt: str, options: Any) -> Iterator[dict[str, Any]]:
        """The pieces of a text as they are written."""
        raise NotImplementedError


class ServedBeam(Served):
    """A model that is searched with a beam, as it was trained to be unless a request says otherwise."""

    def facts(self) -> dict[str, Any]:
        """How it searches unless told otherwise, and whether it has attention."""
        return {"beam": self.trained.search.width, "attention": self.trained.model.attention is not None}

    def search(self, options: ExplainSearch) -> BeamOptions:
        """How to search for the answer to a request."""
        own, n_best = self.trained.search, getattr(options, "n_best", 1)
        return replace(own, width=options.beam or max(own.width, n_best), n_best=n_best)


def told(found: Any) -> dict[str, Any] | UnrolledError:
    """An answer as JSON; an error stays one."""
    return found if isinstance(found, UnrolledError) else found.to_json()
