"""Recurrent layers against `torch.nn`, ONNX Runtime, Keras and Flax: training, inference, two threads; accuracy.

    python benchmarks/layers.py                     # training: forward + backward, input gradient included
    python benchmarks/layers.py --no-input-gradient
    python benchmarks/layers.py --inference         # also against ONNX Runtime, where onnx and onnxruntime are installed
    python benchmarks/layers.py --jax               # training against Keras (JAX) and Flax, where they are installed
    python benchmarks/layers.py --threads 2         # wall time; and the same layers with one thread
    python benchmarks/layers.py --long              # minGRU against torch.nn.GRU on long sequences
    python benchmarks/layers.py --precision         # worst norm-relative error of outputs and gradients to float64

Contenders run in turn in one process on the same weights and data, single precision, as many inputs as units. A figure is
the median over the rounds of (their time / ours): above 1, ours is faster. One thread: CPU time.
"""

from __future__ import annotations

import argparse
import copy
import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import timing
from unrolled import layers
from unrolled.cells import CELLS
from unrolled.layers import Padded, Recurrent

SHAPES = [(32, steps, size) for steps in (35, 100) for size in (64, 128, 256, 512)]
NAMES = ("RNN", "GRU", "LSTM")


def pair(name: str, size: int) -> tuple[nn.Module, nn.Module]:
    """torch's layer and ours with the same weights."""
    theirs, ours = getattr(nn, name)(size, size), getattr(layers, name)(size, size)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def trainer(layer: nn.Module, x: Tensor, weigh: Tensor) -> Callable[[], None]:
    def step() -> None:
        layer.zero_grad()
        x.grad = None
        layer(x)[0].backward(weigh)

    return step


