"""Plain numpy references: one equation a line, no batching tricks, written from the notes and not from the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
Weights = dict[str, Array]


def sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def rnn(x: Array, h: Array, w: Weights, g: Callable[[Array], Array] = np.tanh) -> Array:
    return g(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"])


def rnn_relu(x: Array, h: Array, w: Weights) -> Array:
    return rnn(x, h, w, lambda v: np.maximum(v, 0))


def gru(x: Array, c: Array, w: Weights, *, before: bool = False) -> Array:
    wr, wz, wn = np.split(w["weight_ih"], 3)
    ur, uz, un = np.split(w["weight_hh"], 3)
    br, bz, bn = np.split(w["bias_ih"], 3)
    dr, dz, dn = np.split(w["bias_hh"], 3)
    relevance = sigmoid(wr @ x + br + ur @ c + dr)
    update = 1 - sigmoid(wz @ x + bz + uz @ c + dz)  # the notes' gate weighs the candidate
    inner = un @ (relevance * c) + dn if before else relevance * (un @ c + dn)
    candidate = np.tanh(wn @ x + bn + inner)
    return update * candidate + (1 - update) * c


def gru_before(x: Array, c: Array, w: Weights) -> Array:
    return gru(x, c, w, before=True)


def lstm(x: Array, state: tuple[Array, Array], w: Weights) -> tuple[Array, Array]:
    a, c = state
    z = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ a + w["bias_hh"]
    update, forget, candidate, output = np.split(z, 4)
    c = sigmoid(update) * np.tanh(candidate) + sigmoid(forget) * c
    return sigmoid(output) * np.tanh(c), c


def mingru(x: Array, h: Array, w: Weights) -> Array:
    update, candidate = np.split(w["weight_ih"] @ x + w["bias_ih"], 2)
    return (1 - sigmoid(update)) * h + sigmoid(update) * candidate


STEPS: dict[str, Callable[..., Any]] = {
    "rnn": rnn,
    "rnn-relu": rnn_relu,
    "gru": gru,
    "gru-before": gru_before,
    "lstm": lstm,
    "mingru": mingru,
}
