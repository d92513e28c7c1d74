"""Text classifiers: labelled files, bags of features, the averaged classifier, calibrated answers, the command line."""

from __future__ import annotations

import gzip
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unrolled
from test_cli import run
from unrolled.cli.classify import _facts as classify_facts
from unrolled.config import resolve
from unrolled.data.labelled import Columns, Labelled, read_labelled
from unrolled.data.samples import help_pages
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.bags import TextFeatures
from unrolled.features.fingerprints import fingerprints, mixed
from unrolled.features.labels import LabelSet
from unrolled.features.words import LEFT_OUT
from unrolled.metrics import classification as metrics
from unrolled.models.average import AverageClassifier, AverageConfig
from unrolled.options.classify import ClassifyOptions
from unrolled.tasks.classifier import TrainedClassifier
from unrolled.tasks.classify import AverageTraining, Split, hold_out


def examples(*pairs: tuple[str, str], weights: list[float] | None = None) -> Labelled:
    found = Labelled()
    for n, (text, label) in enumerate(pairs):
        found.add(text, (label,), weights[n] if weights else 1.0, f"line {n + 1}")
    return found


def planted(n: int = 400, seed: int = 0) -> Labelled:
    """Texts of words that say nothing, in which one word in ten tells the label."""
    rng = np.random.default_rng(seed)
    found = Labelled()
    for i in range(n):
        label = ("good", "bad", "odd")[i % 3]
        words = [f"w{k}" for k in rng.integers(50, size=18)] + [f"{label}{k}" for k in rng.integers(4, size=2)]
        found.add(" ".join(rng.permutation(words)), (label,), 1.0, f"line {i + 1}")
    return found


def options(**flags: Any) -> ClassifyOptions:
    return resolve(ClassifyOptions, flags={"threads": 1} | flags)


def training(data: Labelled, valid: Labelled | None = None, *, threads: int = 1, **flags: Any) -> AverageTraining:
    chosen = options(**flags)
    return AverageTraining(chosen, Split(chosen, data, valid), threads=threads)


def trained(data: Labelled, **flags: Any) -> TrainedClassifier:
    task = training(data, **flags)
    for _ in task.train():
        pass
    return task.trained()


# ---- labelled files


