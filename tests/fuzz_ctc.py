"""CTC losses and gradients of random shapes and logits against torch's in double precision.

    python tests/fuzz_ctc.py --cases 10000

Half of the cases are ordinary; the others have no frames, no symbols, labels that do not fit, runs of one symbol, logits of
-inf, logits that lie hundreds apart, rows of length 0, no rows at all, or the blank alone. `test_ctc.py` takes some.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unrolled.layers.ctc import ctc_loss

__all__ = ["Case", "differences", "make_case"]

#: Relative and absolute tolerance of losses, absolute tolerance of gradients. Single precision: logits of size x are
#: rounded by 6e-8 x, once in each frame.
_TOLERANCES = {torch.float64: (1e-9, 1e-11, 1e-7), torch.float32: (1e-5, 2e-4, 2e-3)}


class Case(NamedTuple):
    """logits (T, B, V), lengths (B,), labels (N,), label_lengths (B,), blank."""

    logits: Tensor
    lengths: Tensor
    labels: Tensor
    label_lengths: Tensor
    blank: int


def make_case(seed: int, dtype: torch.dtype = torch.float64) -> Case:
    """Make a batch at random; the same for the same seed."""
    random = np.random.default_rng(seed)
    n_steps, n_rows, n_symbols = random.integers(0, 40), random.integers(0, 6), random.integers(1, 9)
    if random.random() < 0.02:
        n_steps = random.integers(200, 600)
    ordinary = random.random() < 0.5
    if ordinary:
        n_steps, n_rows, n_symbols = n_steps + 1, n_rows + 1, n_symbols + 1
    scale = random.choice([0.1, 1, 5, 20] if ordinary else [1, 30, 100, 300, 740, 1000])
    logits = random.standard_normal((n_steps, n_rows, n_symbols)) * scale
    if not ordinary and random.random() < 0.5:
        logits[:, random.random((n_rows, n_symbols)) < 0.2] = -np.inf
        logits[random.random(logits.shape) < 0.1] = -np.inf
        logits[np.isneginf(logits).all(2)] = 0  # a frame without any probability is NaN
    if not ordinary and random.random() < 0.3:
        logits += random.choice([-500, 500, 5000])
    blank = int(random.integers(n_symbols))
    lengths = random.integers(0 if random.random() < 0.3 else min(1, n_steps), n_steps + 1, n_rows)
    most = n_steps + 3 if random.random() < 0.2 else n_steps // 2
    label_lengths = random.integers(0, most + 1, n_rows) if n_symbols > 1 else np.zeros(n_rows, np.int64)
    n_different = 2 if random.random() < 0.3 else n_symbols  # few symbols repeat
    labels = random.integers(0, max(1, min(n_different, n_symbols) - 1), label_lengths.sum())
    labels += labels >= blank
    return Case(torch.from_numpy(logits).to(dtype), *map(torch.from_numpy, (lengths, labels, label_lengths)), blank)


def differences(case: Case) -> list[str]:
    """Compare losses and gradients of a case with torch's, which are computed in double precision: what is not equal.

    The gradients are with respect to log-probabilities, of which torch's are NaN only where a symbol, or the whole label,
    is impossible: ours have to be 0 there.
    """
    relative, absolute, of_gradients = _TOLERANCES[case.logits.dtype]
    logs = case.logits.log_softmax(2).requires_grad_()
    exact = case.logits.double().log_softmax(2).requires_grad_()
    ours = ctc_loss(logs, case.lengths, case.labels, case.label_lengths, blank=case.blank)
    if not exact.numel():  # torch refuses it
        right = torch.where(case.label_lengths > 0, torch.inf, 0.0)
        return [] if ours.tolist() == right.tolist() else [f"losses {ours.tolist()}, expected {right.tolist()}"]
    theirs = functional.ctc_loss(exact, case.labels, case.lengths, case.label_lengths, case.blank, "none")
    found = list[str]()
    if not torch.allclose(ours.double(), theirs, rtol=relative, atol=absolute):
        found.append(f"losses {ours.tolist()}, expected {theirs.tolist()}")
    (gradient,) = torch.autograd.grad(ours.sum(), logs)
    (expected,) = torch.autograd.grad(theirs.sum(), exact)
    expected = expected.nan_to_num(0.0, 0.0, 0.0)
    if not torch.allclose(gradient.double(), expected, rtol=0, atol=of_gradients):
        found.append(f"gradients differ by {float((gradient.double() - expected).abs().max())}")
    (of_logits,) = torch.autograd.grad(
        ctc_loss((x := case.logits.clone().requires_grad_()), *case[1:4], blank=case.blank).sum(), x
    )
    if not torch.allclose(of_logits.double(), expected, rtol=0, atol=of_gradients):
        found.append(f"gradients of logits differ by {float((of_logits.double() - expected).abs().max())}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for dtype in (torch.float64, torch.float32):
        wrong = 0
        for seed in range(args.seed, args.seed + args.cases):
            for problem in differences(make_case(seed, dtype)):
                wrong += 1
                if wrong <= 10:
                    print(f"{dtype}, seed {seed}: {problem}")
        print(f"{dtype}: {args.cases} cases, {wrong} wrong", flush=True)


if __name__ == "__main__":
    main()
