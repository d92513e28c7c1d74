"""What happens inside a language model while it reads: surprise, alternatives, gates, states, gradients, as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.errors import DataError
from unrolled.layers.unroll import trajectory
from unrolled.tasks.language_model import TrainedLanguageModel
from unrolled.types import LSTMState, map_state, state_tensors

__all__ = ["explain_text"]

#: Most tokens of a text that are drawn, most units of a layer, and alternatives for each token.
_TOKENS, _UNITS, _ALTERNATIVES = 200, 40, 8


def explain_text(trained: TrainedLanguageModel, text: str) -> dict[str, Any]:
    """Explain how the model reads `text` (its first 200 tokens).

    Blocks: the tokens coloured by surprisal, the model's favourites at each, gates (mean over units) and states (the units
    that vary most) over time for each layer, and the norm of the gradient of the last token's log-probability with respect
    to each earlier input, against distance.
    """
    codec = trained.codec
    symbols = codec.tokenizer.split(text)
    if codec.tokenizer.name == "whitespace" and symbols and not text.endswith("\n"):
        symbols.pop()  # the text is the beginning of a line
    cut = len(symbols) > _TOKENS
    symbols = symbols[:_TOKENS]
    if not symbols:
        raise DataError("There is nothing to explain: the text is empty.")
    ids = codec.vocabulary.encode(symbols).astype(np.int64)
    inputs = torch.from_numpy(np.concatenate(([codec.vocabulary.begin], ids[:-1]))).unsqueeze(0)
    targets = torch.from_numpy(ids)
    trained.model.eval()
    x = trained.model.embedding(inputs.t()).detach().requires_grad_()  # (T, 1, D)
    a, layers = _layers(trained, x)
    logs = torch.log_softmax(trained.model.logits(a)[:, 0], dim=1)  # (T, V)
    (gradient,) = torch.autograd.grad(logs[-1, targets[-1]], x)
    labels = [codec.tokenizer.shown(symbol) for symbol in symbols]
    surprisal = (-logs[torch.arange(len(ids)), targets] / math.log(2)).tolist()
    blocks = [
        _tokens(codec.vocabulary.symbols, codec.tokenizer.shown, labels, surprisal, logs.detach()),
        *(block for n, layer in enumerate(layers) for block in _layer_blocks(n + 1, labels, layer)),
        _gradient(gradient[:, 0].norm(dim=1).tolist()),
    ]
    return {
        "task": "language-model",
        "text": text,
        "tokens": labels,
        "surprisal_bits": _rounded(surprisal),
        "cut": cut,
        "blocks": blocks,
    }


def _layers(trained: TrainedLanguageModel, x: Tensor) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Run layer by layer; return the last outputs (T, 1, H) and gates and states (T, H) of each layer."""
    stack = trained.model.recurrent
    start = stack.initial_state(1)
    layers = []
    for k in range(stack.n_layers):
        w = stack.weights(k)
        states = trajectory(stack.cell, x, map_state(lambda s, k=k: s[:, k], start), w)
        before, after = (map_state(lambda *steps: torch.cat(steps), *part) for part in (states[:-1], states[1:]))
        gates = stack.cell.gates(stack.cell.project(x, w)[:, 0], before, w)  # time stands in for the batch
        hidden = state_tensors(after)[0]
        seen = {**gates, "state": hidden} | ({"memory": after.cell} if isinstance(after, LSTMState) else {})
        layers.append({name: value.detach() for name, value in seen.items()})
        x = hidden.unsqueeze(1)
    return x, layers


def _tokens(
    names: tuple[str, ...], name: Callable[[str], str], labels: list[str], surprisal: list[float], logs: Tensor
) -> dict[str, Any]:
    top = logs.topk(min(_ALTERNATIVES, logs.shape[1]), dim=1)
    alternatives = [
        [[name(names[i]), round(math.exp(value), 4)] for value, i in zip(values, ids, strict=True)]
        for values, ids in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    ]
    return {
        "kind": "tokens",
        "title": "Surprise",
        "note": "Bits by which each token surprised the model. Point at a token, or press Tab, to see what it expected.",
        "tokens": labels,
        "values": _rounded(surprisal),
        "alternatives": alternatives,
    }


def _layer_blocks(number: int, labels: list[str], layer: dict[str, Tensor]) -> list[dict[str, Any]]:
    blocks = []
    gates = {name: value for name, value in layer.items() if name not in ("state", "memory")}
    if gates:
        blocks.append(
            {
                "kind": "heat",
                "title": f"Layer {number}: gates, mean over units",
                "note": "0 closed, 1 open; the candidate is between -1 and 1.",
                "columns": labels,
                "rows": list(gates),
                "values": [_rounded(value.mean(1).tolist()) for value in gates.values()],
                "range": [-1.0, 1.0],
            }
        )
    for name in ("state", "memory"):
        if name in layer:
            value = layer[name]
            units = value.std(0, unbiased=False).topk(min(_UNITS, value.shape[1])).indices.sort().values
            bound = max(1, math.ceil(value[:, units].abs().max().item()))
            blocks.append(
                {
                    "kind": "heat",
                    "title": f"Layer {number}: {name} over time",
                    "note": f"The {len(units)} of {value.shape[1]} units that vary most.",
                    "columns": labels,
                    "rows": [f"unit {i}" for i in units.tolist()],
                    "values": [_rounded(row) for row in value[:, units].t().tolist()],
                    "range": [float(-bound), float(bound)],
                }
            )
    return blocks


def _gradient(norms: list[float]) -> dict[str, Any]:
    points = [[distance, max(norm, 1e-12)] for distance, norm in enumerate(reversed(norms))]
    return {
        "kind": "lines",
        "title": "Gradient norm against distance",
        "note": "How much the log-probability of the last token changes with the input that many steps earlier.",
        "x": "steps back",
        "log": True,
        "series": [{"name": "gradient norm", "points": [[x, float(f"{y:.4g}")] for x, y in points]}],
    }


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]
