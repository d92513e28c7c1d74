"""The tokenizers `bpe` and `unigram`: pieces over bytes, learned by the `tokenizers` library."""

from __future__ import annotations

import codecs
import importlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from unrolled.errors import ConfigError, DataError
from unrolled.features.tokenizer import Tokenizer
from unrolled.features.vocabulary import UNKNOWN

__all__ = ["BPE", "Unigram"]


class _Subword(Tokenizer):
    """Pieces over bytes, learned from the training text. 256 bytes are always there, so nothing is unknown."""

    unit = "pieces"
    default_size = 8_000

    def __init__(self) -> None:
        self._model: Any = None
        self._symbols: list[str] = []

    @abstractmethod
    def _new(self) -> tuple[Any, Any]:
        """An untrained model and its trainer class."""

    def train(self, texts: Iterable[str], size: int) -> None:
        library = importlib.import_module("tokenizers")
        model, trainer = self._new()
        self._model = library.Tokenizer(model)
        self._model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._model.decoder = library.decoders.ByteLevel()
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        learn = trainer(vocab_size=max(size - 2, len(alphabet)), initial_alphabet=alphabet, show_progress=False)
        self._model.train_from_iterator((chunk for text in texts for chunk in _chunks(self.normalize(text))), learn)
        self._ready()

    def _split(self, text: str) -> list[str]:
        if self._model is None:
            raise ConfigError(f"the tokenizer '{self.name}' was not trained")
        found = self._model.encode_batch_fast(list(_chunks(text)), add_special_tokens=False)
        return [self._symbols[i] for part in found for i in part.ids]

    def alphabet(self) -> Iterable[str]:
        return self._symbols

    def shown(self, symbol: str) -> str:
        found = self.join([symbol])
        return symbol if "\ufffd" in found else found  # a part of a letter

    def pieces(self, symbols: Iterable[str]) -> Iterator[str]:
        """Bytes of a character that is not complete yet are held back."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for symbol in symbols:
            raw = b"".join(_BYTES.get(c, c.encode()) for c in symbol) if symbol != UNKNOWN else symbol.encode()
            yield decoder.decode(raw)
        yield decoder.decode(b"", final=True)

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"model": json.loads(self._model.to_str())}

    def restore(self, data: dict[str, Any]) -> None:
        try:
            self._model = importlib.import_module("tokenizers").Tokenizer.from_str(json.dumps(data["model"]))
        except Exception as error:  # the library raises bare Exception
            raise DataError(f"the stored tokenizer cannot be read: {error}") from None
        self._ready()

    def _ready(self) -> None:
        self._model.encode_special_tokens = True  # what a user types is text; the library does not store this flag
        pieces = self._model.get_vocab()
        self._symbols = sorted(pieces, key=pieces.__getitem__)


class BPE(_Subword):
    """Byte-pair encoding (Sennrich et al. 2016): the same pieces at every training."""

    name = "bpe"

    def _new(self) -> tuple[Any, Any]:
        library = importlib.import_module("tokenizers")
        return library.models.BPE(), library.trainers.BpeTrainer


class Unigram(_Subword):
    """Unigram pieces (Kudo 2018). Training is not repeatable to the last digit, so the trained pieces are kept."""

    name = "unigram"

    def _new(self) -> tuple[Any, Any]:
        library = importlib.import_module("tokenizers")
        return library.models.Unigram(), library.trainers.UnigramTrainer


def _byte_symbols() -> dict[str, bytes]:
    """The byte-level alphabet: printable bytes stand for themselves, the others for characters from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): bytes([b]) for b in printable} | {chr(256 + i): bytes([b]) for i, b in enumerate(others)}


_BYTES = _byte_symbols()


def _chunks(text: str, size: int = 10_000) -> Iterator[str]:
    """Cut long text after line ends, so that the library can work on many pieces at once."""
    start = 0
    while start < len(text):
        cut = text.find("\n", start + size)
        end = len(text) if cut < 0 else cut + 1
        yield text[start:end]
        start = end
