"""Comparing runs: tables, the text both held out, and intervals that mean what they say."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled.comparison import compare_on, described, held_out_alike
from unrolled.data.text import Document, read_documents
from unrolled.errors import DataError
from unrolled.metrics.bootstrap import intervals
from unrolled.tasks.language_model import hold_out

FLAGS = {"epochs": 1, "hidden_size": 8, "embedding_size": 8, "window": 30, "threads": 1}


@pytest.fixture(scope="module")
def runs(english_file: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two of characters, of which the second is larger, and one of words."""
    folder = tmp_path_factory.mktemp("compare")
    changes = {
        "a": {},
        "b": {"hidden_size": 48, "learning_rate": 0.02, "epochs": 3},
        "c": {"tokens": "words", "min_count": 3},
    }
    for name, change in changes.items():
        unrolled.train("language-model", [english_file], folder / name, preset="tiny", options=FLAGS | change)
    return [str(folder / name) for name in changes]


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(200):
        units = rng.integers(50, 150, 60).astype(float)
        costs = np.stack([units * rng.normal(2, 0.5, 60), units * rng.normal(2.3, 0.5, 60)])
        found = intervals(costs, np.stack([units, units]), draws=400, seed=trial)
        inside += found[0][1].low <= 0.3 <= found[0][1].high
        assert found[0][1].value == pytest.approx(-found[1][0].value)
    assert 180 <= inside <= 198


def test_a_shared_difficulty_does_not_hide_a_difference() -> None:
    rng = np.random.default_rng(2)
    hard = rng.normal(5, 2, 80)
    costs = np.stack([hard, hard + 0.05 + rng.normal(0, 0.05, 80)])
    found = intervals(costs, np.ones((2, 80)))
    assert found[0][0].high - found[0][0].low > 0.5
    assert 0 < found[0][1].low < 0.05 < found[0][1].high < 0.1
    assert found[0][1].below_zero == 0


def test_block_costs_add_up_to_the_evaluation(runs: list[str], english_file: Path) -> None:
    document = Document("d", read_documents([english_file])[0].text[-7000:] + "\nquokka zyzzyva 猫\n")
    for run in runs:
        model = unrolled.load(run)
        found = model.evaluate([document])
        for block in (1000, 333):
            nats, spelled, tokens, characters = model.block_costs(document, block).sum(0)
            assert tokens == found["tokens"]
            assert characters == found["characters"] == document.size
            assert nats / tokens == pytest.approx(found["loss"])
            assert (nats + spelled) / characters / math.log(2) == pytest.approx(found["bits_per_character"])
        assert len(model.block_costs(document, 1000)) == 8


def test_runs_side_by_side(runs: list[str], english_file: Path) -> None:
    found = described(runs)
    assert found["options"]["hidden_size"] == [8, 48, 8]
    assert found["options"]["tokens"] == ["char", "char", "words"]
    assert "window" not in found["options"]
    assert len(found["metrics"]["valid_loss"]) == 3
    documents = held_out_alike(runs)
    whole = read_documents([english_file])
    assert [d.text for d in documents] == [d.text for d in hold_out(whole, 0.1, by_line=False)[1]]
    compared = compare_on(runs, documents, 100)
    pair = compared["differences"][0]
    assert pair["better"] == runs[1]
    assert pair["high"] < 0
    for run, (value, low, high) in zip(runs, compared["bits_per_character"], strict=True):
        assert value == pytest.approx(unrolled.load(run).evaluate(documents)["bits_per_character"])
        assert low < value < high


def test_what_cannot_be_compared_is_said(runs: list[str], english_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="less than two blocks"):
        compare_on(runs, [Document("d", "short")], 1000)
    unrolled.train("language-model", [english_file], tmp_path / "all", preset="tiny", options=FLAGS | {"valid_fraction": 0})
    with pytest.raises(DataError, match="held no text out"):
        held_out_alike([runs[0], str(tmp_path / "all")])
    unrolled.train(
        "language-model", [english_file], tmp_path / "other", preset="tiny", options=FLAGS | {"valid_fraction": 0.3}
    )
    with pytest.raises(DataError, match=r"not hold out the same text.*--on"):
        held_out_alike([runs[0], str(tmp_path / "other")])
    shutil.copytree(Path(runs[0]) / "best", tmp_path / "model")
    with pytest.raises(DataError, match=r"no run\.json.*--on"):
        held_out_alike([runs[0], str(tmp_path / "model")])


def test_the_command(runs: list[str], english_file: Path, tmp_path: Path) -> None:
    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        command = [sys.executable, "-m", "unrolled", "compare", *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == code, done.stderr
        return done.stdout, done.stderr

    out, _ = run(*runs[:2], "--block", "100")
    assert f"{runs[1]} is better" in out
    assert "hidden_size" in out
    found = json.loads(run(*runs, "--on", english_file, "--json")[0])
    assert found["text"]["blocks"] == 30
    assert len(found["text"]["differences"]) == 3
    shutil.copytree(Path(runs[0]) / "best", tmp_path / "model")
    out, err = run(runs[0], tmp_path / "model")
    assert "no intervals" in err
    assert json.loads(run(runs[0], tmp_path / "model", "--json")[0])["text"] is None
    assert "only 4 blocks" in run(*runs[:2])[1]
    assert "valid_loss" in out
    assert "two or more" in run(runs[0], code=2)[1]
    assert "no such file" in run(*runs, "--on", tmp_path / "missing", code=3)[1]
