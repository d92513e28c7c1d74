"""How weights move: the optimiser, the learning rate over the steps, averaged weights.

Averages: the mean of the weights of all steps since it began (Polyak and Juditsky 1992), begun once validation stops
improving: NT-ASGD of Merity et al. 2018, arXiv:1708.02182, algorithm 1, with any optimiser. Or an exponential mean from the
first step on, the running form of averaged checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unrolled.options.training import TrainingOptions
from unrolled.training.plan import Plan
from unrolled.types import Stage

__all__ = [
    "OPTIMISERS",
    "SCHEDULES",
    "Average",
    "clip_and_scale",
    "make_optimiser",
    "no_longer_improves",
    "schedule",
    "set_rates",
    "shorten_warmup",
    "warmup",
]


def _adamw(groups: list[dict[str, object]], rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99))


def _sgd(groups: list[dict[str, object]], rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=rate)


OPTIMISERS = {"adamw": _adamw, "sgd": _sgd}


def make_optimiser(stages: Iterable[Stage], options: TrainingOptions) -> torch.optim.Optimizer:
    """The optimiser of the options; only matrices decay."""
    groups: list[dict[str, object]] = []
    for stage in stages:
        parameters = [p for p in stage.parameters if p.requires_grad]
        matrices, others = [p for p in parameters if p.dim() == 2], [p for p in parameters if p.dim() != 2]
        for which, decay in ((matrices, options.weight_decay), (others, 0.0)):
            if which:
                groups.append({"params": which, "weight_decay": decay, "share": stage.share, "begins": stage.begins})
    return OPTIMISERS[options.optimiser](groups, options.learning_rate)


def set_rates(optimiser: torch.optim.Optimizer, rate: float, part: float) -> None:
    """Give each stage its share of the rate, when `part` of the steps is done; those that have not begun do not move."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0) if part >= group.get("begins", 0.0) else 0.0


#: Factor of the learning rate when `part` of the steps is done, 0 <= part <= 1. `plateau` falls with the validations.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": lambda part: 1 - part,
    "cosine": lambda part: (1 + math.cos(math.pi * part)) / 2,
    "constant": lambda _: 1.0,
    "plateau": lambda _: 1.0,
}


def warmup(options: TrainingOptions, total: float) -> Plan:
    """The linear rise of the learning rate: progress at step + 1 is its factor. total: 0 while it is not known."""
    steps = min(options.warmup_steps, int(total) // 10) if total else options.warmup_steps
    return Plan(end=steps + 1)


def shorten_warmup(rise: Plan, options: TrainingOptions, step: int, total: float) -> None:
    """After a correction of the plan: let a rise that is not over end with a tenth of the steps, from where it is."""
    end = warmup(options, total).end
    if end < rise.end and step + 1 < rise.end:
        rise.correct(step + 1, max(end, step + 1 + (end + 1) // 2))


def schedule(options: TrainingOptions, step: int, plan: Plan, rise: Plan) -> float:
    """Factor of the learning rate at a step: a linear rise first, then by the progress of the plan."""
    return rise.progress(step + 1) * SCHEDULES[options.schedule](plan.progress(step))


def clip_and_scale(gradients: Sequence[Tensor], scale: float, largest: float) -> float:
    """Multiply all gradients by `scale`, then shorten them so that their norm together is at most `largest`.

    Returns the norm before it was shortened.
    """
    norm = scale * float(nn.utils.get_total_norm(gradients))
    torch._foreach_mul_(list(gradients), scale * min(1.0, largest / (norm + 1e-6)))
    return norm


def no_longer_improves(history: Sequence[float], patience: int) -> bool:
    """Whether the newest validation is worse than the best of those more than `patience` validations ago."""
    return len(history) > patience and history[-1] > min(history[:-patience])


class Average:
    """The running mean of a model's parameters: of all steps, or with a decay mostly of the last 1 / (1 - decay), and in
    the beginning of the last ninth.

    n: steps that were taken in.
    """

    def __init__(self, model: nn.Module, decay: float = 0.0) -> None:
        self.decay = decay
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.mean = [p.detach().clone() for p in self.parameters]
        self.n = 0

    @torch.no_grad()
    def add(self) -> None:
        """Take in the weights as they are now."""
        self.n += 1
        share = max(9 / (9 + self.n), 1 - self.decay) if self.decay else 1 / self.n
        torch._foreach_lerp_(self.mean, [p.detach() for p in self.parameters], share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this context the model has the mean weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for parameter, mean in zip(self.parameters, self.mean, strict=True):
            parameter.data, mean.data = mean.data, parameter.data
