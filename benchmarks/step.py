"""One step of generation: embedding, cell, softmax over 10,000 words; the step engine against eager torch and ONNX Runtime.

    python benchmarks/step.py

Eager torch in three forms: LSTMCell / GRUCell; nn.LSTM / nn.GRU on a sequence of one step; the cell with the output matrix
stored transposed. All give log-probabilities and the next state. Contenders in turn in one process; a figure is the median
over the rounds of (their time / ours).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import timing
from unrolled.models.language_model import LanguageModel, LanguageModelConfig
from unrolled.models.language_model_engine import StepEngine

V = 10_000


class Eager(nn.Module):
    """The model as one writes it by hand."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(V, size), nn.Linear(size, V)
        self.cell, self.layer = getattr(nn, f"{name}Cell")(size, size), getattr(nn, name)(size, size)
        self.turned = self.out.weight.detach().t().contiguous()

    def by_cell(self, ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        after = self.cell(self.table(ids), state if len(state) == 2 else state[0])
        after = after if isinstance(after, tuple) else (after,)
        return torch.log_softmax(self.out(after[0]), 1), *after

    forward = by_cell

    def by_layer(self, ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        start = tuple(s.unsqueeze(0) for s in state)
        y, after = self.layer(self.table(ids).unsqueeze(0), start if len(start) == 2 else start[0])
        return torch.log_softmax(self.out(y[0]), 1), *(after if isinstance(after, tuple) else (after,))

    def by_turned_matrix(self, ids: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        after = self.cell(self.table(ids), state if len(state) == 2 else state[0])
        after = after if isinstance(after, tuple) else (after,)
        return torch.log_softmax(torch.addmm(self.out.bias, after[0], self.turned), 1), *after


def onnx_step(eager: Eager, inputs: tuple[Tensor, ...]) -> Callable[[], Any] | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    file, names = io.BytesIO(), [f"in{i}" for i in range(len(inputs))]
    torch.onnx.export(eager, inputs, file, dynamo=False, input_names=names, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {name: t.numpy() for name, t in zip(names, inputs, strict=True)}
    return lambda: session.run(None, feed)


def contenders(name: str, size: int, rows: int) -> dict[str, Callable[[], Any]]:
    eager = Eager(name, size).eval()
    config = LanguageModelConfig(n_symbols=V, cell=name.lower(), embedding_size=size, hidden_size=size)
    model = LanguageModel(config).eval()
    ids = torch.randint(0, V, (rows,))
    state = [torch.randn(rows, size) for _ in range(2 if name == "LSTM" else 1)]
    start, sentence = model.recurrent.initial_state(rows), torch.zeros(rows)
    forms: dict[str, Callable[..., Any]] = {f.__name__: f for f in (eager.by_cell, eager.by_layer, eager.by_turned_matrix)}
    turns: dict[str, Callable[[], Any]] = {form: partial(run, ids, *state) for form, run in forms.items()}
    session = onnx_step(eager, (ids, *state))
    if session:
        turns["onnx"] = session
    for label, rounded in (("float", False), ("bytes", True)):
        engine = StepEngine(model, rounded=rounded)
        turns[label] = lambda engine=engine: torch.log_softmax(engine.step(ids, start, None, sentence)[0], 1)
    return turns


@torch.no_grad()
def main() -> None:
    args = timing.arguments(__doc__)
    print("| cell, hidden, rows | output matrix | best eager form | over it | over ONNX Runtime | us |")
    print("|---|---|---|---|---|---|")
    for name in ("LSTM", "GRU"):
        for size in (256, 512):
            for rows in (1, 5):
                seconds = timing.take_turns(contenders(name, size, rows), args)
                eager = min((n for n in seconds if n.startswith("by_")), key=lambda n: timing.milliseconds(seconds, n))
                for ours in ("float", "bytes"):
                    onnx = f"{timing.ratio(seconds, 'onnx', ours):.2f}" if "onnx" in seconds else "-"
                    print(
                        f"| {name}, {size}, {rows} | {ours} | {eager} | {timing.ratio(seconds, eager, ours):.2f} | {onnx} "
                        f"| {1000 * timing.milliseconds(seconds, ours):.0f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
