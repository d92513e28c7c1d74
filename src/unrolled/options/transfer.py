"""What a user may say about word vectors that a network begins with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unrolled.conditions import SET, Condition, when
from unrolled.config import Section

__all__ = ["OF_VECTORS", "WordVectorOptions"]


class WordVectorOptions(Section):
    """What was learned elsewhere."""

    vectors: str | None = Field(
        None, description="Word vectors to begin with: a run of train word-vectors, or a file of any format."
    )
    freeze_vectors: bool = Field(False, description="Do not train the vectors.")
    unicode_errors: Literal["strict", "replace", "ignore"] = Field(
        "strict",
        description="What to do with words in a file of vectors that are not UTF-8: refuse, replace or drop bytes.",
    )


#: When options have an effect: see `config.Section.conditions`.
OF_VECTORS: dict[str, Condition] = {"freeze_vectors": when("vectors", SET), "unicode_errors": when("vectors", SET)}
