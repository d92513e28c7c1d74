"""Pages are self-contained and carry their data whole."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from typed import run
from unrolled.metric_names import metric_rows
from unrolled.pictures.page import page
from unrolled.pictures.png import curves
from unrolled.pictures.report import _examples, report_page
from unrolled.types import Criterion

NASTY = '</script><b>\u2028 "quotes" & 猫 \\n'


def explanation_in(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="explanation">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def test_data_survives_and_nothing_is_loaded_from_outside() -> None:
    explanation = {"blocks": [{"kind": "texts", "title": NASTY, "rows": [["a", NASTY]]}]}
    text = page(NASTY, explanation)
    assert explanation_in(text) == explanation
    assert text.count("<script") == 2
    assert "<b>" not in text.replace(json.dumps(NASTY), "").split("<script")[0]
    outside = [u for u in re.findall(r"(?:https?:)?//[\w.]+\.\w+", text) if "www.w3.org" not in u]
    assert not outside
    HTMLParser().feed(text)


def test_every_kind_of_block_can_be_drawn() -> None:
    script = (Path(__file__).parents[1] / "src/unrolled/pictures/draw.js").read_text()
    kinds = re.search(r"const KINDS = \{(.*?)\}", script)
    assert kinds
    known = {k.strip() for k in kinds.group(1).split(",")}
    used = set()
    for path in (Path(__file__).parents[1] / "src/unrolled").rglob("*.py"):
        used |= set(re.findall(r'"kind": "(\w+)"', path.read_text()))
    assert used <= known


def test_report_has_curves_samples_and_options(tmp_path: Path) -> None:
    rows = [
        {"step": s, "epoch": s / 10, "seconds": s, "train_loss": None if s == 0 else 3 - s / 10, "valid_loss": 3 - s / 20,
         "valid_perplexity": 9.0, "learning_rate": 0.1, "preview": preview}
        for s, preview in ((0, NASTY), (5, "good"), (10, "better"))
    ]  # fmt: skip
    text = report_page("books", rows, "[model]\n")
    blocks = explanation_in(text)["blocks"]
    assert isinstance(blocks, list)
    losses = next(b for b in blocks if b["title"].startswith("Loss"))
    assert [len(s["points"]) for s in losses["series"]] == [2, 3]
    assert ["step 10", "better"] in next(b for b in blocks if b["title"] == "What it wrote")["rows"]
    best = dict(next(b for b in blocks if b["kind"] == "facts")["rows"])
    assert (best["step"], best["perplexity"]) == (10, 9.0)
    unvalidated = report_page("books", [{k: v for k, v in row.items() if "valid" not in k} for row in rows], "")
    end = dict(next(b for b in explanation_in(unvalidated)["blocks"] if b["kind"] == "facts")["rows"])  # type: ignore[attr-defined]
    assert (end["step"], end["training loss (dropout on)"]) == (10, 2.0)
    curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        page("x", {"blocks": [{"value": float("nan")}]})


FOLDERS = Path(__file__).with_name("version_0_1")
OF_LANGUAGE_MODELS = ("in columns", "What it wrote", "nats per token")


@pytest.mark.parametrize(
    ("task", "criterion", "metrics"),
    [
        ("transcribe", Criterion("valid_cer"), ["character error rate (CER)", "word error rate (WER)"]),
        ("caption", Criterion("valid_cider_d", maximize=True), ["CIDEr-D", "BLEU-4"]),
        ("translate", Criterion("valid_loss"), ["BLEU", "chrF", "perplexity"]),
    ],
)
def test_a_report_shows_the_metrics_of_its_task(
    tmp_path: Path, task: str, criterion: Criterion, metrics: list[str]
) -> None:
    lines = (FOLDERS / task / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    if task == "caption":
        rows = [row | {"valid_bleu_4": 4.0 + i, "valid_cider_d": 0.5 + i} for i, row in enumerate(rows)]
    scores = {"valid_bleu": 31.5, "valid_chrf": 50.25} if task == "translate" else None
    text = report_page("run", rows, "", task=task, criterion=criterion, scores=scores)
    blocks: Any = explanation_in(text)["blocks"]
    facts = dict(blocks[0]["rows"])
    assert list(facts)[: len(metrics)] == metrics
    assert facts["step"] == min(rows, key=lambda row: (criterion.cost(row), row["valid_loss"]))["step"]  # that of best/
    titles = " ".join(block["title"] for block in blocks)
    if task != "translate":  # whose BLEU is computed once, at the end
        assert all(name in titles for name in metrics)
    shown = json.dumps(blocks, ensure_ascii=False)
    assert not any(sentence in shown for sentence in OF_LANGUAGE_MODELS)
    curves(rows, tmp_path / "curves.png")


def test_runs_have_curves_and_their_own_metrics(
    run_folder: Path, vector_run: Path, sentiment: Path, tagger: Path, translator: Path
) -> None:
    for folder in (run_folder, vector_run, sentiment, tagger, translator):
        assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG", folder
    blocks: Any = explanation_in((translator / "report.html").read_text())["blocks"]
    assert {"BLEU", "chrF"} <= dict(blocks[0]["rows"]).keys()
    assert "| BLEU | " in (translator / "README.md").read_text()
    blocks = explanation_in((run_folder / "report.html").read_text())["blocks"]
    facts = dict(blocks[0]["rows"])
    assert facts["bits per character"] == pytest.approx(facts["validation loss"] / math.log(2))
    shown = (tagger / "report.html").read_text() + (sentiment / "report.html").read_text()
    assert "Entity F1, accuracy" in shown
    assert not any(sentence in shown for sentence in OF_LANGUAGE_MODELS[::2])


def test_info_shows_devices_threads_and_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "kept"))
    out, _ = run("info")
    assert re.search(r"- devices: cpu", out)
    assert re.search(r"- threads: [1-9]", out)
    assert f"- cache: {tmp_path / 'kept'}" in out
    assert json.loads(run("info", "--json")[0])["System"]["cache"] == str(tmp_path / "kept")


def test_facts_of_examples_and_metrics_are_shown_in_words() -> None:
    facts = {"train": 3, "train_words": 9, "labels": {"train": 2, "O": 1}, "unknown_labels": {"B-X": 4}}
    assert _examples(facts)["rows"] == [
        ["to train on", 3],
        ["words to train on", 9],
        ["label train", 2],
        ["label O", 1],
        ["label B-X, which training lacks", 4],
    ]
    assert not [row for row in _examples({"labels": {}, "unknown_labels": {}})["rows"] if "lacks" in row[0]]
    found = metric_rows({"step": 3, "valid_log_loss": 0.5, "valid_entity_f1": 0.25, "preview": "x", "valid_loss": None})
    assert found == "| entity F1 | 0.25 |\n| step | 3 |\n| log loss | 0.5 |\n"


def test_the_loss_breaks_ties_of_the_best_validation() -> None:
    rows = [{"step": n, "epoch": n, "seconds": n, "valid_wer": 1.0, "valid_loss": 3.0 - n, "preview": ""} for n in range(3)]
    assert '["step", 2]' in report_page("run", rows, "", task="transcribe", criterion=Criterion("valid_wer"))
