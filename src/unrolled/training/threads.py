"""How many threads make the fastest steps here and now.

On a busy machine, OpenMP's threads wait for each other in loops that keep the processor from those they wait for: a step on
all cores can then take a hundred times as long as on one. So the number is measured where nobody has given it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from unrolled.clock import now
from unrolled.options.training import TrainingOptions

__all__ = ["candidates", "choose_threads", "fastest"]

#: Rounds of one step with each number of threads, if time allows.
_ROUNDS = 5
#: Fewer threads are taken where more are not faster by this factor.
_WORTH = 1.05
#: What was chosen last in this process, and of how many.
_chosen = [0, 0]


def candidates(options: TrainingOptions) -> list[int]:
    """The numbers of threads to try, ascending; one alone where nothing is to be chosen."""
    available = torch.get_num_threads()
    if available == _chosen[0]:  # by an earlier training of this process
        available = _chosen[1]
    given = options.threads or (available if options.deterministic or os.environ.get("OMP_NUM_THREADS") else 0)
    if given or options.device != "cpu":
        return [given or available]
    return sorted({1, max(1, available // 4), max(1, available // 2), available})


def choose_threads(numbers: list[int], step: Callable[[], None], seconds: float) -> dict[int, float]:
    """Time `step` with each number of threads, alternating, for about so many seconds, and go on with the fastest.

    Returns the mean seconds of a step by number of threads.
    """
    spent = dict.fromkeys(numbers, 0.0)
    torch.set_num_threads(numbers[0])
    step()  # compiles kernels, fills caches
    began, rounds = now(), 0
    while rounds < _ROUNDS and (not rounds or now() - began < seconds):
        rounds += 1
        for n in numbers:
            torch.set_num_threads(n)
            before = now()
            step()
            spent[n] += now() - before
    means = {n: total / rounds for n, total in spent.items()}
    _chosen[:] = fastest(means), numbers[-1]
    torch.set_num_threads(_chosen[0])
    return means


def fastest(means: dict[int, float]) -> int:
    """The smallest number of threads that is about as fast as any."""
    return min(n for n, mean in means.items() if mean <= _WORTH * min(means.values()))
