"""Word vectors in files: word2vec (binary, text), GloVe, fastText (.vec, .bin), safetensors, tsv; each may be gzipped.

    found = read_vectors("vectors.bin")        # the format is read from the file itself
    write_vectors("out.txt", words, matrix, "glove")

    word2vec-text   V D, then V rows: word and D numbers          glove   the rows alone
    word2vec-bin    V D, then V records: word, blank, 4 D bytes   tsv     rows with tabs
    safetensors     a tensor "vectors" (V, D), the words in the header
    fasttext-bin    see `fasttext.py`; what it needs beside the vectors is written by `tasks/trained_vectors.py`

Every word is checked to be UTF-8 (or made so, see ERRORS) and to be there once, every number to be one, the file to be
whole.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from unrolled.data.fasttext import MAGIC, decode_words, read_fasttext
from unrolled.errors import ConfigError, DataError, unknown_name
from unrolled.folders import write_stream
from unrolled.kernels.records import read_binary, read_text

__all__ = ["ERRORS", "FORMATS", "VectorFile", "read_vectors", "write_vectors"]

#: Formats that can be written, with what they are good for.
FORMATS = {
    "word2vec-bin": "gensim, the original word2vec, and most others",
    "word2vec-text": "the same as text; fastText's .vec",
    "glove": "text without a first line",
    "safetensors": "PyTorch and others; the words in its header",
    "tsv": "spreadsheets, embedding projectors",
    "fasttext-bin": "fastText and gensim: with sub-words, outputs and counts, of a model folder",
}
#: What becomes of bytes in words that are not UTF-8.
ERRORS = {
    "strict": "the file is refused",
    "replace": "U+FFFD stands in their place",
    "ignore": "they are left out",
}
_MOST = 2**40
#: The first bytes of text in other encodings: byte order marks.
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class VectorFile(NamedTuple):
    """kind: the format; words (V,), vectors (V, D) float32; twice: words that stood there again, the first kept.

    Of a fastText model: counts (V,); ngrams: characters of the shortest and the longest, buckets, and the table of rows for
    words and buckets, of which `vectors` has the words' rows alone; facts: what else there is to know.
    """

    kind: str
    words: list[str]
    vectors: np.ndarray
    twice: list[str]
    counts: np.ndarray | None = None
    ngrams: tuple[int, int, int, np.ndarray] | None = None
    facts: dict[str, Any] | None = None


def read_vectors(path: str | Path, errors: str = "strict") -> VectorFile:
    """Read a file of word vectors. DataError names row, word and remedy where it is damaged or of no known format.

    errors: what becomes of bytes in words that are not UTF-8, as gensim's `unicode_errors`: one of ERRORS. Published files
    have such words: word2vec cuts long ones at a byte. Of words that become the same, the first counts.
    """
    path = Path(path)
    if errors not in ERRORS:
        raise unknown_name("way to treat bytes that are not UTF-8", errors, ERRORS)
    data = _bytes(path)
    if bytes(data[:4]) == MAGIC:
        return _fasttext(path, data, errors)
    if len(data) > 8 and data[8] == ord("{") and int.from_bytes(data[:8].tobytes(), "little") < len(data):
        kind, words, vectors = "safetensors", *_safetensors(path, data)
    else:
        kind, words, vectors = _rows(path, data, errors)
    seen: dict[str, int] = {}
    for row, word in enumerate(words):
        seen.setdefault(word, row)
    twice: list[str] = []
    if len(seen) < len(words):
        twice = list(dict.fromkeys(word for row, word in enumerate(words) if seen[word] != row))
        words, vectors = list(seen), vectors[list(seen.values())]
    _finite(path, words, vectors)
    return VectorFile(kind, words, vectors, twice)


def _fasttext(path: Path, data: np.ndarray, errors: str) -> VectorFile:
    found = read_fasttext(path, data, errors)
    if len(set(found.words)) < len(found.words):
        raise DataError(f"{path}: a word stands in its dictionary twice. Copy the file again.")
    vectors = found.inputs[: len(found.words)]
    _finite(path, found.words, found.inputs)
    ngrams = (*found.ngrams, found.inputs) if found.ngrams[1] else None
    return VectorFile("fasttext-bin", found.words, vectors, [], found.counts, ngrams, found.facts())


def _finite(path: Path, words: Sequence[str], vectors: np.ndarray) -> None:
    for first in range(0, len(vectors), 65_536):
        good = np.isfinite(vectors[first : first + 65_536]).all(1)
        if not good.all():
            row = first + int(np.argmin(good))
            whose = repr(words[row]) if row < len(words) else f"n-gram bucket {row - len(words)}"
            raise DataError(f"{path}, row {row + 1}: the vector of {whose} holds NaN or infinity. Make the file anew.")


def _bytes(path: Path) -> np.ndarray:
    """The bytes of a file: mapped into memory, or unpacked."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        if packed:
            return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
        return np.memmap(path, np.uint8, "c") if path.stat().st_size else np.zeros(0, np.uint8)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path}: the gzip file is damaged or cut off ({error}). Copy it again.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None


def _first_line(data: np.ndarray) -> bytes:
    head = data[: 1 << 20].tobytes()
    return head[: head.index(b"\n")] if b"\n" in head else head


