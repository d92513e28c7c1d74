"""Layers for PyTorch users: drop-in `RNN`, `GRU`, `LSTM`, the general `Recurrent`, `Padded` sequences, dropout kinds."""

from __future__ import annotations

from unrolled.layers.dropin import GRU, LSTM, RNN
from unrolled.layers.dropout import Dropout
from unrolled.layers.embedding import Embedding, Lookup, OneHot
from unrolled.layers.recurrent import Recurrent
from unrolled.types import Padded

__all__ = ["GRU", "LSTM", "RNN", "Dropout", "Embedding", "Lookup", "OneHot", "Padded", "Recurrent"]
