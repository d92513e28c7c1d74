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


def collapse(alignment: Any, blank: int = 0) -> list[int]:
    return [k for k, before in zip(alignment, [None, *alignment], strict=False) if k not in (before, blank)]


def ctc_forward(p: Array, y: list[int], blank: int = 0) -> Array:
    """alpha (T, 2 U + 1): all alignments of frames 1 to t that stand at place s of b y<1> b y<2> ... y<U> b in frame t."""
    z = [blank, *(k for symbol in y for k in (symbol, blank))]
    alpha = np.zeros((len(p), len(z)))
    alpha[0, :2] = p[0, z[:2]]
    for t in range(1, len(p)):
        for s, k in enumerate(z):
            from_before = alpha[t - 1, max(0, s - 1) : s + 1].sum()
            leaps = s > 1 and k not in (blank, z[s - 2])
            alpha[t, s] = (from_before + (alpha[t - 1, s - 2] if leaps else 0)) * p[t, k]
    return alpha


def ctc_backward(p: Array, y: list[int], blank: int = 0) -> Array:
    """beta (T, 2 U + 1): all alignments of frames t to T that stand at place s in frame t: the same from the other end."""
    return ctc_forward(p[::-1], y[::-1], blank)[::-1, ::-1]


def ctc_probability(p: Array, y: list[int], blank: int = 0) -> float:
    return float(ctc_forward(p, y, blank)[-1, -2:].sum())


def ctc_gradient(p: Array, y: list[int], blank: int = 0) -> Array:
    """Of -log P by the logits: p less how likely each symbol is in each frame, whatever the alignment."""
    z = np.array([blank, *(k for symbol in y for k in (symbol, blank))])
    gamma = ctc_forward(p, y, blank) * ctc_backward(p, y, blank) / p[:, z]  # p<t> is in both
    at = np.stack([gamma[:, z == k].sum(1) for k in range(p.shape[1])], 1)
    return p - at / ctc_probability(p, y, blank)


def ctc_prefix_search(p: Array, width: int, blank: int = 0) -> list[tuple[tuple[int, ...], float]]:
    """The texts that stay, likeliest first; each with two sums of alignments: ending with a blank, with its symbol."""
    beam = {(): (1.0, 0.0)}
    for frame in p:
        found = dict[tuple[int, ...], Array]()
        for y, (b, s) in beam.items():
            parts = [(y, ((b + s) * frame[blank], s * frame[y[-1]] if y else 0.0))]
            parts += [
                ((*y, k), (0.0, (b if y and k == y[-1] else b + s) * frame[k])) for k in range(len(frame)) if k != blank
            ]
            for text, two in parts:
                found[text] = found.get(text, np.zeros(2)) + two
        beam = dict(sorted(found.items(), key=lambda one: -one[1].sum())[:width])
    return [(y, float(sum(two))) for y, two in beam.items()]


STEPS: dict[str, Callable[..., Any]] = {
    "rnn": rnn,
    "rnn-relu": rnn_relu,
    "gru": gru,
    "gru-before": gru_before,
    "lstm": lstm,
    "mingru": mingru,
}


def alexnet(x: Array, w: dict[str, Any]) -> Any:
    """torchvision's definition of AlexNet in evaluation mode, layer by layer: x (B, 3, 224, 224) -> logits (B, 1000)."""
    import torch.nn.functional as f

    def convolved(x: Any, k: int, stride: int, padding: int) -> Any:
        return f.relu(f.conv2d(x, w[f"features.{k}.weight"], w[f"features.{k}.bias"], stride, padding))

    x = f.max_pool2d(convolved(x, 0, 4, 2), 3, 2)
    x = f.max_pool2d(convolved(x, 3, 1, 2), 3, 2)
    x = convolved(convolved(convolved(x, 6, 1, 1), 8, 1, 1), 10, 1, 1)
    x = f.adaptive_avg_pool2d(f.max_pool2d(x, 3, 2), (6, 6)).flatten(1)
    for k in (1, 4):
        x = f.relu(f.linear(x, w[f"classifier.{k}.weight"], w[f"classifier.{k}.bias"]))
    return f.linear(x, w["classifier.6.weight"], w["classifier.6.bias"])


def lite0(x: Array, w: dict[str, Any]) -> Any:
    """EfficientNet-Lite0 with TensorFlow's padding: x (B, 3, 224, 224) -> the last map (B, 1280, 7, 7)."""
    import torch.nn.functional as f

    def convolved(x: Any, name: str, stride: int = 1, *, each: bool = False) -> Any:
        kernel, n = w[name].shape[-1], x.shape[-1]
        missing = max((int(np.ceil(n / stride)) - 1) * stride + kernel - n, 0)
        before = missing // 2
        x = f.pad(x, (before, missing - before, before, missing - before))
        return f.conv2d(x, w[name], stride=stride, groups=len(w[name]) if each else 1)

    def normed(x: Any, name: str) -> Any:
        mean, variance, scale, shift = (
            w[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-3) ** 0.5 * scale + shift

    x = f.relu6(normed(convolved(x, "_conv_stem.weight", 2), "_bn0"))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for i, stride in enumerate(strides):
        block, inner = f"_blocks.{i}", x
        if i:
            inner = f.relu6(normed(convolved(inner, f"{block}._expand_conv.weight"), f"{block}._bn0"))
        inner = f.relu6(normed(convolved(inner, f"{block}._depthwise_conv.weight", stride, each=True), f"{block}._bn1"))
        inner = normed(convolved(inner, f"{block}._project_conv.weight"), f"{block}._bn2")
        x = x + inner if inner.shape == x.shape else inner
    return f.relu6(normed(convolved(x, "_conv_head.weight"), "_bn1"))
