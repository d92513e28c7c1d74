"""Runs side by side: their metrics, where their options differ, and their losses on one text with intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.config import flat
from unrolled.data.text import Document
from unrolled.errors import DataError, FolderError
from unrolled.folders import model_folder, read_config
from unrolled.metrics.bootstrap import intervals
from unrolled.options.language_model import LanguageModelOptions
from unrolled.record import read_record, recorded_documents
from unrolled.tasks import load
from unrolled.tasks.language_model import NAME, hold_out

__all__ = ["compare_on", "described", "held_out_alike"]


def described(runs: Sequence[str]) -> dict[str, Any]:
    """For each metric, and each option that differs, the values of all runs."""
    configs = [read_config(model_folder(run)) for run in runs]
    metrics = [config.get("metrics") or {} for config in configs]
    options = [
        {"task": config.get("task"), "unrolled": config.get("unrolled")} | flat(config.get("options") or {})
        for config in configs
    ]
    different = {key: row for key, row in _rows(options).items() if any(value != row[0] for value in row)}
    return {"runs": list(runs), "metrics": _rows(metrics), "options": different}


def _rows(columns: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    keys = dict.fromkeys(key for column in columns for key in column)
    return {key: [column.get(key) for column in columns] for key in keys}


def _language_models_alone(runs: Sequence[str]) -> None:
    for run in runs:
        task = read_config(model_folder(run)).get("task")
        if task != NAME:
            raise DataError(f"{run}: is a model for '{task}', whose losses on a text are not compared")


def held_out_alike(runs: Sequence[str]) -> list[Document]:
    """The text that all runs held out. DataError or FolderError if they did not hold out the same, or any."""
    _language_models_alone(runs)
    held = [_held_out(Path(run)) for run in runs]
    digests = [[document.facts().sha256 for document in documents] for documents in held]
    if any(digest != digests[0] for digest in digests) or not held[0]:
        raise DataError("the runs did not hold out the same text. Name one that none has trained on: --on FILE")
    return held[0]


def _held_out(folder: Path) -> list[Document]:
    if not (folder / "run.json").exists():
        raise DataError(f"{folder}: does not say what text was held out (it has no run.json). Name a text: --on FILE")
    record = read_record(folder)
    options = LanguageModelOptions.model_validate(record["options"])
    texts = recorded_documents(folder, record, options.data.encoding, allow_changes=False)
    if texts["valid"] is not None:
        return texts["valid"]
    if not options.data.valid_fraction:
        raise DataError(f"{folder}: held no text out. Name a text: --on FILE")
    return hold_out(texts["train"] or [], options.data.valid_fraction, by_line=options.data.sentences)[1]


def compare_on(runs: Sequence[str], documents: Sequence[Document], block: int) -> dict[str, Any]:
    """Bits per character and perplexity of each run on the documents, and of each pair the difference in bits."""
    _language_models_alone(runs)
    costs = [_costs(run, documents, block) for run in runs]
    n_blocks = min(map(len, costs))
    if n_blocks < 2:
        raise DataError(f"the text has less than two blocks of {block} characters: give more, or a smaller --block.")
    nats, spelled, tokens, characters = (np.stack([c[:n_blocks, i] for c in costs]) for i in range(4))
    bits = intervals((nats + spelled) / math.log(2), characters)
    loss = intervals(nats, tokens)
    pairs = [
        {"first": runs[i], "second": runs[j], "better": runs[j] if found.value < 0 else runs[i]} | found._asdict()
        for i, j in itertools.combinations(range(len(runs)), 2)
        for found in [bits[i][j]]
    ]
    return {
        "name": ", ".join(document.name for document in documents[:3]) + (", ..." if len(documents) > 3 else ""),
        "characters": sum(document.size for document in documents),
        "blocks": n_blocks,
        "bits_per_character": [list(bits[i][i][:3]) for i in range(len(runs))],
        "perplexity": [[math.exp(min(700.0, value)) for value in loss[i][i][:3]] for i in range(len(runs))],
        "differences": pairs,
    }


def _costs(run: str, documents: Sequence[Document], block: int) -> np.ndarray:
    trained = load(run)
    if not hasattr(trained, "block_costs"):
        raise FolderError(f"{run}: models of this task cannot be compared on a text.")
    return np.concatenate([trained.block_costs(document, block) for document in documents])
