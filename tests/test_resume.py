"""A training that is killed and resumed ends as one that was not, bit for bit; and what may not be resumed is refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import unrolled
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.folders import run_lock
from unrolled.layers.recurrent import Recurrent
from unrolled.run.language_model import resume_language_model, train_language_model
from unrolled.training.loop import Evaluated, Finished, Step

FLAGS: dict[str, Any] = {
    "minutes": 5,
    "epochs": 3,
    "hidden_size": 16,
    "embedding_size": 8,
    "window": 30,
    "batch_size": 7,
    "threads": 1,
    "dropout_output": 0.3,
    "dropout_weight": 0.2,
    "evaluations": 5,
}

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

#: Trains or resumes, and dies without a word at the n-th of the calls that write, or after the n-th step.
DRIVER = """
import json, os, sys, torch
from pathlib import Path
import unrolled
from unrolled import folders
from unrolled.training import loop
out, text, flags, kind, n = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4], int(sys.argv[5])
left = n

def counted(function):
    def call(*args, **values):
        global left
        left -= 1
        if left == 0:
            os._exit(137)
        return function(*args, **values)
    return call

if kind == "write":
    folders.os.fsync = counted(os.fsync)
    Path.rename, Path.replace = counted(Path.rename), counted(Path.replace)
else:
    loop._update = counted(loop._update)
loop._SAVE_SECONDS = 0.05
if (Path(out) / "run.json").exists():
    unrolled.resume(out)
else:
    unrolled.train("language-model", [text], out, preset="tiny", options=flags, overwrite=True)
"""


def train(text: Path, out: Path, **changes: Any) -> Any:
    return unrolled.train("language-model", [text], out, preset="tiny", options=FLAGS | changes)


def weights(run: Path) -> list[bytes]:
    return [(run / name / "model.safetensors").read_bytes() for name in ("last", "best")]


def rows(run: Path) -> list[dict[str, Any]]:
    timed = ("seconds", "tokens_per_second")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


@pytest.fixture(scope="module")
def whole(english_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never interrupted."""
    out = tmp_path_factory.mktemp("resume") / "whole"
    train(english_file, out)
    return out


def test_killed_at_random_and_resumed_is_the_same_run(whole: Path, english_file: Path, tmp_path: Path) -> None:
    """Kills fall between steps, inside a save and between the renames of a folder; the moments differ at every test."""
    out, seed = tmp_path / "r", random.randrange(2**32)
    rng, codes = random.Random(seed), []
    for kind in ("write", "step", "write", "write", "write", "step", "never"):
        n = rng.randint(1, 40 if kind == "write" else 50) if kind != "never" else 10**9
        command = [sys.executable, "-c", DRIVER, str(out), str(english_file), json.dumps(FLAGS), kind, str(n)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
        codes.append(done.returncode)
        assert done.returncode in (0, 137), f"seed {seed}\n{done.stderr}"
    assert codes[-1] == 0, seed
    assert 137 in codes, seed
    assert weights(out) == weights(whole), seed
    assert rows(out) == rows(whole), seed


@pytest.mark.parametrize(
    "changes",
    [
        {
            "optimiser": "sgd",
            "learning_rate": 20,
            "clip": 0.25,
            "schedule": "constant",
            "average_after": 1,
            "evaluations": 20,
        },
        {"schedule": "plateau", "plateau_patience": 1, "learning_rate": 0.3, "evaluations": 20},
        {"schedule": "cosine", "accumulate": 3, "softmax": "sampled", "penalty_change": 1.0},
    ],
    ids=["averaged", "plateau", "accumulated"],
)
def test_every_way_to_train_is_resumed_exactly(english_file: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    train(english_file, tmp_path / "whole", **changes)
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "r"), str(english_file), json.dumps(FLAGS | changes)]
    for kind, n in (("step", 60), ("step", 130), ("step", 120), ("never", 0)):
        done = subprocess.run([*command, kind, str(n)], capture_output=True, text=True, check=False, env=ENVIRONMENT)
        assert done.returncode in (0, 137), done.stderr
    assert weights(tmp_path / "r") == weights(tmp_path / "whole")
    assert rows(tmp_path / "r") == rows(tmp_path / "whole")
    counted = json.loads(safe_open(tmp_path / "r" / "last" / "training.safetensors", "pt").metadata()["run"])
    assert (counted["averaged"] > 20) == ("average_after" in changes)
    assert (counted["rate_factor"] < 1) == (changes["schedule"] == "plateau")


