"""Word vectors as the embedding another task begins with: frozen, or tuned along with the rest (transfer of embeddings)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from unrolled.errors import ConfigError
from unrolled.features.vocabulary import END, UNKNOWN, Vocabulary
from unrolled.layers.embedding import OneHot
from unrolled.models.language_model import LanguageModel
from unrolled.options.language_model import TransferOptions
from unrolled.tasks import load
from unrolled.tasks.vectors import Vectors

__all__ = ["Transferred", "begin_with_vectors"]


class Transferred(NamedTuple):
    """How many symbols of the vocabulary begin with a given vector, and the most frequent of those that do not."""

    found: int
    symbols: int
    without: list[str]

    def __str__(self) -> str:
        missing = f"; none for {', '.join(map(repr, self.without))} and others" if self.without else ""
        return f"given vectors for {self.found:,} of {self.symbols:,} symbols, the others begin at random{missing}"


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
    vectors = load(path)
    if not isinstance(vectors, Vectors):
        raise ConfigError(f"--vectors {path}: is a model, but not of word vectors")
    if isinstance(embedding, OneHot):
        raise ConfigError("--vectors needs an embedding to go to: not with --input one-hot")
    if embedding.size != vectors.size:
        raise ConfigError(f"the vectors in {path} have {vectors.size} numbers: add --embedding-size {vectors.size}")
    without: list[str] = []
    for row, symbol in enumerate(vocabulary.symbols):
        special = symbol in (UNKNOWN, END) and symbol not in vectors.index  # nothing that sub-words could tell
        form = None if special else vectors.form(symbol)
        if form is None:
            without.append(symbol)
            continue
        vector = torch.tensor(vectors[form], dtype=torch.float32)
        embedding.weight[row] = vector / vector.norm().clamp(min=1e-12)
    embedding.weight.requires_grad_(not given.freeze_vectors)
    shown = [symbol for symbol in without if symbol not in (UNKNOWN, END)][:5]
    return Transferred(len(vocabulary) - len(without), len(vocabulary), shown)
