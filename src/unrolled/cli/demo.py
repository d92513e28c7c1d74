"""`unrolled demo`: a first result without data and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unrolled.cli.progress import say
from unrolled.cli.train import run_training
from unrolled.errors import ConfigError, nearest

__all__ = ["demo"]

_TASKS = ("language-model",)


def demo(
    task: Annotated[str, typer.Argument(help="Which demo: language-model.")] = "language-model",
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default a new one below runs/.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time to train for.")] = None,
) -> None:
    """Train a small model on text that Python ships, and let it write. About a minute.

    Example: unrolled demo
    """
    if task not in _TASKS:
        raise ConfigError(f"there is no demo '{task}'; there is: {', '.join(_TASKS)}.{nearest(task, _TASKS)}")
    from unrolled.data.samples import english
    from unrolled.run import language_model_options
    from unrolled.tasks import load

    folder = out or _free(Path("runs") / "demo")
    options = language_model_options(preset="tiny", flags={} if minutes is None else {"minutes": minutes})
    say("Training a small network, character by character, on the manual inside Python's help().")
    say("Below each validation stands what it writes at that moment.\n")
    run_training(options, [english()], folder)
    say("\nA longer sample:\n")
    print(load(folder).sample("The ", length=400, temperature=0.7, seed=1)[0])
    say(
        f"""
What to do next:

  unrolled sample {folder} --prompt "The value of" --temperature 0.6
  unrolled explain {folder} "The value of the" --out why.html
  unrolled train language-model YOUR-TEXT.txt --out runs/mine        # a text file of your own
"""
    )


def _free(base: Path) -> Path:
    """`base`, or the first of base-2, base-3, ... that does not exist."""
    return next(
        path for i in range(1, 10_000) if not (path := base if i == 1 else base.with_name(f"{base.name}-{i}")).exists()
    )
