"""The error tree. Every failure a user can cause is one of these, and says what to do about it.

UnrolledError                  exit code 1
|- DataError                   3   a file or a line of the user's
|- ConfigError                 3   an option, a preset, a config file
|  '- UsageError               2   an option that has no effect in the chosen configuration
|- FolderError                 3   a run or model folder that is damaged, foreign or in the way
|- PartialFailure              4   some inputs of many failed, the others were answered
|- RankError                   1   another process of the same training has ended
'- MissingExtra                1   an optional package that is not installed
ShapeError                     1   a tensor that does not fit; also a ValueError and a RuntimeError, as in torch
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unrolled.aliases import nearest, value_advice
from unrolled.extras import install_command

__all__ = [
    "ConfigError",
    "DataError",
    "FolderError",
    "MissingExtra",
    "PartialFailure",
    "RankError",
    "ShapeError",
    "UnrolledError",
    "UsageError",
    "check_bounds",
    "first_of",
    "nearest",
    "unknown_name",
]


class UnrolledError(Exception):
    """Base of all errors that are reported without a traceback; `exit_code` is what the command returns."""

    exit_code = 1


class DataError(UnrolledError):
    """A file, a line or a text cannot be used. The message names place, text, expectation and remedy."""

    exit_code = 3


class ConfigError(UnrolledError):
    """An option has an unknown name or an impossible value."""

    exit_code = 3


class UsageError(ConfigError):
    """An option was given that has no effect in the chosen configuration. The message names what it depends on."""

    exit_code = 2


class FolderError(UnrolledError):
    """A run or model folder is missing, damaged, made by something else, or would be overwritten."""

    exit_code = 3


class PartialFailure(UnrolledError):
    """Some of many inputs failed; the others were answered."""

    exit_code = 4


class RankError(UnrolledError):
    """Another process of the same training has ended, so that this one cannot go on."""


class MissingExtra(UnrolledError):
    """A feature needs a package that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package '{package}'. Install it with: {install_command(extra)}")


class ShapeError(UnrolledError, ValueError, RuntimeError):
    """A tensor whose shape, dtype or device does not fit; the message names what was expected and what was passed.

    `torch.nn` raises ValueError for some of these and RuntimeError for others; this error is both.
    """


def first_of(problems: Sequence[str], most: int = 10) -> str:
    """The first problems, a line each, and how many more there are."""
    more = f"\n... and {len(problems) - most} more" if len(problems) > most else ""
    return "\n".join(problems[:most]) + more


def check_bounds(options: object, bounds: Mapping[str, tuple[float, float]]) -> None:
    """ConfigError for a number that does not lie in its bounds, these included."""
    for name, (low, high) in bounds.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise ConfigError(f"{name.replace('_', '-')} must lie in {low}..{high}, got {value}")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that is not among `known`: it lists them and points to the nearest."""
    names = list(known)
    return ConfigError(f"unknown {kind} '{name}'; known: {', '.join(names)}.{value_advice(name, names)}")
