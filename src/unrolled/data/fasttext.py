"""fastText's .bin: a model with its dictionary and both tables, sub-words included (format versions 11 and 12).

    magic, version                        int32 each
    settings                              12 int32, one double
    words, labels, tokens                 int32, int32, int32, int64, int64
    entries                               name, 0, int64 count, int8 (0: a word, 1: a label)
    quantised?  rows, columns, inputs     int8, int64, int64, float32: words, then buckets of n-grams
    quantised?  rows, columns, outputs    the same: words, inner nodes of the tree, or labels

All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrolled.errors import DataError
from unrolled.kernels.records import read_dictionary

__all__ = ["CODES", "MAGIC", "FastText", "decode_words", "read_fasttext", "write_fasttext"]

MAGIC = (793_712_314).to_bytes(4, "little")
_VERSIONS = (11, 12)
_SETTINGS = (
    "dim",
    "ws",
    "epoch",
    "minCount",
    "neg",
    "wordNgrams",
    "loss",
    "model",
    "bucket",
    "minn",
    "maxn",
    "lrUpdateRate",
)
_HEAD = struct.Struct("<4si12id")
_SIZES = struct.Struct("<iiiqq")
_MATRIX = struct.Struct("<?qq")
_LOSSES = {1: "hierarchical-softmax", 2: "negative-sampling", 3: "softmax", 4: "one-vs-all"}
_MODELS = {1: "cbow", 2: "skip-gram", 3: "supervised"}
#: fastText's numbers for what it has a name for.
CODES = {name: code for names in (_LOSSES, _MODELS) for code, name in names.items()}
_ROWS = 1 << 14


class FastText(NamedTuple):
    """settings: by fastText's names; words, counts (V,), labels; inputs (V + buckets, D), mapped; outputs likewise."""

    settings: dict[str, float]
    words: list[str]
    counts: np.ndarray
    labels: list[str]
    inputs: np.ndarray
    outputs: np.ndarray

    @property
    def ngrams(self) -> tuple[int, int, int]:
        """Characters of the shortest and longest n-grams, and buckets; longest 0 for none."""
        supervised = self.settings["model"] == 3 and self.settings["version"] == 11  # had none, whatever its header says
        longest = 0 if supervised else int(self.settings["maxn"])
        return int(self.settings["minn"]), longest, int(self.settings["bucket"])

    def facts(self) -> dict[str, Any]:
        """What a user may want to know."""
        shortest, longest, buckets = self.ngrams
        found = {
            "model": _MODELS[int(self.settings["model"])],
            "objective": _LOSSES[int(self.settings["loss"])],
            "sub-words": f"{shortest} to {longest} characters, {buckets:,} buckets" if longest else "none",
            "window": int(self.settings["ws"]),
            "negatives": int(self.settings["neg"]),
            "min-count": int(self.settings["minCount"]),
            "words read": int(self.settings["tokens"]),
        }
        if self.labels:
            found["labels"] = f"{len(self.labels)}, such as {self.labels[0]!r}; of a classifier, they have no vectors"
        return found


def read_fasttext(path: Path, data: np.ndarray, errors: str = "strict") -> FastText:
    """Read the model in the bytes of a file. DataError if they are cut off, damaged, or of a kind that cannot be read.

    errors: what becomes of bytes that are not UTF-8, see `vector_files.ERRORS`.
    """
    try:
        return _read(path, data, errors)
    except (struct.error, IndexError, KeyError) as error:
        raise DataError(f"{path}: the fastText model is damaged or cut off ({error}). Copy it again.") from None


def _read(path: Path, data: np.ndarray, errors: str) -> FastText:
    head = _HEAD.unpack(data[: _HEAD.size].tobytes())
    settings: dict[str, float] = dict(zip(_SETTINGS, head[2:], strict=False)) | {"t": head[-1], "version": head[1]}
    if head[1] not in _VERSIONS or settings["model"] not in _MODELS or settings["loss"] not in _LOSSES:
        raise DataError(f"{path}: is a fastText model of version {head[1]}; known are {' and '.join(map(str, _VERSIONS))}.")
    at = _HEAD.size
    size, n_words, n_labels, tokens, pruned = _SIZES.unpack(data[at : at + _SIZES.size].tobytes())
    settings["tokens"] = tokens
    if pruned > 0:
        raise DataError(f"{path}: is a quantised fastText model with pruned words, which cannot be read. Take its .bin.")
    if not (0 < n_words <= size == n_words + n_labels and size * 10 <= len(data)):
        raise DataError(f"{path}: promises {n_words} words and {n_labels} labels, {size} in all. Copy the file again.")
    ends, counts, kinds = np.empty((size, 2), np.int64), np.empty(size, np.int64), np.empty(size, np.int8)
    done, at = read_dictionary(data.view(np.ndarray), at + _SIZES.size, ends, counts, kinds)
    if done < size or kinds[:n_words].any() or not kinds[n_words:].all():
        raise DataError(
            f"{path}, entry {done + 1} of {size} of its dictionary: is damaged or cut off. Copy the file again."
        )
    if settings["bucket"] < 0 or settings["minn"] < 0 or settings["maxn"] < 0:
        raise DataError(f"{path}: promises {settings['bucket']} buckets of n-grams. It is damaged: copy the file again.")
    names = decode_words(path, data, ends, errors, "word")
    if errors != "strict" and len(set(names)) < size:  # rows of n-grams follow those of words: none can be left out
        names = _apart(names, [data[first:last].tobytes() for first, last in ends.tolist()])
    inputs, at = _matrix(path, data, at, "inputs")
    outputs, at = _matrix(path, data, at, "outputs")
    found = FastText(settings, names[:n_words], counts[:n_words], names[n_words:], inputs, outputs)
    rows = n_words + int(settings["bucket"])
    if inputs.shape not in ((rows, settings["dim"]), (n_words, settings["dim"])) or (
        found.ngrams[1] and (len(inputs) != rows or rows == n_words)
    ):
        raise DataError(f"{path}: its table is {inputs.shape}, not {rows} rows of {settings['dim']}. Copy the file again.")
    return found


