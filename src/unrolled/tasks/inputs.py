"""One rule for every public method: one input gives one result, a list or another iterable of inputs gives a list.

classifier.predict("not bad")                   # a Prediction
classifier.predict(["not bad", "awful"])        # [Prediction, Prediction]

An `InputType` says what one input of a task is. Packages such as pandas and Pillow are recognized without being imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from unrolled.data.paths import check_paths, column_names, list_sources, type_name
from unrolled.data.valid_text import check_text

__all__ = [
    "IMAGES",
    "RECORDINGS",
    "TEXTS",
    "TEXTS_OR_WORDS",
    "WORDS",
    "InputType",
    "evaluation_paths",
    "is_array",
    "iter_inputs",
    "map_inputs",
    "source_advice",
]

Result = TypeVar("Result")


@dataclass(frozen=True)
class InputType:
    """What one input is. name: of one, and of several; expected: the accepted types, for messages.

    is_single: whether a value is one input; is_item: the same inside a list, where more may be allowed; columns: usual
    names of the column in a table, the best first; is_text: inputs are texts or words, and must be valid ones.
    """

    name: str
    plural: str
    expected: str
    is_single: Callable[[Any], bool]
    is_item: Callable[[Any], bool]
    columns: tuple[str, ...] = ()
    is_text: bool = False


def map_inputs(
    kind: InputType,
    inputs: Any,
    predict: Callable[[Iterator[Any]], Iterable[Result | Exception]],
    columns: tuple[str, ...] = (),
) -> Any:
    """Return the result of one input, or the list of results of an iterable of inputs, which is read once and in order.

    predict: yields a result, or an error that is then raised, for each input. columns: preferred names of a table's column.
    Raises TypeError for what is neither an input nor an iterable of inputs.
    """
    results = list[Result]()
    for result in predict(iter_inputs(kind, inputs, columns)):
        if isinstance(result, Exception):
            raise result
        results.append(result)
    return results[0] if kind.is_single(inputs) else results


def iter_inputs(kind: InputType, inputs: Any, columns: tuple[str, ...] = ()) -> Iterator[Any]:
    """Yield one input, or those of an iterable one after another. TypeError at once for what is neither.

    DataError for a text with a NUL character or half of a surrogate pair, when its turn comes.
    """
    if kind.is_single(inputs):
        return _valid(iter([inputs]), "the text") if kind.is_text else iter([inputs])
    names = column_names(inputs)
    if names is not None:
        wanted = [*columns, *kind.columns, *names]
        column = next((name for name in wanted if name in names), "text")
        shown = ", ".join(map(repr, names[:10])) or "(none)"
        raise TypeError(
            f"got {type_name(inputs)} with the columns {shown}, expected {kind.name} "
            f"or a list of {kind.plural}. Fix: pass one column, such as table[{column!r}]."
        )
    if isinstance(inputs, (Mapping, bytes, bytearray, memoryview, os.PathLike)) or not _is_iterable(inputs):
        raise TypeError(
            f"got {type_name(inputs)}, expected {kind.name} ({kind.expected}), or a list or another iterable of "
            f"{kind.plural}.{_advice(inputs)}"
        )
    return _valid(_checked(kind, inputs), "input {}") if kind.is_text else _checked(kind, inputs)


def _valid(inputs: Iterable[Any], name: str) -> Iterator[Any]:
    """The inputs, each a text or a list of words. DataError for one that is no text."""
    for number, item in enumerate(inputs):
        for text in [item] if isinstance(item, str) else item:
            check_text(text, name.format(number))
        yield item


def _checked(kind: InputType, inputs: Iterable[Any]) -> Iterator[Any]:
    for number, item in enumerate(inputs):
        if not kind.is_item(item):
            raise TypeError(
                f"input {number}: got {type_name(item)}, expected {kind.name} ({kind.expected}).{_advice(item)}"
            )
        yield item


def _advice(value: Any) -> str:
    """How a value of a common wrong type becomes an input."""
    if isinstance(value, (bytes, bytearray)):
        return " Fix: decode it, value.decode('utf-8')."
    if isinstance(value, os.PathLike):
        return " Fix: read the file, path.read_text(encoding='utf-8')."
    if isinstance(value, Mapping):
        return " Fix: pass its values, such as row['text']."
    if value is None or (isinstance(value, float) and value != value):
        return " Fix: remove missing values, or replace them by ''."
    if isinstance(value, (list, tuple)):
        return " Fix: pass one flat list."
    if isinstance(value, (float, np.floating)):
        return " Fix: pass numbers as an array, numpy.array(values, 'float32')."
    return ""


def source_advice(task: str) -> str:
    """How texts in memory become data of a task, for messages."""
    match task:
        case "language-model" | "word-vectors":
            return "Texts in memory are passed as unrolled.lines(texts)."
        case "tag":
            return "Sentences in memory are passed as unrolled.lines(['Harry\\tB-PER', ...]), with '' after each sentence."
        case "translate":
            return "Sentences in memory are passed as [unrolled.lines(sources), unrolled.lines(targets)]."
    return "Data in memory are written to a file first: .csv or .jsonl, a row an example."


def evaluation_paths(sources: Any, task: str, *types: type) -> list[Any]:
    """The paths (or documents) that a model is evaluated on. TypeError for other types, DataError for missing files."""
    listed = list_sources(sources, *types)
    check_paths(listed, source_advice(task))
    return listed


def _is_iterable(value: Any) -> bool:
    if is_array(value):
        return value.ndim > 0
    return isinstance(value, Iterable)


def is_array(value: Any) -> bool:
    """Whether a value is an array or a tensor, of numpy, torch or a library with `__dlpack__`."""
    return isinstance(value, (np.ndarray, torch.Tensor)) or (hasattr(value, "__dlpack__") and hasattr(value, "shape"))


def _is_numeric(value: Any) -> bool:
    """Whether a value is an array of numbers, rather than one of texts or objects."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    return is_array(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_words(value: Any) -> bool:
    """A text, or its words: a list, tuple or array of str."""
    if isinstance(value, str):
        return True
    listed = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)
    return listed and all(isinstance(word, str) for word in value)


def _is_file(value: Any) -> bool:
    """A path, or the content of a file: bytes or an open binary file."""
    return isinstance(value, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(value, "read")


def _is_image(value: Any) -> bool:
    pillow = hasattr(value, "getexif") and hasattr(value, "convert")
    return _is_file(value) or pillow or (_is_numeric(value) and value.ndim in (0, 1, 2, 3))


def _is_recording(value: Any) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2
    if pair and any(map(_is_numeric, value)) and not all(is_array(part) and part.ndim for part in value):
        return True  # (array, rate), also in the wrong order, which is reported when it is read
    return _is_file(value) or (_is_numeric(value) and not isinstance(value, tuple))


TEXTS = InputType("a text", "texts", "str", _is_text, _is_text, ("text",), is_text=True)
WORDS = InputType("a word", "words", "str", _is_text, _is_text, ("word",), is_text=True)
TEXTS_OR_WORDS = InputType(
    "a text",
    "texts",
    "str; inside a list also a list of words",
    _is_text,
    _is_words,
    ("text", "words", "tokens"),
    is_text=True,
)
IMAGES = InputType(
    "an image",
    "images",
    "a path, bytes, a PIL image, or an array (height, width[, 3])",
    _is_image,
    _is_image,
    ("file", "image", "filename", "file_name", "path"),
)
RECORDINGS = InputType(
    "a recording",
    "recordings",
    "a path, bytes, samples (N,), or (samples, rate in Hz)",
    _is_recording,
    _is_recording,
    ("file", "path", "audio", "filename"),
)
