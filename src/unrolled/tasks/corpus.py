"""The training text as ids: short texts in memory, long ones in a cache folder, each text and tokenisation once.

    <cache>/corpora/<key>/   ids   vocabulary.json   tokenizer.json   spelling.json   corpus.json

The key is a digest of the texts and of everything that decides their tokens. Of several processes that want the same
folder, one fills it and the others wait. It can be deleted at any time, and is made again when it is needed.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from unrolled.data import text
from unrolled.data.text import Document, LongDocument
from unrolled.errors import FolderError
from unrolled.features.numbering import Spool, mapped, numbering_for
from unrolled.features.tokenizers import TOKENIZERS
from unrolled.folders import cache_folder, latest, new_folder, read_json, write_json
from unrolled.tasks.text_codec import TextCodec

__all__ = ["Corpus", "read_corpus"]

_FORMAT = 2
#: Characters from which pieces (bpe, unigram) are learned; of longer texts, evenly spread chunks.
_LEARNED_FROM = 100_000_000


class Corpus(NamedTuple):
    """ids (N,): all texts one after another; codec: what they mean."""

    codec: TextCodec
    ids: np.ndarray


def read_corpus(documents: Sequence[Document], options: Any, codec: TextCodec | None = None) -> Corpus:
    """Tokenise the documents, with a given codec or one made from them. `options`: the section [data].

    FolderError where the cache folder cannot be written.
    """
    if sum(document.size for document in documents) <= text.IN_MEMORY:
        return _build(documents, options, codec, Spool())
    folder = cache_folder() / "corpora" / _key(documents, options)
    if codec and not _made_with(folder, codec):
        folder = folder.with_name(_key(documents, options, codec))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not _whole(latest(folder)):
                with new_folder(folder) as temporary:
                    _fill(temporary, documents, options, codec)
    except (OSError, FolderError) as error:
        raise FolderError(
            f"{error} The tokenised text is kept there; it takes up to 5 bytes a token. Make room, or name another folder: "
            "set UNROLLED_CACHE"
        ) from None
    stored = TextCodec.load(folder)
    return Corpus(codec or stored, mapped(folder / "ids", stored.vocabulary.dtype))


def _build(documents: Sequence[Document], options: Any, codec: TextCodec | None, spool: Spool) -> Corpus:
    if codec is None:
        tokenizer = TOKENIZERS[options.tokens]()
        tokenizer.train(_sample(documents), options.vocabulary_size or tokenizer.default_size or 0)
    else:
        tokenizer = codec.tokenizer
    numbering = numbering_for(tokenizer, sentences=options.sentences, spool=spool)
    numbering.read([_Chunks(document) for document in documents])
    codec = codec or TextCodec.fit(tokenizer, numbering.counts(), options)
    return Corpus(codec, numbering.ids(codec.vocabulary))


@dataclass(frozen=True)
class _Chunks:
    """The chunks of a document, as often as they are asked for."""

    document: Document

    def __iter__(self) -> Iterator[str]:
        return self.document.chunks()


def _sample(documents: Sequence[Document]) -> Iterator[str]:
    """The text, or of a long one every n-th chunk."""
    every = max(1, sum(document.size for document in documents) // _LEARNED_FROM)
    chunks = (chunk for document in documents for chunk in document.chunks())
    yield from (chunk for i, chunk in enumerate(chunks) if i % every == 0)


def _made_with(folder: Path, codec: TextCodec) -> bool:
    """Whether the ids in the folder mean what they mean to this codec."""
    try:
        return all(a.to_json() == b.to_json() for a, b in zip(TextCodec.load(folder)[:3], codec[:3], strict=True))
    except FolderError:
        return False


def _key(documents: Sequence[Document], options: Any, codec: TextCodec | None = None) -> str:
    texts = [(d.facts().sha256, d.size) if not isinstance(d, LongDocument) else d.identity for d in documents]
    how = [options.tokens, options.vocabulary_size, options.min_count, options.sentences]
    given = codec and [codec.tokenizer.to_json(), codec.vocabulary.to_json()]
    return hashlib.sha256(json.dumps([_FORMAT, texts, how, given]).encode()).hexdigest()[:24]


def _whole(folder: Path) -> bool:
    """Whether the folder holds what was written there; what does not is made again."""
    try:
        return all(_checksum(folder / name) == known for name, known in read_json(folder / "corpus.json")["files"].items())
    except (OSError, FolderError, KeyError, TypeError, AttributeError):
        return False


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            found = zlib.crc32(block, found)
    return found


def _fill(folder: Path, documents: Sequence[Document], options: Any, codec: TextCodec | None) -> None:
    _build(documents, options, codec, Spool(folder)).codec.save(folder)
    (folder / "appeared").unlink(missing_ok=True)
    files = {path.name: _checksum(path) for path in sorted(folder.iterdir())}
    write_json(folder / "corpus.json", {"files": files, "texts": [document.name for document in documents]})