def test_ctrl_c_and_resume_is_the_same_run(whole: Path, english_file: Path, tmp_path: Path) -> None:
    """The validation that an interruption brings leaves no trace in what follows."""
    from unrolled.data.text import read_documents
    from unrolled.run.language_model import language_model_options

    out = tmp_path / "r"
    options = language_model_options(preset="tiny", flags=FLAGS)
    reasons = []
    for event in train_language_model(options, read_documents([english_file]), out):
        if isinstance(event, Step) and event.step == 50:
            os.kill(os.getpid(), signal.SIGTERM)
        if isinstance(event, Finished):
            reasons.append(event.reason)
    assert rows(out)[-1]["step"] in (50, 51)
    seen = list(resume_language_model(out))
    first = next(e for e in seen if isinstance(e, Step))
    assert first.step in (51, 52)
    assert [*reasons, seen[-1].reason] == ["interrupted", "budget"]  # type: ignore[union-attr]
    assert weights(out) == weights(whole)
    assert rows(out) == rows(whole)
    again = list(resume_language_model(out))
    assert not any(isinstance(e, Step | Evaluated) for e in again)
    assert weights(out) == weights(whole)


def test_the_command_goes_on_after_sigkill(whole: Path, english_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    settings = [f"-s{key}={value}" for key, value in FLAGS.items()]
    command = [sys.executable, "-m", "unrolled", "train"]
    start = [*command, "language-model", str(english_file), "--out", str(out), "--preset", "tiny", *settings]
    with subprocess.Popen(start, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        until = time.time() + 60
        while not (out / "last" / "training.safetensors").exists():
            assert time.time() < until
            time.sleep(0.01)
        process.kill()
    done = subprocess.run([*command, "--resume", str(out)], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert weights(out) == weights(whole)
    for extra, message in ((["language-model", "x", "--out", "y"], "name nothing else"), ([], "")):
        done = subprocess.run([*command, "--resume", str(out), *extra], capture_output=True, text=True, check=False)
        assert done.returncode == (2 if extra else 0)
        assert message in done.stderr


def test_text_without_a_file_is_kept(english_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    command = [sys.executable, "-m", "unrolled", "train", "language-model", "-", "--out", str(out), "--preset=tiny", "-q"]
    settings = [f"-s{key}={value}" for key, value in (FLAGS | {"epochs": 1}).items()]
    subprocess.run([*command, *settings], input=english_file.read_bytes(), check=True)
    assert (out / "inputs" / "train-0.txt").read_bytes() == english_file.read_bytes()
    assert [type(e) for e in resume_language_model(out)][-1] is Finished
    assert unrolled.load(out).sample(length=3)


def test_a_training_can_be_made_longer(english_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    train(english_file, out, epochs=1)
    steps = rows(out)[-1]["step"]
    config = out / "config.toml"
    config.write_text(config.read_text().replace("epochs = 1.0", "epochs = 3.0"))
    assert unrolled.resume(out, allow_changes=True)
    assert rows(out)[-1]["step"] == pytest.approx(3 * steps, abs=2)
    longer = weights(out)
    assert unrolled.resume(out)
    assert weights(out) == longer


def test_a_damaged_checkpoint_is_noticed(english_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    train(english_file, out, epochs=1)
    path = out / "last" / "training.safetensors"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(FolderError, match=r"training\.safetensors: is damaged \(its checksum does not agree\)"):
        unrolled.resume(out)
    (out / "run.json").write_text("{")
    with pytest.raises(FolderError, match=r"run\.json is damaged.*train anew"):
        unrolled.resume(out)


def test_resume_can_be_quiet_and_print_json(english_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    train(english_file, out, epochs=1)
    command = [sys.executable, "-m", "unrolled", "train"]
    done = subprocess.run([*command, "--resume", str(out), "-q", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["step"] <= rows(out)[-1]["step"]
    assert not done.stderr
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 2


def test_what_has_changed_is_named(english_file: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "r"
    text.write_text(english_file.read_text())
    train(text, out, epochs=1)
    config, record = out / "config.toml", out / "run.json"
    before = config.read_text()
    config.write_text(before.replace("clip = 1.0", "clip = 2.0"))
    with pytest.raises(ConfigError, match=r"config\.toml: options have changed.*clip was 1.0, is 2.0.*--allow-changes"):
        unrolled.resume(out)
    for old, new in (("window = 30", "window = 31"), ("hidden_size = 16", "hidden_size = 8"), ('"adamw"', '"sgd"')):
        config.write_text(before.replace(old, new))
        with pytest.raises(ConfigError, match=r"cannot go on with other options of this kind.*begin anew"):
            unrolled.resume(out, allow_changes=True)
    config.write_text(before.replace("window = 30", "window = 'wide'"))
    with pytest.raises(ConfigError, match=r"config\.toml: window: .*got 'wide'"):
        unrolled.resume(out)
    config.write_text(before)
    text.write_text(english_file.read_text().replace("the", "THE", 1))
    with pytest.raises(DataError, match=r"text\.txt: is not the text that the training in .* began with"):
        unrolled.resume(out)
    assert unrolled.resume(out, allow_changes=True)
    assert unrolled.resume(out)  # the other text is accepted now
    text.unlink()
    with pytest.raises(DataError, match=r"text\.txt: no such file"):
        unrolled.resume(out)
    written = json.loads(record.read_text())
    record.write_text(json.dumps(written | {"torch": "1.0"}))
    with pytest.raises(FolderError, match=r"other versions \(torch 1\.0 then, .* now\)"):
        unrolled.resume(out)
    record.write_text(json.dumps(written | {"format_version": 99}))
    with pytest.raises(FolderError, match="another format"):
        unrolled.resume(out)
    record.unlink()
    with pytest.raises(FolderError, match=r"holds no run\.json"):
        unrolled.resume(out)
    with pytest.raises(FolderError, match="no such run folder"):
        unrolled.resume(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", [b"", b"nonsense", "half", "gone"])
def test_a_damaged_checkpoint_is_named(whole: Path, tmp_path: Path, damage: bytes | str) -> None:
    import shutil

    out = tmp_path / "r"
    shutil.copytree(whole, out)
    path = out / "last" / "training.safetensors"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:5000] if damage == "half" else bytes(damage))  # type: ignore[arg-type]
    with pytest.raises(FolderError, match="nothing to resume from" if damage == "gone" else "is damaged"):
        unrolled.resume(out)


def test_one_training_at_a_time(whole: Path, english_file: Path) -> None:
    before = weights(whole)
    script = f"import unrolled; unrolled.resume({str(whole)!r})"
    with run_lock(whole):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert "another training is at work there" in done.stderr
        command = [sys.executable, "-m", "unrolled", "train", "language-model", str(english_file), "--out", str(whole)]
        done = subprocess.run([*command, "--overwrite"], capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert "another training is at work there" in done.stderr
    assert weights(whole) == before


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_kind_of_state_is_carried_over(tmp_path: Path, cell: str) -> None:
    from unrolled.cells import CELLS
    from unrolled.training.checkpoint import read_checkpoint, write_checkpoint

    model = Recurrent(CELLS[cell](5), 3, n_layers=2)
    optimiser = torch.optim.AdamW(model.parameters())
    outputs, state = model(torch.randn(4, 6, 3))
    outputs.sum().backward()
    optimiser.step()
    write_checkpoint(tmp_path, model, optimiser, states=[state], random=[torch.get_rng_state()], record={"step": 3})
    expected = torch.rand(3)
    twin = Recurrent(CELLS[cell](5), 3, n_layers=2)
    other = torch.optim.AdamW(twin.parameters(), lr=0.5)
    record, back, mean, same_ranks = read_checkpoint(tmp_path, twin, other)
    assert same_ranks
    assert torch.equal(torch.rand(3), expected)
    assert (record, mean) == ({"step": 3}, [])
    assert type(back) is type(state)
    assert all(torch.equal(a, b) for a, b in zip(list(back), list(state), strict=True))  # type: ignore[arg-type]
    assert other.param_groups[0]["lr"] == optimiser.param_groups[0]["lr"]
    assert tuple(other.param_groups[0]["betas"]) == optimiser.param_groups[0]["betas"]
    for a, b in zip(other.state_dict()["state"].values(), optimiser.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in b)