def test_every_format_says_the_same(tmp_path: Path) -> None:
    texts, labels = ['He said ""no"", and left', "Gut\tund günstig", "好"], ["neg", "pos", "pos"]
    plain = [texts[0].replace('""', '"'), texts[1].replace("\t", " "), texts[2]]
    csv = "id,label,text\n" + "".join(
        f'{i},{y},"{x}"\n' for i, (x, y) in enumerate(zip([texts[0], *plain[1:]], labels, strict=True))
    )
    tsv = "text\tlabel\n" + "".join(f"{x}\t{y}\n" for x, y in zip(plain, labels, strict=True))
    jsonl = "".join(json.dumps({"label": y, "text": x}) + "\n\n" for x, y in zip(plain, labels, strict=True))
    marked = "".join(f"__label__{y} {x}\n" for x, y in zip(plain, labels, strict=True))
    for name, content in (("a.csv", csv), ("a.tsv", tsv), ("a.jsonl", jsonl), ("a.txt", marked)):
        (tmp_path / name).write_text(content, encoding="utf-8")
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    for n, (text, label) in enumerate(zip(plain, labels, strict=True)):
        (tmp_path / "folders" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folders" / label / f"{n}.txt").write_text(text, encoding="utf-8")
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.txt", "a.csv.gz", "a.tsv.gz", "a.jsonl.gz", "a.txt.gz", "folders"):
        found = read_labelled([tmp_path / name])
        assert found.texts == plain, name
        assert found.labels == [(label,) for label in labels], name


def test_tables_with_quotes_line_ends_and_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('review;stars\n"two\nlines; one field";5\n\nplain;1\n', encoding="utf-8")
    found = read_labelled([path], Columns("review", "stars"))
    assert found.texts == ["two\nlines; one field", "plain"]
    assert found.places == [f"{path}, line 2", f"{path}, line 5"]


def test_several_labels_and_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"text": "a", "label": ["x", "y"], "w": 2},
        {"text": "b", "label": "y, z,y", "w": "0.5"},
        {"text": "c", "label": [], "w": 0},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read_labelled([path], Columns(weight="w", separator=","))
    assert found.labels == [("x", "y"), ("y", "z"), ()]
    assert found.weights == [2, 0.5, 0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "review,label\nx,1\n", r"line 1: there is no column 'text'; the columns are 'review', 'label'.*--text"),
        ("a.csv", "text,label\nx,1,2\n", r"line 2: 3 fields, but the header has 2"),
        ("a.csv", 'text,label\n"x,1\n', r"line 2: a row cannot be read \(unexpected end of data\)"),
        ("a.csv", "text,label\nx,\n", r"line 2: has no label: 'x'"),
        ("a.csv", "", "holds no text"),
        ("a.jsonl", '{"text": "a"}\n', r"line 1: has no 'label'; the fields are 'text'"),
        ("a.jsonl", '{"text": 3, "label": 1}\n', r"line 1: 'text' is no text but 3"),
        ("a.jsonl", "{\n", r"line 1: is not JSON"),
        ("a.jsonl", "[1]\n", r"line 1: has no 'text'"),
        ("a.txt", "plain text\n", r"line 1: has no __label__"),
        ("a.txt", "__label__a __label__b x\n", r"line 1: has 2 labels; if that is right, say --labels many"),
        ("a.doc", "x", r"read from .csv, .tsv, .jsonl, .json or .txt"),
        ("a.xlsx", "x", r"files of the format xlsx are not read. Fix: convert it: python -c .*read_excel"),
        ("a.csv", "text,label\n\x00,1\n", "NUL"),
    ],
)
def test_what_cannot_be_read_says_where(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_labelled([tmp_path / name])


def test_bad_weights_wrong_encodings_and_missing_files_say_where(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,w\nx,1,-1\ny,1,heavy\nz,1,nan\n")
    with pytest.raises(DataError, match=r"line 2: the weight '-1' is no number(.|\n)*line 3(.|\n)*line 4"):
        read_labelled([tmp_path / "a.csv"], Columns(weight="w"))
    (tmp_path / "b.csv").write_bytes("text,label\nschön,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"not utf-8"):
        read_labelled([tmp_path / "b.csv"])
    assert read_labelled([tmp_path / "b.csv"], encoding="latin-1").texts == ["schön"]
    with pytest.raises(DataError, match="no such"):
        read_labelled([tmp_path / "c.csv"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no folders"):
        read_labelled([tmp_path / "empty"])


def test_only_ten_problems_are_shown_and_empty_texts_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "x,\n" * 15)
    with pytest.raises(DataError, match=r"and 5 more") as error:
        read_labelled([tmp_path / "a.csv"])
    assert str(error.value).count("has no label") == 10
    (tmp_path / "b.csv").write_text("text,label\nx,1\n ,1\n,1\n")
    found = read_labelled([tmp_path / "b.csv"])
    assert (len(found), found.empty) == (1, 2)


# ---- features


def bigrams(words: list[str]) -> list[tuple[str, str]]:
    return list(itertools.pairwise(words))


def test_bags_are_those_of_a_plain_count() -> None:
    texts = ["The cat sat.", "the cat, the CAT ran", "", "a dog ran\nthe cat", "x"]
    split = [t.lower().replace(".", " .").replace(",", " ,").split() for t in texts]
    counts = Counter(w for words in split for w in words)
    known = {w for w, n in counts.items() if n >= 2}
    kept = [[w for w in words if w in known] for words in split]
    pairs = Counter(p for words in kept for p in bigrams(words))
    features, bags = TextFeatures.learned(texts, min_count=2, longest=2)
    assert set(features.words) == known
    assert len(features.keys) == sum(n >= 2 for n in pairs.values())
    for i, words in enumerate(kept):
        rows = bags.features[bags.starts[i] : bags.starts[i + 1]]
        assert [features.words[r] for r in rows[: bags.n_words[i]]] == words
        assert len(rows) - len(words) == sum(pairs[p] >= 2 for p in bigrams(words))
    again = features.encode(texts)
    assert (again.features == bags.features).all()
    assert (again.starts == bags.starts).all()


def test_longer_n_grams_and_none() -> None:
    texts = ["a b c d", "a b c e", "a b f"]
    features, bags = TextFeatures.learned(texts, min_count=1, longest=3)
    assert len(features.keys) == 3  # a b, b c, a b c: what occurs twice
    assert [n for _, _, n in features.spans(bags.features[: bags.n_words[0]])] == [2, 3, 2]
    features, bags = TextFeatures.learned(texts, min_count=1, longest=1)
    assert len(features.keys) == 0
    assert len(bags.features) == 11


@pytest.mark.parametrize("n", [0, 1, 2, 3000])
def test_n_grams_are_found_by_their_hashes_and_no_others(n: int) -> None:
    rng = np.random.default_rng(n)
    keys, strange = np.split(np.unique(rng.integers(2**64, size=2 * n + 8, dtype=np.uint64)), [n])
    features = TextFeatures("words", ["a", "b"], 2, keys)
    order = rng.permutation(n)
    assert features._known(keys[order]).tolist() == (order + 2).tolist()
    assert (features._known(strange) == LEFT_OUT).all()


def test_words_are_shown_as_written() -> None:
    features, _ = TextFeatures.learned(["Ünnötig gut! gut"], min_count=1)
    words = features.split("GUT, ünnÖtig? 好吗")
    assert [word for word, _ in words] == ["GUT", ",", "ünnÖtig", "?", "好", "吗"]
    assert [row >= 0 for _, row in words] == [True, False, True, False, False, False]


def test_texts_without_a_frequent_word_are_refused() -> None:
    with pytest.raises(DataError, match="no word of the training texts occurs 2 times"):
        TextFeatures.learned(["a b", "c d"])


# ---- the model


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_pass_is_that_of_a_plain_loop(independent: bool, weighted: bool) -> None:
    """Every step of gradient descent, in numpy and float64."""
    rng = np.random.default_rng(1)
    texts = [" ".join(f"w{k}" for k in rng.integers(12, size=n)) for n in (5, 1, 9, 3)]
    features, bags = TextFeatures.learned(texts, min_count=1)
    config = AverageConfig(len(features), 3, vector_size=5, rest=1.5, independent=independent)
    model = AverageClassifier(config, weighted=weighted)
    model.output.copy_(torch.randn(model.output.shape))
    model.bias.copy_(torch.randn(model.bias.shape))
    if weighted:
        model.importance.copy_(torch.rand(len(features)) + 0.5)
    e, w, b = (tensor.numpy().astype(np.float64) for tensor in (model.vectors, model.output, model.bias))
    s = model.importance.numpy().astype(np.float64) if weighted else np.ones(len(features))
    labels = [(0, 2), (1,), (), (2,)] if independent else [(0,), (1,), (2,), (2,)]
    weights, order = np.array([1, 0.5, 2, 1], np.float32), np.array([2, 0, 3, 1, 0])
    loss = 0.0
    for step, i in enumerate(order):
        rows = bags.features[bags.starts[i] : bags.starts[i + 1]]
        total = 1.5 + s[rows].sum()
        h = (s[rows, None] * e[rows]).sum(0) / total
        z = w @ h + b
        p = 1 / (1 + np.exp(-z)) if independent else np.exp(z) / np.exp(z).sum()
        y = np.isin(np.arange(3), labels[i]).astype(float)
        loss -= weights[i] * (np.log(p) * y + (np.log(1 - p) * (1 - y) if independent else 0)).sum()
        shares = (s[rows] / total) ** 2
        rate = (0.4 - 0.3 * step / len(order)) * weights[i]
        move = rate / (1 + rate * (1 + h @ h + (w**2).sum() * shares.sum()) / 2) * (y - p)
        gradient = move @ w
        w += np.outer(move, h)
        np.add.at(e, rows, s[rows, None] / total * gradient)
    targets = LabelSet(("x", "y", "z"), "many").targets([tuple("xyz"[k] for k in row) for row in labels])
    random = np.ones(1, np.uint64)
    found = model.step(bags, (*targets, weights), order, rates=(0.4, 0.1), dropout=0.0, frozen=False, random=random)
    for tensor, expected in ((model.vectors, e), (model.output, w), (model.bias, b)):
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=2e-5, atol=1e-6)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.weight == weights[order].sum()
    z = np.stack(
        [(s[r, None] * e[r]).sum(0) / (1.5 + s[r].sum()) @ w.T + b for r in np.split(bags.features, bags.starts[1:-1])]
    )
    np.testing.assert_allclose(model.logits(bags), z, rtol=1e-4, atol=1e-5)


def test_dropout_leaves_out_the_part_it_should_and_frozen_vectors_stay() -> None:
    features, bags = TextFeatures.learned([" ".join(f"w{i}" for i in range(5000))], min_count=1, longest=1)
    model = AverageClassifier(AverageConfig(len(features), 2, 4))
    model.output.fill_(1)
    before = model.vectors.clone()
    targets = (np.array([0], np.int32), np.array([0, 1]), np.ones(1, np.float32))
    at = {"rates": (1.0, 1.0), "dropout": 0.7, "random": np.array([3], np.uint64)}
    model.step(bags, targets, np.array([0]), frozen=True, **at)
    assert (model.vectors == before).all()
    model.output[0] += 1
    model.step(bags, targets, np.array([0]), frozen=False, **at)
    moved = (model.vectors != before).any(1).float().mean()
    assert 0.27 < float(moved) < 0.33


@pytest.mark.parametrize(
    "flags",
    [{}, {"weighting": "idf"}, {"ngrams": 3}, {"ngrams": 1, "rest": 0}, {"labels": "ordered", "order": "bad,odd,good"}],
)
def test_planted_words_are_found_and_contributions_sum_to_the_score(flags: dict[str, Any]) -> None:
    found = trained(planted(600), average_epochs=20, average_rate=2.0, **flags)
    fresh = planted(150, seed=5)
    assert found.evaluate(fresh)["accuracy"] > 0.95
    explained = found.explain(fresh.texts[0])
    total = np.array(explained["contributions"]).sum(0) + explained["bias"]
    np.testing.assert_allclose(total, found.network.logits([fresh.texts[0]])[0], rtol=1e-4, atol=1e-4)
    label = explained["outputs"].index("good") if "good" in explained["outputs"] else -1
    strongest = int(np.argmax(np.array(explained["contributions"])[:, label]))
    assert explained["tokens"][strongest].startswith("good")
    assert explained["prefixes"][-1] == pytest.approx([explained["probabilities"][n] for n in found.labels.names])
    words = fresh.texts[0].split()
    without = found.network.logits([" ".join(words[:3] + words[4:])])[0]
    np.testing.assert_allclose(explained["left_out"][3], found.network.logits([fresh.texts[0]])[0] - without, atol=1e-5)


def test_one_text_as_long_as_a_book_does_not_spoil_the_others() -> None:
    data = planted(600)
    data.add("good0 " * 300_000, ("good",), 1.0, "a book")
    assert trained(data, average_epochs=10).evaluate(planted(150, seed=5))["accuracy"] > 0.9


def test_many_labels_get_thresholds_of_their_own() -> None:
    rng, data = np.random.default_rng(0), Labelled()
    for i in range(600):
        labels = tuple(name for name in ("red", "round", "rare") if rng.random() < (0.1 if name == "rare" else 0.5))
        words = [f"{name}{rng.integers(3)}" for name in labels] + [f"w{k}" for k in rng.integers(30, size=8)]
        data.add(" ".join(rng.permutation(words)), labels, 1.0, str(i))
    found = trained(data, labels="many", target="f1", average_epochs=20, average_rate=2.0, ngrams=1)
    assert len(found.decision.thresholds) == 3
    result = found.evaluate(data)
    assert result["micro_f1"] > 0.97
    assert result["exact"] > 0.93
    (nothing,) = found.predict(["w1 w2 w3"])
    assert (nothing.labels, nothing.label) == ((), None)
    (both,) = found.predict(["red1 w1 round2 w5"])
    assert set(both.labels) == {"red", "round"}


def test_the_same_seed_gives_the_same_model_and_weights_matter() -> None:
    data = planted(90)
    first, second = (trained(data, average_epochs=2).probabilities(data.texts) for _ in range(2))
    assert (first == second).all()
    deterministic = [
        [e.row["train_loss"] for e in training(data, threads=2, deterministic=True, average_epochs=2).train()]
        for _ in range(2)
    ]
    assert deterministic[0] == deterministic[1]
    data.weights = [0.0 if label == ("odd",) else 1.0 for label in data.labels]
    assert trained(data, average_epochs=20, average_rate=2.0).probabilities(data.texts)[:, 2].max() < 0.25
    data.weights = [0.0] * len(data)
    with pytest.raises(DataError, match="weights of all training examples are zero"):
        trained(data)


def test_balanced_classes_count_the_same() -> None:
    data = examples(*[(f"w{i % 7} u", "a") for i in range(180)], *[(f"w{i % 7} u", "b") for i in range(20)])
    plain, balanced = (
        trained(data, class_weights=how, average_epochs=30, dropout=0.0, min_count=1) for how in ("none", "balanced")
    )
    assert plain.network.logits(["u"])[0, 1] < plain.network.logits(["u"])[0, 0] - 1
    difference = balanced.network.logits(["u"])[0]
    assert abs(difference[0] - difference[1]) < 0.7


# ---- labels, splits, decisions


def test_ordered_probabilities_are_a_distribution() -> None:
    labels = LabelSet(("low", "mid", "high"), "ordered")
    z = np.array([[2.0, 3.0], [-1.0, -4.0], [0.0, 0.0]])
    p = labels.probabilities(z)
    assert p.sum(1) == pytest.approx(1)
    assert (p >= 0).all()
    assert p[0].tolist() == pytest.approx([1 - 1 / (1 + math.exp(-2)), 0, 1 / (1 + math.exp(-2))])
    flat, starts = labels.targets([("low",), ("high",), ("mid",)])
    assert flat.tolist() == [0, 1, 0]
    assert starts.tolist() == [0, 0, 2, 3]


def test_labels_that_teach_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="all 2 examples have the label 'a'"):
        LabelSet.learned(examples(("x", "a"), ("y", "a")), "one")
    with pytest.raises(ConfigError, match="labels are not numbers"):
        LabelSet.learned(examples(("x", "a"), ("y", "a"), ("u", "b"), ("v", "b")), "ordered")
    data = examples(("x", "10"), ("y", "9"), ("u", "10"), ("v", "9"))
    assert LabelSet.learned(data, "ordered").names == ("9", "10")
    with pytest.raises(ConfigError, match="--order does not name the label '9'"):
        LabelSet.learned(data, "ordered", "1,10")


def test_the_split_keeps_shares_and_equal_texts_together() -> None:
    data = examples(*[(f"text {i // 2}", "a" if i // 2 % 5 else "b") for i in range(1000)])
    keys = fingerprints(data.texts)
    train, valid = hold_out(data, mixed(keys, 1), 0.2)
    assert sorted([*train, *valid]) == list(range(1000))
    assert not set(keys[train].tolist()) & set(keys[valid].tolist())
    assert Counter(data.labels[i][0] for i in valid) == {"a": 160, "b": 40}
    assert set(valid) != set(hold_out(data, mixed(keys, 2), 0.2)[1])
    split = Split(options(hold_out="last", valid_fraction=0.1), data)
    last = {label: [i for i, given in enumerate(data.labels) if given == (label,)] for label in "ab"}
    expected = sorted(i for rows in last.values() for i in rows[-len(rows) // 10 :])
    assert split.valid.places == [data.places[i] for i in expected]


def test_what_was_seen_or_contradicts_is_counted() -> None:
    data = planted(90)
    data.add(data.texts[0], ("bad",), 1.0, "twice")
    task = training(data, average_epochs=1)
    assert task.split.facts.contradictory == 1
    list(task.train())
    fresh = planted(30, seed=9)
    fresh.add(f"  {data.texts[5]}", data.labels[5], 1.0, "seen")
    fresh.add("w1 w2", ("new",), 1.0, "unknown")
    found = task.trained().evaluate(fresh)
    assert (found["seen_in_training"], found["unknown_labels"]) == (1, {"new": 1})
    assert "accuracy" in found["without_seen"]
    assert sum(map(sum, found["confusion"])) == 31


@pytest.mark.parametrize("kind", ["one", "ordered", "many"])
@pytest.mark.parametrize("given", [False, True])
def test_a_label_with_one_example_is_learned_counted_and_told(kind: str, given: bool) -> None:
    data = planted(90)
    data.add("w1 w2 typo", ("typo",), 1.0, "line 91")
    flags = {"labels": kind, "average_epochs": 2, "order": "bad,odd,good,typo" if kind == "ordered" else None}
    flags = {name: value for name, value in flags.items() if value is not None}
    task = training(data, planted(30, seed=9) if given else None, **flags)
    assert "typo" in task.split.labels.names
    assert ("typo",) in task.split.train.labels
    assert ("typo",) not in task.split.valid.labels
    list(task.train())
    assert set(task.trained().predict("w1 w2").probabilities) == set(task.split.labels.names)
    assert "1 of the labels have one example only" in classify_facts(task.split.facts)


@pytest.mark.parametrize("kind", ["one", "ordered", "many"])
def test_validation_texts_with_labels_that_training_lacks_count_as_wrong(kind: str) -> None:
    data, valid = planted(90), planted(30, seed=9)
    flags = {"labels": kind, "average_epochs": 3} | ({"order": "bad,odd,good"} if kind == "ordered" else {})
    known = training(data, planted(30, seed=9), **flags)
    for n in range(30):
        valid.add(f"w1 w{n}", ("new",), 1.0, f"line {n}")
    task = training(data, valid, **flags)
    list(known.train())
    list(task.train())
    assert task.split.facts.unknown_labels == {"new": 30}
    assert "30 of the labels of validation texts do not occur in training and count as wrong: 'new'" in classify_facts(
        task.split.facts
    )
    if kind != "many":
        assert task.rows[-1]["valid_accuracy"] == pytest.approx(known.rows[-1]["valid_accuracy"] / 2)
        assert task.rows[-1]["valid_loss"] == pytest.approx(known.rows[-1]["valid_loss"])
        assert task.trained().metrics["valid_accuracy"] <= 0.5
    with pytest.raises(DataError, match=r"the validation texts: got the labels 'new', none of which .*expected '"):
        training(data, valid.part(range(30, 60)), **flags)


def test_a_precision_is_reached_by_abstaining() -> None:
    rng, data = np.random.default_rng(0), Labelled()
    for i in range(1500):  # half of the texts cannot be told apart
        label = ("a", "b")[i % 2]
        clue = [label] * 3 if rng.random() < 0.5 else []
        data.add(" ".join([*clue, *(f"w{k}" for k in rng.integers(20, size=8))]), (label,), 1.0, str(i))
    found = trained(data, target="precision", reach=0.95, average_epochs=20, average_rate=2.0, ngrams=1)
    result = found.evaluate(data)
    assert 0.4 < result["answered"]["part"] < 0.65
    assert result["answered"]["accuracy"] > 0.93
    assert found.predict(["w1 w2"])[0].label is None
    assert found.predict(["w1 w2"], threshold=0.0)[0].label is not None


# ---- metrics


def test_figures_are_those_of_plain_counts() -> None:
    rng = np.random.default_rng(0)
    given, p = rng.integers(3, size=200), rng.dirichlet([1, 1, 1], size=200)
    answer = p.argmax(1)
    table = metrics.confusion(given, answer, 3)
    assert table.tolist() == [[sum((given == i) & (answer == j)) for j in range(3)] for i in range(3)]
    rows = metrics.f1_scores(np.eye(3, dtype=int)[given], np.eye(3, dtype=int)[answer])
    for k, row in enumerate(rows):
        right = table[k, k]
        assert row["precision"] == right / table[:, k].sum()
        assert row["recall"] == right / table[k].sum()
        assert row["f1"] == pytest.approx(2 / (1 / row["precision"] + 1 / row["recall"]))
    assert metrics.macro_f1(rows) == pytest.approx(np.mean([row["f1"] for row in rows]))
    assert metrics.log_loss(given, p) == pytest.approx(-np.mean([math.log(p[i, k]) for i, k in enumerate(given)]))
    confidence, right = p.max(1), answer == given
    error = 0.0
    for k in range(15):
        inside = (confidence >= k / 15) & (confidence < (k + 1) / 15)
        error += inside.sum() / 200 * abs(confidence[inside].mean() - right[inside].mean()) if inside.any() else 0
    assert metrics.calibration_error(metrics.reliability(confidence, right)) == pytest.approx(error)


def test_a_temperature_that_was_put_in_is_found_and_probabilities_mean_what_they_say() -> None:
    rng = np.random.default_rng(0)
    labels, z = LabelSet(("a", "b", "c"), "one"), rng.normal(size=(20_000, 3)) * 2
    p = labels.probabilities(z)
    given = (p.cumsum(1) < rng.random((len(p), 1))).sum(1)
    t = metrics.temperature_for(given, lambda t: labels.probabilities(3 * z, t))
    assert t == pytest.approx(3, rel=0.05)
    right = p.argmax(1) == given
    assert metrics.calibration_error(metrics.reliability(p.max(1), right)) < 0.02


def test_thresholds_are_the_best_there_are() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(300).round(2)
    given = (rng.random(300) < p).astype(int)

    def f1(t: float) -> float:
        return metrics.f1_scores(given[:, None], (p >= t).astype(int)[:, None])[0]["f1"] or 0  # type: ignore[return-value]

    assert f1(metrics.threshold_for_f1(given, p)) >= max(map(f1, np.linspace(0, 1, 201))) - 1e-2
    t = metrics.threshold_for_precision(given, p, 0.8)
    assert t is not None
    assert given[p >= t].mean() >= 0.8
    assert all(given[p >= lower].mean() < 0.8 for lower in np.unique(p) if lower < t)
    assert metrics.threshold_for_precision(np.zeros(5, int), p[:5], 0.5) is None
    assert metrics.threshold_for_f1(np.zeros(5, int), p[:5]) == 0.5


# ---- folders and the command line


def test_real_paragraphs_are_sorted_and_the_folder_is_whole(sentiment: Path) -> None:
    found = unrolled.load(sentiment)
    assert found.metrics["valid_accuracy"] > 0.8
    report = (sentiment / "report.html").read_text()
    assert "Confusion" in report
    assert "Reliability" in report
    assert (
        "| debugging | 82 |" in (sentiment / "README.md").read_text()
        or "debugging" in (sentiment / "README.md").read_text()
    )
    again = unrolled.load(sentiment / "best")
    texts = ["Sets a breakpoint at the given line.", "", "zzqx"]
    assert (again.probabilities(texts) == found.probabilities(texts)).all()
    assert found.predict(texts)[0].label == "debugging"


def test_the_command_line_trains_evaluates_answers_and_explains(sentiment: Path, tmp_path: Path) -> None:
    data = sentiment.parent / "pages.jsonl"
    out, _ = run("evaluate", sentiment, data, "--json", "--out", tmp_path / "e.html")
    found = json.loads(out)
    assert found["accuracy"] > 0.9
    held = found["examples"] - found["seen_in_training"]  # a tenth was held out, and not learned from
    assert 0.05 < held / found["examples"] < 0.15
    assert "Reliability" in (tmp_path / "e.html").read_text()
    out, _ = run("evaluate", sentiment, data)
    assert "calibration error" in out
    assert "given, answered:" in out
    asked = b"Sets a breakpoint at the given line of the file.\nThe else clause\n"
    out, _ = run("predict", sentiment, "--json", stdin=asked)
    first = json.loads(out.splitlines()[0])
    assert first["label"] == "debugging"
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    out, _ = run("predict", sentiment, "zzqx", "--threshold", "0.99")
    assert out.startswith("-\t0.")
    run("explain", sentiment, "Sets a breakpoint.", "--out", tmp_path / "w.html")
    assert "breakpoint" in (tmp_path / "w.html").read_text()
    _, err = run("explain", sentiment, "x", "--out", tmp_path / "w.html", code=3)
    assert "exists already" in err
    out, _ = run("explain", sentiment, "Sets a breakpoint.")
    assert json.loads(out)["tokens"] == ["Sets", "a", "breakpoint", "."]
    out, _ = run("info", sentiment)
    assert "task: classify" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "classify", "{data}", "--out", "{new}"], "line 1: has no 'text'; the fields are 'body', 'page'"),
        (["train", "classify", "{data}", "--text", "body", "--label", "page", "--out", "{run}"], "holds a run already"),
        (["train", "classify", "{data}", "--preset", "best", "--out", "{new}"], "unknown preset 'best'"),
        (["train", "classify", "{data}", "--target", "f1", "--out", "{new}"], "--target f1 is for --labels many"),
        (["evaluate", "{run}", "{data}", "--text", "nope"], "has no 'nope'"),
        (["sample", "{run}"], "holds a classifier, expected a language model"),
        (["neighbors", "{run}", "x"], "holds a classifier, expected word vectors"),
        (["explain", "{run}"], "a model is explained on a text"),
        (["train", "--resume", "{run}"], "trained in seconds and not resumed"),
    ],
)
def test_errors_name_what_is_wrong(sentiment: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    places = {"data": sentiment.parent / "pages.jsonl", "run": sentiment, "new": tmp_path / "new"}
    _, err = run(*(a.format(**places) for a in arguments), code=3)
    assert message in err
    assert not (tmp_path / "new").exists()


def test_a_line_that_is_not_utf_8_keeps_its_place(sentiment: Path) -> None:
    out, err = run("predict", sentiment, stdin=b"one\n\xff\xfe\nthree\n", code=4)
    assert out.splitlines()[1] == "-\t-"
    assert len(out.splitlines()) == 3
    assert "line 2: not utf-8" in err


@pytest.mark.parametrize(
    "damage", ["model.safetensors", "vocabulary.json", "n-grams.safetensors", "seen.bin", "config.json"]
)
def test_damaged_folders_are_refused(sentiment: Path, tmp_path: Path, damage: str) -> None:
    for file in (sentiment / "best").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / damage).write_bytes((tmp_path / damage).read_bytes()[:40])
    if damage == "seen.bin":
        (tmp_path / damage).unlink()
    with pytest.raises(FolderError):
        unrolled.load(tmp_path)


def test_given_vectors_are_where_it_begins_and_may_be_frozen(sentiment: Path, vector_run: Path) -> None:
    vectors = unrolled.load(vector_run)
    data = help_pages()
    task = training(data, vectors=str(vector_run), freeze_vectors=True, average_epochs=2, ngrams=1)
    assert str(task.transferred).startswith("given vectors for ")
    list(task.train())
    features = task.reading.features
    row = next(r for r, word in enumerate(features.words) if word in vectors)
    given = vectors[features.words[row]]
    expected = given / np.linalg.norm(given)
    np.testing.assert_allclose(task.network.model.vectors.numpy()[row, : vectors.size], expected, rtol=1e-5)
    with pytest.raises(ConfigError, match="is a model, but not of word vectors"):
        training(data, vectors=str(sentiment))


def test_chinese_needs_no_option() -> None:
    rng, data = np.random.default_rng(0), Labelled()
    for i in range(200):
        label = ("好评", "差评")[i % 2]
        middle = "".join(rng.choice(list("的一是在不了有和人这"), size=12))
        data.add(f"{middle}{'干净舒服' if i % 2 == 0 else '又脏又吵'}{middle}", (label,), 1.0, str(i))
    found = trained(data, average_epochs=10)
    assert [p.label for p in found.predict(["房间很干净，舒服", "又脏"])] == ["好评", "差评"]


def test_tags_are_left_out_if_asked_to() -> None:
    data = examples(
        *[(f"<br />good w{i % 5}", "a") for i in range(30)], *[(f"bad<BR> 3 < 5 w{i % 5}", "b") for i in range(30)]
    )
    words = training(data, strip_tags=True).reading.features.words
    assert "br" not in words
    assert "<" in words
