"""Options of a pydantic model as flags of a command: generated, so that a default and a description exist once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic_core import PydanticUndefined

from unrolled.config import Auto, Leaf, Section, leaves

__all__ = [
    "AsJson",
    "ConfigFile",
    "Files",
    "Folder",
    "Model",
    "Out",
    "Overwrite",
    "PrintConfig",
    "Quiet",
    "Settings",
    "UnicodeErrors",
    "with_options",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigFile = Annotated[Path | None, typer.Option(help="TOML file with options, such as a run's config.toml.")]
Files = Annotated[list[str], typer.Argument(help="Text files, .gz files, folders, or - for standard input.")]
Folder = Annotated[str, typer.Argument(help="A run or model folder.")]
Model = Annotated[str, typer.Argument(help="A run or model folder, or a file of word vectors.")]
Out = Annotated[Path, typer.Option(help="Folder of the run; must not exist or be empty.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Show the options as TOML and stop.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Settings = Annotated[list[str] | None, typer.Option("-s", help="Any option as key=value.")]

UnicodeErrors = Annotated[
    str,
    typer.Option("--unicode-errors", help="Words in a file of vectors that are not UTF-8: strict, replace or ignore."),
]


def with_options(
    options: type[Section], presets: Mapping[str, Mapping[str, Any]]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command that takes `given: dict` last: every option of the model becomes a flag, collected in `given`."""
    found = list(leaves(options))

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        flags = [_parameter(leaf, presets) for leaf in found]

        def run(**values: Any) -> None:
            given = {leaf.name: values.pop(leaf.name) for leaf in found}
            command(**values, given={name: value for name, value in given.items() if value is not None})

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        signature = inspect.Signature([*own, *flags])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return run

    return decorate


def _parameter(leaf: Leaf, presets: Mapping[str, Mapping[str, Any]]) -> inspect.Parameter:
    flag = leaf.name.replace("_", "-")
    is_switch = leaf.field.annotation is bool
    option = typer.Option(
        f"--{flag}/--no-{flag}" if is_switch else f"--{flag}",
        help=_help(leaf, presets),
        rich_help_panel=f"Options: {leaf.section}",
        show_default=False,
    )
    kind = str if Auto in get_args(leaf.field.annotation) else leaf.field.annotation  # typer knows no unions
    annotation = Annotated[kind | None, option]  # type: ignore[operator]
    return inspect.Parameter(leaf.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(leaf: Leaf, presets: Mapping[str, Mapping[str, Any]]) -> str:
    default = leaf.field.default
    chosen = {name: values.get(leaf.name, default) for name, values in presets.items()}
    if len(set(chosen.values())) > 1:
        shown = f" [{', '.join(f'{name} {value}' for name, value in chosen.items())}]"
    else:
        shown = "" if default in (None, PydanticUndefined) else f" [default {next(iter(chosen.values()), default)}]"
    return f"{leaf.field.description}{shown}"
