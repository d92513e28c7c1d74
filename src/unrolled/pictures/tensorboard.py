"""TensorBoard events of a run, where the package `tensorboard` is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Board"]


class Board:
    """Writes events/ of a run folder; does nothing where TensorBoard is not installed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.first_step = folder, 0
        self._open: Any = None

    def resumed(self, step: int) -> None:
        """The run goes on from this step: what was written of later ones is not to be shown."""
        self.first_step = step + 1

    @property
    def _writer(self) -> Any:
        if self._open is None and importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self._open = SummaryWriter(str(self.folder / "events"), purge_step=self.first_step or None)
        return self._open

    def step(self, step: int, loss: float) -> None:
        """The loss of one step."""
        if self._writer:
            self._writer.add_scalar("train/loss", loss, step)

    def row(self, row: Mapping[str, Any], preview: str) -> None:
        """A line of metrics.jsonl."""
        if self._writer:
            for key, value in row.items():
                if isinstance(value, int | float) and key != "step":
                    self._writer.add_scalar(f"run/{key}", value, row["step"])
            self._writer.add_text("what it wrote", preview, row["step"])
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._open:
            self._open.close()
