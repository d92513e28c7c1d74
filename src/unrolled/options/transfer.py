"""What a user may say about word vectors that a network begins with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unrolled.config import Section

__all__ = ["WordVectorOptions"]


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
