"""The vocabulary of shapes, and the shapes everything else hangs on.

Letters used in every comment and docstring:

    B  rows of a batch            T  time steps                 V  vocabulary size
    D  input size of a layer      H  hidden size of a layer     G  number of gates of a cell
    L  layers times directions    N  time steps of all rows together (padding not counted)
    S  positions of a source      M  size of what is attended to (memory)    A  size of attention's keys
    R  rows of a search, several to a sentence                  K  outputs   C  listed symbols, or classes
    F  numbers of a frame of sound    T'  steps of a listener   U  symbols of a text    N  of a sound: its samples
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.errors import ShapeError

__all__ = [
    "Criterion",
    "LSTMState",
    "LossSum",
    "Padded",
    "Stage",
    "State",
    "Stepper",
    "Task",
    "check_lengths",
    "is_traced",
    "map_state",
    "named_state",
    "state_like",
    "state_name",
    "state_tensors",
]


class LSTMState(NamedTuple):
    """The two tensors an LSTM carries from step to step: its activation a (`hidden`) and its memory c (`cell`)."""

    hidden: Tensor
    cell: Tensor


#: What a recurrent network carries from step to step: a tensor, or a `NamedTuple` of tensors or such states, batch first.
State = Tensor | tuple[Any, ...]


def state_tensors(state: State) -> tuple[Tensor, ...]:
    """The tensors of a state, one or more."""
    return (state,) if isinstance(state, Tensor) else tuple(tensor for part in state for tensor in state_tensors(part))


def state_like(like: State, tensors: Iterable[Tensor]) -> State:
    """A state of the same kind made of other tensors."""
    given = iter(tensors)
    made = _made_like(like, given)
    assert next(given, None) is None
    return made


def _made_like(like: State, tensors: Iterator[Tensor]) -> State:
    return next(tensors) if isinstance(like, Tensor) else type(like)(*(_made_like(part, tensors) for part in like))


def state_name(state: State) -> str:
    """The name under which `named_state` makes a state of this kind again."""
    return type(state).__name__


def named_state(name: str, tensors: Iterable[Tensor]) -> State:
    """A state of the kind that `state_name` named; ValueError for a kind that is not known."""
    if name == "Tensor":
        (only,) = tensors
        return only
    kinds = {"LSTMState": LSTMState}
    if name not in kinds:
        raise ValueError(f"unknown kind of state {name!r}")
    return kinds[name](*tensors)


def map_state(function: Callable[..., Tensor], state: State, *others: State) -> State:
    """Apply `function` to each tensor of the state, or to the corresponding tensors of several."""
    return state_like(state, map(function, *map(state_tensors, (state, *others))))


@dataclass(frozen=True)
class Padded:
    """Sequences of mixed lengths in one tensor.

    values: (B, T, ...); what stands behind a row's length is never read.
    lengths: (B,) whole numbers of steps, 0 <= length <= T: a tensor, or an array or a sequence of integers, which
        becomes an int64 tensor on the CPU.

    Raises ShapeError for values or lengths that do not fit, TypeError for values that are no tensor and for lengths that
    are no integers. On the device `meta`, in `FakeTensorMode` and while `torch.compile` or `torch.export` record, lengths
    have no numbers yet; they are checked when the layer runs.

    >>> padded = Padded.of([torch.ones(3, 2), torch.ones(1, 2)])
    >>> padded.values.shape, padded.lengths.tolist()
    (torch.Size([2, 3, 2]), [3, 1])
    """

    values: Tensor
    lengths: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.values, Tensor):
            raise TypeError(
                f"Padded.values must be a tensor (B, T, ...), got {type(self.values).__name__}. "
                "Fix: torch.as_tensor(values), or Padded.of(rows) for a list of rows."
            )
        if self.values.dim() < 2:
            raise ShapeError(f"Padded.values needs the axes (B, T, ...), got shape {tuple(self.values.shape)}")
        if not isinstance(self.lengths, Tensor):
            object.__setattr__(self, "lengths", _whole_numbers(self.lengths))
        rows, steps = self.values.shape[:2]
        check_lengths(self.lengths, rows=rows, steps=steps, name="Padded.lengths")

    @staticmethod
    def of(rows: Iterable[Tensor], value: float = 0) -> Padded:
        """Pad (T_b, ...) tensors with `value` to their longest."""
        rows = [torch.as_tensor(row) for row in rows]
        if not rows or min(row.dim() for row in rows) == 0:
            raise ShapeError("Padded.of needs at least one row, each a tensor (T_b, ...)")
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
        return Padded(nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value), lengths)

    def rows(self) -> list[Tensor]:
        """The sequences again, each without its padding."""
        return [row[:length] for row, length in zip(self.values, self.lengths.tolist(), strict=True)]

    def mask(self) -> Tensor:
        """(B, T), True where a value counts."""
        steps = torch.arange(self.values.shape[1], device=self.values.device)
        return steps < self.lengths.to(self.values.device).unsqueeze(1)


def _whole_numbers(lengths: Any) -> Tensor:
    """An array or a sequence of integers as an int64 tensor (B,)."""
    problem = f"Padded.lengths must be whole numbers (B,), got {type(lengths).__name__} {lengths!r:.60}"
    try:
        if hasattr(lengths, "__array__"):  # numpy's own conversion: torch has no uint32, and not every byte order
            numbers = np.asarray(lengths)
        else:
            numbers = np.asarray([int(n) if isinstance(n, Tensor) and not n.is_floating_point() else n for n in lengths])
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(problem) from None
    if numbers.size and numbers.dtype.kind not in "iu":
        raise TypeError(problem)
    return torch.from_numpy(numbers.astype(np.int64))


def check_lengths(lengths: Tensor, *, rows: int, steps: int, name: str) -> None:
    """ShapeError unless lengths (rows,) are whole numbers in 0..steps; the numbers are looked at where there are any."""
    if lengths.shape != (rows,):
        raise ShapeError(f"{name} needs shape ({rows},), one per row, got {tuple(lengths.shape)}")
    if lengths.dtype == torch.bool:
        raise ShapeError(f"{name} counts whole steps, got dtype torch.bool. Fix: mask.sum(1) of a mask (B, T).")
    if lengths.is_floating_point() or lengths.is_complex():
        raise ShapeError(f"{name} counts whole steps, got dtype {lengths.dtype}")
    if not is_traced(lengths) and rows:
        numbers = lengths.to(torch.int64)  # torch has no minimum of uint16 and the like
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high > steps:
            raise ShapeError(f"{name} must lie in 0..{steps}, got {low}..{high}")


#: Kinds of tensors that hold numbers themselves.
_PLAIN = (Tensor, nn.Parameter)


def is_traced(x: Tensor) -> bool:
    """Whether x has no numbers to look at (device meta, `FakeTensorMode`), or what is done to it is recorded
    (`torch.compile`, `torch.export`, `make_fx`, or another `TorchDispatchMode`).
    """
    if torch.compiler.is_compiling():
        return True
    if x.is_meta or torch._C._len_torch_dispatch_stack():
        return True
    return type(x) not in _PLAIN and type(x).__torch_dispatch__ is not Tensor.__torch_dispatch__


class Stepper(Protocol):
    """All that a decoder may know of a model. R is the number of rows (hypotheses) alive."""

    def start(self, source: Any) -> tuple[Any, State]:
        """Read `source` once; return what is kept per sentence (never tiled or reordered) and the first state.

        A state may say where it looked: `attention` (R, S). That of the first state is above 0 at true positions.
        """
        ...

    def step(self, last: Tensor, state: State, memory: Any, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """Feed the last symbols (R,); return logits (R, V) and the next state."""
        ...


class LossSum(NamedTuple):
    """loss: summed over the batch, in nats; n_tokens: what it was summed over; state: to carry into the next batch.

    penalty: what is added to the mean loss for training and not counted as loss.
    """

    loss: Tensor
    n_tokens: int
    state: State | None = None
    penalty: Tensor | None = None


class Stage(NamedTuple):
    """Parameters that learn alike. share: of the learning rate; begins: the part of the training before which they rest.

    Discriminative rates and gradual unfreezing: Howard and Ruder 2018, arXiv:1801.06146, sections 3.2 and 3.3.
    """

    parameters: list[nn.Parameter]
    share: float = 1.0
    begins: float = 0.0


class Criterion(NamedTuple):
    """A metric of `Task.evaluate` by which models are compared; maximize: whether higher is better."""

    metric: str
    maximize: bool = False

    def cost(self, metrics: Mapping[str, Any]) -> float:
        """Return the metric as a number to minimize; infinity where it is missing or no number."""
        value = metrics.get(self.metric)
        if value is None or math.isnan(value):
            return math.inf
        return -value if self.maximize else value


class Task(Protocol):
    """All that the training loop may know of a task."""

    @property
    def criteria(self) -> Sequence[Criterion]:
        """What the best model is selected by; a later criterion decides between models that are equal by the earlier."""
        ...

    def build(self) -> nn.Module:
        """A fresh model of the configured size. It has a method `loss(batch, state) -> LossSum`."""
        ...

    def stages(self, model: nn.Module) -> list[Stage]:
        """The parameters to train, in groups that learn alike."""
        ...

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in one pass over the training data."""
        ...

    def batch(self, epoch: int, k: int) -> Any:
        """Batch k of an epoch: a pure function of (seed, epoch, k). Its `shard(rank, size)` is every size-th row of it."""
        ...

    def evaluate(self, model: nn.Module) -> dict[str, Any]:
        """Validation metrics; the first is a number to minimise. Empty where nothing was held out."""
        ...

    def preview(self, model: nn.Module) -> str:
        """A short example of what the model does now, for the log."""
        ...

    def save(self, model: nn.Module, folder: Path, metrics: dict[str, Any]) -> None:
        """Write a self-sufficient model folder into the existing, empty `folder`."""
        ...
