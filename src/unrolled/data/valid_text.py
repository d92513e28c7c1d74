"""Which strings are text: those that can be written as UTF-8 and have no NUL character."""

from __future__ import annotations

from typing import Any

from unrolled.errors import DataError

__all__ = ["check_text", "json_problem", "text_problem", "without_nul"]


def text_problem(text: str, *, nul: bool = True) -> str | None:
    """Why a string is no text, or None: it has a NUL character (unless nul is false), or half of a surrogate pair.

    Such halves come from JSON that was cut inside of an emoji (`"\\ud83d"`), and from arguments and file names that are not
    UTF-8. They cannot be written as UTF-8, so that nothing can be learned from them or said about them.
    """
    if nul and "\0" in text:
        return f"has a NUL character at position {text.index(chr(0))}, which no text has"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"has half of a surrogate pair (U+{ord(text[error.start]):04X}) at position {error.start}"
    return None


def check_text(text: str, name: str = "the text", *, nul: bool = True) -> None:
    """DataError, with a remedy, for a string that is no text (see `text_problem`)."""
    problem = text_problem(text, nul=nul)
    if problem:
        raise DataError(
            f"{name}: {problem}: {text[:60]!a}. Remove that character, or put U+FFFD there: "
            'text.encode("utf-8", "replace").decode()'
        )


def json_problem(value: Any) -> str | None:
    """The problem of the first string inside of a value from JSON that is no text, or None."""
    if isinstance(value, str):
        return text_problem(value)
    if isinstance(value, dict):
        return next(filter(None, map(json_problem, (*value.keys(), *value.values()))), None)
    if isinstance(value, list):
        return next(filter(None, map(json_problem, value)), None)
    return None


def without_nul(text: str, at: int, name: str) -> str:
    """A piece of a file that begins at character `at`. DataError if it has a NUL character."""
    if "\x00" in text:
        raise DataError(f"{name}: is a binary file, not text (NUL character at position {at + text.index(chr(0))}).")
    return text
