"""Deep and bidirectional recurrent layers: the stack that every model and the drop-in layers share.

Layer l reads the outputs of layer l-1 (DRNN of the notes); a bidirectional layer reads its input from both ends and
returns [forward; backward] at each position (BRNN of the notes), so it needs the whole sequence before its first output.
"""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import Tensor, nn

from unrolled.cells import Cell, Weights
from unrolled.errors import ConfigError, ShapeError
from unrolled.layers.choice import way_of
from unrolled.layers.dropout import Dropout, weight_drop
from unrolled.layers.embedding import Lookup
from unrolled.layers.layout import Layout
from unrolled.layers.operator import operator_layer
from unrolled.layers.unroll import torch_layers, unroll
from unrolled.types import Padded, State, map_state, state_like, state_tensors

__all__ = ["Recurrent", "Stack", "fx_leaf", "last_states"]


class Stack(nn.Module):
    """The pass through a deep, perhaps bidirectional layer whose parameters are named as in `torch.nn`.

    Parameters of layer k: weight_ih_lk (G*H, D), weight_hh_lk (G*H, P), bias_ih_lk, bias_hh_lk (G*H,), for a projected
    LSTM weight_hr_lk (P, H); with the suffix `_reverse` for the backward direction. Who has them, and the attributes
    below, is the subclass.
    """

    cell: Cell
    input_size: int
    n_layers: int
    n_directions: int  # 2 when bidirectional
    dropouts: Dropout
    #: Names of the parameters of each layer and direction, by kind: `weight_ih` -> `weight_ih_l0`.
    _names: list[dict[str, str]]

    @property
    def output_size(self) -> int:
        """Size of the output at each position: P, or 2P when bidirectional."""
        return self.cell.output_size * self.n_directions

    def weights(self, k: int) -> Weights:
        """Parameters of layer and direction k = layer * n_directions + direction, with weight drop in training."""
        given = {kind: getattr(self, name) for kind, name in self._names[k].items()}
        if "weight_hh" not in given:
            return Weights(weight_hh=given["weight_ih"].new_empty(0, self.cell.output_size), **given)
        w = Weights(**given)
        return w._replace(weight_hh=weight_drop(w.weight_hh, self.dropouts.weight, self.training))

    def parts(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer, both directions together; the lowest also has those that belong to none."""
        parts: list[list[nn.Parameter]] = [[] for _ in range(self.n_layers)]
        for name, parameter in self.named_parameters():
            layer = name.rpartition("_l")[2].removesuffix("_reverse")
            parts[int(layer) if layer.isdigit() else 0].append(parameter)
        return parts

    def initial_state(self, batch_size: int) -> State:
        """The zero state: (B, L, P), or LSTMState of (B, L, P) and (B, L, H); L layers times directions."""
        one = self.cell.initial_state(batch_size, getattr(self, self._names[0]["weight_ih"]))
        return map_state(lambda s: s.unsqueeze(1).expand(-1, self.n_layers * self.n_directions, -1), one)

    def run(self, x: Any, state: State | None, layout: Layout) -> tuple[Tensor, State]:
        """x (T, B, D), or a Lookup, and state (B, L, ...), or the initial one (None) -> outputs (T, B, output_size), state
        after each row's end.
        """
        if state is None:
            state = self.initial_state(layout.rows)
        else:
            self._check_state(state, layout.rows)
        if layout.traced and isinstance(x, Lookup):
            x = x.expand()
        dropout = self.dropouts.between if self.n_layers > 1 else 0.0
        locked = self.dropouts.lock and dropout and self.training
        one_call = not layout.traced and layout.order is None and not locked
        if one_call and way_of(self.cell, x, layout, torch.is_grad_enabled()) == "torch":
            weights = [self.weights(k) for k in range(self.n_layers * self.n_directions)]
            n_layers, training = self.n_layers, self.training
            x = x.expand() if isinstance(x, Lookup) else x
            return torch_layers(self.cell, x, state, weights, n_layers=n_layers, dropout=dropout, training=training)
        finals: list[State] = []
        for layer in range(self.n_layers):
            if layer:
                x = self.dropouts.mask_between(x, self.training)
            outputs, whole = [], self._room(x, layout)
            for direction in range(self.n_directions):
                k = layer * self.n_directions + direction
                room = None if whole is None else whole.chunk(2, dim=2)[direction]
                start = map_state(lambda s, k=k: s[:, k], state)
                w = self.weights(k)
                if layout.traced:
                    output, final = operator_layer(self.cell, x, start, w, layout=layout, reverse=direction == 1)
                else:
                    output, final = unroll(self.cell, x, start, w, layout=layout, reverse=direction == 1, into=room)
                outputs.append(output)
                finals.append(final)
            if whole is not None and output is room:
                x = whole
            else:
                x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
        return x, map_state(lambda *layers: torch.stack(layers, dim=1), *finals)

    def _room(self, x: Any, layout: Layout) -> Tensor | None:
        """Zeros (T, B, 2P) for the directions of a layer to write their outputs to, where the scans can and no gradient is
        asked for; None where each direction makes its own.
        """
        if (
            self.n_directions == 1
            or layout.traced
            or torch.is_grad_enabled()
            or way_of(self.cell, x, layout, False) != "compiled"
        ):
            return None
        like: Tensor = getattr(self, self._names[0]["weight_ih"])
        return like.new_zeros(layout.steps, layout.rows, self.output_size)

    def _check_state(self, state: State, rows: int) -> None:
        wanted = state_tensors(self.cell.initial_state(0, getattr(self, self._names[0]["weight_ih"])))
        given = state_tensors(state)
        shapes = [(rows, self.n_layers * self.n_directions, s.shape[1]) for s in wanted]
        if [tuple(s.shape) for s in given] != shapes:
            raise ShapeError(f"the state needs shape {shapes}, got {[tuple(s.shape) for s in given]}")


class Recurrent(Stack):
    """A deep recurrent layer of any cell, batch first.

    Args:
        cell: the equations of one step, e.g. `GRUCell(256)` or `CELLS["lstm"](256)`.
        input_size: D.
        n_layers: layers stacked on each other.
        bidirectional: read from both ends.
        dropout: kinds and probabilities inside the layer.
        learned_state: train the initial state instead of starting from zero.

    >>> from unrolled.cells import GRUCell
    >>> layer = Recurrent(GRUCell(8), 5, n_layers=2, bidirectional=True)
    >>> outputs, state = layer(torch.zeros(3, 7, 5))
    >>> outputs.shape, state.shape
    (torch.Size([3, 7, 16]), torch.Size([3, 4, 8]))

    Starts from orthogonal recurrent matrices, Xavier input matrices, zero biases and a forget bias of 1 (Jozefowicz et al.
    2015), which learns faster than the uniform start of `torch.nn` that the drop-in layers keep.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        *,
        n_layers: int = 1,
        bidirectional: bool = False,
        dropout: Dropout | None = None,
        learned_state: bool = False,
    ) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", cell.hidden_size), ("n_layers", n_layers)):
            if size < 1:
                raise ConfigError(f"{name} must be at least 1, got {size}")
        self.cell, self.input_size, self.n_layers = cell, input_size, n_layers
        self.n_directions = 2 if bidirectional else 1
        self.bias = True
        self.dropouts = dropout or Dropout()
        self.learned_state = learned_state
        self._register()
        self.reset_parameters()
        if learned_state:
            self.initial = nn.ParameterList(nn.Parameter(s.clone()) for s in state_tensors(super().initial_state(1)))

    def _register(self) -> None:
        gates, size = self.cell.n_gates * self.cell.hidden_size, self.cell.output_size
        self._names = []
        for layer in range(self.n_layers):
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (gates, self.input_size if layer == 0 else self.output_size),
                "weight_hh": (gates, size),
                "bias_ih": (gates,),
                "bias_hh": (gates,),
                "weight_hr": (size, self.cell.hidden_size),
            }
            if not self.cell.sees_state:
                del shapes["weight_hh"], shapes["bias_hh"]
            if size == self.cell.hidden_size:  # no projection
                del shapes["weight_hr"]
            for suffix in ("", "_reverse")[: self.n_directions]:
                names = {kind: f"{kind}_l{layer}{suffix}" for kind in shapes}
                for kind, shape in shapes.items():
                    self.register_parameter(names[kind], nn.Parameter(torch.empty(shape)))
                self._names.append(names)

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        size = self.cell.hidden_size
        for name, parameter in self.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
                if self.cell.torch_kernel == "lstm" and name.startswith("bias_ih"):
                    nn.init.ones_(parameter[size : 2 * size])
            elif name.startswith("weight"):
                for gate in parameter.chunk(self.cell.n_gates if "_hr_" not in name else 1):
                    (nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_)(gate)

    def initial_state(self, batch_size: int) -> State:
        """The zero or the learned state for each of `batch_size` rows."""
        zero = super().initial_state(batch_size)
        if not self.learned_state:
            return zero
        return state_like(zero, (s.expand(batch_size, -1, -1) for s in self.initial))

    @overload
    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]: ...
    @overload
    def forward(self, x: Lookup, state: State | None = None) -> tuple[Tensor, State]: ...
    @overload
    def forward(self, x: Padded, state: State | None = None) -> tuple[Padded, State]: ...
    def forward(self, x: Tensor | Lookup | Padded, state: State | None = None) -> tuple[Tensor | Padded, State]:
        """x (B, T, D), its Lookup or Padded -> outputs (B, T, output_size), or Padded, and the last state (B, L, ...)."""
        if isinstance(x, torch.fx.Proxy):
            return fx_leaf(self, x, state)
        values = x.values if isinstance(x, Padded) else x
        if len(values.shape) != 3:
            raise ShapeError(f"the input needs the axes (B, T, D), got shape {tuple(values.shape)}")
        if values.shape[-1] != self.input_size:
            raise ShapeError(f"last axis of the input must be input_size {self.input_size}, got {values.shape[-1]}")
        values = values.transpose(0, 1)
        layout = Layout.of(x.lengths if isinstance(x, Padded) else None, values)
        outputs, final = self.run(values, state, layout)
        outputs = outputs.transpose(0, 1)
        return (Padded(outputs, x.lengths) if isinstance(x, Padded) else outputs), final

    def extra_repr(self) -> str:
        return f"{self.cell}, input_size={self.input_size}, n_layers={self.n_layers}, directions={self.n_directions}"


def fx_leaf(module: nn.Module, x: torch.fx.Proxy, state: Any) -> Any:
    """A call of the module in a graph of `torch.fx`, which records a recurrent layer as one node, as it does torch's."""
    path = x.tracer.path_of_module(module)  # type: ignore[attr-defined]
    if not path:
        raise TypeError(f"torch.fx can record {type(module).__name__} as a part of a module, not alone")
    return x.tracer.create_proxy("call_module", path, (x, state), {})


def last_states(a: Tensor, lengths: Tensor, *, bidirectional: bool) -> Tensor:
    """Of activations a (T, B, H) what each direction has after its own last step (B, H): forward each row's last, backward
    the first.
    """
    forward = a[lengths - 1, torch.arange(len(lengths), device=a.device)]
    if not bidirectional:
        return forward
    half = a.shape[2] // 2
    return torch.cat((forward[:, :half], a[0, :, half:]), 1)
