"""Run folders made by version 0.1.0 (commit 27f7f1d): each loads, answers as it did, and resumes to the same weights.

`version_0_1/<task>/` holds `run` (interrupted by Ctrl-C halfway), `answers.json` (commands and what they printed then)
and `final.safetensors` (the last weights of the same training run without an interruption).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import unrolled
from unrolled.cli.main import app

FOLDERS = Path(__file__).with_name("version_0_1")
TASKS = sorted(path.parent.name for path in FOLDERS.glob("*/answers.json"))
RESUMED = sorted(path.parent.name for path in FOLDERS.glob("*/final.safetensors"))


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one task's run folder, in a folder that also holds the training data; paths in it are adapted."""
    shutil.copytree(FOLDERS / "data", tmp_path / "data")
    shutil.copytree(FOLDERS / request.param / "run", tmp_path / "run")
    for path in (tmp_path / "run").rglob("*"):
        if path.suffix in {".json", ".toml"}:
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("@FOLDER@", tmp_path.as_posix()), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def parse(text: str) -> Any:
    """JSON documents, one or one per line; other lines as fields between tabs."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [_parse_line(line) for line in text.splitlines()]


def _parse_line(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return [_number(field) for field in line.split("\t")]


def _number(field: str) -> Any:
    try:
        return float(field)
    except ValueError:
        return field


def assert_agrees(now: Any, before: Any, place: str) -> None:
    """Every value of the old answer is in the new one: text equal, numbers within rounding; new keys are allowed."""
    if isinstance(before, dict):
        assert isinstance(now, dict), place
        for key, value in before.items():
            assert key in now, f"{place}.{key} is missing"
            assert_agrees(now[key], value, f"{place}.{key}")
    elif isinstance(before, list):
        assert isinstance(now, list), place
        assert len(now) == len(before), f"{place}: {now!r} instead of {before!r}"
        for i, (value, old) in enumerate(zip(now, before, strict=True)):
            assert_agrees(value, old, f"{place}[{i}]")
    elif isinstance(before, float):
        assert now == pytest.approx(before, rel=2e-4, abs=2e-4), place
    else:
        assert now == before, place


@pytest.mark.parametrize(("run", "task"), [(task, task) for task in TASKS], indirect=["run"])
def test_an_old_model_answers_as_before(run: Path, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    for call in json.loads((FOLDERS / task / "answers.json").read_text(encoding="utf-8")):
        arguments = [str(run) if word == "RUN" else word for word in call["args"]]
        with pytest.raises(SystemExit) as exit_of:
            app(arguments)
        printed = capsys.readouterr().out
        assert exit_of.value.code == call["rc"], call["args"]
        assert_agrees(parse(printed), parse(call["stdout"]), " ".join(call["args"]))


@pytest.mark.parametrize(("run", "task"), [(task, task) for task in RESUMED], indirect=["run"])
def test_an_old_run_resumes_to_the_same_weights(run: Path, task: str) -> None:
    before = load_file(run / "last" / "model.safetensors")
    # The digest of images and recordings holds their absolute paths, and the copy has others.
    unrolled.resume(run, allow_changes=task in {"caption", "transcribe"})
    resumed, expected = load_file(run / "last" / "model.safetensors"), load_file(FOLDERS / task / "final.safetensors")
    assert resumed.keys() == expected.keys()
    assert any(not torch.equal(before[name], resumed[name]) for name in resumed)
    for name, tensor in expected.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-4, atol=1e-5, msg=f"{name} differs")
