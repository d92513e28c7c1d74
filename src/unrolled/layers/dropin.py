"""`RNN`, `GRU` and `LSTM`: `torch.nn`'s layers, with the compiled passes of this package.

Change the import. Each class is a subclass of its namesake in `torch.nn`, so constructor, checks of arguments, parameters,
`state_dict`, pickling and what tools ask of an `nn.RNNBase` are torch's own; what differs is the pass through the layer.
In addition to what `torch.nn` takes, a `Padded` input gives a `Padded` output: mixed lengths without sorting, packing or
unpacking. docs/layers.md lists what these layers do not do.

States are torch's: (L, B, H) whatever `batch_first` says, L = num_layers * directions; (L, H) for unbatched input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled.cells import Cell, ElmanCell, GRUCell, LSTMCell
from unrolled.errors import ShapeError
from unrolled.layers.dropout import Dropout
from unrolled.layers.dynamo import prepare_dynamo
from unrolled.layers.layout import Layout
from unrolled.layers.recurrent import Stack, fx_leaf
from unrolled.types import LSTMState, Padded, State, state_tensors

__all__ = ["GRU", "LSTM", "RNN"]

_NO_DROPOUT = Dropout()
#: torch's own classes, whatever is put in their places later.
_TORCH: dict[str, Callable[..., nn.RNNBase]] = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}


class _DropIn(Stack):
    """What the three layers share. The second base of each is torch's layer, which has parameters and options."""

    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    bidirectional: bool
    _all_weights: list[list[str]]

    @property
    def dropouts(self) -> Dropout:  # type: ignore[override]
        """The dropout between layers, whose probability is `dropout`, which may be set."""
        between = cast(float, self.dropout)
        return Dropout(between) if between else _NO_DROPOUT

    def _make_cell(self) -> Cell:
        """The equations that the options stand for."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """Set what the pass through the layer needs besides torch's attributes; none of it is pickled."""
        self.cell = self._make_cell()
        self.n_layers, self.n_directions = self.num_layers, 2 if self.bidirectional else 1
        self._names = [{name[: name.rindex("_l")]: name for name in names} for names in self._all_weights]

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        for name in ("cell", "n_layers", "n_directions", "_names"):
            state.pop(name)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._prepare()

    def __prepare_scriptable__(self) -> nn.RNNBase:
        return self.as_torch()

    def as_torch(self) -> nn.RNNBase:
        """Return torch's own layer with the same parameters (shared, not copied) and options.

        For tools that know torch's class only: `quantize_dynamic`, TorchScript, exports that are to be loaded without this
        package. TypeError for what torch has no layer for (`GRU(..., reset="before")`).
        """
        if self.cell.torch_kernel is None:
            raise TypeError(f"torch.nn has no layer for {self}")
        return _twin(self)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """input (T, B, D), (B, T, D) if batch_first, (T, D), Padded or PackedSequence; returns output and last state."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if isinstance(input, Padded):
            return self._forward_padded(input, hx)
        if isinstance(input, Tensor) and not self._left_to_torch(input):
            return self._forward_tensor(input, hx)
        if isinstance(input, torch.fx.Proxy):
            return fx_leaf(self, input, hx)
        if hasattr(input, "__torch_function__"):
            return super().forward(input, hx)
        raise TypeError(f"input must be a tensor, Padded or a PackedSequence, got {type(input).__name__}")

    def _left_to_torch(self, x: Tensor) -> bool:
        """Whether torch's own pass is taken: it is asked of others (`__torch_function__`) and translated to TorchScript and
        ONNX.
        """
        if self.cell.torch_kernel is None:
            return False
        if torch.compiler.is_compiling():
            return torch.onnx.is_in_onnx_export()
        if torch._C._get_tracing_state() is not None:
            return True
        asked = type(x).__torch_function__ is not torch._C._disabled_torch_function_impl
        return asked and type(x) is not Tensor and type(x) is not nn.Parameter

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        if packed.data.dim() != 2:
            raise ShapeError(f"input must have 2 dimensions, got {packed.data.dim()}: the data of a PackedSequence (N, D)")
        values, lengths = pad_packed_sequence(packed, batch_first=True)
        output, final = self._forward_padded(Padded(values, lengths), hx)
        rows = output.values
        if packed.sorted_indices is not None:
            rows, lengths = rows[packed.sorted_indices], lengths[packed.sorted_indices.cpu()]
        data = pack_padded_sequence(rows, lengths, batch_first=True).data
        return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices), final

    def _forward_padded(self, padded: Padded, hx: Any) -> tuple[Padded, Any]:
        if padded.values.dim() != 3:
            raise ShapeError(f"Padded.values must be (B, T, D) for a recurrent layer, got {tuple(padded.values.shape)}")
        x = padded.values.transpose(0, 1)
        self._check_input(x)
        state = None if hx is None else self._checked(hx, x, batched=True)
        output, final = self.run(x, state, Layout.of(padded.lengths, x))
        return Padded(output.transpose(0, 1), padded.lengths), self._leave(final, batched=True)

    def _forward_tensor(self, x: Tensor, hx: Any) -> tuple[Tensor, Any]:
        batched = x.dim() == 3
        if x.dim() not in (2, 3):
            raise ShapeError(f"{_name(self)}: Expected input to be 2D or 3D, got {x.dim()}D tensor instead")
        self._check_input(x)
        swap = batched and self.batch_first
        x = x.transpose(0, 1) if swap else x if batched else x.unsqueeze(1)
        if x.shape[0] == 0:
            raise ShapeError("Expected sequence length to be larger than 0 in RNN")
        state = None if hx is None else self._checked(hx, x, batched)
        output, final = self.run(x, state, Layout.of(None, x))
        output = output.transpose(0, 1) if swap else output if batched else output.squeeze(1)
        return output, self._leave(final, batched)

    def _enter(self, hx: Any) -> State:
        """torch's state, a tuple of (L, B, ...) -> ours (B, L, ...)."""
        raise NotImplementedError

    def _leave(self, state: State, batched: bool) -> Any:
        """Our state -> torch's."""
        raise NotImplementedError

    def _check_input(self, x: Tensor) -> None:
        """ShapeError, in torch's words, for inputs (..., D) whose size, dtype or device the layer does not take."""
        weight: Tensor = getattr(self, self._names[0]["weight_ih"])
        if x.dtype != weight.dtype and not torch._C._is_any_autocast_enabled():
            raise ShapeError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if x.shape[-1] != self.input_size:
            raise ShapeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}")
        if x.device != weight.device:
            raise ShapeError(
                "Input and parameter tensors are not at the same device, "
                f"found input tensor at {x.device} and parameter tensor at {weight.device}"
            )

    def _checked(self, hx: Any, x: Tensor, batched: bool) -> State:
        """Our initial state for inputs x (T, B, D), from torch's; ShapeError, in torch's words, if it does not fit."""
        tensors = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        if not all(isinstance(h, Tensor) for h in tensors):
            raise TypeError(f"hx must be made of tensors, got {', '.join(type(h).__name__ for h in tensors)}")
        wanted = 3 if batched else 2
        if any(h.dim() != wanted for h in tensors):
            found = ", ".join(f"{h.dim()}-D" for h in tensors)
            what, found = ("hx", f"{found} tensor") if len(tensors) == 1 else ("hx and cx", f"({found}) tensors")
            case = "batched 3-D" if batched else "unbatched 2-D"
            raise ShapeError(f"For {case} input, {what} should also be {wanted}-D but got {found}")
        state = self._enter(tensors if batched else tuple(h.unsqueeze(1) for h in tensors))
        expected = state_tensors(self.initial_state(x.shape[1]))
        for k, (have, want) in enumerate(zip(state_tensors(state), expected, strict=True)):
            which = f"hidden[{k}]" if len(tensors) > 1 else "hidden"
            if have.shape != want.shape:
                sizes = tuple(want.transpose(0, 1).shape), list(have.transpose(0, 1).shape)
                raise ShapeError(f"Expected {which} size {sizes[0]}, got {sizes[1]}")
            if have.dtype != x.dtype and not torch._C._is_any_autocast_enabled():
                raise ShapeError(
                    f"Input and hidden tensors are not the same dtype, found input tensor with {x.dtype} "
                    f"and {which} tensor with {have.dtype}"
                )
            if have.device != x.device:
                raise ShapeError(
                    f"Input and hidden tensors are not at the same device, found input tensor at {x.device} "
                    f"and {which} tensor at {have.device}"
                )
        return state


