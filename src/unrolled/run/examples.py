"""Labelled examples of a run: where they came from, noted so that an interrupted training can go on with the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from unrolled.errors import DataError, FolderError

__all__ = ["check_apart", "examples_again", "noted"]


class _Examples(Protocol):
    def columns(self) -> tuple[Sequence[Any], ...]: ...


Examples = TypeVar("Examples", bound=_Examples)


def noted(train: Any, valid: Any, examples: _Examples, held: _Examples | None) -> dict[str, Any] | None:
    """What run.json says of examples and those held out; nothing where they did not come from files (train, valid)."""
    sources = [*train, *(valid or ())] if isinstance(train, Sequence) and isinstance(valid or (), Sequence) else [None]
    if not all(isinstance(source, (str, Path)) and str(source) != "-" for source in sources):
        return None
    paths = {"train": _absolute(train), "valid": _absolute(valid) if valid else None}
    return paths | {"digest": _digest(examples, held)}


def check_apart(train: Iterable[Any], held: Iterable[Any], what: str) -> None:
    """DataError for files that are among those to learn from and those to choose by; what: they are called."""
    files = [{str(file) for file in some if isinstance(file, Path)} for some in (train, held)]
    both = sorted(files[0] & files[1])
    if both:
        raise DataError(
            f"{len(both):,} {what} are among those to learn from and those to choose by, such as {both[0]}. Part them: "
            "--train-split and --valid-split, or another file for --valid."
        )


def _absolute(sources: Iterable[str | Path]) -> list[str]:
    return [str(Path(source).absolute()) for source in sources]


def _digest(*parts: _Examples | None) -> str:
    """SHA-256 of all values."""
    found = hashlib.sha256()
    for column in (column for part in parts if part is not None for column in part.columns()):
        for value in column:
            found.update(json.dumps(value).encode() + b"\n")
        found.update(b"\0")
    return found.hexdigest()


def examples_again(
    folder: Path,
    record: dict[str, Any],
    read: Callable[[list[str]], Examples],
    *,
    allow_changes: bool,
    read_held: Callable[[list[str]], Examples] | None = None,
) -> tuple[Examples, Examples | None]:
    """Read the examples that a run was begun with; notes a change in `record`, which DataError refuses unless allowed.

    read_held: how those to choose by are read, where they are read in another way.
    """
    where = record.get("examples")
    if where is None:
        raise FolderError(f"{folder}: its examples did not come from files, so it cannot be resumed. Train anew.")
    train, valid = read(where["train"]), (read_held or read)(where["valid"]) if where["valid"] else None
    digest = _digest(train, valid)
    if digest != where["digest"] and not allow_changes:
        shown = ", ".join(where["train"] + (where["valid"] or []))
        raise DataError(
            f"{shown}: the examples are not those that the training in {folder} began with. Put them back, or add "
            "--allow-changes to go on with the difference."
        )
    record["examples"] = where | {"digest": digest}
    return train, valid
