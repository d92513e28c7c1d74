"""The command line: verbs, exit codes, one place where errors become messages.

stdout carries data only; progress and messages go to stderr. Exit codes: 0 ok, 1 failure, 2 usage, 3 bad data or config,
4 some inputs failed, 130 interrupted. Nothing here imports torch before a command needs it.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from typing import Annotated

import typer

from unrolled import __version__
from unrolled.cli import check, compare, demo, info, language_model, serve, train, verbs, word_vectors
from unrolled.cli.advice import AdvisedGroup
from unrolled.cli.guard import guarded
from unrolled.config import check_environment
from unrolled.errors import UnrolledError

__all__ = ["app", "main"]

EXAMPLES = """
unrolled demo                                            train on text that Python ships, and write

unrolled train language-model corpus.txt --out runs/books

unrolled sample runs/books --prompt "It was" --temperature 0.8

unrolled evaluate runs/books held-out.txt

unrolled train word-vectors corpus.txt --out runs/vec

unrolled neighbors runs/vec king queen

unrolled train classify reviews.csv --text review --label sentiment --out runs/sentiment

unrolled train translate train.de train.en --out runs/de-en

unrolled predict runs/sentiment "I loved every minute of it."

unrolled train tag sentences.conll --out runs/tags
"""

app = typer.Typer(
    cls=AdvisedGroup,
    help="Recurrent sequence models: train, evaluate, sample, explain.\n\nExamples:\n\n" + EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train.app, name="train")
app.add_typer(check.app, name="check")
for command in (
    verbs.evaluate,
    language_model.sample,
    verbs.predict,
    verbs.explain,
    word_vectors.neighbors,
    word_vectors.analogy,
    word_vectors.index,
    word_vectors.export,
    compare.compare,
    info.info,
    demo.demo,
):
    app.command()(guarded(command))
app.command()(serve.serve)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    del version  # its callback has answered
    check_environment()
    if debug:
        os.environ["UNROLLED_DEBUG"] = "1"


def main() -> None:
    """Run the command line and exit with its code."""
    _mend_streams()
    threads = os.environ.get("UNROLLED_THREADS", "")
    if threads.isdigit() and int(threads):
        os.environ["OMP_NUM_THREADS"] = threads  # read by torch when it is imported
    try:
        app()
    except UnrolledError as error:
        _fail(f"error: {error}", error.exit_code)
    except OSError as error:
        _fail(f"error: {error.filename or 'output'}: {error.strerror or error}", 3 if error.filename else 1)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error):
            raise
        _fail("error: there is not enough memory for this. Take smaller sizes, fewer samples or a smaller batch.", 1)


def _mend_streams() -> None:
    """Give closed streams a place to go, and print what an encoding cannot hold as an escape."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open for good
        elif isinstance(stream, io.TextIOWrapper) and mode == "w":
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str, code: int) -> None:
    if os.environ.get("UNROLLED_DEBUG"):
        traceback.print_exc()
    print(message, file=sys.stderr)
    sys.exit(code)
