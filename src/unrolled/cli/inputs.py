"""Inputs of `predict` and `explain`: arguments, files (--input) and standard input; and the file that answers go to."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import typer

from unrolled.cli.progress import say
from unrolled.cli.speaker import Speaker
from unrolled.data.valid_text import text_problem
from unrolled.errors import DataError

__all__ = ["check_files", "check_output", "collect_inputs", "one_line", "set_threads", "single_input"]

#: What ends the names of files that hold inputs, and media files that are inputs themselves.
_LISTS = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".conll", ".conllu", ".md")
_MEDIA = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".wav", ".flac", ".mp3", ".ogg", ".opus")


def check_files(inputs: Sequence[str], texts: Sequence[str], *, stream: bool = False) -> None:
    """Check inputs before a model is loaded. Usage error for both kinds at once, DataError for files that do not exist."""
    if inputs and texts:
        raise typer.BadParameter("give inputs as arguments or with --input, not both.")
    if inputs and stream:
        raise typer.BadParameter("--stream reads standard input: leave --input out.")
    for name in inputs:
        if name != "-" and not Path(name).is_file():
            what = "is a folder, expected a file of inputs" if Path(name).is_dir() else "no such file"
            raise DataError(f"{name}: {what}. --input names a file with an input per line, or a table.")


def check_output(out: Path | None, inputs: Sequence[str]) -> None:
    """Usage error for an output file that is one of the inputs; DataError where its folder does not exist."""
    if out is None:
        return
    if str(out) == "-":
        raise typer.BadParameter("--out names a file; without it, answers are printed.")
    if not out.parent.is_dir():
        raise DataError(f"{out}: there is no folder {out.parent}. Fix: make it, or choose another --out.")
    if out.is_dir():
        raise DataError(f"{out}: is a folder, expected the name of a file.")
    if any(name != "-" and out.exists() and out.samefile(name) for name in inputs if Path(name).exists()):
        raise typer.BadParameter(f"--out {out} is one of the inputs; choose another file.")


def collect_inputs(
    trained: Any,
    speaker: Speaker,
    texts: Sequence[str],
    files: Sequence[str],
    column: str | None,
    encoding: str,
    bad: dict[int, str],
) -> Iterable[Any]:
    """Return the inputs in order: arguments, or files, or else the lines of standard input.

    A text that cannot be read (not UTF-8, a NUL character, half of a surrogate pair) is noted in `bad` by its number, and
    read as empty.
    """
    read = speaker.read(trained, column)
    if files:
        return _numbered(files, lambda name: _file_inputs(name, read, speaker, encoding), bad, media=bool(speaker.media))
    _check_arguments(texts, speaker)
    return _numbered(texts or ["-"], lambda text: [text], bad, media=bool(speaker.media))


def _numbered(
    names: Sequence[str], read: Callable[[str], Iterable[Any]], bad: dict[int, str], *, media: bool
) -> Iterator[Any]:
    """The inputs of several sources one after another, "-" being standard input. media: inputs are paths or recordings."""
    number = itertools.count(1)
    for name in names:
        if name == "-":
            yield from _lines(sys.stdin, bad, number)
            continue
        for n, value in enumerate(read(name), start=1):
            at = next(number)
            problem = None if media else _problem(value)
            if problem:
                place = f"input {at}" if value == name else f"{name}, input {n}"
                bad[at] = f"{place}: {problem}."
            yield "" if problem else value


def _problem(value: Any) -> str | None:
    """Why a text, or one of its words, cannot be read."""
    words = [value] if isinstance(value, str) else value
    return next(filter(None, map(text_problem, words)), None)


def _file_inputs(name: str, read: Callable[[str, str], Iterable[Any]], speaker: Speaker, encoding: str) -> Iterable[Any]:
    if speaker.media and name.lower().endswith(_MEDIA):
        raise typer.BadParameter(
            f"{name} is {speaker.media}, not a list of paths: give it as an argument, without --input."
        )
    return read(name, encoding)


def _check_arguments(texts: Sequence[str], speaker: Speaker) -> None:
    """Usage error for a file where a text is expected; a notice for what looks like the name of one."""
    for text in texts:
        if speaker.media or text == "-":
            continue
        if _is_file(text):
            raise typer.BadParameter(
                f"{text!r} is a file, and an argument is a text. Fix: --input {text} reads the file; this very text goes "
                "through standard input: echo TEXT | unrolled predict RUN -"
            )
        if text.lower().endswith(_LISTS) and not any(map(str.isspace, text)):
            say(f"note: {text!r} is read as a text; there is no such file. Files are named with --input.")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _lines(stream: TextIO, bad: dict[int, str], number: Iterator[int]) -> Iterator[str]:
    """Lines of standard input; one that is no text, or not UTF-8, is noted in `bad` by its number and read as empty."""
    for line, raw in enumerate(stream.buffer, start=1):
        at = next(number)
        try:
            text = raw.decode("utf-8-sig" if line == 1 else "utf-8").rstrip("\r\n")
            problem = text_problem(text)
        except UnicodeDecodeError as error:
            text, problem = "", f"not utf-8 at byte {error.start} of the line"
        if problem:
            bad[at] = f"<standard input>, line {line}: {problem}."
        yield "" if problem else text


def single_input(
    trained: Any, speaker: Speaker, text: str | None, file: str | None, column: str | None, encoding: str
) -> Any:
    """The one input of `explain`: its argument, or that of a file; None where neither is given."""
    bad = dict[int, str]()
    if text is None and file is None:
        return None
    texts = [] if text is None else [text]
    values = list(
        itertools.islice(collect_inputs(trained, speaker, texts, [file] if file else [], column, encoding, bad), 2)
    )
    if bad:
        raise DataError(bad[min(bad)])
    name = file or "<standard input>"
    if not values:
        raise DataError(f"{name}: holds no input to explain.")
    if len(values) > 1:
        raise DataError(f"{name}: holds more than one input; explain takes one. Fix: write it to a file of its own.")
    return values[0]


def one_line(answer: str) -> str:
    """An answer without line ends: each becomes a space."""
    return " ".join(answer.splitlines())


def set_threads(threads: int | None) -> None:
    """Compute with this number of threads, if one is given."""
    if threads:
        import torch

        torch.set_num_threads(threads)
