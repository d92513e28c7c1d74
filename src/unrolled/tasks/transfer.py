"""What another task begins with: word vectors as its embedding, frozen or tuned along with the rest (transfer of
embeddings), or the embedding and layers of a language model (its encoder).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.vocabulary import END, UNKNOWN, Vocabulary
from unrolled.folders import model_folder, read_config
from unrolled.layers.embedding import OneHot
from unrolled.models.language_model import LanguageModel
from unrolled.options.language_model import TransferOptions
from unrolled.options.transfer import WordVectorOptions
from unrolled.tasks import load
from unrolled.tasks.vectors import Vectors

__all__ = [
    "Transferred",
    "begin_with_vectors",
    "check_transfer",
    "encoder_at",
    "encoder_sizes",
    "fill_rows",
    "given_vectors",
    "vectors_at",
]


class Transferred(NamedTuple):
    """How many symbols of the vocabulary begin with a given vector, and the most frequent of those that do not."""

    found: int
    symbols: int
    without: list[str]

    def __str__(self) -> str:
        missing = f"; none for {', '.join(map(repr, self.without))} and others" if self.without else ""
        return f"given vectors for {self.found:,} of {self.symbols:,} symbols, the others begin at random{missing}"


def check_transfer(vectors: str | None, encoder: str | None = None) -> None:
    """Check what a training run begins with before any data are read.

    Raises DataError or FolderError for paths that do not exist, ConfigError for models of another task.
    """
    if vectors is not None and not Path(vectors).exists():
        raise DataError(
            f"--vectors {vectors}: no such file or folder. Expected a file of word vectors, or a run of "
            "unrolled train word-vectors."
        )
    if encoder is not None and not Path(encoder).exists():
        raise FolderError(f"--encoder {encoder}: no such folder. Expected a run of unrolled train language-model.")
    expected = (("--vectors", vectors, "word-vectors"), ("--encoder", encoder, "language-model"))
    for flag, path, task in expected:
        if path is None or (flag == "--vectors" and Path(path).is_file()):
            continue
        found = read_config(model_folder(path)).get("task")
        if found != task:
            raise ConfigError(f"{flag} {path}: holds a model of the task {found!r}, expected one of {task!r}.")


def vectors_at(path: str, errors: str = "strict") -> Vectors:
    """The word vectors that --vectors names. ConfigError if it is something else.

    errors: what becomes of bytes in words of a file that are not UTF-8.
    """
    found = load(path, errors=errors)
    if not isinstance(found, Vectors):
        raise ConfigError(f"--vectors {path}: is a model, but not of word vectors")
    return found


def given_vectors(given: WordVectorOptions) -> Vectors | None:
    """Word vectors to begin with. ConfigError if there are none to be frozen, or the file holds something else."""
    if given.vectors is None:
        if given.freeze_vectors:
            raise ConfigError("--freeze-vectors needs --vectors: vectors drawn at random are not worth keeping")
        return None
    return vectors_at(given.vectors, given.unicode_errors)


def encoder_at(path: str) -> Any:
    """The language model that --encoder names. ConfigError if it is something else, or has no embedding."""
    found = load(path)
    model = getattr(found, "model", None)
    if not isinstance(model, LanguageModel):
        raise ConfigError(f"--encoder {path}: is no language model. Make one with: unrolled train language-model")
    if isinstance(model.embedding, OneHot):
        raise ConfigError(f"--encoder {path}: has no embedding, it was trained with --input one-hot")
    return found


def encoder_sizes(encoder: Any) -> dict[str, Any]:
    """What a network upon this language model has of it, as options of the network."""
    of = encoder.model.config
    same = ("cell", "embedding_size", "hidden_size", "n_layers", "learned_state")
    return {name: getattr(of, name) for name in same} | {"bidirectional": False}


@torch.no_grad()
def begin_with_vectors(model: LanguageModel, vocabulary: Vocabulary, given: TransferOptions) -> Transferred | None:
    """Fill the embedding's rows of the symbols that have a vector, as written or in lower case, brought to length 1.

    ConfigError where sizes differ, the file holds no word vectors, or what is frozen would have to be trained.
    """
    embedding, path = model.embedding, given.vectors
    tied = getattr(model.output, "weight", None) is getattr(embedding, "weight", embedding)
    if given.freeze_vectors and (path is None or tied):
        raise ConfigError("--freeze-vectors needs --vectors, and --no-tied: a tied embedding is the output matrix too")
    if path is None:
        return None
    vectors = vectors_at(path, given.unicode_errors)
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
