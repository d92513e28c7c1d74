"""Layers for PyTorch users: drop-in `RNN`, `GRU`, `LSTM` and cells, `Recurrent`, `Padded` sequences, kinds of dropout."""

from __future__ import annotations

from unrolled.layers.dropin import GRU, LSTM, RNN
from unrolled.layers.dropin_cells import GRUCell, LSTMCell, RNNCell
from unrolled.layers.dropout import Dropout
from unrolled.layers.embedding import Embedding, Lookup, OneHot
from unrolled.layers.recurrent import Recurrent
from unrolled.types import Padded

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Dropout",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "Lookup",
    "OneHot",
    "Padded",
    "RNNCell",
    "Recurrent",
]
