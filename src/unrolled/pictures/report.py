"""report.html of a run: what happened during training, self-contained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from unrolled.metric_names import named
from unrolled.pictures.metrics import reported_by, split_by_scale
from unrolled.pictures.page import page
from unrolled.types import Criterion

__all__ = ["classifier_page", "judged", "report_page", "tagger_page", "translated", "vectors_page"]

_BY_LOSS = Criterion("valid_loss")
#: What `evaluate` says that is a single figure, in the order in which it is shown.
_FIGURES = (
    "examples",
    "sentences",
    "tokens",
    "accuracy",
    "usual",
    "accuracy_unknown_words",
    "entity_f1",
    "exact",
    "macro_f1",
    "micro_f1",
    "mean_distance",
    "log_loss",
    "calibration_error",
)


def report_page(
    title: str,
    rows: list[dict[str, Any]],
    config: str,
    *,
    task: str = "language-model",
    criterion: Criterion = _BY_LOSS,
    scores: Mapping[str, float] | None = None,
) -> str:
    """Return the page of a run: metrics of the best validation, curves, previews, options.

    Args:
        title: name of the run folder.
        rows: the lines of metrics.jsonl.
        config: the options as TOML.
        task: name of the task.
        criterion: what the best model was selected by.
        scores: metrics of the best model that were computed once, at the end.
    """
    validated, of = "valid_loss" in rows[-1], reported_by(task)

    def cost(row: Mapping[str, Any]) -> tuple[float, float]:
        return criterion.cost(row), _BY_LOSS.cost(row)  # the loss breaks ties, as at training

    best = dict(scores or {}) | (min(rows, key=cost) if validated else rows[-1])
    groups = split_by_scale(rows)
    telling = [key for key in split_by_scale([best]) for key in key]
    shown = [*telling, "valid_perplexity", "valid_loss", "train_loss", "step", "epoch", "seconds"]
    blocks = [
        {
            "kind": "facts",
            "title": "Best validation" if validated else "The end: nothing was held out to validate on",
            "rows": [[named(key), best[key]] for key in shown if best.get(key) is not None],
            "note": of.note if validated else "`unrolled evaluate` says how good the model is on another text.",
        },
        *(_lines(rows, "step", group, ", ".join(map(named, group))) for group in groups),
        _lines(rows, "step", ["train_loss", *(["valid_loss"] if validated else [])], f"Loss ({of.unit})"),
        _lines(rows, "step", ["learning_rate"], "Learning rate"),
        {"kind": "texts", "title": of.wrote, "rows": [[f"step {row['step']}", row["preview"]] for row in rows]},
        {"kind": "texts", "title": "Options", "rows": [["config.toml", config]]},
    ]
    return page(f"Run {title}", {"blocks": blocks})


def _lines(rows: list[dict[str, Any]], x: str, keys: Iterable[str], title: str) -> dict[str, Any]:
    """Return a block of curves, one for each key that the rows have."""
    series = [
        {"name": named(key), "points": [[row[x], row[key]] for row in rows if row.get(key) is not None]}
        for key in keys
        if any(row.get(key) is not None for row in rows)
    ]
    return {"kind": "lines", "title": title, "x": x, "series": series}


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


def classifier_page(
    title: str,
    rows: list[dict[str, Any]],
    held: dict[str, Any],
    facts: dict[str, Any],
    config: str,
    beside: dict[str, Any] | None = None,
) -> str:
    """The curves, how good the classifier is on the validation texts, and the options as one HTML page. beside: the average
    that a recurrent network is compared with.
    """
    x = "step" if "step" in rows[-1] else "epoch"
    blocks = [
        _examples(facts),
        *([] if beside is None else [_beside(beside)]),
        *judged(held, "validation texts"),
        *_curves(rows, x, {"Accuracy": ("valid_accuracy",), "Loss (nats per text)": ("train_loss", "valid_loss")}),
        {"kind": "texts", "title": "Options", "rows": [["config.toml", config]]},
    ]
    return page(f"Run {title}", {"blocks": blocks})


def tagger_page(title: str, rows: list[dict[str, Any]], held: dict[str, Any], facts: dict[str, Any], config: str) -> str:
    """The curves, how good the tagger is on the validation sentences, and the options as one HTML page. held: what
    `evaluate` says, and "usual", how often the most frequent label of each word would be right.
    """
    curves = {
        "Entity F1, accuracy": ("valid_entity_f1", "valid_accuracy"),
        "Loss (nats per word)": ("train_loss", "valid_loss"),
    }
    blocks = [
        _examples(facts),
        *judged(held, "validation sentences"),
        *_curves(rows, "step", curves),
        {"kind": "texts", "title": "What it answered", "rows": [[f"step {row['step']}", row["preview"]] for row in rows]},
        {"kind": "texts", "title": "Options", "rows": [["config.toml", config]]},
    ]
    return page(f"Run {title}", {"blocks": blocks})


#: Facts of labelled examples, as reports call them.
_FACTS = {
    "train": "to train on",
    "valid": "to validate on",
    "train_words": "words to train on",
    "valid_words": "words to validate on",
    "empty": "without text",
    "contradictory": "same text, other labels",
    "overlap": "validation examples that are training examples too",
    "cut": "cut to the longest that is read",
}


def _examples(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What was found in labelled examples: numbers, the examples of each label, labels that training lacks."""
    rows = [[_FACTS.get(key, key.replace("_", " ")), value] for key, value in facts.items() if isinstance(value, int)]
    rows += [[f"label {name}", n] for name, n in facts["labels"].items()]
    rows += [[f"label {name}, which training lacks", n] for name, n in (facts.get("unknown_labels") or {}).items()]
    return {"kind": "facts", "title": "Examples", "rows": rows}


