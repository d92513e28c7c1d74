"""How a classifier reads a text: which words it knows, and where that is kept in a model folder.

`Reading` has a vocabulary of its own; `EncoderReading` is that of a language model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from unrolled.errors import FolderError, ShapeError
from unrolled.features.bags import Bags, TextFeatures
from unrolled.features.normal_form import compose
from unrolled.features.unknown import unknown_share
from unrolled.features.words import READERS
from unrolled.folders import read_json, write_bytes, write_json
from unrolled.tasks.text_codec import TextCodec

__all__ = ["EncoderReading", "Reading", "load_reading", "places", "without_tags"]

_TAG = re.compile(r"</?[A-Za-z][^<>]{0,1000}>")


def without_tags(texts: Sequence[str]) -> list[str]:
    """The texts with a blank in place of what looks like a tag of HTML."""
    return [_TAG.sub(" ", text) for text in texts]


@dataclass(frozen=True)
class Reading:
    """What becomes of a text. strip_tags: leave out tags of HTML."""

    features: TextFeatures
    strip_tags: bool = False

    #: Ids that stand before each text.
    lead = ()

    @property
    def normalization(self) -> str:
        """Of the text, before it is split."""
        return self.features.normalization

    @property
    def n_symbols(self) -> int:
        """Words and n-grams known."""
        return len(self.features)

    def encode(self, texts: Sequence[str]) -> Bags:
        """Words, then n-grams, of each text; what is not known is left out."""
        return self.features.encode(without_tags(texts) if self.strip_tags else texts)

    def has_known(self, ids: np.ndarray) -> bool:
        """Whether the ids of a text are of known words at all."""
        return bool((ids < self.n_symbols).any())

    def split(self, text: str) -> list[tuple[str, int]]:
        """The words of a text as they are written, and the row of each, negative where it has none."""
        (read,) = without_tags([text]) if self.strip_tags else [text]
        return self.features.split(read)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write vocabulary and n-grams; returns what belongs into config.json."""
        write_json(folder / "vocabulary.json", {"words": self.features.words})
        write_bytes(folder / "n-grams.safetensors", safetensors.numpy.save({"keys": self.features.keys}))
        return {"tokens": self.features.tokens, "ngrams": self.features.longest, "strip_tags": self.strip_tags} | (
            {} if self.features.normalization == "none" else {"normalization": self.features.normalization}
        )

    @staticmethod
    def load(folder: Path, config: dict[str, Any]) -> Reading:
        """From what `save` wrote. FolderError if it is damaged."""
        words = read_json(folder / "vocabulary.json")["words"]
        try:
            keys = safetensors.numpy.load((folder / "n-grams.safetensors").read_bytes())["keys"]
        except (OSError, SafetensorError, KeyError) as error:
            raise FolderError(f"{folder / 'n-grams.safetensors'}: is damaged ({error}). Copy the folder again.") from None
        if config["tokens"] not in READERS:
            raise FolderError(f"{folder}: reads {config['tokens']!r}, which this version does not know.")
        normalization = config.get("normalization", "none")
        try:
            features = TextFeatures(config["tokens"], words, config["ngrams"], keys, normalization)
        except (ShapeError, TypeError) as error:
            raise FolderError(f"{folder}: its n-grams are damaged: {error}. Copy the folder again.") from None
        return Reading(features, config["strip_tags"])


@dataclass(frozen=True)
class EncoderReading:
    """What a language model makes of a text: its tokens, after the sign that a text begins."""

    codec: TextCodec
    strip_tags: bool = False

    @property
    def lead(self) -> tuple[int, ...]:
        """Ids that stand before each text."""
        return (self.codec.vocabulary.begin,)

    @property
    def normalization(self) -> str:
        """Of the text, before it is split."""
        return self.codec.tokenizer.normalization

    @property
    def n_symbols(self) -> int:
        """V."""
        return len(self.codec.vocabulary)

    def encode(self, texts: Sequence[str]) -> Bags:
        """The ids of each text."""
        read = without_tags(texts) if self.strip_tags else texts
        rows = [np.array([*self.lead, *self._ids(self._symbols(text))], np.int32) for text in read]
        sizes = np.array([len(row) for row in rows], np.int64)
        features = np.concatenate(rows) if rows else np.zeros(0, np.int32)
        unknown = unknown_share([features], self.codec.vocabulary.unknown)
        return Bags(features, np.concatenate([[0], np.cumsum(sizes)]), sizes, unknown)

    def has_known(self, ids: np.ndarray) -> bool:
        """Whether the ids of a text are of known symbols at all."""
        vocabulary = self.codec.vocabulary
        return bool(np.isin(ids, (vocabulary.unknown, vocabulary.begin, vocabulary.end), invert=True).any())

    def split(self, text: str) -> list[tuple[str, int]]:
        """What each token stands for in the text, and its id."""
        (read,) = without_tags([text]) if self.strip_tags else [text]
        symbols = self._symbols(read)
        return list(zip(self.codec.pieces(symbols), self._ids(symbols).tolist(), strict=True))

    def _symbols(self, text: str) -> list[str]:
        return list(chain.from_iterable(self.codec.texts(text)))

    def _ids(self, symbols: list[str]) -> np.ndarray:
        """A symbol that is not known is read in lower case, if it is known so."""
        known = self.codec.vocabulary
        return known.encode(symbol if symbol in known else symbol.lower() for symbol in symbols)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write tokenizer and vocabulary; returns what belongs into config.json."""
        self.codec.save(folder)
        return {"encoder": True, "strip_tags": self.strip_tags}

    @staticmethod
    def load(folder: Path, config: dict[str, Any]) -> EncoderReading:
        """From what `save` wrote. FolderError if it is damaged."""
        return EncoderReading(TextCodec.load(folder), config["strip_tags"])


def load_reading(folder: Path, config: dict[str, Any]) -> Reading | EncoderReading:
    """What stands in a model folder, by what config.json says of it."""
    return (EncoderReading if config.get("encoder") else Reading).load(folder, config)


def places(text: str, tokens: Sequence[str], normalization: str) -> np.ndarray:
    """Where each token begins and ends in the text (n, 2); one that does not stand there as such takes no room.

    normalization: of the model that the tokens come from; places are those of the text as it was passed in.
    """
    if normalization == "nfc":
        composed, starts = compose(text)
        return starts[places(composed, tokens, "none")]
    found, at = np.zeros((len(tokens), 2), np.int64), 0
    for i, token in enumerate(tokens):
        start = text.find(token, at)
        start, end = (at, at) if start < 0 else (start, start + len(token))
        found[i], at = (start, end), end
    return found
