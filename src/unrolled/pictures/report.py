"""report.html of a run: what happened during training, self-contained."""

from __future__ import annotations

from typing import Any

from unrolled.pictures.page import page

__all__ = ["report_page", "vectors_page"]


def report_page(title: str, rows: list[dict[str, Any]], config: str) -> str:
    """The curves, the samples and the options of a run as one HTML page. `rows`: the lines of metrics.jsonl."""
    validated = "valid_loss" in rows[-1]
    best = min(rows, key=lambda row: row["valid_loss"]) if validated else rows[-1]
    blocks = [
        {
            "kind": "facts",
            "title": "Best validation" if validated else "The end: nothing was held out to validate on",
            "rows": [
                [key, best[key]]
                for key in ("valid_loss", "valid_perplexity", "train_loss", "step", "epoch", "seconds")
                if best.get(key) is not None
            ],
            "note": "Validation during training reads the text in columns: approximate. `unrolled evaluate` is exact."
            if validated
            else "`unrolled evaluate` says how good the model is on another text.",
        },
        {
            "kind": "lines",
            "title": "Loss (nats per token)",
            "x": "step",
            "series": [
                {"name": name, "points": [[row["step"], row[key]] for row in rows if row.get(key) is not None]}
                for name, key in (("training, dropout on", "train_loss"), ("validation", "valid_loss"))
                if validated or key == "train_loss"
            ],
        },
        {
            "kind": "lines",
            "title": "Learning rate",
            "x": "step",
            "series": [{"name": "learning rate", "points": [[row["step"], row["learning_rate"]] for row in rows]}],
        },
        {"kind": "texts", "title": "What it wrote", "rows": [[f"step {row['step']}", row["preview"]] for row in rows]},
        {"kind": "texts", "title": "Options", "rows": [["config.toml", config]]},
    ]
    return page(f"Run {title}", {"blocks": blocks})


def vectors_page(title: str, rows: list[dict[str, Any]], examples: list[list[str]], config: str) -> str:
    """The curves, some words with their neighbours, and the options of a training of word vectors as one HTML page."""
    curves = [key for key in rows[-1] if key not in ("epoch", "words", "seconds")]
    blocks = [
        {
            "kind": "facts",
            "title": "The end",
            "rows": [[key, value] for key, value in rows[-1].items() if value is not None],
        },
        *(
            {
                "kind": "lines",
                "title": "Loss (nats per input, mean of the epoch)" if key == "loss" else key,
                "x": "epoch",
                "series": [{"name": key, "points": [[r["epoch"], r[key]] for r in rows if r.get(key) is not None]}],
            }
            for key in curves
        ),
        {"kind": "texts", "title": "Words and their neighbours", "rows": examples},
        {"kind": "texts", "title": "Options", "rows": [["config.toml", config]]},
    ]
    return page(f"Run {title}", {"blocks": blocks})