def _rows(path: Path, data: np.ndarray, errors: str) -> tuple[str, list[str], np.ndarray]:
    """The formats of rows, told apart by their first line and what follows it."""
    mark = _MARKS.get(bytes(data[:2]))
    if mark:
        raise DataError(f"{path}: is text in {mark}. Fix: convert it: iconv -f {mark} -t UTF-8 {path} > NEW")
    if bytes(data[:3]) == codecs.BOM_UTF8:
        data = data[3:]
    line = _first_line(data)
    fields = line.split()
    header = len(fields) == 2 and all(field.isdigit() for field in fields)
    if not header:
        size = len(line.split(b"\t")) - 1 if b"\t" in line else len(fields) - 1
        if size < 2 or not _is_number(fields[-1]):
            raise DataError(
                f"{path}: is a file, but not of word vectors: it begins with {line[:40]!r}. Known are word2vec (binary and "
                "text), GloVe, .vec, safetensors and tsv; a model is a folder."
            )
        data = data[: _end_of_text(data)]
        kind, rows = "tsv" if b"\t" in line else "glove", int(np.count_nonzero(data == 10)) + 1
        return kind, *_filled(path, data, 0, (rows, size), errors, text=True)
    rows, size = (int(field) for field in fields)
    if not 0 < rows * size < _MOST:
        raise DataError(f"{path}: the first line promises {rows} words of {size} numbers. Make the file anew.")
    start = len(line) + 1
    second = _first_line(data[start:]).split()
    text = len(second) > 2 and all(_is_number(field) for field in second[-min(size, len(second) - 1) :])
    needed = rows * size * (2 if text else 4)
    if needed > len(data):
        raise DataError(
            f"{path}: the first line promises {rows:,} words of {size:,} numbers, at least {needed:,} bytes, but the file "
            f"has {len(data):,}. It is cut off, or its first line is wrong. Copy it again."
        )
    return ("word2vec-text" if text else "word2vec-bin"), *_filled(path, data, start, (rows, size), errors, text=text)


def _end_of_text(data: np.ndarray) -> int:
    """Bytes before the blank lines that a file may end with."""
    end = len(data)
    while end and data[end - 1] in b" \t\r\n":
        end -= 1
    return end


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _filled(
    path: Path, data: np.ndarray, start: int, shape: tuple[int, int], errors: str, *, text: bool
) -> tuple[list[str], np.ndarray]:
    """All rows from place `start` on."""
    vectors, ends = np.empty(shape, np.float32), np.empty((shape[0], 2), np.int64)
    whole = np.ascontiguousarray(data) if not isinstance(data, np.memmap) else data.view(np.ndarray)
    done, at = read_text(whole, start, vectors, ends) if text else read_binary(whole, start, vectors.view(np.uint8), ends)
    if done < shape[0]:
        here = _first_line(data[at:])[:60]
        what = "the file ends" if at >= len(data) else f"there stands {here!r}"
        raise DataError(
            f"{path}, row {done + 1} of {shape[0]}: expected a word and {shape[1]} numbers, but {what}. The file is cut "
            "off, or its rows are not all of one length. Copy or make it again."
        )
    rest = whole[at : at + 4096].tobytes().strip()
    if rest:
        raise DataError(
            f"{path}: has more than the {shape[0]:,} words of {shape[1]:,} numbers that its first line promises: "
            f"{rest[:40]!r}. Correct the first line."
        )
    return decode_words(path, whole, ends, errors, "row"), vectors


def _safetensors(path: Path, data: np.ndarray) -> tuple[list[str], np.ndarray]:
    try:
        tensors = safetensors.numpy.load(data.tobytes())
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8].tobytes(), "little")].tobytes())
        words = json.loads(header["__metadata__"]["words"])
        vectors = tensors["vectors"].astype(np.float32)
        if vectors.ndim != 2 or len(words) != len(vectors):
            raise ValueError(f"{len(words)} words for a tensor of shape {vectors.shape}")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is not a safetensors file of word vectors ({error!r}): it needs a tensor 'vectors' (V, D) and the "
            "words as JSON under 'words' in its metadata."
        ) from None
    return words, vectors


def write_vectors(path: str | Path, words: Sequence[str], vectors: np.ndarray, kind: str) -> None:
    """Write vectors (V, D) in one of FORMATS; a crash leaves the old file or the new one whole."""
    if kind not in FORMATS:
        raise unknown_name("format", kind, FORMATS)
    blank = next((word for word in words if not word or any(c.isspace() for c in word)), None)
    if kind == "fasttext-bin":
        raise ConfigError(
            "fasttext-bin needs counts and outputs, which a file of vectors lacks: export a run or model folder"
        )
    if blank is not None and kind != "safetensors":
        raise ConfigError(
            f"the word {blank!r} holds a blank, which {kind} cannot tell from the end of the word: take safetensors"
        )
    write_stream(Path(path), _written(words, np.asarray(vectors, np.float32), kind))


def _written(words: Sequence[str], vectors: np.ndarray, kind: str) -> Iterator[bytes]:
    if kind == "safetensors":
        yield safetensors.numpy.save(
            {"vectors": np.ascontiguousarray(vectors)}, {"words": json.dumps(list(words), ensure_ascii=False)}
        )
        return
    if kind.startswith("word2vec"):
        yield f"{len(words)} {vectors.shape[1]}\n".encode()
    between = "\t" if kind == "tsv" else " "
    for word, vector in zip(words, vectors, strict=True):
        if kind == "word2vec-bin":
            yield word.encode() + b" " + vector.astype("<f4").tobytes() + b"\n"
        else:
            yield f"{word}{between}{between.join(vector.astype(str))}\n".encode()
