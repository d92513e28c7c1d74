"""`RNNCell`, `GRUCell` and `LSTMCell`: one step of a recurrent layer, for programs that change their import.

They are `torch.nn`'s own modules and use its kernels of one step; `unrolled.cells` has the equations. Of a whole sequence
`unrolled.layers.RNN`, `GRU` and `LSTM` are much faster than a loop over these.
"""

from __future__ import annotations

from torch import nn

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


class RNNCell(nn.RNNCell):
    """Drop-in replacement of `torch.nn.RNNCell`: input (B, D) or (D,), state (B, H) or (H,) -> next state."""


class GRUCell(nn.GRUCell):
    """Drop-in replacement of `torch.nn.GRUCell`: input (B, D) or (D,), state (B, H) or (H,) -> next state."""


class LSTMCell(nn.LSTMCell):
    """Drop-in replacement of `torch.nn.LSTMCell`: input (B, D) or (D,), state (h, c) -> next (h, c)."""
