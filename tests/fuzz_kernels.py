"""Every door to the compiled kernels with arguments that are wrong somewhere, arrays lying against forbidden pages.

    python tests/fuzz_kernels.py --calls 100000            # some minutes; prints what ended the process
    python tests/fuzz_kernels.py --calls 2000 --only average --unchecked    # without `check_ids`: has to fail

A call takes arguments that fit, changes none, one or two of them (an index out of range, another shape, another type, NaN,
infinity, nothing at all, something huge) and goes through the public function. An exception is an answer; a process that
ends, or stands still, is a failure. The calls run in a child process; each kernel gets copies of its arrays that end, or in
every other call begin, at a page that must not be touched (`guarded.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import mmap
import os
import random as plain
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Outcome", "fuzz"]

#: Calls after which a child that has not come further is taken to stand still, in seconds.
_PATIENCE = 180
_INTEGERS = (-1, -2, 1, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1, 10**7)
_NUMBERS = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-320, 0.0)
_SCALARS = (-1, 0, 1, 2, 2**31, 2**40, -(2**63), 2**70, None, np.nan, 0.5, -1.0, "x", True, [], (3,))
_KINDS = ("i1", "i2", "i4", "i8", "u1", "u4", "u8", "f2", "f4", "f8", ">i8", "?", "c8", "O")


class Outcome:
    """crashes: the number and the way of each call that ended the process; answers: how often which exception came;
    reached: the kernels that were called.
    """

    def __init__(self) -> None:
        self.crashes: list[str] = []
        self.answers: Counter[str] = Counter()
        self.reached: set[str] = set()


def changed(random: plain.Random, value: Any) -> Any:
    """Something of another value, shape or type."""
    torch = sys.modules["torch"]
    if isinstance(value, torch.Tensor):
        with torch.no_grad():
            array = changed(random, value.detach().numpy())
        with contextlib.suppress(TypeError, ValueError):
            return torch.from_numpy(np.array(array)).requires_grad_(value.requires_grad and array.dtype.kind == "f")
        return value
    if not isinstance(value, np.ndarray):
        if isinstance(value, (list, tuple)) and value and random.random() < 0.8:
            i = random.randrange(len(value))
            parts = [*value[:i], changed(random, value[i]), *value[i + 1 :]]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        return random.choice(_SCALARS)
    ways = [_other_value] * 4 + [_other_shape] * 2 + [_other_type]
    return random.choice(ways)(random, value)


def _other_value(random: plain.Random, array: np.ndarray) -> np.ndarray:
    array = array.copy()
    if not array.size:
        return array
    kind, at = array.dtype.kind, random.randrange(array.size)
    if kind in "iu":
        wrong = random.choice((*_INTEGERS, int(array.max()) + 1, int(array.max()) + 1, int(array.max()) + 2))
        array.reshape(-1)[at : at + random.choice((1, 1, array.size))] = np.array(wrong).astype(array.dtype)
    elif kind == "f":
        with np.errstate(over="ignore"):
            array.reshape(-1)[at : at + random.choice((1, 1, array.size))] = random.choice(_NUMBERS)
    return array


def _other_shape(random: plain.Random, array: np.ndarray) -> np.ndarray:
    if not array.ndim or random.random() < 0.2:
        return array[None]
    axis = random.randrange(array.ndim)
    return random.choice(
        (
            lambda: array[:0],
            lambda: np.take(array, range(max(0, array.shape[axis] - 1)), axis),
            lambda: np.concatenate([array, array], axis),
            lambda: array.T,
            lambda: array.reshape(-1),
            lambda: np.ascontiguousarray(array[::2]),
            lambda: array[::-1],
            lambda: np.repeat(array, 3, axis)[tuple([slice(None)] * axis + [slice(None, None, 3)])],
            lambda: np.take(array, [0], axis) if array.shape[axis] else array,
        )
    )()


def _other_type(random: plain.Random, array: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(TypeError, ValueError):
            return array.astype(random.choice(_KINDS))
    return array


def _child(first: int, calls: int, only: Sequence[str], state: str, *, unchecked: bool) -> None:
    """Run calls, writing the number of each before it begins; at the end what came of them."""
    faulthandler.enable()
    os.environ["UNROLLED_THREADS"] = "1"
    import torch

    import fuzz_doors
    from guarded import guarding

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if unchecked:
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("unrolled.") and hasattr(module, "check_ids"):
                module.check_ids = lambda *_, **__: None  # type: ignore[attr-defined]
    doors = fuzz_doors.doors(only)
    answers, reached = Counter[str](), set[str]()
    with Path(state).open("r+b") as file, mmap.mmap(file.fileno(), 64) as told:
        for number in range(first, calls):
            random = plain.Random(number)
            name = random.choice(sorted(doors))
            told[:64] = f"{number} {name}".ljust(64).encode()
            np_random = np.random.default_rng(number)
            with guarding(reached, before=number % 2 == 1):
                try:
                    doors[name](random, np_random)
                    answers[f"{name}: answered"] += 1
                except Exception as error:
                    answers[f"{name}: {type(error).__name__}"] += 1
        told[:64] = b"done".ljust(64)
    for text, n in answers.items():
        print(f"answer {n} {text}")
    for name in reached:
        print(f"reached {name}")


def fuzz(
    calls: int, only: Sequence[str] = (), *, first: int = 0, most_crashes: int = 20, unchecked: bool = False
) -> Outcome:
    """Make so many calls, in child processes that begin anew behind a call that ended one."""
    outcome, here, state = Outcome(), Path(__file__), Path(os.environ.get("TMPDIR", "/tmp")) / f"fuzz-{os.getpid()}"
    state.write_bytes(b" " * 64)
    step = 5_000  # a child's answers are lost when it ends
    try:
        at = first
        while at < first + calls and len(outcome.crashes) < most_crashes:
            end = min(at + step, first + calls)
            command = [
                sys.executable,
                str(here),
                "--child",
                f"{at},{end}",
                "--state",
                str(state),
                *(["--unchecked"] * unchecked),
            ]
            command += [word for name in only for word in ("--only", name)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
            still = _wait(child, state)
            out, err = child.communicate()
            number, _, name = state.read_bytes().decode().strip().partition(" ")
            if child.returncode == 0 and not still:
                at = end
            else:
                how = "stood still" if still else f"ended with {child.returncode}"
                outcome.crashes.append(f"call {number} of {name}: {how}\n{err[-1500:]}")
                at = int(number) + 1 if number.isdigit() else end
            for line in out.splitlines():
                word, _, rest = line.partition(" ")
                if word == "answer":
                    n, _, text = rest.partition(" ")
                    outcome.answers[text] += int(n)
                elif word == "reached":
                    outcome.reached.add(rest)
    finally:
        state.unlink(missing_ok=True)
    return outcome


def _wait(child: subprocess.Popen[str], state: Path) -> bool:
    """Wait for a child; end it when it makes no call any more, and return whether that was so."""
    seen, since = b"", time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.2)
            return False
        now = state.read_bytes()
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            child.kill()
            return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--unchecked", action="store_true")
    parser.add_argument("--child")
    parser.add_argument("--state")
    args = parser.parse_args()
    if args.child:
        first, end = map(int, args.child.split(","))
        _child(first, end, args.only, args.state, unchecked=args.unchecked)
        return
    outcome = fuzz(args.calls, args.only, first=args.first, unchecked=args.unchecked)
    for text, n in sorted(outcome.answers.items()):
        print(f"{n:8d} {text}")
    print(f"kernels reached: {', '.join(sorted(outcome.reached))}")
    for crash in outcome.crashes:
        print(crash)
    print(f"{args.calls} calls, {len(outcome.crashes)} ended the process or stood still")
    sys.exit(bool(outcome.crashes))


if __name__ == "__main__":
    main()
