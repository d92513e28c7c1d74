"""Labels that are most likely wrong are found, and named with their place."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from test_classify import examples, options, planted
from test_cli import run
from unrolled.data.labelled import Labelled
from unrolled.errors import ConfigError, DataError
from unrolled.tasks.label_noise import Checked, check_labels

FLAGS = {"average_epochs": 15, "average_rate": 2.0}


def checked(data: Labelled, folds: int = 4, **flags: object) -> Checked:
    *done, found = check_labels(options(**FLAGS | flags), data, folds=folds)
    assert done == list(range(1, folds + 1))
    assert isinstance(found, Checked)
    return found


def swapped(data: Labelled, places: range) -> dict[str, tuple[str, ...]]:
    """Give every label in `places` to another class; returns the right ones by place."""
    right = {}
    for i in places:
        right[data.places[i]] = data.labels[i]
        data.labels[i] = ("bad",) if data.labels[i] != ("bad",) else ("odd",)
    return right


def test_wrong_labels_are_found_with_the_right_ones() -> None:
    data = planted(600)
    right = swapped(data, range(0, 600, 20))
    found = checked(data)
    named = {doubt.place: doubt for doubt in found.doubts}
    assert len(right.keys() & named.keys()) > 0.8 * len(right)
    assert len(named.keys() - right.keys()) < 15
    assert all(doubt.place in right for doubt in found.doubts[:10])
    for place in right.keys() & named.keys():
        assert named[place].suggested == right[place]
        assert named[place].p_given < named[place].p_suggested
    assert found.judged == 600
    assert 0.9 < found.accuracy < 0.97


def test_labels_that_are_missing_or_too_many() -> None:
    rng, data = np.random.default_rng(0), Labelled()
    for i in range(600):
        labels = tuple(label for label in ("a", "b") if rng.random() < 0.5)
        words = [f"w{k}" for k in rng.integers(20, size=6)] + [f"{label}{k}" for label in labels for k in range(2)]
        data.add(" ".join(rng.permutation(words)), labels, 1.0, f"line {i + 1}")
    right = {}
    for i in range(0, 600, 30):
        right[data.places[i]] = data.labels[i]
        data.labels[i] = tuple(label for label in ("a", "b") if (label in data.labels[i]) != (label == "a"))
    found = checked(data, labels="many", ngrams=1)
    named = {doubt.place: doubt for doubt in found.doubts}
    assert len(right.keys() & named.keys()) >= 0.9 * len(right)
    assert len(named.keys() - right.keys()) < 15
    assert all(set(named[place].suggested) == set(right[place]) for place in right.keys() & named.keys())


def test_equal_texts_are_judged_together_and_rare_labels_not_at_all() -> None:
    data = planted(90)
    data.add(data.texts[0], ("bad",), 1.0, "the same again")
    for i in range(2):
        data.add(f"seldom w{i}", ("rare",), 1.0, f"rare {i}")
    for i in range(5):
        data.add("always the same", ("all in one fold",), 1.0, f"same {i}")
    found = checked(data)
    assert (found.judged, found.too_rare, found.repeated) == (91, 7, 1)
    assert found.labels["rare"] == 2
    with pytest.raises(ConfigError, match="folds must lie in 2"):
        checked(data, folds=1)
    with pytest.raises(DataError, match="too few to be judged"):
        checked(examples(*[("a b", "x"), ("c d", "y")] * 4), folds=5)


def test_from_the_command_line(tmp_path: Path) -> None:
    data = planted(200)
    swapped(data, range(0, 200, 12))
    rows = [json.dumps({"text": t, "label": y[0]}) for t, y in zip(data.texts, data.labels, strict=True)]
    (tmp_path / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    args = ("-s", "average_epochs=15", "-s", "average_rate=2", "-s", "threads=1")
    out, err = run("check", "classify", tmp_path / "texts.jsonl", *args, "--out", tmp_path / "doubtful.csv", "--most", 2)
    assert "texts judged" in out
    assert "texts.jsonl, line" in out
    assert "rather" in out
    assert "wrote" in err
    with (tmp_path / "doubtful.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert float(table[0]["p_given"]) < float(table[0]["p_suggested"])
    assert {row["text"] for row in table} <= set(data.texts)
    _, err = run("check", "classify", tmp_path / "texts.jsonl", "--out", tmp_path / "doubtful.csv", code=3)
    assert "exists already" in err
    out, _ = run("check", "classify", tmp_path / "texts.jsonl", *args, "--json")
    assert len(json.loads(out)["doubts"]) == len(table)
