"""Flags that have no effect for the model at hand, or beside other flags: usage errors that say what they are for.

`unrolled train` has tables of conditions for this (`unrolled.conditions`); here are the rules of the other verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer

from unrolled.errors import UsageError

__all__ = [
    "Rule",
    "Rules",
    "file_rules",
    "given_flags",
    "no_rules",
    "overwrite_rule",
    "refuse_foreign",
    "refuse_idle",
    "vector_file_rule",
]

#: What ends the names of tables, whose columns have names.
_TABLES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".feather", ".xlsx", ".xls")


class Rule(NamedTuple):
    """idle: whether the options have no effect; names: of their parameters, comma-separated, or "-s key"; why: a clause."""

    idle: bool
    names: str
    why: str


def given_flags(context: typer.Context) -> dict[str, str]:
    """Return the options that the command line names, by parameter, as they are shown: {"n_best": "--n-best"}.

    A setting of -s stands there by its own name too: {"-s norm": "-s norm"}.
    """
    found: dict[str, str] = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.param_type_name == "option" and source is not None and source.name == "COMMANDLINE":
            found[str(parameter.name)] = max(parameter.opts, key=len)
    for setting in context.params.get("settings") or ():
        key = f"-s {setting.partition('=')[0].strip().replace('-', '_')}"
        found[key] = key
    return found


def refuse_idle(given: Mapping[str, str], rules: Iterable[Rule]) -> None:
    """UsageError for options among `given` that have no effect by one of the rules."""
    problems = []
    for idle, names, why in rules:
        shown = [given[name] for name in names.split(",") if name in given] if idle else []
        if shown:
            problems.append(f"{', '.join(shown)} {'has' if len(shown) == 1 else 'have'} no effect {why}.")
    if problems:
        raise UsageError("\n".join(problems) + "\nLeave out what has no effect, or change what it depends on.")


def refuse_foreign(
    given: Mapping[str, str], kind: str, own: Iterable[str], speakers: Iterable[tuple[str, Iterable[str]]], verb: str
) -> None:
    """UsageError for options that say nothing to a model of this kind; it names the kinds that they are for.

    own: the parameters that mean something to it; speakers: every kind with the parameters of its own.
    """
    known = {name: {other for other, names in speakers if name in names} for name in given}
    foreign: dict[str, list[str]] = {}
    for name, others in known.items():
        if others and name not in own:
            foreign.setdefault(" or ".join(sorted(others)), []).append(given[name])
    problems = [
        f"{', '.join(flags)} {'has' if len(flags) == 1 else 'have'} no effect on {kind}: "
        f"{'it is' if len(flags) == 1 else 'they are'} for {others}."
        for others, flags in foreign.items()
    ]
    if problems:
        raise UsageError("\n".join(problems) + f"\nLeave it out. See: unrolled {verb} --help")


def file_rules(files: Sequence[str], out: Path | None, *columns: str) -> list[Rule]:
    """Return the rules of --encoding and of `columns`, which are for files, of tables at that, and of --overwrite."""
    tables = [name for name in files if name.lower().removesuffix(".gz").endswith(_TABLES)]
    folders = [name for name in files if Path(name).is_dir()]
    names = ",".join(columns)
    return [
        Rule(not files, f"encoding,{names}", "without a file of inputs (requires --input)"),
        Rule(
            bool(files) and not tables and not folders,
            names,
            f"on {', '.join(files[:3])}: it is a column of tables (.csv, .tsv, .jsonl)",
        ),
        overwrite_rule(out),
    ]


def overwrite_rule(out: Path | None) -> Rule:
    """Return the rule of --overwrite, which is for the file of --out."""
    return Rule(out is None, "overwrite", "without --out")


def vector_file_rule(model: str) -> Rule:
    """Return the rule of --unicode-errors, which is for files of word vectors."""
    return Rule(Path(model).is_dir(), "unicode_errors", f"on the folder {model}: it is for files of word vectors")


#: Rules of one kind of model: given the model, the verb and the values of its options.
Rules = Callable[[Any, str, Mapping[str, Any]], Iterable[Rule]]


def no_rules(_: Any, __: str, ___: Mapping[str, Any]) -> Iterable[Rule]:
    """The rules of a model on which every option of its kind has an effect."""
    return ()
