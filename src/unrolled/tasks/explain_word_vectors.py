"""A map of word vectors: the most frequent words laid out in the plane, each with its neighbours."""

from __future__ import annotations

from typing import Any

import torch

from unrolled.errors import ConfigError
from unrolled.models.tsne import in_the_plane
from unrolled.tasks.vectors import Vectors

__all__ = ["explain_vectors"]

#: Words on a map at most: their layout keeps a number for each pair.
_MOST, _NEIGHBORS = 5000, 10


def explain_vectors(vectors: Vectors, n_words: int) -> dict[str, Any]:
    """The first n words (in a model the most frequent ones) as points (x, y) of a map, with their neighbours."""
    if not 1 <= n_words <= _MOST:
        raise ConfigError(f"a map has between 1 and {_MOST:,} words, got {n_words:,}")
    words = list(vectors.words[:n_words])
    array = torch.from_numpy(vectors.array[:n_words].copy())
    places = in_the_plane(torch.nn.functional.normalize(array, dim=1))
    near = vectors.neighbors_of(words, _NEIGHBORS)
    return {
        "words": words,
        "blocks": [
            {
                "kind": "map",
                "title": f"The first {len(words):,} of {len(vectors):,} words",
                "note": "Words near each other have similar vectors (t-SNE: near ones can be trusted, distances between "
                "groups not). Search, click a word, turn the wheel, drag. Neighbours and cosines are those of the vectors.",
                "words": words,
                "places": [[round(x, 4), round(y, 4)] for x, y in places.tolist()],
                "neighbors": [[[found.word, round(found.cosine, 3)] for found in some] for some in near],
            }
        ],
    }