def _name(layer: _DropIn) -> str:
    """RNN, GRU or LSTM, as torch's messages call the layer."""
    return next(kind.__name__ for kind in (RNN, GRU, LSTM) if isinstance(layer, kind))


def _twin(layer: _DropIn) -> nn.RNNBase:
    options = {name: getattr(layer, name) for name in ("num_layers", "bias", "batch_first", "dropout", "bidirectional")}
    if isinstance(layer, RNN):
        options["nonlinearity"] = layer.nonlinearity
    if isinstance(layer, LSTM):
        options["proj_size"] = layer.proj_size
    twin = _TORCH[_name(layer)](layer.input_size, layer.hidden_size, device="meta", **options)
    for names in layer._all_weights:
        for name in names:
            weight = getattr(layer, name)
            setattr(twin, name, weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight.detach()))
    return twin.train(layer.training)


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


def _check_flags(bias: object, batch_first: object, bidirectional: object) -> None:
    """TypeError for a flag that is no bool: older releases of torch take "False" for True."""
    for name, value in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    if bidirectional not in (False, True):  # torch takes 0 and 1 here
        raise TypeError(f"bidirectional should be of type bool, got: {type(bidirectional).__name__}")


def _projection(size: int | None) -> dict[str, int]:
    """The option for the constructors of `nn.RNN` and `nn.GRU`, which refuse any with a ValueError."""
    return {} if size is None else {"proj_size": size}


