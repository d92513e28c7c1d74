"""Progress of a training on stderr: a live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = [
    "Line",
    "Progress",
    "count",
    "ended",
    "left_out",
    "prepared",
    "rare_labels",
    "remaining",
    "resumed",
    "say",
    "say_tables",
    "threads_chosen",
    "validation",
    "what_next",
    "why_ended",
]

_EVERY_SECONDS = 10.0


def say(message: str = "") -> None:
    """A message for people. Where nobody can be reached any more, work goes on."""
    _write(f"{message}\n")


def say_tables(files: Iterable[str]) -> None:
    """Say that tables are read as plain text, where a task reads text."""
    for file in files:
        if file.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json", ".csv", ".tsv")):
            say(
                f"note: {file} is read as plain text, with its field names, quotes and separators. To train on "
                "the texts of one column, write them to a .txt file first."
            )


def count(n: float, noun: str, plural: str | None = None) -> str:
    """A number with its noun: "1 minute", "0.5 minutes", "1,000 texts"."""
    return f"{n:,g} {noun if n == 1 else plural or f'{noun}s'}"


class Line:
    """A line that tells how far the work is, and lines that stay. A context manager, so that the live line is cleared."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._shown = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._clear()

    @property
    def due(self) -> bool:
        """Whether it is time to show how far the work is."""
        return not self._quiet and time.perf_counter() - self._shown >= (0.2 if self._live else _EVERY_SECONDS)

    def show(self, text: str) -> None:
        """Show how far the work is, if it is time to."""
        if self.due:
            self._shown = time.perf_counter()
            _write(f"\r\x1b[K{text}" if self._live else f"{text}\n")

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._clear()
            say(text)

    def compare(self, right: float, most_frequent: float) -> None:
        """Warn, also where quiet, of a model that answers no better than the most frequent label would (both 0 to 1)."""
        if right <= most_frequent < 1:
            self._clear()
            say(
                f"warning: the model is not better than the most frequent answer: {100 * right:.2f} % of the validation "
                f"answers are right, {100 * most_frequent:.2f} % are with that answer alone. Give more or longer examples, "
                "check the labels, or train longer."
            )

    def warn(self, task: Any) -> None:
        """Say what a training task warns of: many unknown symbols."""
        warning = task.unknown.warning()
        if warning:
            self.say(warning)

    def _clear(self) -> None:
        if self._live:
            _write("\r\x1b[K")


class Progress(Line):
    """Shows the events of `training.loop.fit`."""

    def __init__(self, *, quiet: bool = False, previews: bool = True) -> None:
        super().__init__(quiet=quiet)
        self._previews = previews
        self._began: float | None = time.perf_counter()

    def step(self, step: Any, what: str = "tokens") -> None:
        """Show an update, if it is time to. what: the units of the loss."""
        if self.due:
            self.show(
                f"step {step.step}/{step.total or '?'}  epoch {step.epoch:.2f}  loss {step.loss:.3f}  "
                f"{step.tokens_per_second:,.0f} {what}/s  {remaining(step.left)}"
            )

    def follow(self, events: Iterable[Any], other: Callable[[Any], None]) -> Any:
        """Show the events of a training; those that its task alone knows go to `other`. Returns the last, `Finished`."""
        from unrolled.training.loop import Finished

        finished = None
        for event in events:
            if not self.shown(event):
                other(event)
            if isinstance(event, Finished):
                finished = event
        assert finished is not None
        return finished

    def shown(self, event: Any, what: str = "tokens") -> bool:
        """Show an event of the training loop; False if it is none. what: the units of the loss."""
        from unrolled.training.loop import Evaluated, Finished, Resumed, Step, ThreadsChosen

        match event:
            case ThreadsChosen():
                self.say(threads_chosen(event))
            case Resumed():
                self.say(resumed(event))
            case Step():
                if self._began is not None:
                    self.say(prepared(time.perf_counter() - self._began))
                    self._began = None
                self.step(event, what)
            case Evaluated():
                self.evaluated(event)
            case Finished():
                self.say(ended(event))
            case _:
                return False
        return True

    def evaluated(self, event: Any) -> None:
        """Show a validation and what the model writes now."""
        row = event.row
        train = "" if row["train_loss"] is None else f"  training {row['train_loss']:.3f}"
        best = "  (best)" if event.best and validation(row) else ""
        self.say(f"[{row['seconds']:6.0f} s] step {row['step']}{train}{validation(row)}{best}")
        if self._previews:
            self.say(f"           {event.preview!r}")
        if event.warning:
            self.say(f"warning: {event.warning}")


