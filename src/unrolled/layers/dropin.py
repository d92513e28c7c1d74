"""`RNN`, `GRU` and `LSTM` with the constructors, calls, state layout and `state_dict` keys of `torch.nn`.

Change the import. In addition to what `torch.nn` takes, a `Padded` input gives a `Padded` output: mixed
lengths without sorting, packing or unpacking. A `PackedSequence` is understood too. Not kept: private attributes of
`torch.nn` (`_flat_weights` and the like) and TorchScript.

States are torch's: (L, B, H) whatever `batch_first` says, L = num_layers * directions; (L, H) for unbatched input.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled.cells import Cell, ElmanCell, GRUCell, LSTMCell
from unrolled.errors import ShapeError
from unrolled.layers.dropout import Dropout
from unrolled.layers.layout import Layout
from unrolled.layers.recurrent import Stack
from unrolled.types import LSTMState, Padded, State, state_tensors

__all__ = ["GRU", "LSTM", "RNN"]


class _DropIn(Stack):
    """What the three drop-in layers share: torch's arguments, torch's start, torch's state layout at the door."""

    mode: str

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__(cell, input_size, num_layers, bidirectional=bidirectional, bias=bias)
        self.hidden_size, self.num_layers, self.bidirectional = cell.hidden_size, num_layers, bidirectional
        self.batch_first = batch_first
        self.proj_size = cell.projection_size if isinstance(cell, LSTMCell) else 0
        self.dropouts = Dropout(float(dropout))
        if dropout and num_layers == 1:
            warnings.warn(f"dropout={dropout} acts between layers and has no effect with num_layers=1", stacklevel=3)
        self._register(device, dtype)

    @property
    def dropout(self) -> float:
        """Probability of the dropout between layers; may be set."""
        return self.dropouts.between

    @dropout.setter
    def dropout(self, probability: float) -> None:
        self.dropouts = Dropout(float(probability))

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-1/sqrt(H), 1/sqrt(H)), in torch's order."""
        bound = 1 / math.sqrt(self.cell.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing to do: kept because code written for `torch.nn` calls it."""

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names.values()] for names in self._names]

    @abstractmethod
    def _enter(self, hx: Any) -> State:
        """torch's state (L, B, ...) -> ours (B, L, ...)."""

    @abstractmethod
    def _leave(self, state: State, batched: bool) -> Any:
        """Our state -> torch's."""

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """input (T, B, D), (B, T, D) if batch_first, (T, D), Padded or PackedSequence; returns output and last state."""
        if isinstance(input, PackedSequence):
            values, lengths = pad_packed_sequence(input, batch_first=True)
            output, final = self.forward(Padded(values, lengths), hx)
            sort = input.sorted_indices is not None
            return pack_padded_sequence(output.values, lengths, batch_first=True, enforce_sorted=not sort), final
        padded = isinstance(input, Padded)
        x: Tensor = input.values if padded else input
        batched = x.dim() == 3
        if x.dim() not in (2, 3) or (padded and not batched):
            raise ShapeError(f"the input needs 3 axes, or 2 without a batch; got shape {tuple(x.shape)}")
        self.check_input(x)
        swap = batched and (self.batch_first or padded)
        x = x.transpose(0, 1) if swap else x if batched else x.unsqueeze(1)
        layout = Layout.of(input.lengths if padded else None, x)
        state = None if hx is None else self._checked(hx, layout.rows, batched)
        output, final = self.run(x, state, layout)
        output = output.transpose(0, 1) if swap else output if batched else output.squeeze(1)
        return (Padded(output, input.lengths) if padded else output), self._leave(final, batched)

    def _checked(self, hx: Any, rows: int, batched: bool) -> State:
        given = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        state = self._enter(tuple(h if batched else h.unsqueeze(1) for h in given))
        expected = self.initial_state(rows)
        for have, want in zip(state_tensors(state), state_tensors(expected), strict=True):
            if have.shape != want.shape:
                shape = tuple(want.transpose(0, 1).shape)
                raise ShapeError(f"the initial state needs shape {shape}, got {tuple(have.transpose(0, 1).shape)}")
        return state

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, bias={self.bias}, "
            f"batch_first={self.batch_first}, dropout={self.dropout}, bidirectional={self.bidirectional}"
        )


class _OneTensorState(_DropIn):
    """RNN and GRU: the state is one tensor."""

    def _enter(self, hx: Any) -> State:
        if len(hx) != 1:
            raise ShapeError(f"the initial state must be one tensor, got {len(hx)}")
        return hx[0].transpose(0, 1)

    def _leave(self, state: State, batched: bool) -> Tensor:
        assert isinstance(state, Tensor)
        h = state.transpose(0, 1)
        return h if batched else h.squeeze(1)


class RNN(_OneTensorState):
    """Drop-in replacement of `torch.nn.RNN`. Equations: `unrolled.cells.elman`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Any = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        cell = ElmanCell(hidden_size, nonlinearity)
        super().__init__(cell, input_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)
        self.nonlinearity = nonlinearity
        self.mode = f"RNN_{nonlinearity.upper()}"


class GRU(_OneTensorState):
    """Drop-in replacement of `torch.nn.GRU`; `reset="before"` gives the form of the notes. See `unrolled.cells.gru`."""

    mode = "GRU"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        reset: Any = "after",
    ) -> None:
        cell = GRUCell(hidden_size, reset)
        super().__init__(cell, input_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)


class LSTM(_DropIn):
    """Drop-in replacement of `torch.nn.LSTM`, projections included. Equations: `unrolled.cells.lstm`."""

    mode = "LSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        cell = LSTMCell(hidden_size, proj_size)
        super().__init__(cell, input_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)

    def _enter(self, hx: Any) -> State:
        if len(hx) != 2:
            raise ShapeError("the initial state must be a pair (h_0, c_0)")
        return LSTMState(*(h.transpose(0, 1) for h in hx))

    def _leave(self, state: State, batched: bool) -> tuple[Tensor, Tensor]:
        assert isinstance(state, LSTMState)
        h, c = (s.transpose(0, 1) for s in state)
        return (h, c) if batched else (h.squeeze(1), c.squeeze(1))
