"""Several processes train one model: the weights of one process, exact resume, and failures that end all of them."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed

import unrolled
from unrolled.data.text import Document, read_documents
from unrolled.errors import DataError, RankError, UnrolledError
from unrolled.models.language_model import LanguageModel
from unrolled.run.language_model import language_model_options, resume_language_model, train_language_model
from unrolled.training.loop import Finished, Step
from unrolled.training.parallel import Ranks
from unrolled.types import LossSum

FLAGS: dict[str, Any] = {
    "epochs": 1,
    "minutes": 60,
    "hidden_size": 12,
    "embedding_size": 8,
    "n_layers": 2,
    "window": 20,
    "batch_size": 7,
    "threads": 1,
    "evaluations": 3,
    "valid_fraction": 0.2,
}
DROPOUT = FLAGS | {"dropout_output": 0.3, "dropout_input": 0.2, "dropout_weight": 0.1, "dropout_between": 0.2}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def train(text: Document, out: Path, flags: dict[str, Any], stop_at: int = 0) -> None:
    """Train; the process that is the last rank is told to stop at a step."""
    for event in train_language_model(language_model_options(preset="tiny", flags=flags), [text], out):
        last = not distributed.is_initialized() or distributed.get_rank() == distributed.get_world_size() - 1
        if isinstance(event, Step) and event.step == stop_at and last:
            os.kill(os.getpid(), signal.SIGINT)


def resume(out: Path) -> None:
    reason = [e.reason for e in resume_language_model(out) if isinstance(e, Finished)]
    assert reason == ["budget"]


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "last" / "model.safetensors")


def difference(a: Path, b: Path) -> float:
    one, other = weights(a), weights(b)
    return max(float((one[name] - other[name]).norm() / one[name].norm()) for name in one)


def work(rank: int, size: int, text: Document, folder: Path) -> None:
    torch.set_default_dtype(torch.float64)
    where = f"file://{folder / 'rendezvous'}"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    train(text, folder / "two", FLAGS | {"clip": 0.3})
    train(text, folder / "accumulated", FLAGS | {"clip": 0.3, "batch_size": 3, "accumulate": 2})
    train(text, folder / "sentences", FLAGS | {"sentences": True, "batch_size": 1})
    train(text, folder / "whole", DROPOUT)
    train(text, folder / "stopped", DROPOUT, stop_at=40)
    steps = weights(folder / "stopped")
    resume(folder / "stopped")
    assert any(not torch.equal(steps[name], t) for name, t in weights(folder / "stopped").items())
    train(text, folder / "shared", FLAGS, stop_at=30)
    failures(rank, text, folder)
    distributed.destroy_process_group()
    threads = [name.read_text() for name in Path("/proc/self/task").glob("*/comm")]  # none of them where there is no /proc
    assert not [name for name in threads if "gloo" in name], "a thread that meets the end of the interpreter aborts it"


def failures(rank: int, text: Document, folder: Path) -> None:
    """What all processes find, rank 0 says; texts that differ are noticed; who is left alone says so."""
    sound = LanguageModel.loss

    def broken(model: LanguageModel, *batch: Any) -> LossSum:
        found = sound(model, *batch)
        return found._replace(loss=found.loss * math.nan)

    if rank:
        LanguageModel.loss = broken  # type: ignore[method-assign]
    with pytest.raises(UnrolledError if rank == 0 else SystemExit) as caught:
        train(text, folder / "diverged", FLAGS)
    LanguageModel.loss = sound  # type: ignore[method-assign]
    assert rank or "The loss became nan at step 0" in str(caught.value)
    with pytest.raises(DataError if rank == 0 else SystemExit) as caught:
        train(Document("x", text.text[rank : 3000 + rank]), folder / "differ", FLAGS)
    assert rank or "process 1 of this training reads another text" in str(caught.value)
    if rank == 0:
        with pytest.raises(RankError, match="its own message says why"):
            train(text, folder / "alone", FLAGS)


@pytest.fixture(scope="module")
def text(english_file: Path) -> Document:
    return Document("english", read_documents([english_file])[0].text[:12_000])


def test_two_processes_train_as_one(text: Document, tmp_path: Path) -> None:
    """Seven columns are four and three; with two rows of three, or one sentence a batch, a process may have none."""
    torch.multiprocessing.spawn(work, (2, text, tmp_path), 2)
    torch.set_default_dtype(torch.float64)
    try:
        train(text, tmp_path / "one", FLAGS | {"clip": 0.3})
        train(text, tmp_path / "lines", FLAGS | {"sentences": True, "batch_size": 1})
        resume(tmp_path / "shared")
        train(text, tmp_path / "whole1", FLAGS)
        train(text, tmp_path / "accumulated1", FLAGS | {"clip": 0.3, "batch_size": 3, "accumulate": 2})
    finally:
        torch.set_default_dtype(torch.float32)
    assert difference(tmp_path / "two", tmp_path / "one") < 1e-11
    assert difference(tmp_path / "accumulated", tmp_path / "accumulated1") < 1e-11
    assert difference(tmp_path / "sentences", tmp_path / "lines") < 1e-11
    assert difference(tmp_path / "shared", tmp_path / "whole1") < 1e-11  # begun by two, ended by one
    assert difference(tmp_path / "stopped", tmp_path / "whole") == 0
    assert not (tmp_path / "alone").exists() or (tmp_path / "alone" / "best").exists()


def test_ranks_draw_different_random_numbers() -> None:
    torch.manual_seed(5)
    drawn = [torch.rand(3)]
    for rank, step in ((1, 0), (2, 0), (1, 7)):
        torch.manual_seed(5)
        Ranks(rank, 3).seed(5, step)
        drawn.append(torch.rand(3))
    assert len({tuple(d.tolist()) for d in drawn}) == 4
    torch.manual_seed(5)
    Ranks(0, 3).seed(5)
    assert torch.equal(torch.rand(3), drawn[0])


def test_torchrun_restarts_what_was_killed(english_file: Path, tmp_path: Path) -> None:
    """One of two processes is killed; torchrun starts both again, and they go on from last/."""
    out, log = tmp_path / "r", tmp_path / "log"
    settings = [f"-s{key}={value}" for key, value in (DROPOUT | {"epochs": 4}).items()]
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2", "-m", "unrolled"]
    command = [sys.executable, "-m", *launcher, "train", "language-model", str(english_file), "--out", str(out)]
    with (
        log.open("wb") as sink,
        subprocess.Popen([*command, "--preset=tiny", *settings], stderr=sink, env=ENVIRONMENT) as run,
    ):
        until = time.time() + 90
        while not (out / "last" / "training.safetensors").exists():
            assert time.time() < until, log.read_text()
            assert run.poll() is None, log.read_text()
            time.sleep(0.05)
        found = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True).stdout.split()
        os.kill(int(found[-1]), signal.SIGKILL)
        try:
            assert run.wait(120) == 0, log.read_text()
        finally:
            run.terminate()
    assert "going on from step" in log.read_text()
    assert "done." in log.read_text()


def test_word_vectors_of_two_processes_are_averaged(tmp_path: Path) -> None:
    """Two processes read a shard each, at twice one's rate; they find the planted neighbours and say what was read."""
    random = torch.Generator().manual_seed(0)
    groups = torch.randperm(60, generator=random).view(10, 6)
    rows = groups[torch.randint(10, (6000,), generator=random)]
    words = rows.gather(1, torch.randint(6, (6000, 6), generator=random)).tolist()
    text = tmp_path / "text.txt"
    text.write_text("\n".join(" ".join(f"w{i}" for i in line) for line in words))
    flags = [
        "--vector-size",
        "20",
        "--epochs",
        "8",
        "--average-words",
        "3000",
        "--subsample",
        "0",
    ]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "unrolled",
        "train",
        "word-vectors",
    ]
    done = subprocess.run(
        [*command, str(text), "--out", str(tmp_path / "x"), "--threads", "1", *flags],
        capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    vectors = unrolled.load(tmp_path / "x")
    own = {f"w{i}": {f"w{j}" for j in group} - {f"w{i}"} for group in groups.tolist() for i in group}
    assert all({near.word for near in vectors.neighbors(word, 5)} == own[word] for word in vectors.words)
    lines = (tmp_path / "x" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["words"] for line in lines] == [36_000] * 8
