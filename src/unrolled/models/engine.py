"""A language model made ready for writing: each step of generation is one compiled call.

    engine = StepEngine(model)                 # packs the weights once
    memory, state = engine.start(prompt)
    logits, state = engine.step(last, state, memory, sentence_of_row)

It is the same `Stepper` as the model itself, several times faster for a few rows, and notices when parameters change
(not through `parameter.data`, which leaves no trace). `rounded=True` keeps the output matrix in bytes; each symbol that may
be the most likely one is scored exactly, the others to about three digits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import accumulate
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.cells import Cell, ElmanCell, GRUCell, LSTMCell
from unrolled.errors import ConfigError, ShapeError
from unrolled.kernels.step import KINDS, Layers, Output, run_layers, score
from unrolled.kernels.workspace import Workspace
from unrolled.layers.output import FullOutput
from unrolled.layers.recurrent import Recurrent
from unrolled.models.language_model import LanguageModel
from unrolled.types import State, state_like, state_tensors

__all__ = ["Engine", "StepEngine", "pack", "pack_layers", "pack_output", "plain", "step_kind"]

#: Bytes up to which the first layer's projected inputs are kept for every symbol of the vocabulary.
_TABLE = 128 * 2**20
_WORK = Workspace(np.dtype(np.float32), 1)


M = TypeVar("M", bound=nn.Module)


class Engine(ABC, Generic[M]):
    """What every engine is: a model whose weights are packed, and packed again when they have changed.

    serving: what it serves, as errors say it. ConfigError for a model that it does not serve, or no longer.
    """

    serving: ClassVar[str]

    def __init__(self, model: M, *, rounded: bool = False) -> None:
        if not self.serves(model):
            raise ConfigError(f"the {self.serving}")
        self.model, self.rounded = model, rounded
        self._seen: list[tuple[int, int]] = []

    @staticmethod
    @abstractmethod
    def serves(model: Any) -> bool:
        """Whether an engine can be made of the model."""

    @abstractmethod
    def _pack(self) -> None:
        """Pack the weights."""

    def _refresh(self) -> None:
        """Pack the weights unless they are what they were."""
        if self.model.training:
            raise ConfigError("the model is in training mode, where it drops out: call model.eval() first")
        now = [(p._version, p.data_ptr()) for p in self.model.parameters()]
        if now == self._seen:
            return
        if not self.serves(self.model):
            raise ConfigError("the model is no longer in float32 on the CPU: make an engine of it again when it is")
        self._pack()
        self._seen = now


def plain(model: nn.Module, cell: Cell) -> bool:
    """Whether a model is in single precision on the CPU, of a cell that is stepped by a kernel."""
    return all(p.device.type == "cpu" and p.dtype == torch.float32 for p in model.parameters()) and bool(step_kind(cell))


class StepEngine(Engine[LanguageModel]):
    """A `Stepper` for a language model in evaluation mode, on the CPU in single precision, of RNN, GRU or LSTM cells
    without projection, with a softmax over the whole vocabulary. ConfigError for others: see `serves`.
    """

    serving = "step engine serves RNN, GRU and LSTM in float32 on the CPU with a full softmax"

    @staticmethod
    def serves(model: LanguageModel) -> bool:
        """Whether an engine can be made of the model."""
        return isinstance(model.output, FullOutput) and plain(model, model.recurrent.cell)

    def start(self, source: Tensor) -> tuple[None, State]:
        """Read a prompt (R, T), begin id first and all but its last symbol; T may be 0."""
        return self.model.start(source)

    @torch.no_grad()
    def step(self, last: Tensor, state: State, memory: None, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """Feed symbols (R,): logits (R, V) and the next state."""
        self._refresh()
        ids = last.clamp(max=self.model.config.n_symbols)
        if len(ids) and int(ids.min()) < 0:
            raise ShapeError(f"symbols are numbered from 0, got {int(ids.min())}")
        old = [s.float().contiguous().numpy() for s in state_tensors(state)]  # bfloat16 under autocast
        new = [torch.empty(s.shape) for s in old]
        h, c, new_h, new_c = old[0], old[-1], new[0].numpy(), new[-1].numpy()  # cells with one tensor do not look at c
        x = self._nothing if self._table is not None else self.model.embedding(ids).numpy()
        first = self._nothing if self._table is None else self._table[ids.numpy()]
        run_layers(self._layers, x, first, h, c, new_h, new_c)
        a = self.model.bridge(new[0][:, -1]).float()
        logits = torch.empty(len(last), self.model.config.n_symbols)
        score(self._output, a.contiguous().numpy(), logits.numpy())
        return logits, state_like(state, new)

    def _pack(self) -> None:
        self._layers, self._table = pack_layers(self.model.recurrent), self._projected()
        assert isinstance(self.model.output, FullOutput)
        self._output = pack_output(self.model.output, rounded=self.rounded)
        self._nothing = np.zeros((1, 0), np.float32)

    def _projected(self) -> np.ndarray | None:
        """What every symbol, and none, is to the first layer; None where that is too much to keep."""
        recurrent, n_symbols = self.model.recurrent, self.model.config.n_symbols
        w = recurrent.weights(0)
        bias = recurrent.cell.projection_bias(w)
        assert bias is not None
        if 4 * (n_symbols + 1) * len(bias) > _TABLE:
            return None
        some = torch.arange(n_symbols + 1).split(1024)  # one-hot vectors of all symbols would be many numbers
        rows = [torch.nn.functional.linear(self.model.embedding(ids), w.weight_ih, bias).float() for ids in some]
        return torch.cat(rows).numpy()


def pack(weight: Tensor) -> np.ndarray:
    """A matrix (N, K) as kernels multiply by it."""
    return _WORK.packed_transposed(weight.detach().contiguous().numpy())


def pack_layers(recurrent: Recurrent) -> Layers:
    """The layers of a network that reads forward, of a cell that `step_kind` knows."""
    cell, size = recurrent.cell, recurrent.cell.hidden_size
    parts: list[np.ndarray] = []
    for k in range(recurrent.n_layers):
        w = recurrent.weights(k)
        bias = cell.projection_bias(w)
        assert bias is not None
        together = 2 * size if isinstance(cell, GRUCell) else len(w.weight_hh)
        candidate = cell.recurrent_weights(w)[1:]
        parts += map(pack, (w.weight_ih, w.weight_hh[:together], w.weight_hh[together:]))
        parts.append(torch.cat((bias, *candidate)).detach().numpy())
    places = np.array([0, *accumulate(map(len, parts))][:-1]).reshape(-1, 4)
    kind = step_kind(cell)
    assert kind is not None
    return Layers(KINDS[kind], np.concatenate(parts), places)


def pack_output(output: FullOutput, *, rounded: bool) -> Output:
    """The output layer, its matrix in bytes if `rounded`."""
    weight, bias = (t.detach().contiguous().numpy() for t in (output.weight, output.bias))
    if not rounded:
        return Output(pack(output.weight), np.zeros(0, np.float32), weight, bias)
    scales = np.maximum(np.abs(weight).max(1), np.finfo(np.float32).tiny) / np.float32(127)
    packed = _WORK.packed_transposed(np.rint(weight / scales[:, None])).astype(np.int8)
    return Output(packed, scales, weight, bias)


def step_kind(cell: Cell) -> str | None:
    """The name of a cell among those that are stepped by a kernel, if it is one."""
    if isinstance(cell, ElmanCell):
        return f"rnn_{cell.nonlinearity}"
    if isinstance(cell, GRUCell):
        return f"gru_{cell.reset}"
    return "lstm" if isinstance(cell, LSTMCell) and not cell.projection_size else None
