"""The events of a training whose run folder holds a report and a model card beside the models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unrolled.config import to_toml
from unrolled.folders import read_rows, write_bytes, write_text
from unrolled.pictures.report import report_page
from unrolled.run.fitting import fit_run
from unrolled.training.loop import Evaluated, Event, Finished

__all__ = ["reported"]


def reported(task: Any, folder: Path, *, resume: bool, replan: bool = False) -> Iterator[Event]:
    """The events of the loop; the run folder's pages are kept in step with them."""
    for event in fit_run(task, task.options.training, folder, resume=resume, replan=replan):
        if isinstance(event, Evaluated):
            rows = read_rows(folder)
            write_text(folder / "report.html", report_page(folder.name, rows, to_toml(task.options)))
        if isinstance(event, Finished):
            write_bytes(folder / "README.md", (folder / "best" / "README.md").read_bytes())
        yield event
