"""What a user types, run in this process: the command line without the seconds that a new process takes."""

from __future__ import annotations

from typer.testing import CliRunner

from unrolled.cli.main import app
from unrolled.errors import UnrolledError


def run(*words: object, stdin: bytes = b"", code: int = 0) -> tuple[str, str]:
    """What a command prints, and what it says; `code`: with which it is to end."""
    done = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    error = done.exception if isinstance(done.exception, UnrolledError) else None
    assert (error.exit_code if error else done.exit_code) == code, f"{done.output}\n{done.exception!r}"
    return done.stdout, f"{done.stderr}{error or ''}"
