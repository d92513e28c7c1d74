"""What metrics of metrics.jsonl are called for people, in reports, curves and model cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["METRIC_NAMES", "metric_rows", "named"]

#: Metrics of validation by their keys, the most telling of a task first.
METRIC_NAMES = {
    "valid_cer": "character error rate (CER)",
    "valid_wer": "word error rate (WER)",
    "valid_cider_d": "CIDEr-D",
    "valid_bleu_4": "BLEU-4",
    "valid_bleu": "BLEU",
    "valid_chrf": "chrF",
    "valid_entity_f1": "entity F1",
    "valid_macro_f1": "macro F1",
    "valid_accuracy": "accuracy",
    "valid_perplexity": "perplexity",
    "valid_bits_per_character": "bits per character",
    "valid_loss": "validation loss",
    "train_loss": "training loss (dropout on)",
    "loss": "loss",
}
_OTHERS = {
    "valid_accuracy_usual_label": "accuracy of the most frequent label of each word",
    "unknown_rate": "unknown symbols of the validation data",
    "unknown_rate_train": "unknown symbols of the training data",
}


def named(key: str) -> str:
    """Return what people call a metric of metrics.jsonl."""
    return METRIC_NAMES.get(key) or _OTHERS.get(key) or key.removeprefix("valid_").replace("_", " ")


def metric_rows(metrics: Mapping[str, Any]) -> str:
    """Return the numbers among metrics as rows of a Markdown table, the most telling first."""
    keys = [*(key for key in METRIC_NAMES if key in metrics), *(key for key in metrics if key not in METRIC_NAMES)]
    return "".join(f"| {named(key)} | {metrics[key]:.4g} |\n" for key in keys if isinstance(metrics[key], (int, float)))
