"""The cells by name. A new cell is one file here and one line below; everything else picks it up."""

from __future__ import annotations

from collections.abc import Callable

from unrolled.cells.base import Cell, Weights
from unrolled.cells.elman import ElmanCell
from unrolled.cells.gru import GRUCell
from unrolled.cells.lstm import LSTMCell
from unrolled.cells.mingru import MinGRUCell

__all__ = ["CELLS", "Cell", "ElmanCell", "GRUCell", "LSTMCell", "MinGRUCell", "Weights"]

#: name -> function of the hidden size
CELLS: dict[str, Callable[[int], Cell]] = {
    "rnn": lambda hidden_size: ElmanCell(hidden_size),
    "rnn-relu": lambda hidden_size: ElmanCell(hidden_size, nonlinearity="relu"),
    "gru": lambda hidden_size: GRUCell(hidden_size),
    "gru-before": lambda hidden_size: GRUCell(hidden_size, reset="before"),
    "lstm": lambda hidden_size: LSTMCell(hidden_size),
    "mingru": lambda hidden_size: MinGRUCell(hidden_size),
}
