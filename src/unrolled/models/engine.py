"""What every engine is: a model whose weights are packed for the kernels, so that a step is a few compiled calls.

`language_model_engine` and `decoder_engine` are twins of their models: the same `Stepper`, several times faster for a
few rows. They notice when parameters change (not through `parameter.data`, which leaves no trace). `rounded=True` keeps the
output matrix in bytes; each symbol that may be the most likely one is scored exactly, the others to about three digits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.cells import Cell, ElmanCell, GRUCell, LSTMCell
from unrolled.errors import ConfigError
from unrolled.kernels.bounds import check_ids, check_shape
from unrolled.kernels.step import KINDS, Layers, Output
from unrolled.kernels.workspace import Workspace
from unrolled.layers.output import FullOutput
from unrolled.layers.recurrent import Recurrent

__all__ = ["Engine", "check_step", "pack", "pack_layers", "pack_output", "plain", "step_kind"]

_WORK = Workspace(np.dtype(np.float32), 1)
_EVERY = slice(None)


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
        now = [(p._version, p.data_ptr()) for p in _parameters(self.model)]
        if now == self._seen:
            return
        if not self.serves(self.model):
            raise ConfigError("the model is no longer in float32 on the CPU: make an engine of it again when it is")
        self._pack()
        self._seen = now


def _parameters(module: nn.Module) -> list[Tensor]:
    """`parameters()` in a third of the time, those that are shared more than once: it is asked for at every step."""
    found: list[Tensor] = [p for p in module._parameters.values() if p is not None]
    for part in module._modules.values():
        found += _parameters(part) if part is not None else []
    return found


def plain(model: nn.Module, cell: Cell) -> bool:
    """Whether a model is in single precision on the CPU, of a cell that is stepped by a kernel."""
    return all(p.device.type == "cpu" and p.dtype == torch.float32 for p in model.parameters()) and bool(step_kind(cell))


def check_step(recurrent: Recurrent, ids: np.ndarray, state: Sequence[Tensor]) -> None:
    """ShapeError unless a step is given symbols (R,), which are not below 0, and tensors (R, L, H) as the state."""
    check_shape("symbols", ids.shape, (None,))
    check_ids("symbols", ids, None)
    for tensor in state:
        check_shape("the state", tensor.shape, (len(ids), recurrent.n_layers, recurrent.cell.hidden_size))


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


def pack_output(output: FullOutput, *, rounded: bool, symbols: Tensor | slice = _EVERY) -> Output:
    """The output layer, its matrix in bytes if `rounded`; or the part of it that is for `symbols`."""
    weight, bias = (t.detach()[symbols].contiguous().numpy() for t in (output.weight, output.bias))
    if not rounded:
        return Output(_WORK.packed_transposed(weight), np.zeros(0, np.float32), weight, bias)
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
