"""The metrics of each task: which of them a task is about, which are better when larger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from unrolled.metric_names import METRIC_NAMES

__all__ = ["LOSSES", "Reported", "reported_by", "split_by_scale"]

#: Keys of losses, and of what is not drawn as a metric: perplexity is the loss once more.
LOSSES = ("train_loss", "valid_loss", "loss")
_ERROR_RATES = ("valid_cer", "valid_wer")
_NOT_DRAWN = {*LOSSES, "valid_perplexity"}


class Reported(NamedTuple):
    """What a report says of a task. unit: of the loss; wrote: title of the previews; note: how validation is made."""

    unit: str
    wrote: str
    note: str


_OF_TASKS = {
    "language-model": Reported(
        "nats per token",
        "What it wrote",
        "Validation during training reads the text in columns: approximate. `unrolled evaluate` is exact.",
    ),
    "translate": Reported(
        "nats per symbol",
        "Translations of the first held-out sentence",
        "BLEU and chrF of greedy translations of held-out pairs. `unrolled evaluate` searches with a beam.",
    ),
    "caption": Reported(
        "nats per symbol",
        "Captions of the first held-out image",
        "CIDEr-D and BLEU-4 of greedy captions of held-out images. `unrolled evaluate` searches with a beam.",
    ),
    "transcribe": Reported(
        "nats per symbol",
        "Transcripts of the first held-out recording",
        "Error rates of greedy transcripts of held-out recordings. `unrolled evaluate` searches with a beam.",
    ),
}


def reported_by(task: str) -> Reported:
    """Return what the report of a task's run says."""
    return _OF_TASKS[task]


def split_by_scale(rows: Iterable[Mapping[str, Any]], known: Iterable[str] = METRIC_NAMES) -> list[list[str]]:
    """Return the keys of metrics that are drawn, in groups that share an axis: values up to 1, and each other by itself."""
    rows = list(rows)
    keys = [key for key in known if key not in _NOT_DRAWN and any(row.get(key) is not None for row in rows)]
    # error rates may pass 1 in the beginning; they still belong together
    parts = [
        key for key in keys if key in _ERROR_RATES or all(abs(row[key]) <= 1 for row in rows if row.get(key) is not None)
    ]
    return ([parts] if parts else []) + [[key] for key in keys if key not in parts]
