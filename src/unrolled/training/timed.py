"""The time limit of trainers with a loop of their own: positions are epochs, and the plan is corrected while they train."""

from __future__ import annotations

import math
from typing import Any

from unrolled.clock import now
from unrolled.options.training import Limits
from unrolled.training.plan import Budget, Plan

__all__ = ["TimedEpochs"]

#: Seconds between two looks at the clock.
_EVERY = 0.05


class TimedEpochs:
    """The plan of a run in epochs, fractions of them included. Its clock starts with `begin`."""

    def __init__(self, limits: Limits, steps_per_epoch: float, default_epochs: float) -> None:
        """steps_per_epoch: what `max_steps` counts; default_epochs: where no limit is given."""
        minutes, epochs, steps = limits.minutes, limits.epochs, limits.max_steps
        if minutes is epochs is steps is None:
            epochs = default_epochs
        most = min(epochs or math.inf, math.inf if steps is None else steps / steps_per_epoch)
        self._by_steps = steps is not None and most == steps / steps_per_epoch
        self.budget = Budget(math.inf if minutes is None else 60 * minutes, most, 1, whole=False)
        self.begin()

    def begin(self) -> None:
        """Start the clock."""
        self._began = self._noted = now()
        self._position = 0.0

    @property
    def plan(self) -> Plan:
        """Progress over epochs."""
        return self.budget.plan

    @property
    def end(self) -> float:
        """Epochs at the end of the run as planned now; infinite while that is not known."""
        return self.plan.end or math.inf

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return now() - self._began

    @property
    def limit(self) -> str:
        """The limit that ends the run: 'minutes', 'epochs' or 'max_steps'."""
        if self.budget.timed and self.end < self.budget.most:
            return "minutes"
        return "max_steps" if self._by_steps else "epochs"

    def passed(self, position: float, *, always: bool = False) -> None:
        """Note how far the run is, and correct the plan if it is off. Cheap: it looks at the clock now and then.

        always: the clock is looked at, and the plan made to fit, at the end of an epoch.
        """
        moment = now()
        if (moment - self._noted < _EVERY and not always) or position <= self._position:
            return
        self.budget.pace.add(position - self._position, moment - self._noted)
        self._position, self._noted = position, moment
        if always or self.budget.is_off(position, self.seconds):
            correction = self.budget.correct(position, self.seconds)
            if correction:
                self.budget.corrections.append(correction)

    def validated(self, seconds: float) -> None:
        """Note how long the validation took that ends an epoch."""
        self.budget.validated(seconds)

    def corrections(self) -> dict[str, Any]:
        """What was corrected since the last call, for a line of metrics.jsonl."""
        made, self.budget.corrections = self.budget.corrections, []
        return {"corrections": made} if made else {}

    def left(self, position: float) -> float | None:
        """Seconds until the end, as far as it is known."""
        return self.budget.left(position, self.seconds)
