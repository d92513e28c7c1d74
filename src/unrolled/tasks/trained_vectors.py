"""Trained word vectors: a model folder with all that is needed to look up, to test, to export and to learn on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from unrolled import __version__
from unrolled.config import flat
from unrolled.data.fasttext import CODES, FastText, write_fasttext
from unrolled.errors import FolderError
from unrolled.features.subwords import NGrams, Subwords
from unrolled.folders import (
    header,
    open_model,
    prepare_model,
    read_json,
    tensor_entries,
    write_bytes,
    write_json,
    write_stream,
    write_text,
)
from unrolled.tasks.vectors import Vectors

__all__ = ["NAME", "TrainedWordVectors"]

NAME = "word-vectors"


class TrainedWordVectors(Vectors):
    """Word vectors with all that is needed to learn on: outputs, counts, and the counts of words that were too rare.

    rare: words without a vector, with their counts so far; outputs: the second table, see `models/word2vec.py`; phrases:
    the pairs of words that are joined, in each pass over the text.
    """

    def __init__(
        self,
        words: Sequence[str],
        array: np.ndarray,
        counts: np.ndarray,
        *,
        subwords: Subwords | None = None,
        outputs: np.ndarray,
        rare: dict[str, int],
        phrases: list[list[tuple[str, str]]],
        config: dict[str, Any],
    ) -> None:
        super().__init__(words, array, counts, subwords=subwords)
        self.outputs, self.rare, self.phrases, self.config = outputs, rare, phrases, config
        self.normalization = (config.get("data") or {}).get("normalization", "none")

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured at the end of training."""
        return dict(self.config.get("metrics") or {})

    @staticmethod
    def load(path: str | Path) -> TrainedWordVectors:
        """Open a model or run folder; the tables are mapped into memory. FolderError if it is damaged or foreign."""
        folder, config = open_model(path, NAME, "word vectors")
        tables = _mapped_tensors(folder / "model.safetensors")
        words = _lines(folder / "words.txt")
        rare = dict(line.rsplit("\t", 1) for line in _lines(folder / "rare.txt") if "\t" in line)
        try:
            if len(words) != len(tables["inputs"]) or len(words) != len(tables["counts"]):
                raise ValueError(f"{len(words)} words, tables of {len(tables['inputs'])} and {len(tables['counts'])} rows")
            counted = {word: int(n) for word, n in rare.items()}
            phrases = [[(a, b) for a, b in some] for some in read_json(folder / "phrases.json")]
            return TrainedWordVectors(
                words,
                tables["inputs"],
                tables["counts"],
                subwords=_subwords(tables, config),
                outputs=tables["outputs"],
                rare=counted,
                phrases=phrases,
                config=config,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise FolderError(f"{folder}: its files do not fit each other ({error}). Copy the folder again.") from None

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = prepare_model(folder)
        config = self.config | (extra or {})
        config |= header(NAME)
        assert self.counts is not None
        tensors = {"inputs": self.array, "outputs": self.outputs, "counts": self.counts}
        if self.subwords is not None and self.subwords.buckets is not None:
            tensors |= {"subwords": self.subwords.table, "buckets": self.subwords.buckets.astype(np.int64)}
        packed = safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
        write_bytes(folder / "model.safetensors", packed)
        write_text(folder / "words.txt", "".join(f"{word}\n" for word in self.words))
        write_text(folder / "rare.txt", "".join(f"{word}\t{n}\n" for word, n in self.rare.items()))
        write_json(folder / "phrases.json", self.phrases)
        write_json(folder / "metrics.json", config.get("metrics") or {})
        write_text(folder / "README.md", _card(config, self))
        write_json(folder / "config.json", config)

    def export(self, path: str | Path, kind: str) -> None:
        """Write the vectors to a file; as fastText's .bin with all that fastText or gensim need to learn on."""
        if kind != "fasttext-bin":
            super().export(path, kind)
            return
        rows = None if self.subwords is None else self.subwords.buckets
        write_stream(Path(path), write_fasttext(self._as_fasttext(), rows))

    def _as_fasttext(self) -> FastText:
        """The words by falling count, as fastText needs them, and its numbering of the inner nodes."""
        given, options, n_words = self.config["model"], flat(self.config.get("options") or {}), len(self)
        assert self.counts is not None
        order = np.argsort(-self.counts, kind="stable")
        table = self.array if self.subwords is None else self.subwords.table
        outputs = np.zeros((n_words, self.size), np.float32)
        if given["objective"] == "hierarchical-softmax":
            outputs[: n_words - 1] = self.outputs[::-1]
        else:
            outputs[:] = self.outputs[order, : self.size]
        settings = {
            "dim": self.size,
            "ws": given["window"],
            "epoch": options.get("epochs") or math.ceil(self.config.get("metrics", {}).get("epoch", 0)),
            "minCount": options.get("min_count", 1),
            "neg": given["negatives"],
            "wordNgrams": 1,
            "loss": CODES[given["objective"]],
            "model": CODES[given["architecture"]],
            "bucket": given["buckets"] if self.subwords is not None else 0,
            "minn": given["min_ngram"] if self.subwords is not None else 0,
            "maxn": given["max_ngram"] if self.subwords is not None else 0,
            "lrUpdateRate": 100,
            "t": given["subsample"],
            "tokens": int(self.counts.sum()),
        }
        words = [self.words[row] for row in order.tolist()]
        inputs = np.concatenate([table[:n_words][order], table[n_words:]])
        return FastText(settings, words, self.counts[order], [], inputs, outputs)


def _subwords(tables: dict[str, np.ndarray], config: dict[str, Any]) -> Subwords | None:
    if "subwords" not in tables:
        return None
    given, n_words = config["model"], len(tables["inputs"])
    if len(tables["subwords"]) != n_words + len(tables["buckets"]):
        raise ValueError(f"{len(tables['subwords'])} rows for {n_words} words and {len(tables['buckets'])} n-grams")
    ngrams = NGrams(given["min_ngram"], given["max_ngram"], given["buckets"])
    return Subwords(ngrams, tables["subwords"], n_words, tables["buckets"])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        raise FolderError(f"{path}: is missing or damaged ({error}). Copy the model folder again.") from None


def _mapped_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, mapped: nothing is read before it is used, and nothing written back."""
    kinds = {"F32": np.float32, "I64": np.int64}
    start, entries = tensor_entries(path)
    try:
        whole = np.memmap(path, np.uint8, "c")
        found = {}
        for name, entry in entries.items():
            first, last = (start + at for at in entry["data_offsets"])
            found[name] = whole[first:last].view(kinds[entry["dtype"]]).reshape(entry["shape"])
        return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FolderError(f"{path}: is not a whole file of word vectors ({error}). Copy the model folder again.") from None


def _card(config: dict[str, Any], vectors: Vectors) -> str:
    """README.md of the model folder."""
    metrics = "".join(f"| {name} | {value} |\n" for name, value in (config.get("metrics") or {}).items())
    data = config.get("data") or {}
    return f"""# Word vectors made with unrolled {__version__}

{len(vectors):,} words, {vectors.size} numbers each, learned from {data.get("words", "?"):,} words.

Sources: {", ".join(data.get("sources", [])[:10]) or "not recorded"}.

| at the end of training | |
|---|---|
{metrics}
Licence of the vectors and of their data: fill in.

## Use

    unrolled neighbors FOLDER WORD
    unrolled export FOLDER --format word2vec-bin vectors.bin

    import unrolled
    vectors = unrolled.load("FOLDER")
    print(vectors.neighbors("WORD"), vectors["WORD"], vectors.matrix.shape)

## Options

```json
{json.dumps(config.get("options") or {}, indent=1)}
```
"""
