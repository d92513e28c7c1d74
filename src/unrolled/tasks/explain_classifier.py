"""Why a text gets its label: what each token adds to the score of each label, what changes without it, and how the answer
turns as the text is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.errors import ConfigError
from unrolled.tasks.reading import places, without_tags

if TYPE_CHECKING:
    from unrolled.tasks.classifier import TrainedClassifier

__all__ = ["explain_text"]

#: Most tokens, and most labels, that are shown.
_TOKENS, _LABELS = 200, 10


def explain_text(trained: TrainedClassifier, text: str) -> dict[str, Any]:
    """Blocks for `pictures.page`, and the numbers: tokens, contributions (T, K) that with the bias are z, and left_out
    (T, K), by how much z is lower without the token (leave-one-out).
    """
    text = without_tags([text])[0] if trained.network.reading.strip_tags else text
    if not text.strip():
        raise ConfigError("the text to explain is empty")
    tokens, parts, bias = trained.network.explain(text)
    prediction = trained.predict(text)
    labels, temperature = trained.labels, trained.decision.temperature
    names, centred = _outputs(trained), labels.kind == "one"  # a softmax sees differences only
    shown = np.argsort(-np.abs(parts).sum(0), kind="stable")[:_LABELS]
    spans = places(text, tokens[:_TOKENS], trained.network.reading.normalization).tolist()
    turns = trained.probabilities([text[:end] for _, end in spans]) if spans else np.zeros((0, len(labels)))
    without = [text[:start] + text[end:] for start, end in spans]
    missed = trained.network.logits([text]) - trained.network.logits(without) if spans else parts
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
            "note": _note(trained, centred=centred),
            **_heat(parts[:_TOKENS], tokens, names, shown, centred=centred),
        },
        {
            "kind": "heat",
            "title": "How much lower the score of each label is without the token (leave-one-out)",
            **_heat(missed, tokens, names, shown, centred=centred),
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
        "left_out": [[float(v) for v in row] for row in missed],
        "temperature": temperature,
        "shift": list(trained.decision.shift),
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "prefixes": [[float(p) for p in row] for row in turns],
        "cut": len(tokens) > _TOKENS,
        "shown": len(spans),
        "blocks": blocks,
    }


def _note(trained: TrainedClassifier, *, centred: bool) -> str:
    """What the numbers of the first heat map add up to."""
    shift = ", less a shift towards the frequencies of the labels" if any(trained.decision.shift) else ""
    return (
        "Red speaks for the label, blue against it; with the bias, the sum over a row is the score before "
        f"softmax{shift}, times temperature {trained.decision.temperature:.3f}."
        + (" The mean over labels is taken off: it changes no probability." if centred else "")
    )


def _outputs(trained: TrainedClassifier) -> list[str]:
    """What each output of the network speaks for."""
    names = trained.labels.names
    return [f"above {name}" for name in names[:-1]] if trained.labels.kind == "ordered" else list(names)


def _likeliest(probabilities: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(probabilities.items(), key=lambda pair: -pair[1])[:_LABELS]


def _heat(values: np.ndarray, tokens: list[str], names: list[str], shown: np.ndarray, *, centred: bool) -> dict[str, Any]:
    """Values (T, K) as rows of colours, one for each label in `shown`."""
    drawn = values - values.mean(1, keepdims=True) if centred else values
    bound = float(np.abs(drawn).max(initial=1e-6))
    return {
        "columns": tokens[: len(values)],
        "rows": [names[k] for k in shown],
        "values": [[round(float(v), 5) for v in drawn[:, k]] for k in shown],
        "range": [-bound, bound],
    }
