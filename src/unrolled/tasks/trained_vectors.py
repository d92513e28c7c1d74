"""Trained word vectors: a model folder with all that is needed to look up, to test, to export and to learn on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from unrolled import __version__
from unrolled.errors import FolderError
from unrolled.folders import (
    FORMAT,
    FORMAT_VERSION,
    open_model,
    prepare_model,
    read_json,
    tensor_entries,
    write_bytes,
    write_json,
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
        outputs: np.ndarray,
        rare: dict[str, int],
        phrases: list[list[tuple[str, str]]],
        config: dict[str, Any],
    ) -> None:
        super().__init__(words, array, counts)
        self.outputs, self.rare, self.phrases, self.config = outputs, rare, phrases, config

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
        config |= {"format": FORMAT, "format_version": FORMAT_VERSION, "task": NAME, "unrolled": __version__}
        assert self.counts is not None
        tensors = {"inputs": self.array, "outputs": self.outputs, "counts": self.counts}
        packed = safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
        write_bytes(folder / "model.safetensors", packed)
        write_text(folder / "words.txt", "".join(f"{word}\n" for word in self.words))
        write_text(folder / "rare.txt", "".join(f"{word}\t{n}\n" for word, n in self.rare.items()))
        write_json(folder / "phrases.json", self.phrases)
        write_json(folder / "metrics.json", config.get("metrics") or {})
        write_text(folder / "README.md", _card(config, self))
        write_json(folder / "config.json", config)


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