def resumed(event: Any) -> str:
    """That a training goes on."""
    return f"going on from step {event.step} of {event.total or 'a number not known yet'}"


def threads_chosen(event: Any) -> str:
    """How many threads were taken, and why."""
    times = ", ".join(f"{_duration(seconds)} with {n}" for n, seconds in event.seconds.items())
    return f"{event.threads} thread{'s' if event.threads > 1 else ''} (a step takes {times})"


def prepared(seconds: float) -> str:
    """How long everything before the first step took, which does not count as training."""
    from unrolled.clock import compiling_seconds

    return f"prepared in {_duration(seconds)}, {_duration(compiling_seconds())} of it compiling; training begins"


def ended(event: Any) -> str:
    """What has ended a training run, after how long, and a warning where the model is probably of no use."""
    reasons = {"patience": "validation no longer improves", "interrupted": "interrupted"}
    limits = {"minutes": "the time is over", "epochs": "all epochs are done", "max_steps": "all steps are done"}
    why = reasons.get(event.reason) or limits.get(event.limit, "done")
    return f"training ended: {why}" + (f"\nwarning: {event.warning}" if event.warning else "")


def why_ended(reason: str) -> str:
    """What ended a training, in words."""
    return {"budget": "done", "patience": "stopped: validation no longer improves"}.get(reason, reason)


def what_next(out: Path, otherwise: str, *, resumable: bool) -> str:
    """The last line of a training: where its report is, and the command to try next."""
    return f"Report: {out / 'report.html'}   Next: {f'unrolled train --resume {out}' if resumable else otherwise}"


def left_out(found: Iterable[tuple[int, str]]) -> list[str]:
    """A line for each thing that was counted, if there is any of it."""
    return [f"{n:,} {what}" for n, what in found if n]


def rare_labels(counts: Mapping[str, int], unknown: Mapping[str, int], unit: str) -> list[tuple[int, str]]:
    """What to warn of in the labels of training, with their counts, and in those that only the validation data have."""
    single = [label for label, n in counts.items() if n == 1]
    return [
        (len(single), f"of the labels have one example only, too few to learn from: {_some_labels(single)}"),
        (
            sum(unknown.values()),
            f"of the labels of validation {unit} do not occur in training and count as wrong: {_some_labels([*unknown])}",
        ),
    ]


def _some_labels(labels: Sequence[str], most: int = 5) -> str:
    return ", ".join(repr(label[:40]) for label in labels[:most]) + (", ..." if len(labels) > most else "")


def validation(row: dict[str, Any]) -> str:
    """The figures of a validation, or nothing where no text was held out."""
    if "valid_loss" not in row:
        return ""
    if "valid_accuracy" in row:
        entity = "" if row.get("valid_entity_f1") is None else f", F1 of whole entities {row['valid_entity_f1']:.4f}"
        return f"  validation {row['valid_loss']:.4f}, {100 * row['valid_accuracy']:.2f} % right{entity}"
    if "valid_wer" in row:
        return (
            f"  validation {row['valid_loss']:.4f} nats/token, {100 * row['valid_wer']:.2f} % word errors, "
            f"{100 * row['valid_cer']:.2f} % character errors"
        )
    perplexity = row["valid_perplexity"]
    shown = "beyond all numbers" if perplexity is None else f"{perplexity:.2f}"
    bleu = f", {row['valid_bleu']:.2f} BLEU" if "valid_bleu" in row else ""
    return f"  validation {row['valid_loss']:.4f} nats/token, perplexity {shown}{bleu}"


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


def remaining(left: float | None) -> str:
    """Seconds until the end in words."""
    if left is None:
        return "measuring speed"
    seconds = max(0, round(left))
    return f"{seconds // 60}:{seconds % 60:02d} left"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.95 else f"{1000 * seconds:.0f} ms"
