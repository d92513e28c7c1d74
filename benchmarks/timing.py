"""Timing contenders side by side: in turn, there and back (A B C C B A), in one process."""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

Seconds = dict[str, list[float]]


def arguments(description: str | None, flags: Sequence[str] = (), *, data: bool = False) -> argparse.Namespace:
    """--threads, --rounds: what every benchmark of layers takes, and its own flags; --data if it reads any.

    One thread is timed by CPU time, several by the wall.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    for flag in flags:
        parser.add_argument("--" + flag.replace("_", "-"), action="store_true", help=f"{flag}: see above")
    if data:
        parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{machine()}; torch {torch.__version__}; threads {args.threads}; rounds {args.rounds}", flush=True)
    return args


def machine() -> str:
    """The processor's name, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0]} x {len(names)}" if names else platform.processor() or platform.machine()


def take_turns(contenders: Mapping[str, Callable[[], object]], args: argparse.Namespace, at_least: float = 0.05) -> Seconds:
    """Seconds of a call of each contender, in each round; a turn lasts at least `at_least` seconds."""
    clock = time.process_time if args.threads == 1 else time.perf_counter
    calls = {}
    for name, run in contenders.items():
        for _ in range(3):
            start = clock()
            run()
            once = clock() - start
        calls[name] = max(1, int(at_least / max(once, 1e-6)))
    seconds: Seconds = {name: [] for name in contenders}
    for _ in range(args.rounds):
        spent = dict.fromkeys(contenders, 0.0)
        for name in (*contenders, *reversed(contenders)):
            start = clock()
            for _ in range(calls[name]):
                contenders[name]()
            spent[name] += (clock() - start) / (2 * calls[name])
        for name, once in spent.items():
            seconds[name].append(once)
    return seconds


def ratio(seconds: Seconds, theirs: str, ours: str) -> float:
    """Median over the rounds of their time over ours: above 1, ours is faster."""
    return statistics.median(a / b for a, b in zip(seconds[theirs], seconds[ours], strict=True))


def milliseconds(seconds: Seconds, name: str) -> float:
    """Median time of one call."""
    return 1000 * statistics.median(seconds[name])
