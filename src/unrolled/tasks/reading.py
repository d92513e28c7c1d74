"""How a classifier reads a text: which words it knows, and where that is kept in a model folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.numpy
from safetensors import SafetensorError

from unrolled.errors import FolderError
from unrolled.features.bags import Bags, TextFeatures
from unrolled.features.words import READERS
from unrolled.folders import read_json, write_bytes, write_json

__all__ = ["Reading", "without_tags"]

_TAG = re.compile(r"</?[A-Za-z][^<>]{0,1000}>")


def without_tags(texts: Sequence[str]) -> list[str]:
    """The texts with a blank in place of what looks like a tag of HTML."""
    return [_TAG.sub(" ", text) for text in texts]


@dataclass(frozen=True)
class Reading:
    """What becomes of a text. strip_tags: leave out tags of HTML."""

    features: TextFeatures
    strip_tags: bool = False

    def encode(self, texts: Sequence[str]) -> Bags:
        """Words, then n-grams, of each text; what is not known is left out."""
        return self.features.encode(without_tags(texts) if self.strip_tags else texts)

    def split(self, text: str) -> list[tuple[str, int]]:
        """The words of a text as they are written, and the row of each, negative where it has none."""
        (read,) = without_tags([text]) if self.strip_tags else [text]
        return self.features.split(read)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write vocabulary and n-grams; returns what belongs into config.json."""
        write_json(folder / "vocabulary.json", {"words": self.features.words})
        write_bytes(folder / "n-grams.safetensors", safetensors.numpy.save({"keys": self.features.keys}))
        return {"tokens": self.features.tokens, "ngrams": self.features.longest, "strip_tags": self.strip_tags}

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
        return Reading(TextFeatures(config["tokens"], words, config["ngrams"], keys), config["strip_tags"])