def _apart(names: list[str], raw: list[bytes]) -> list[str]:
    """Words that became the same without the bytes that are not UTF-8, with these as \\xNN."""
    seen = Counter(names)
    return [
        name if seen[name] == 1 else word.decode("utf-8", "backslashreplace") for name, word in zip(names, raw, strict=True)
    ]


def decode_words(path: Path, data: np.ndarray, ends: np.ndarray, errors: str, unit: str) -> list[str]:
    """Decode the words between places of a file (V, 2). DataError that names row and remedy where one is not UTF-8."""
    words = list[str]()
    for row, (first, last) in enumerate(ends.tolist(), start=1):
        raw = data[first:last].tobytes()
        try:
            words.append(raw.decode("utf-8", errors))
        except UnicodeDecodeError:
            raise DataError(
                f"{path}, {unit} {row}: the word {raw!r} is not UTF-8. Fix: --unicode-errors replace puts U+FFFD in place "
                'of such bytes, ignore leaves them out; from Python: errors="replace".'
            ) from None
    return words


def _matrix(path: Path, data: np.ndarray, at: int, what: str) -> tuple[np.ndarray, int]:
    """A table in the bytes from place `at` on, not copied, and the place behind it."""
    quantised, rows, columns = _MATRIX.unpack(data[at : at + _MATRIX.size].tobytes())
    if quantised:
        raise DataError(
            f"{path}: is a quantised fastText model (.ftz), which cannot be read. Take the .bin it was made of."
        )
    start = at + _MATRIX.size
    end = start + 4 * rows * columns
    if rows < 0 or columns < 1 or end > len(data):
        raise DataError(f"{path}: the {what}, {rows:,} x {columns:,}, are cut off or damaged. Copy the file again.")
    return data[start:end].view("<f4").reshape(rows, columns), end


def write_fasttext(model: FastText, rows: np.ndarray | None = None) -> Iterator[bytes]:
    """The bytes of a model. rows (B,): the buckets, in order, that `inputs` has rows for; None: all; others are zero."""
    settings, n_words, size = model.settings, len(model.words), model.inputs.shape[1]
    yield _HEAD.pack(MAGIC, 12, *(int(settings[name]) for name in _SETTINGS), settings["t"])
    yield _SIZES.pack(n_words, n_words, 0, int(settings["tokens"]), -1)
    for word, count in zip(model.words, model.counts.tolist(), strict=True):
        yield word.encode() + b"\0" + struct.pack("<qb", count, 0)
    n_buckets = int(settings["bucket"])
    yield _MATRIX.pack(False, n_words + n_buckets, size)
    yield from _blocks(model.inputs[:n_words])
    if rows is None:
        yield from _blocks(model.inputs[n_words:])
    else:
        yield from _spread(model.inputs[n_words:], rows, n_buckets)
    yield _MATRIX.pack(False, *model.outputs.shape)
    yield from _blocks(model.outputs)


def _blocks(table: np.ndarray) -> Iterator[bytes]:
    for first in range(0, len(table), _ROWS):
        yield np.ascontiguousarray(table[first : first + _ROWS], "<f4").tobytes()


def _spread(table: np.ndarray, rows: np.ndarray, n: int) -> Iterator[bytes]:
    """A table of n rows, of which these are given, and the others zero."""
    for first in range(0, n, _ROWS):
        block = np.zeros((min(_ROWS, n - first), table.shape[1]), "<f4")
        here = slice(*np.searchsorted(rows, (first, first + len(block))))
        block[rows[here].astype(np.int64) - first] = table[here]
        yield block.tobytes()
