"""The recurrent classifier: pooling over true lengths, batches of texts, integrated gradients, the average beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import unrolled
from test_classify import options
from test_cli import run
from unrolled.cells import CELLS
from unrolled.data.labelled import Labelled
from unrolled.errors import ConfigError
from unrolled.features.bags import TextFeatures
from unrolled.features.texts import TextRows, TextsBatch, padded_rows
from unrolled.models.classifier import POOLINGS, Classifier, ClassifierConfig
from unrolled.run.classify import classify_options, resume_classifier, train_classifier
from unrolled.tasks.blended import BlendedNetwork
from unrolled.tasks.classify import Split, calibrated
from unrolled.tasks.reading import Reading
from unrolled.tasks.recurrent_classify import RecurrentTask
from unrolled.tasks.recurrent_network import RecurrentNetwork

CONFIG = ClassifierConfig(30, 3, embedding_size=6, hidden_size=5)


def which_first(n: int = 600, seed: int = 0) -> Labelled:
    """The label is which of two words comes first, far apart: no bag of single words can tell."""
    rng, found = np.random.default_rng(seed), Labelled()
    for i in range(n):
        first, second = ("left", "right") if i % 2 else ("right", "left")
        filler = [f"w{k}" for k in rng.integers(10, size=int(rng.integers(4, 12)))]
        a, b = sorted(rng.choice(len(filler) + 1, 2, replace=False))
        words = [*filler[:a], first, *filler[a:b], second, *filler[b:]]
        found.add(" ".join(words), (first,), 1.0, f"line {i + 1}")
    return found


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", list(CELLS))
def test_a_text_is_read_as_if_it_were_alone_and_padding_never_leaks(cell: str, pooling: str, bidirectional: bool) -> None:
    model = Classifier(replace(CONFIG, cell=cell, pooling=pooling, bidirectional=bidirectional, n_layers=2)).eval()
    rows = [np.array(row) for row in ([3, 1, 4, 1, 5], [9], [2, 6, 5], [30, 7])]
    together = model(*padded_rows(rows, 30))
    alone = torch.cat([model(*padded_rows([row], 30)) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    ids, lengths = padded_rows(rows, 30)
    x = model.embedding(ids.t()).detach()
    x[torch.arange(5).unsqueeze(1) >= lengths] = torch.nan
    x.requires_grad_(True)
    z = model.read(x, lengths)
    torch.testing.assert_close(z, together, rtol=1e-4, atol=1e-5)
    z.sum().backward()
    assert x.grad is not None
    inside = torch.arange(5).unsqueeze(1) < lengths
    assert x.grad[inside].isfinite().all()
    assert (x.grad[~inside] == 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_what_the_equations_say(pooling: str) -> None:
    model = Classifier(replace(CONFIG, pooling=pooling)).eval()
    a, lengths = torch.randn(4, 3, 10), torch.tensor([4, 1, 2])
    a[1:, 1], a[2:, 2] = 0, 0
    found = model._pooled(a, lengths)
    for i, length in enumerate(lengths.tolist()):
        row = a[:length, i]
        last = torch.cat((row[-1, :5], row[0, 5:]))
        expected = {
            "last": last,
            "mean": row.mean(0),
            "max": row.amax(0),
            "concat": torch.cat((last, row.amax(0), row.mean(0))),
        }
        if pooling == "attention":
            assert model.attention is not None
            expected["attention"] = (model.attention(row).softmax(0) * row).sum(0)
        torch.testing.assert_close(found[i], expected[pooling])


def test_the_loss_is_weighted_cross_entropy_summed_over_texts() -> None:
    ids, lengths = padded_rows([np.array([1, 2]), np.array([3])], 30)
    for independent, targets in ((False, [[1.0, 0, 0], [0, 0, 1]]), (True, [[1.0, 0, 1], [0, 0, 0]])):
        model = Classifier(replace(CONFIG, independent=independent)).eval()
        y, weights = torch.tensor(targets), torch.tensor([0.5, 2.0])
        z = model(ids, lengths).detach()
        p = z.sigmoid() if independent else z.softmax(1)
        losses = -(y * p.log() + ((1 - y) * (1 - p).log() if independent else 0)).sum(1)
        found = model.loss(TextsBatch(ids, lengths, y, weights))
        assert float(found.loss.detach()) == pytest.approx(float((losses * weights).sum()), rel=1e-5)
        assert found.n_tokens == 2


def test_adversarial_training_moves_each_text_by_a_part_of_its_length_to_where_its_loss_rises() -> None:
    ids, lengths = padded_rows([np.array([1, 2, 5, 7]), np.array([3, 4])], 30)
    batch = TextsBatch(ids, lengths, torch.tensor([[1.0, 0, 0], [0, 0, 1]]), torch.ones(2))
    model = Classifier(replace(CONFIG, adversarial=0.01)).train()
    plain = Classifier(replace(CONFIG, adversarial=0.0)).train()
    plain.load_state_dict(model.state_dict())
    x = model.embedding(ids.t()).detach().requires_grad_()
    before = -(batch.targets * model.read(x, lengths).log_softmax(1)).sum(1)
    for i, n in enumerate(lengths.tolist()):
        (g,) = torch.autograd.grad(before[i], x, retain_graph=True)
        moved = (model._moved(x, batch) - x)[:, i]
        torch.testing.assert_close(moved, 0.01 * x[:, i].norm() / g[:, i].norm() * g[:, i])
        assert not moved[n:].any()
    rise = float(model.loss(batch).loss.detach()) - float(plain.loss(batch).loss.detach())
    random = torch.randn_like(x)
    random *= 0.01 * x.norm(dim=(0, 2), keepdim=True) / random.norm(dim=(0, 2), keepdim=True)
    elsewhere = -(batch.targets * model.read(x + random, lengths).log_softmax(1)).sum(1)
    assert rise > 3 * abs(float((elsewhere.sum() - before.sum()).detach()))
    model.loss(batch).loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    torch.testing.assert_close(model.eval().loss(batch).loss, plain.eval().loss(batch).loss)


def test_every_text_is_in_one_batch_of_an_epoch_and_batches_are_repeatable() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 60, size=200)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.arange(starts[-1])
    made = (ids, starts, np.eye(200, dtype=np.float32), np.ones(200, np.float32))
    rows = TextRows(*made, tokens=400, unknown=10**6, seed=3)
    orders = []
    for epoch in range(2):
        seen: list[int] = []
        for k in range(len(rows)):
            batch = rows.batch(epoch, k)
            which = batch.targets.argmax(1).tolist()
            seen += which
            assert batch.ids.numel() <= 400 * 1.25 or len(which) == 1
            for row, i, length in zip(batch.ids, which, batch.lengths.tolist(), strict=True):
                expected = ids[starts[i] : starts[i + 1]].tolist() or [10**6]
                assert row[:length].tolist() == expected
        assert sorted(seen) == list(range(200))
        orders.append(seen)
    assert orders[0] != orders[1]
    again = TextRows(
        ids, starts, np.eye(200, dtype=np.float32), np.ones(200, np.float32), tokens=400, unknown=10**6, seed=3
    )
    assert torch.equal(again.batch(1, 2).ids, rows.batch(1, 2).ids)
    shards = [rows.batch(0, 1).shard(rank, 2) for rank in range(2)]
    assert sum(len(shard.lengths) for shard in shards) == len(rows.batch(0, 1).lengths)


def test_answers_do_not_depend_on_the_company_and_contributions_sum_to_the_score() -> None:
    features, _ = TextFeatures.learned(["a b c d e f g"] * 2, longest=1)
    model = Classifier(ClassifierConfig(len(features), 2, embedding_size=6, hidden_size=8, pooling="concat"))
    network = RecurrentNetwork(model, Reading(features))
    texts = ["a b", "", "g f e d c b a " * 30, "unknown", "c"]
    together = network.logits(texts)
    np.testing.assert_allclose(together, np.concatenate([network.logits([t]) for t in texts]), rtol=1e-4, atol=1e-5)
    tokens, parts, nothing = network.explain("a zzz b c")
    assert tokens == ["a", "zzz", "b", "c"]
    assert (parts[1] == 0).all()
    np.testing.assert_allclose(parts.sum(0) + nothing, network.logits(["a zzz b c"])[0], atol=2e-3)


def test_it_learns_an_order_that_the_average_cannot_and_says_so(tmp_path: Path) -> None:
    flags = {
        "ngrams": 1,
        "threads": 1,
        "hidden_size": 24,
        "embedding_size": 16,
        "epochs": 12,
        "minutes": 5,
        "batch_size": 8,
    }
    flags |= {"window": 64, "learning_rate": 0.02, "warmup_steps": 10, "evaluations": 4, "dropout_word": 0.0}
    chosen = classify_options(preset="rnn", flags=flags)
    *_, done = train_classifier(chosen, which_first(), tmp_path / "run")
    assert done.beside["average"] < 0.7
    assert done.beside["network"] > 0.95
    low, high = done.beside["interval"]
    assert low < done.beside["gain"] < high
    found = unrolled.load(tmp_path / "run")
    fresh = which_first(100, seed=5)
    assert found.evaluate(fresh)["accuracy"] > 0.9
    assert found.predict(["w1 left w2 right"])[0].label == "left"
    report = (tmp_path / "run" / "report.html").read_text()
    assert "Beside the plain average" in report
    explained = found.explain("w1 left w2 right w3")
    total = np.array(explained["contributions"]).sum(0) + explained["bias"]
    z, without = found.network.logits(["w1 left w2 right w3", "w1 w2 right w3"])
    np.testing.assert_allclose(total, z, atol=0.15)
    np.testing.assert_allclose(explained["left_out"][1], z - without, atol=1e-4)
    out, _ = run("predict", tmp_path / "run", "w1 right w5 left", "--json")
    assert json.loads(out)["label"] == "right"
    out, _ = run("info", tmp_path / "run")
    assert "pooling: max" in out


def test_given_vectors_decide_the_size_and_may_be_frozen(vector_run: Path) -> None:
    vectors = unrolled.load(vector_run)
    data = Labelled()
    for i in range(40):
        data.add(f"{vectors.words[i % 9]} {vectors.words[3]}", (str(i % 2),), 1.0, str(i))
    chosen = options(network="rnn", vectors=str(vector_run), freeze_vectors=True)
    task = RecurrentTask(chosen, Split(chosen, data))
    model = task.build()
    assert task.transferred is not None
    assert task.transferred.found == task.transferred.symbols
    given = vectors[task.reading.features.words[0]]
    np.testing.assert_allclose(model.embedding.weight[0].detach(), given / np.linalg.norm(given), rtol=1e-5)
    assert not model.embedding.weight.requires_grad
    with pytest.raises(ConfigError, match="unknown cell 'lstn'"):
        classify_options(preset="rnn", flags={"cell": "lstn"})


def test_a_blend_answers_along_with_the_average(tmp_path: Path) -> None:
    flags = {"threads": 1, "hidden_size": 8, "embedding_size": 8, "epochs": 1, "minutes": 5, "batch_size": 8, "window": 64}
    flags |= {"evaluations": 1, "blend": True, "labels": "one"}
    chosen = classify_options(preset="rnn", flags=flags)
    given = which_first()
    rows = [f"{text},{label}\n" for text, (label,) in zip(given.texts, given.labels, strict=True)]
    (tmp_path / "data.csv").write_text("".join(["text,label\n", *rows]))
    *_, done = train_classifier(chosen, [tmp_path / "data.csv"], tmp_path / "run")
    found, text = unrolled.load(tmp_path / "run"), "W1 left w2, right w3"
    blend = found.network
    assert isinstance(blend, BlendedNetwork)
    z = [network.logits([text])[0] for network in (blend.network, blend.average)]
    np.testing.assert_allclose(blend.logits([text])[0], blend.weights[0] * z[0] + blend.weights[1] * z[1], rtol=1e-5)
    tokens, parts, nothing = blend.explain(text)
    assert tokens == ["W1", "left", "w2", ",", "right", "w3"]
    np.testing.assert_allclose(parts.sum(0) + nothing, blend.logits([text])[0], atol=2e-3)
    split = Split(chosen, which_first())
    losses = [calibrated(n, split, chosen, n.logits(split.valid.texts)).metrics for n in (blend.network, blend.average)]
    assert done.held["log_loss"] <= min(of["valid_log_loss"] for of in losses) + 1e-6
    assert {"valid_loss", "step"} <= found.metrics.keys()
    found.save(tmp_path / "copy")
    again = unrolled.load(tmp_path / "copy")
    assert again.predict([text]) == found.predict([text])
    (tmp_path / "run" / "config.toml").write_text(
        (tmp_path / "run" / "config.toml").read_text().replace("epochs = 1.0", "epochs = 2.0")
    )
    *_, done = resume_classifier(tmp_path / "run", allow_changes=True)
    assert isinstance(unrolled.load(tmp_path / "run").network, BlendedNetwork)
    with pytest.raises(ConfigError, match="--blend has no effect with --network average"):
        classify_options(flags={"blend": True})
