"""What a user may say about word vectors that a network begins with."""

from __future__ import annotations

from pydantic import Field

from unrolled.config import Section

__all__ = ["WordVectorOptions"]


class WordVectorOptions(Section):
    """What was learned elsewhere."""

    vectors: str | None = Field(
        None, description="Word vectors to begin with: a run of train word-vectors, or a file of any format."
    )
    freeze_vectors: bool = Field(False, description="Do not train the vectors.")
