"""`serve`: models over HTTP, an API and a page."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.effects import Rule, given_flags, refuse_idle
from unrolled.cli.flags import ConfigFile, PrintConfig, Settings, with_options
from unrolled.cli.guard import guarded
from unrolled.cli.progress import say
from unrolled.config import read_toml, resolve, to_toml
from unrolled.errors import ConfigError, DataError
from unrolled.options.serve import ServeOptions

__all__ = ["serve"]

_TOKEN = "UNROLLED_TOKEN"


@guarded
@with_options(ServeOptions, {})
def serve(
    context: typer.Context,
    models: Annotated[list[str], typer.Argument(help="Run or model folders, files of word vectors; or NAME=PATH.")],
    token_file: Annotated[
        Path | None, typer.Option(help=f"File of the token that requests have to show; or the environment's {_TOKEN}.")
    ] = None,
    without_token: Annotated[
        bool,
        typer.Option("--without-token", help="Answer everyone, at any address."),
    ] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    config: ConfigFile = None,
    settings: Settings = None,
    print_config: PrintConfig = False,
    *,
    given: dict[str, Any],
) -> None:
    """Serve models: an API for programs, and a page to try them.

    Examples:

    unrolled serve runs/de-en runs/sentiment --open

    unrolled serve books=runs/books --port 9000 --workers 2

    UNROLLED_TOKEN=... unrolled serve runs/speech --host 0.0.0.0
    """
    from unrolled.server.start import is_loopback, named
    from unrolled.server.start import serve as run

    file = read_toml(config) if config else None
    options = resolve(ServeOptions, file=file, flags=given, settings=settings or ())
    if print_config:
        print(to_toml(options), end="")
        return
    if (options.server.certificate is None) != (options.server.key is None):
        missing = "--key" if options.server.key is None else "--certificate"
        raise typer.BadParameter(f"{missing} is missing: https needs both --certificate and --key.")
    refuse_idle(given_flags(context), [Rule(token_file is not None, "without_token", "with --token-file")])
    token = _token(token_file)
    if token is None and not without_token and not is_loopback(options.server.host):
        raise ConfigError(
            f"--host {options.server.host} lets others ask. Set a token: --token-file FILE, or {_TOKEN} in the "
            "environment; or say --without-token"
        )
    names = named(models)

    def ready(place: Any) -> None:
        shown = place.url if sys.stderr.isatty() else place.url.partition("#")[0]  # no token in a log
        say(f"serving {', '.join(names)} at {shown}   (Ctrl-C stops)")
        if open_page:
            import webbrowser

            webbrowser.open(place.url)

    run(names, options, token=token, ready=ready)


def _token(path: Path | None) -> str | None:
    """The token that was given, by file or environment. DataError for one that is too easy to guess."""
    if path is None:
        found = os.environ.get(_TOKEN)
        if not found:
            return None
    else:
        try:
            found = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: the token cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    if len(found) < 16 or not found.isascii() or not found.isprintable() or " " in found:
        raise DataError("the token has to be at least 16 letters, figures or signs, without blanks")
    return found
