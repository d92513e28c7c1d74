"""Transfer: a language model as the encoder of a classifier, set free from the top, each layer at a rate of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from test_cli import run
from unrolled.data.labelled import Labelled
from unrolled.errors import ConfigError
from unrolled.options.classify import ClassifyOptions
from unrolled.options.training import TrainingOptions
from unrolled.run.classify import classify_options
from unrolled.tasks.blended import BlendedNetwork
from unrolled.tasks.classify import Split
from unrolled.tasks.recurrent_classify import RecurrentTask
from unrolled.tasks.recurrent_network import RecurrentNetwork
from unrolled.training.optimisation import make_optimiser, set_rates
from unrolled.types import Stage

FLAGS = {
    "threads": 1,
    "minutes": 5,
    "epochs": 8,
    "batch_size": 4,
    "window": 64,
    "learning_rate": 0.02,
    "evaluations": 2,
    "warmup_steps": 2,
    "average_epochs": 3,
}


def sorted_words(n: int = 60) -> Labelled:
    """Texts about animals or about stones."""
    rng, found = np.random.default_rng(0), Labelled()
    for i in range(n):
        words = ("cat", "dog", "cow", "horse") if i % 2 else ("jade", "ruby", "opal")
        found.add(" ".join(rng.choice(words, rng.integers(2, 9))), ("animal" if i % 2 else "stone",), 1.0, f"line {i + 1}")
    return found


def task_upon(encoder: Path, **flags: object) -> RecurrentTask:
    options = classify_options(preset="transfer", flags=FLAGS | {"encoder": str(encoder)} | flags)
    return RecurrentTask(options, Split(options, sorted_words()))


def test_the_classifier_begins_as_the_language_model(run_folder: Path) -> None:
    task, encoder = task_upon(run_folder), unrolled.load(run_folder)
    model = task.build()
    assert torch.equal(model.embedding.weight, encoder.model.embedding.weight)
    assert torch.equal(model.recurrent.weight_hh_l0, encoder.model.recurrent.weight_hh_l0)
    text = "A class of its own."
    (row,) = np.split(task.reading.encode([text]).features, [])
    ids = torch.tensor(row.astype(np.int64)).unsqueeze(0)
    a, _ = encoder.model.eval().hidden(ids, None)
    b, _ = model.eval().recurrent(model.embedding(ids))
    torch.testing.assert_close(a.transpose(0, 1), b)
    assert row[0] == encoder.codec.vocabulary.begin
    assert "".join(piece for piece, _ in task.reading.split(text)) == text


def test_an_unknown_symbol_is_read_in_lower_case(run_folder: Path) -> None:
    task = task_upon(run_folder)
    known = task.reading.codec.vocabulary
    letter = next(s for s in known.symbols if len(s) == 1 and s.islower() and s.upper() not in known)
    assert task.reading.split(letter.upper()) == [(letter.upper(), known.encode([letter])[0])]


def test_layers_are_set_free_from_the_top_and_learn_slower_below(run_folder: Path) -> None:
    task = task_upon(run_folder, gradual_unfreezing=0.5, layer_rate_decay=2.0)
    model = task.build()
    stages = task.stages(model)
    assert [stage.share for stage in stages] == [1, 0.5, 0.25]
    assert [stage.begins for stage in stages] == [0, 0.25, 0.5]
    assert stages[0].parameters == list(model.output.parameters())
    assert stages[2].parameters == [model.embedding.weight]
    every = [p for stage in stages for p in stage.parameters]
    assert len(every) == len(set(map(id, every))) == len(list(model.parameters()))
    deep = RecurrentTask(task.options, task.split).build().recurrent
    assert sum(map(len, deep.parts())) == len(list(deep.parameters()))


def test_a_stage_that_has_not_begun_does_not_move() -> None:
    top, below = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    optimiser = make_optimiser([Stage([top]), Stage([below], 0.5, 0.3)], TrainingOptions(weight_decay=0.1))
    for part, moves in ((0.0, False), (0.29, False), (0.3, True)):
        before = below.detach().clone()
        top.grad = below.grad = torch.ones(2, 2)
        set_rates(optimiser, 0.1, part)
        optimiser.step()
        assert torch.equal(before, below) is not moves
    assert [group["lr"] for group in optimiser.param_groups] == [0.1, 0.05]


def test_given_vectors_may_be_set_free_later(vector_run: Path) -> None:
    flags = FLAGS | {"vectors": str(vector_run), "min_count": 1, "gradual_unfreezing": 0.4}
    options = classify_options(preset="rnn", flags=flags)
    task = RecurrentTask(options, Split(options, sorted_words()))
    model = task.build()
    stages = task.stages(model)
    assert [stage.begins for stage in stages] == [0, 0.4]
    assert stages[1].parameters == [model.embedding.weight]
    alone = RecurrentTask(classify_options(preset="rnn", flags=FLAGS), task.split)
    assert len(alone.stages(alone.build())) == 1


def test_from_the_command_line_to_a_folder_that_needs_no_encoder(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, "lm")
    data = sorted_words()
    lines = (f"{text}\t{label}" for text, (label,) in zip(data.texts, data.labels, strict=True))
    Path("texts.tsv").write_text("text\tlabel\n" + "\n".join(lines), encoding="utf-8")
    args = [part for key, value in FLAGS.items() for part in ("-s", f"{key}={value}")]
    _, said = run("train", "classify", "texts.tsv", "--preset", "transfer", "--encoder", "lm", "--out", "tuned", *args)
    assert "the average:" in said
    shutil.rmtree("lm")
    found = unrolled.load("tuned")
    assert isinstance(found.network, BlendedNetwork)
    assert isinstance(found.network.network, RecurrentNetwork)
    assert found.evaluate(data)["accuracy"] > 0.9
    explained = found.explain("A cat, a dog")
    assert "".join(explained["tokens"]) == "A cat, a dog"
    total = np.array(explained["contributions"]).sum(0) + explained["bias"]
    np.testing.assert_allclose(total, found.network.logits(["A cat, a dog"])[0], atol=0.05)
    assert found.predict([""])[0].label in ("animal", "stone")


def test_what_cannot_be_an_encoder(run_folder: Path, vector_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs --encoder RUN"):
        classify_options(preset="transfer")
    with pytest.raises(ConfigError, match="requires --preset transfer"):
        classify_options(flags={"encoder": str(run_folder)})
    with pytest.raises(ConfigError, match="--vectors has no effect with --encoder"):
        classify_options(preset="transfer", flags={"encoder": "a", "vectors": "b"})
    with pytest.raises(ConfigError, match="is no language model"):
        task_upon(vector_run)
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be\n" * 60, encoding="utf-8")
    small = {"minutes": 1, "epochs": 1, "hidden_size": 4, "window": 8, "batch_size": 4, "threads": 1}
    unrolled.train("language-model", [text], tmp_path / "hot", options=small | {"input": "one-hot"})
    with pytest.raises(ConfigError, match="has no embedding"):
        task_upon(tmp_path / "hot")
    assert ClassifyOptions().transfer.encoder is None