def _curves(rows: list[dict[str, Any]], x: str, wanted: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """A block of lines for each title: those of the keys that the rows have."""
    return [_lines(rows, x, keys, name) for name, keys in wanted.items()]


def _beside(found: dict[str, Any]) -> dict[str, Any]:
    low, high = found["interval"]
    rows = [
        ["average, share right", found["average"]],
        ["average, seconds", round(found["average_seconds"], 1)],
        ["this network, share right", found["network"]],
        ["this network, seconds", round(found["seconds"], 1)],
        ["gain", found["gain"]],
        ["95 of 100 resamples", f"{low:.4f} to {high:.4f}"],
    ]
    rows += [["the recurrent network without the average", found["alone"]]] if "alone" in found else []
    return {"kind": "facts", "title": "Beside the plain average, same texts, same split", "rows": rows}


def judged(found: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Blocks that show what `evaluate` says of a classifier: figures, labels, confusion, reliability."""
    rows = [[key.replace("_", " "), found[key]] for key in _FIGURES if found.get(key) is not None]
    names = list(found["classes"])
    most = max(1, *(max(row) for row in found.get("confusion", [[1]])))
    confused = {
        "kind": "heat",
        "title": "Confusion: rows are the given labels, columns the answers",
        "columns": names,
        "rows": names,
        "values": found.get("confusion", []),
        "range": [-most, most],
    }
    reliable = {
        "kind": "lines",
        "title": "Reliability: how often answers of a confidence are right",
        "note": "On the diagonal, probabilities mean what they say.",
        "x": "confidence",
        "series": [
            {"name": "right", "points": [[confidence, right] for _, confidence, right in found["reliability"]]},
            {"name": "as it should be", "points": [[0, 0], [1, 1]]},
        ],
    }
    facts = {"kind": "facts", "title": f"On {where}", "rows": rows}
    labels = {"kind": "texts", "title": "Labels", "rows": _scores(found["classes"])}
    whole = {"kind": "texts", "title": "Whole entities", "rows": _scores(found.get("entities", {}))}
    return (
        [facts, *([whole] if "entities" in found else []), labels]
        + ([confused] if "confusion" in found and len(names) <= 50 else [])
        + [reliable]
    )


def translated(found: dict[str, Any], rows: list[Any], blames: dict[str, str]) -> list[dict[str, Any]]:
    """Blocks that show what `evaluate` says of a translator; rows: `tasks.search_errors.Judged`, the clearest are shown."""
    figures = [[key.replace("_", " "), found[key]] for key in ("pairs", "bleu", "chrf", "perplexity", "empty", "looping")]
    figures += [["signature", found["bleu_signature"]], ["length, of the reference's", found["length_ratio"]]]
    blamed = [[blames[name], f"{100 * share:.1f} %"] for name, share in found["blame"].items()]
    lengths = [
        ["{} to {} words".format(*row["words"]), f"{row['bleu']:.2f} BLEU, {row['pairs']} pairs"]
        for row in found["by_length"]
    ]
    blocks: list[dict[str, Any]] = [
        {"kind": "facts", "title": "Translations", "rows": figures},
        {"kind": "facts", "title": "Why references were not found", "rows": blamed},
        {"kind": "facts", "title": "By length of the source", "rows": lengths},
    ]
    if "choices" in found:
        blocks.append(_choices(found["choices"]))
    for kind in ("search", "norm", "model"):
        of = sorted((row for row in rows if row.blame == kind), key=lambda row: -abs(row.right.score - row.found.score))
        texts = [
            [f"{r.found.score:.3f}, {r.right.score:.3f}", f"{r.found.source}\n{r.found.text}\n{r.right.text}"]
            for r in of[:10]
        ]
        if texts:
            note = "Scores of what was found and of the reference; source, what was found, reference."
            blocks.append({"kind": "texts", "title": f"The clearest: {blames[kind]}", "note": note, "rows": texts})
    return blocks


def _choices(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """BLEU by width and norm as a block."""
    series: dict[str, list[list[float]]] = {}
    for row in rows:
        name = "none" if row["norm"] == "none" else f"{row['norm']}^{row['alpha']:g}"
        series.setdefault(name, []).append([row["width"], row["bleu"]])
    lines = [{"name": name, "points": points} for name, points in series.items()]
    return {"kind": "lines", "title": "BLEU by width of the beam and norm", "x": "beam", "series": lines}


def _scores(of: dict[str, dict[str, Any]]) -> list[list[str]]:
    """A line for each name: its precision, recall, F1 and support."""
    return [
        [name, ", ".join(f"{key} {'-' if v is None else round(v, 4)}" for key, v in scores.items())]
        for name, scores in of.items()
    ]
