"""Word vectors as the embedding another task begins with: frozen, or tuned along with the rest (transfer of embeddings)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unrolled.errors import ConfigError
from unrolled.features.vocabulary import END, UNKNOWN, Vocabulary
from unrolled.layers.embedding import OneHot
from unrolled.models.language_model import LanguageModel
from unrolled.options.language_model import TransferOptions
from unrolled.tasks import load
from unrolled.tasks.vectors import Vectors

__all__ = ["Transferred", "begin_with_vectors", "fill_rows", "vectors_at"]


class Transferred(NamedTuple):
    """How many symbols of the vocabulary begin with a given vector, and the most frequent of those that do not."""

    found: int
    symbols: int
    without: list[str]

    def __str__(self) -> str:
        missing = f"; none for {', '.join(map(repr, self.without))} and others" if self.without else ""
        return f"given vectors for {self.found:,} of {self.symbols:,} symbols, the others begin at random{missing}"


def vectors_at(path: str) -> Vectors:
    """The word vectors that --vectors names. ConfigError if it is something else."""
    found = load(path)
    if not isinstance(found, Vectors):
        raise ConfigError(f"--vectors {path}: is a model, but not of word vectors")
    return found


@torch.no_grad()
def begin_with_vectors(model: LanguageModel, vocabulary: Vocabulary, given: TransferOptions) -> Transferred | None:
    """Fill the embedding's rows of the symbols that have a vector, as written or in lower case, brought to length 1.

    ConfigError where sizes differ, the file holds no word vectors, or what is frozen would have to be trained.
    """
    embedding, path = model.embedding, given.vectors
    if given.freeze_vectors and (path is None or model.config.tied):
        raise ConfigError("--freeze-vectors needs --vectors, and --no-tied: a tied embedding is the output matrix too")
    if path is None:
        return None
    vectors = vectors_at(path)
    if isinstance(embedding, OneHot):
        raise ConfigError("--vectors needs an embedding to go to: not with --input one-hot")
    if embedding.size != vectors.size:
        raise ConfigError(f"the vectors in {path} have {vectors.size} numbers: add --embedding-size {vectors.size}")
    found = fill_rows(embedding.weight, vocabulary.symbols, vectors, special=(UNKNOWN, END))
    embedding.weight.requires_grad_(not given.freeze_vectors)
    return found


@torch.no_grad()
def fill_rows(table: Tensor, symbols: Sequence[str], vectors: Vectors, special: Sequence[str] = ()) -> Transferred:
    """Fill the rows of table (V, D) whose symbols have a vector, as written or in lower case, brought to length 1.

    special: symbols that are no words, so that nothing is known of them but from a vector of their own.
    """
    without: list[str] = []
    for row, symbol in enumerate(symbols):
        no_word = symbol in special and symbol not in vectors.index  # nothing that sub-words could tell
        form = None if no_word else vectors.form(symbol)
        if form is None:
            without.append(symbol)
            continue
        vector = torch.tensor(vectors[form], dtype=torch.float32)
        table[row] = vector / vector.norm().clamp(min=1e-12)
    shown = [symbol for symbol in without if symbol not in special][:5]
    return Transferred(len(symbols) - len(without), len(symbols), shown)
