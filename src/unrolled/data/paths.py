"""Sources of training and evaluation data: a path, or several; a str is always a path.

list_sources("corpus.txt")                     # ['corpus.txt']
list_sources(Path("a.txt") for _ in range(2))  # [PosixPath('a.txt'), PosixPath('a.txt')]
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unrolled.errors import DataError, first_of

__all__ = ["check_paths", "check_valid", "column_names", "list_sources", "path_exists", "type_name"]

#: Longest part of a path or text that a message repeats, in characters.
_SHOWN = 60


def list_sources(sources: Any, *types: type) -> list[Any]:
    """Return one source, or an iterable of them, as a list. A str or Path is one source: a path.

    types: further types that are one source. TypeError for what is neither; it names the type.
    """
    single = (str, os.PathLike, *types)
    if isinstance(sources, single):
        return [sources]
    names = column_names(sources)
    if names is not None or isinstance(sources, (bytes, bytearray, Mapping)) or not isinstance(sources, Iterable):
        raise TypeError(f"got {type_name(sources)}, expected {_expected(types)}, or a list of them.{_advice(sources)}")
    listed = list(sources)
    for i, source in enumerate(listed):
        if not isinstance(source, single):
            raise TypeError(f"source {i}: got {type_name(source)}, expected {_expected(types)}.{_advice(source)}")
    return listed


def _expected(types: tuple[type, ...]) -> str:
    return "a path (str or Path)" + ("" if not types else " or a document of unrolled.lines(...)")


def _advice(source: Any) -> str:
    if column_names(source) is not None or isinstance(source, (Mapping, tuple, list)):
        return " Fix: write the rows to a file (.csv or .jsonl) and pass its path."
    return ""


def check_paths(sources: Iterable[Any], advice: str) -> None:
    """DataError for paths among the sources that do not exist; advice: how data in memory are passed."""
    missing = [str(source) for source in sources if isinstance(source, (str, os.PathLike)) and not path_exists(source)]
    if missing:
        shown = [f"{name[:_SHOWN]!r}{'...' if len(name) > _SHOWN else ''}: no such file or folder." for name in missing]
        raise DataError(f"{first_of(shown)}\nA str is always a path. {advice}")


def check_valid(valid: Any) -> None:
    """Raise DataError for paths of validation data that do not exist, before the training data are read."""
    for source in valid if isinstance(valid, (list, tuple)) else ():
        if isinstance(source, (str, os.PathLike)) and not path_exists(source):
            raise DataError(f"--valid {source}: no such file or folder.")


def path_exists(path: str | os.PathLike[str]) -> bool:
    """Whether a path exists; "-" is standard input. A text that no path can be does not."""
    try:
        return str(path) == "-" or Path(path).exists()
    except (OSError, ValueError):  # too long, a NUL, a folder that may not be read
        return False


def column_names(table: Any) -> list[str] | None:
    """The names of the columns of a DataFrame or another table in memory; None for what is no table."""
    if isinstance(table, (str, bytes, Mapping, list, tuple)):
        return None
    names = getattr(table, "column_names", None) or getattr(table, "columns", None)
    if names is None or callable(names) or not hasattr(table, "__getitem__"):
        return None
    try:
        return [str(name) for name in names]
    except TypeError:
        return None


def type_name(value: Any) -> str:
    """The name of a value's type as users write it: 'int', 'pandas.DataFrame', 'None'."""
    if value is None:
        return "None"
    kind = type(value)
    root = kind.__module__.partition(".")[0]
    return kind.__qualname__ if root in ("builtins", "pathlib", "unrolled") else f"{root}.{kind.__qualname__}"
