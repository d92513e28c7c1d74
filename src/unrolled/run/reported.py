"""The events of a training whose run folder holds a report, curves and a model card beside the models."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unrolled.config import to_toml
from unrolled.errors import MissingExtra
from unrolled.folders import read_rows, write_bytes, write_text
from unrolled.metric_names import metric_rows
from unrolled.pictures.report import report_page
from unrolled.run.fitting import fit_run
from unrolled.training.loop import Evaluated, Event, Finished

__all__ = ["reported", "write_curves"]

_TABLE = "| metric | value |\n|---|---|\n"


def reported(task: Any, folder: Path, *, name: str, resume: bool, replan: bool = False) -> Iterator[Event]:
    """Yield the events of the loop; the run folder's pages are kept in step with them. name: of the task."""
    for event in fit_run(task, task.options.training, folder, resume=resume, replan=replan):
        if isinstance(event, Evaluated):
            _write_report(task, folder, name)
        if isinstance(event, Finished):
            scores = {} if event.reason == "interrupted" else _final_scores(task, folder)
            if scores:
                _write_report(task, folder, name, scores)
            card = (folder / "best" / "README.md").read_bytes().decode()
            added = metric_rows(scores)
            write_bytes(folder / "README.md", card.replace(_TABLE, _TABLE + added, 1).encode())
            write_curves(folder)
        yield event


def _write_report(task: Any, folder: Path, name: str, scores: Mapping[str, float] | None = None) -> None:
    rows = read_rows(folder)
    page = report_page(folder.name, rows, to_toml(task.options), task=name, criterion=task.criteria[0], scores=scores)
    write_text(folder / "report.html", page)


def _final_scores(task: Any, folder: Path) -> dict[str, float]:
    """Return metrics of the best model that validation did not compute; none where their package is not installed."""
    compute = getattr(task, "final_scores", None)
    try:
        return {} if compute is None else compute(folder)
    except MissingExtra:
        return {}


def write_curves(folder: Path) -> None:
    """Draw curves.png of a run folder from its metrics.jsonl, where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib"):
        importlib.import_module("unrolled.pictures.png").curves(read_rows(folder), folder / "curves.png")
