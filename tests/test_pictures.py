"""Pages are self-contained and carry their data whole."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from unrolled.pictures.page import page
from unrolled.pictures.png import curves
from unrolled.pictures.report import report_page

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
    assert best["step"] == 10
    unvalidated = report_page("books", [{k: v for k, v in row.items() if "valid" not in k} for row in rows], "")
    end = dict(next(b for b in explanation_in(unvalidated)["blocks"] if b["kind"] == "facts")["rows"])  # type: ignore[attr-defined]
    assert (end["step"], end["train_loss"]) == (10, 2.0)
    curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        page("x", {"blocks": [{"value": float("nan")}]})
