"""Drop-in layers against `torch.nn`: training speed and accuracy.

    python benchmarks/layers.py                    # ratios of CPU time, torch.nn / ours: above 1 is faster than torch.nn
    python benchmarks/layers.py --threads 2 --wall
    python benchmarks/layers.py --precision        # worst norm-relative error of outputs and gradients to float64

One process; torch.nn and ours run in turn on the same weights and data (A B B A), forward and backward, input gradient
included; the figure is the median of the ratios of the rounds. CPU time on one thread, wall time with --wall.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled import layers
from unrolled.layers import Padded

SHAPES = [(32, 35, 64), (32, 35, 128), (32, 35, 256), (32, 35, 512), (32, 100, 128), (32, 100, 256)]


def trainer(layer: nn.Module, x: Tensor, weigh: Tensor) -> Callable[[], None]:
    def step() -> None:
        layer.zero_grad()
        x.grad = None
        layer(x)[0].backward(weigh)

    return step


def ragged(layer: nn.Module, x: Tensor, lengths: Tensor, weigh: Tensor, *, ours: bool) -> Callable[[], None]:
    """Mixed lengths: `Padded` for ours, pack and pad for torch.nn."""

    def step() -> None:
        layer.zero_grad()
        x.grad = None
        if ours:
            layer(Padded(x, lengths))[0].values.backward(weigh)
        else:
            packed, _ = layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
            pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0].backward(weigh)

    return step


def ratio(theirs: Callable[[], None], ours: Callable[[], None], rounds: int, clock: Callable[[], float]) -> str:
    """Median, least and largest of theirs / ours over the rounds."""
    for _ in range(2):
        theirs()
        ours()
    found = []
    for _ in range(rounds):
        spent = {theirs: 0.0, ours: 0.0}
        for run in (theirs, ours, ours, theirs):
            start = clock()
            run()
            spent[run] += clock() - start
        found.append(spent[theirs] / spent[ours])
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def speed(args: argparse.Namespace) -> None:
    clock = time.perf_counter if args.wall else time.process_time
    print(
        f"threads {args.threads}, {'wall' if args.wall else 'CPU'} time, {args.rounds} rounds, {platform.processor() or ''}"
    )
    print("| batch, steps, hidden | RNN | GRU | LSTM | RNN mixed | GRU mixed | LSTM mixed |\n|---|---|---|---|---|---|---|")
    for rows, steps, size in SHAPES:
        cells = []
        for mixed in (False, True):
            for name in ("RNN", "GRU", "LSTM"):
                theirs = getattr(nn, name)(size, size, batch_first=True)
                ours = getattr(layers, name)(size, size, batch_first=True)
                ours.load_state_dict(theirs.state_dict())
                x, weigh = torch.randn(rows, steps, size, requires_grad=True), torch.randn(rows, steps, size)
                if mixed:
                    lengths = torch.randint(1, steps + 1, (rows,), generator=torch.Generator().manual_seed(0))
                    pair = ragged(theirs, x, lengths, weigh, ours=False), ragged(ours, x, lengths, weigh, ours=True)
                else:
                    pair = trainer(theirs, x, weigh), trainer(ours, x, weigh)
                cells.append(ratio(*pair, args.rounds, clock))
        print(f"| {rows}, {steps}, {size} | {' | '.join(cells)} |", flush=True)


def precision() -> None:
    """Two layers, both directions, random weights and states, three seeds; full and mixed lengths."""
    print("| layer, lengths | ours float32 | torch.nn float32 | ours float64 |\n|---|---|---|---|")
    for name in ("RNN", "GRU", "LSTM"):
        for mixed in (False, True):
            worst = [0.0, 0.0, 0.0]
            for seed in range(3):
                worst = [max(a, b) for a, b in zip(worst, errors(name, seed, mixed=mixed), strict=True)]
            label = f"{name}, {'mixed' if mixed else 'full'}"
            print(f"| {label} | {worst[0]:.2g} | {worst[1]:.2g} | {worst[2]:.2g} |", flush=True)


def errors(name: str, seed: int, *, mixed: bool) -> list[float]:
    """Worst norm-relative error of ours in float32, torch.nn in float32, ours in float64."""
    torch.manual_seed(seed)
    steps, rows, size = 35, 8, 64
    lengths = torch.randint(1, steps + 1, (rows,)) if mixed else torch.full((rows,), steps)
    exact = getattr(nn, name)(size, size, 2, batch_first=True, bidirectional=True).double()
    single = copy.deepcopy(exact).float()
    exact.load_state_dict(single.state_dict())
    x, h, c = torch.randn(rows, steps, size), torch.randn(4, rows, size), torch.randn(4, rows, size)
    weigh = torch.randn(rows, steps, 2 * size)

    def run(layer: nn.Module, *, ours: bool) -> list[Tensor]:
        dtype = next(layer.parameters()).dtype
        inputs = [t.to(dtype).requires_grad_() for t in ((x, h, c) if name == "LSTM" else (x, h))]
        state = tuple(inputs[1:]) if name == "LSTM" else inputs[1]
        if ours:
            padded, final = layer(Padded(inputs[0], lengths), state)
            y = padded.values
        else:
            packed = pack_padded_sequence(inputs[0], lengths, batch_first=True, enforce_sorted=False)
            y, final = layer(packed if mixed else inputs[0], state)
            y = pad_packed_sequence(y, batch_first=True, total_length=steps)[0] if mixed else y
        finals = final if isinstance(final, tuple) else (final,)
        total = (y * weigh.to(dtype)).sum() + sum(f.square().sum() for f in finals)
        grads = torch.autograd.grad(total, [*inputs, *layer.parameters()])
        return [t.detach().double() for t in (y, *finals, *grads)]

    want = run(exact, ours=False)
    found = []
    for dtype, ours in ((torch.float32, True), (torch.float32, False), (torch.float64, True)):
        layer = getattr(layers if ours else nn, name)(size, size, 2, batch_first=True, bidirectional=True, dtype=dtype)
        layer.load_state_dict(single.state_dict())
        got = run(layer, ours=ours)
        found.append(max(((g - w).norm() / w.norm()).item() for g, w in zip(got, want, strict=True)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--precision", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    precision() if args.precision else speed(args)


if __name__ == "__main__":
    main()
