"""Why a text gets its label: what each token adds to the score of each label, and how the answer turns as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.errors import ConfigError

if TYPE_CHECKING:
    from unrolled.tasks.classifier import TrainedClassifier

__all__ = ["explain_text"]

#: Most tokens, and most labels, that are shown.
_TOKENS, _LABELS = 200, 10


def explain_text(trained: TrainedClassifier, text: str) -> dict[str, Any]:
    """Blocks for `pictures.page`, and the numbers themselves: tokens, contributions (T, K) that with the bias are z."""
    if not text.strip():
        raise ConfigError("the text to explain is empty")
    tokens, parts, bias = trained.network.explain(text)
    (prediction,) = trained.predict([text])
    labels, temperature = trained.labels, trained.decision.temperature
    names = _outputs(trained)
    shown = np.argsort(-np.abs(parts).sum(0), kind="stable")[:_LABELS]
    turns = _turns(trained, text, tokens[:_TOKENS])
    drawn = parts[:_TOKENS]
    if labels.kind == "one":
        drawn = drawn - drawn.mean(1, keepdims=True)  # a softmax sees differences only
    bound = float(np.abs(drawn).max(initial=1e-6))
    blocks = [
        {
            "kind": "facts",
            "title": "Answer",
            "rows": [["label", ", ".join(prediction.labels) or "none: not sure enough"]]
            + [[f"P({name})", round(p, 4)] for name, p in _likeliest(prediction.probabilities)],
        },
        {
            "kind": "heat",
            "title": "What each token adds to the score of each label",
            "note": "Red speaks for the label, blue against it; with the bias, the sum over a row is the score before "
            f"softmax, times temperature {temperature:.3f}."
            + (" The mean over labels is taken off: it changes no probability." if labels.kind == "one" else ""),
            "columns": tokens[:_TOKENS],
            "rows": [names[k] for k in shown],
            "values": [[round(float(v), 5) for v in drawn[:, k]] for k in shown],
            "range": [-bound, bound],
        },
        {
            "kind": "lines",
            "title": "The probability of each label after each token",
            "x": "tokens read",
            "series": [
                {
                    "name": name,
                    "points": [[t + 1, round(float(row[labels.names.index(name)]), 5)] for t, row in enumerate(turns)],
                }
                for name, _ in _likeliest(prediction.probabilities)[:4]
            ],
        },
    ]
    return {
        "text": text,
        "tokens": tokens,
        "outputs": names,
        "contributions": [[float(v) for v in row] for row in parts],
        "bias": [float(v) for v in bias],
        "temperature": temperature,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "prefixes": [[float(p) for p in row] for row in turns],
        "cut": len(tokens) > _TOKENS,
        "blocks": blocks,
    }


def _outputs(trained: TrainedClassifier) -> list[str]:
    """What each output of the network speaks for."""
    names = trained.labels.names
    return [f"above {name}" for name in names[:-1]] if trained.labels.kind == "ordered" else list(names)


def _likeliest(probabilities: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(probabilities.items(), key=lambda pair: -pair[1])[:_LABELS]


def _turns(trained: TrainedClassifier, text: str, tokens: list[str]) -> np.ndarray:
    """The probabilities (T, C) after each token: of the text up to its end."""
    ends, at = [], 0
    for token in tokens:
        at = text.index(token, at) + len(token) if token in text[at:] else at
        ends.append(at)
    return trained.probabilities([text[:end] for end in ends]) if ends else np.zeros((0, len(trained.labels)))