class RNN(_OneTensorState, nn.RNN):
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
        *,
        proj_size: int | None = None,
    ) -> None:
        _check_flags(bias, batch_first, bidirectional)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            nonlinearity,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            **_projection(proj_size),
        )
        self._prepare()

    def _make_cell(self) -> Cell:
        return ElmanCell(self.hidden_size, self.nonlinearity)


class GRU(_OneTensorState, nn.GRU):
    """Drop-in replacement of `torch.nn.GRU`; `reset="before"` gives the form of the notes. See `unrolled.cells.gru`."""

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
        proj_size: int | None = None,
    ) -> None:
        _check_flags(bias, batch_first, bidirectional)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
            **_projection(proj_size),
        )
        self.reset = reset
        self._prepare()

    def _make_cell(self) -> Cell:
        return GRUCell(self.hidden_size, self.reset)

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.reset == "after" else f", reset={self.reset}")


class LSTM(_DropIn, nn.LSTM):
    """Drop-in replacement of `torch.nn.LSTM`, projections included. Equations: `unrolled.cells.lstm`."""

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
        _check_flags(bias, batch_first, bidirectional)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device=device,
            dtype=dtype,
        )
        self._prepare()

    def _make_cell(self) -> Cell:
        return LSTMCell(self.hidden_size, self.proj_size)

    def _enter(self, hx: Any) -> State:
        if len(hx) != 2:
            raise ShapeError("the initial state must be a pair (h_0, c_0)")
        return LSTMState(*(h.transpose(0, 1) for h in hx))

    def _leave(self, state: State, batched: bool) -> tuple[Tensor, Tensor]:
        assert isinstance(state, LSTMState)
        h, c = (s.transpose(0, 1) for s in state)
        return (h, c) if batched else (h.squeeze(1), c.squeeze(1))


prepare_dynamo((RNN, GRU, LSTM), (_DropIn._forward_tensor, _DropIn._forward_padded, _DropIn._forward_packed))  # type: ignore[arg-type]
