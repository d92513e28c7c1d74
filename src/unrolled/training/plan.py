"""How long a training run lasts: limits of time, epochs and steps become a plan, which is corrected as the speed changes.

Positions x count what is trained on, in steps or in epochs. A plan ends at X; progress is linear between two corrections:

    p(x) = p0 + (1 - p0) (x - x0) / (X - x0)        the last correction was made at x0, where progress was p0

so that progress, which learning rates follow, neither jumps nor falls when X changes, and is 1 at the end.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from unrolled.options.training import DEFAULT_EPOCHS, DEFAULT_MINUTES, Limits

__all__ = ["Budget", "Pace", "Plan", "validations_passed"]

#: The pace is that of about this part of the time budget, and of one second at least.
_MEMORY = 0.05
#: A plan between two validations is corrected when it misses the end by this part of the budget, and by this part of
#: what is left of it.
_TOLERANCE, _TOLERANCE_LEFT = 0.015, 0.1
#: At a validation, or where nothing disturbs, by this part of the budget.
_FINE = 0.002
#: Least part of the budget between two such corrections.
_GAP = 0.01
#: The first plan is made after so many steps and this part of the budget, seconds at most; or after the larger part.
_FIRST_STEPS, _FIRST, _FIRST_SECONDS, _FIRST_AT_MOST = 5, 0.02, 5.0, 0.1
#: Largest part of the remaining time that is spent on validations; there are fewer of them where they take long.
_VALIDATION = 0.2
#: A validation that takes a larger part of the budget is warned of.
_LONG = 0.1


@dataclass
class Plan:
    """Progress from 0 to 1 over positions. end: 0 while it is not known."""

    end: float = 0.0
    start: float = 0.0
    done: float = 0.0

    def progress(self, x: float) -> float:
        """Progress at a position, 0 to 1; 0 while the end is not known."""
        if not self.end:
            return 0.0
        if x >= self.end:
            return 1.0
        return max(0.0, self.done + (1 - self.done) * (x - self.start) / (self.end - self.start))

    def correct(self, x: float, end: float) -> None:
        """At position x move the end; progress goes on from what it is there."""
        self.done, self.start, self.end = self.progress(x), x, end


def validations_passed(progress: float, evaluations: int) -> int:
    """How many of the evenly spread validations are due by this progress."""
    return math.floor(progress * evaluations + 1e-9)


class Pace:
    """Seconds per unit of position, mostly of the last `memory` seconds."""

    def __init__(self, memory: float) -> None:
        self.memory = memory
        self.forget()

    def forget(self) -> None:
        """Begin anew: what was measured does not tell what comes."""
        self._amount = self._seconds = self.measured = 0.0
        self.steps = 0

    def add(self, amount: float, seconds: float) -> None:
        """Note that so much was done in these seconds."""
        keep = math.exp(-seconds / self.memory)
        self._amount, self._seconds = keep * self._amount + amount, keep * self._seconds + seconds
        self.measured, self.steps = self.measured + seconds, self.steps + 1

    @property
    def value(self) -> float:
        """Seconds per unit; infinite before anything was done."""
        return self._seconds / self._amount if self._amount else math.inf


@dataclass
class Budget:
    """The limits of a run, what was measured of its speed, and the plan that follows.

    seconds: the time limit, infinite without one; most: the largest position by epochs and steps; validation: seconds of
    the last validation up to its result;
    overhead: from its begin to the next step, files included; at_pace: the pace when they were measured;
    whole: the end is a whole number of positions.
    """

    seconds: float
    most: float
    evaluations: int
    plan: Plan = field(default_factory=Plan)
    validation: float = 0.0
    overhead: float = 0.0
    at_pace: float = 0.0
    planned: int = 0
    corrected: float = 0.0
    corrections: list[dict[str, Any]] = field(default_factory=list)
    whole: bool = True

    def __post_init__(self) -> None:
        self.planned = self.planned or self.evaluations
        self.pace = Pace(max(1.0, _MEMORY * min(self.seconds, 1e6)))
        if not self.plan.end and self.most < math.inf:
            self.plan.end = self.most

    @staticmethod
    def of(limits: Limits, steps_per_epoch: float, evaluations: int) -> Budget:
        """In steps, with the default limits where none is given."""
        minutes, epochs, steps = limits.minutes, limits.epochs, limits.max_steps
        if minutes is epochs is steps is None:
            minutes, epochs = DEFAULT_MINUTES, DEFAULT_EPOCHS
        by_epochs = math.inf if epochs is None else max(1, math.ceil(epochs * steps_per_epoch))
        most = min(by_epochs, math.inf if steps is None else steps)
        return Budget(math.inf if minutes is None else minutes * 60, most, evaluations)

    @property
    def timed(self) -> bool:
        """Whether time is limited."""
        return self.seconds < math.inf

    def _validations(self, x: float) -> int:
        """Validations to come, the last one included."""
        return max(1, self.evaluations - validations_passed(self.plan.progress(x), self.evaluations))

    def _reserve(self, x: float) -> float:
        """Seconds that the validations to come will take, up to the result of the last one."""
        slower = self.pace.value / self.at_pace if self.at_pace and self.pace.value < math.inf else 1.0
        return slower * ((self._validations(x) - 1) * self.overhead + self.validation)

    def left(self, x: float, now: float) -> float | None:
        """Seconds until the end, as far as it is known."""
        if not self.plan.end or self.pace.value == math.inf:
            return self.seconds - now if self.timed and self.most == math.inf else None
        return (self.plan.end - x) * self.pace.value + self._reserve(x)

    def _known(self, now: float) -> bool:
        """Whether enough was timed to plan by it."""
        measured, steps = self.pace.measured, self.pace.steps
        first = min(_FIRST * self.seconds, _FIRST_SECONDS)
        return steps > 0 and ((steps >= _FIRST_STEPS and measured >= first) or measured >= _FIRST_AT_MOST * self.seconds)

    def _end(self, x: float, now: float, *, whole: bool) -> float:
        """The end by the pace that was measured, rounded to a whole number if `whole`."""
        amount = max(0.0, self.seconds - now - self._reserve(x)) / self.pace.value
        return min(self.most, x + (math.floor(amount + 0.5) if whole else amount))

    def is_off(self, x: float, now: float) -> bool:
        """Whether the plan misses the end of the budget, so that it should be corrected before the next validation."""
        if not self.timed or (self.plan.end and x >= self.plan.end):
            return False
        least = self.pace.value if self.whole else 0.0  # seconds between two ends that are possible
        out_of_time = now + self._reserve(x) + least / 2 >= self.seconds and self.pace.steps > 0
        if not self._known(now):
            return out_of_time
        if not self.plan.end or out_of_time:
            return True
        missed = abs(self._end(x, now, whole=False) - self.plan.end) * self.pace.value
        left = max(0.0, self.seconds - now)
        return missed > max(_TOLERANCE * self.seconds, _TOLERANCE_LEFT * left, least) and (
            now - self.corrected >= _GAP * self.seconds
        )

    def correct(self, x: float, now: float, *, validated: bool = False) -> dict[str, Any] | None:
        """Plan again at position x. Returns what has changed, to be recorded, or None.

        validated: also the number of validations.
        """
        if not self.timed or self.pace.steps == 0 or (self.plan.end and x >= self.plan.end):
            return None
        if validated and not self._known(now):
            return None
        self.at_pace = self.at_pace or self.pace.value
        if validated or not self.corrected:
            share = 1 - self.plan.progress(x)
            slower = self.pace.value / self.at_pace if self.at_pace else 1.0
            affordable = _VALIDATION * (self.seconds - now) / max(1e-9, slower * self.overhead * share)
            evaluations = max(1, min(self.planned, int(min(affordable, 1e9))))
        else:
            evaluations = self.evaluations
        before, self.evaluations = (self.plan.end, self.evaluations), evaluations
        end = max(x, self._end(x, now, whole=self.whole))
        if before[0] and abs(end - before[0]) * self.pace.value <= _FINE * self.seconds:
            end = before[0]
        if (end, evaluations) == before:
            return None
        self.plan.correct(x, end)
        self.corrected = now
        return {"position": x, "end": end, "progress": self.plan.done, "evaluations": evaluations}

    def repeat(self, correction: dict[str, Any]) -> None:
        """Make a recorded correction again."""
        self.plan = Plan(correction["end"], correction["position"], correction["progress"])
        self.evaluations = correction["evaluations"]

    def validated(self, seconds: float) -> None:
        """Note how long a validation took up to its result; `overhead` is set when all that follows it is done."""
        self.validation, self.at_pace = seconds, self.pace.value if self.pace.steps else 0.0

    @property
    def warning(self) -> str:
        """That one validation takes a large part of the time limit, or nothing."""
        if self.validation <= _LONG * self.seconds:
            return ""
        over = ", so that the run will take longer than that" if self.validation >= self.seconds else ""
        return (
            f"one validation takes {self.validation:.1f} s of the {self.seconds:g} s of the time limit{over}. Fix: less "
            "validation data, or more --minutes."
        )

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs, as JSON."""
        names = ("evaluations", "validation", "overhead", "at_pace", "corrected", "corrections")
        return {"plan": asdict(self.plan), **{name: getattr(self, name) for name in names}}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self.plan = Plan(**state["plan"])
        for name, value in state.items():
            if name != "plan":
                setattr(self, name, value)