def inferrer(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    def step() -> None:
        with torch.inference_mode():
            layer(x)

    return step


def training(args: argparse.Namespace) -> None:
    print("| batch, steps, hidden | " + " | ".join(NAMES) + " |\n|---|---|---|---|")
    for rows, steps, size in SHAPES:
        found = []
        for name in NAMES:
            theirs, ours = pair(name, size)
            x = torch.randn(steps, rows, size, requires_grad=not args.no_input_gradient)
            weigh = torch.randn(steps, rows, size)
            turns = {"theirs": trainer(theirs, x, weigh), "ours": trainer(ours, x, weigh)}
            if args.threads > 1:
                turns["one thread"] = on_one_thread(trainer(ours, x, weigh), args.threads)
            seconds = timing.take_turns(turns, args)
            text = f"{timing.ratio(seconds, 'theirs', 'ours'):.2f} ({timing.milliseconds(seconds, 'ours'):.2f} ms)"
            if args.threads > 1:
                text += f", {timing.ratio(seconds, 'one thread', 'ours'):.2f} x one thread"
            found.append(text)
        print(f"| {rows}, {steps}, {size} | {' | '.join(found)} |", flush=True)


def on_one_thread(run: Callable[[], None], threads: int) -> Callable[[], None]:
    def step() -> None:
        torch.set_num_threads(1)
        run()
        torch.set_num_threads(threads)

    return step


def inference(args: argparse.Namespace) -> None:
    """Batches of whole sequences; of one sequence in the last rows."""
    print("| batch, steps, hidden | layer | over torch.nn | over ONNX Runtime |\n|---|---|---|---|")
    for rows, steps, size in [*SHAPES[:4], (1, 35, 256), (1, 500, 256)]:
        for name in NAMES:
            theirs, ours = pair(name, size)
            x = torch.randn(steps, rows, size)
            turns: dict[str, Callable[[], Any]] = {"torch": inferrer(theirs, x), "ours": inferrer(ours, x)}
            session = onnx_session(theirs, x, args.threads)
            if session:
                turns["onnx"] = session
            seconds = timing.take_turns(turns, args)
            peers = [f"{timing.ratio(seconds, p, 'ours'):.2f}" if p in seconds else "-" for p in ("torch", "onnx")]
            print(f"| {rows}, {steps}, {size} | {name} | {' | '.join(peers)} |", flush=True)


def onnx_session(layer: nn.Module, x: Tensor, threads: int) -> Callable[[], Any] | None:
    """torch's layer exported to ONNX Runtime, checked against it."""
    try:
        import onnxruntime
    except ImportError:
        return None
    file = io.BytesIO()
    torch.onnx.export(layer, (x,), file, dynamo=False, input_names=["x"], opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    array = x.numpy()
    with torch.inference_mode():
        np.testing.assert_allclose(session.run(None, {"x": array})[0], layer(x)[0].numpy(), atol=1e-4)
    return lambda: session.run(None, {"x": array})


def against_jax(args: argparse.Namespace) -> None:
    """Gradients of all weights and of the input, compiled by XLA, for the same sum of weighted outputs."""
    print("| batch, steps, hidden | layer | over Keras (JAX) | over Flax |\n|---|---|---|---|")
    for rows, steps, size in SHAPES:
        for name in NAMES:
            _, ours = pair(name, size)
            x, weigh = torch.randn(steps, rows, size, requires_grad=True), torch.randn(steps, rows, size)
            turns: dict[str, Callable[[], Any]] = {"ours": trainer(ours, x, weigh)}
            batch_first = [t.detach().transpose(0, 1).contiguous().numpy() for t in (x, weigh)]
            turns |= {"keras": keras_trainer(name, size, *batch_first), "flax": flax_trainer(name, size, *batch_first)}
            seconds = timing.take_turns(turns, args)
            peers = [f"{timing.ratio(seconds, p, 'ours'):.2f}" for p in ("keras", "flax")]
            print(f"| {rows}, {steps}, {size} | {name} | {' | '.join(peers)} |", flush=True)


def keras_trainer(name: str, size: int, x: np.ndarray, weigh: np.ndarray) -> Callable[[], Any]:
    import jax
    import keras

    kind = {"RNN": keras.layers.SimpleRNN, "GRU": keras.layers.GRU, "LSTM": keras.layers.LSTM}[name]
    layer = kind(size, return_sequences=True)
    layer.build(x.shape)
    weights = [v.value for v in layer.trainable_variables]
    fixed = [v.value for v in layer.non_trainable_variables]

    def loss(weights: Any, x: Any) -> Any:
        outputs, _ = layer.stateless_call(weights, fixed, x)
        return (outputs * weigh).sum()

    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    return lambda: jax.block_until_ready(step(weights, x))


def flax_trainer(name: str, size: int, x: np.ndarray, weigh: np.ndarray) -> Callable[[], Any]:
    import flax.linen as linen
    import jax

    kind = {"RNN": linen.SimpleCell, "GRU": linen.GRUCell, "LSTM": linen.OptimizedLSTMCell}[name]
    layer = linen.RNN(kind(size))
    variables = layer.init(jax.random.PRNGKey(0), x)
    step = jax.jit(jax.grad(lambda v, x: (layer.apply(v, x) * weigh).sum(), argnums=(0, 1)))
    return lambda: jax.block_until_ready(step(variables, x))


def long_sequences(args: argparse.Namespace) -> None:
    print("| batch, steps, hidden | minGRU over torch.nn.GRU |\n|---|---|")
    for rows, steps, size in ((16, 512, 128), (16, 512, 256), (32, 100, 256)):
        x, weigh = torch.randn(steps, rows, size, requires_grad=True), torch.randn(steps, rows, size)
        y, weigh_y = (t.detach().transpose(0, 1).contiguous() for t in (x, weigh))
        theirs, ours = nn.GRU(size, size), Recurrent(CELLS["mingru"](size), size)
        turns = {"theirs": trainer(theirs, x, weigh), "ours": trainer(ours, y.requires_grad_(), weigh_y)}
        print(
            f"| {rows}, {steps}, {size} | {timing.ratio(timing.take_turns(turns, args), 'theirs', 'ours'):.2f} |",
            flush=True,
        )


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


MODES: dict[str, Callable[[argparse.Namespace], None]] = {
    "inference": inference,
    "jax": against_jax,
    "long": long_sequences,
    "precision": lambda _: precision(),
}


def main() -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    args = timing.arguments(__doc__, ("no_input_gradient", *MODES))
    chosen = [mode for mode in MODES if getattr(args, mode)]
    MODES[chosen[0]](args) if chosen else training(args)


if __name__ == "__main__":
    main()
