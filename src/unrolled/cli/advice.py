"""Usage errors that name our option, task or verb for the name that another tool uses."""

from __future__ import annotations

import copy
import re
from typing import Any

import typer
from typer.core import TyperGroup

from unrolled.aliases import nearest, option_advice, task_advice, value_advice

__all__ = ["AdvisedGroup"]

#: The base class of usage errors, wherever typer takes it from.
_UsageError: Any = typer.BadParameter.__mro__[1]

#: Our verbs by the names in other tools.
_VERBS = {
    "eval": "evaluate",
    "test": "evaluate",
    "validate": "evaluate",
    "score": "evaluate",
    "infer": "predict",
    "inference": "predict",
    "generate": "sample",
    "complete": "sample",
    "fit": "train",
    "finetune": "train",
    "nn": "neighbors",
    "most-similar": "neighbors",
    "neighbours": "neighbors",
    "similar": "neighbors",
    "analogies": "analogy",
    "visualize": "explain",
    "plot": "explain",
    "show": "info",
    "api": "serve",
    "server": "serve",
    "convert": "export",
    "translate": "predict",
    "transcribe": "predict",
    "caption": "predict",
    "classify": "predict",
    "tag": "predict",
}


class AdvisedGroup(TyperGroup):
    """A group of commands whose errors about unknown options and commands name ours."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an unknown option is reported with the name that it has here."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            if str(error.message).startswith("Value error, "):
                error.message = _choice_message(error.message)
            if type(error).__name__ != "NoSuchOption" or error.ctx is None:
                raise
            known = {name for parameter in error.ctx.command.params for name in parameter.opts if name.startswith("--")}
            advice = option_advice(error.option_name, known, flags=True)
            raise _UsageError(f"No such option: {error.option_name}.{advice}", ctx=error.ctx) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command; for one that does not exist the error names the task or verb that is meant."""
        names = self.list_commands(ctx)
        name = args[0] if args else ""
        if name in names or name.startswith("-"):
            found, command, rest = super().resolve_command(ctx, args)
            return found, _without_required(command) if "--print-config" in rest else command, rest
        if "classify" in names:
            advice = task_advice(name, names)
        else:
            verb = _VERBS.get(name.lower())
            advice = f" Did you mean '{verb}'?" if verb in names else nearest(name, names)
        raise _UsageError(f"No such command {name!r}; there are: {', '.join(names)}.{advice}", ctx=ctx)


def _without_required(command: Any) -> Any:
    """A copy of a command that needs no files and no --out: --print-config only shows options."""
    command = copy.copy(command)
    command.params = [copy.copy(parameter) for parameter in command.params]
    for parameter in command.params:
        parameter.required = False
    return command


def _choice_message(message: str) -> str:
    """The message for a value that is none of the choices, with the choice that is meant."""
    quoted = re.findall(r"'([^']*)'", message)
    advice = value_advice(quoted[0], quoted[1:]) if len(quoted) > 1 else ""
    return f"got {quoted[0]!r}, expected one of {', '.join(quoted[1:])}.{advice}" if len(quoted) > 1 else message[13:]
