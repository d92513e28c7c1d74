"""Probabilities that mean what they say: texts without evidence have the prior, certainty is bounded by what was shown."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from test_cli import run
from unrolled.data.labelled import Labelled
from unrolled.features.labels import LabelSet
from unrolled.metrics import classification as metrics
from unrolled.run.classify import classify_options, train_classifier
from unrolled.run.tag import tag_options, train_tagger
from unrolled.tasks.classifier import Decision, TrainedClassifier
from unrolled.tasks.classify import AverageTraining, Split

WORDS = {
    "pos": ["good", "fine", "great"],
    "neg": ["bad", "poor", "awful"],
    "odd": ["strange", "queer", "weird"],
    "dull": ["slow", "long", "flat"],
    "好": ["很好", "不错", "满意"],
}
BOTH = ["film", "plot"]


def examples(counts: dict[str, int], *, size: int = 6) -> Labelled:
    """Texts of words that only their label has, and of words that all labels share."""
    rng, data = random.Random(0), Labelled()
    for label, n in counts.items():
        for i in range(n):
            data.add(
                " ".join(rng.choices(WORDS.get(label, [label, f"{label}s"]) + BOTH, k=size)), (label,), 1.0, f"{label} {i}"
            )
    return data


def average(data: Labelled, **flags: Any) -> TrainedClassifier:
    options = classify_options(flags=flags)
    task = AverageTraining(options, Split(options, data))
    for _ in task.train():
        pass
    return task.trained()


@pytest.mark.parametrize(
    "counts",
    [
        {"pos": 200, "neg": 200},
        {"pos": 20, "neg": 20},
        {"pos": 3, "neg": 3},
        {"pos": 180, "neg": 20},
        {"pos": 60, "neg": 60, "odd": 60, "dull": 60, "好": 60},
        {f"topic{i}": 12 for i in range(30)},
    ],
)
def test_a_text_without_evidence_has_the_prior(counts: dict[str, int]) -> None:
    data = examples(counts)
    found = average(data)
    prior = np.array([counts[name] for name in found.labels.names]) / sum(counts.values())
    for text in ("", "   ", "zzz qqq", "？", "未知"):
        np.testing.assert_allclose(found.probabilities([text])[0], prior, atol=0.1)
    first, second = list(counts)[:2]
    shared = ["film plot", "film"]
    if first in WORDS:
        shared.append(f"{WORDS[first][0]} {WORDS[second][0]}")
    for text in shared:  # less certain than one word of its own makes it
        assert found.probabilities([text])[0].max() < max(0.75, prior.max() + 0.1), text
    assert metrics._TEMPERATURES[0] * 1.1 < found.decision.temperature < metrics._TEMPERATURES[1] / 1.1
    assert found.predict([data.texts[0]])[0].label == data.labels[0][0]


def test_balanced_weights_make_the_prior_even() -> None:
    found = average(examples({"pos": 180, "neg": 20}), class_weights="balanced")
    np.testing.assert_allclose(found.probabilities([""])[0], [0.5, 0.5], atol=0.02)


def test_many_labels_have_each_the_part_of_the_texts_that_have_it() -> None:
    rng, data = random.Random(1), Labelled()
    for i in range(200):
        names = [name for name, p in (("pos", 0.8), ("odd", 0.3), ("dull", 0.1)) if rng.random() < p]
        words = [word for name in names for word in rng.choices(WORDS[name], k=2)] + rng.choices(BOTH, k=3)
        data.add(" ".join(words), tuple(names), 1.0, str(i))
    found = average(data, labels="many")
    parts = Counter(label for labels in data.labels for label in labels)
    for text in ("", "zzz qqq"):
        for name, p in found.predict([text])[0].probabilities.items():
            assert p == pytest.approx(parts[name] / 200, abs=0.06), (text, name)


def test_ordered_labels_have_their_frequencies() -> None:
    data = Labelled()
    for i in range(150):
        grade = ("1", "2", "2", "3", "3", "3")[i % 6]
        data.add(
            f"film {'awful' if grade == '1' else 'fine' if grade == '2' else 'great'} plot w{i % 9}", (grade,), 1.0, str(i)
        )
    found = average(data, labels="ordered")
    np.testing.assert_allclose(found.probabilities(["zzz"])[0], [1 / 6, 2 / 6, 3 / 6], atol=0.05)


def test_a_recurrent_network_and_a_blend_have_it_too(tmp_path: Path) -> None:
    flags = {"threads": 1, "epochs": 2, "hidden_size": 8, "embedding_size": 8, "learning_rate": 0.01, "adversarial": 0}
    for name, blend in (("rnn", False), ("blend", True)):
        options = classify_options(preset="rnn", flags=flags | {"blend": blend})
        for _ in train_classifier(options, examples({"pos": 120, "neg": 40}), tmp_path / name):
            pass
        found = unrolled.load(tmp_path / name)
        for text in ("", "zzz qqq", "。"):
            np.testing.assert_allclose(found.probabilities([text])[0], [0.25, 0.75], atol=0.05)
        assert found.predict(["good great fine"])[0].label == "pos"
        again = found.explain("zzz qqq")
        total = np.array(again["contributions"]).sum(0) + again["bias"]
        np.testing.assert_allclose(total, found.network.logits(["zzz qqq"])[0], atol=1e-5)


def test_the_command_line_is_not_certain_of_nothing(tmp_path: Path) -> None:
    data = examples({"pos": 100, "neg": 100})
    rows = "".join(f"{text},{labels[0]}\n" for text, labels in zip(data.texts, data.labels, strict=True))
    (tmp_path / "a.csv").write_text("text,label\n" + rows, encoding="utf-8")
    run("train", "classify", tmp_path / "a.csv", "--out", tmp_path / "m", "-q", "--threads", 1)
    out, _ = run("predict", tmp_path / "m", "", "zzz qqq", "film plot", "good bad", "--json")
    for line in out.splitlines():
        assert max(json.loads(line)["probabilities"].values()) < 0.7, line


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
@pytest.mark.parametrize("margin", [0.01, 1.0, 30.0])
def test_certainty_is_bounded_by_the_number_of_texts_that_were_right(n: int, margin: float) -> None:
    labels, given = LabelSet(("a", "b"), "one"), np.arange(n) % 2
    z = np.where(np.arange(2) == given[:, None], margin, 0.0)
    t = metrics.temperature_for(given, lambda t: labels.probabilities(z, t))
    confidence = labels.probabilities(z, t).max(1).mean()
    assert confidence <= (n + 1) / (n + 2) + 1e-9
    if margin / 0.05 > 8:  # the least temperature reaches it
        assert confidence == pytest.approx((n + 1) / (n + 2), abs=1e-3)


def test_an_unknown_label_changes_no_temperature() -> None:
    rng = np.random.default_rng(0)
    labels, z = LabelSet(("a", "b", "c"), "one"), rng.normal(size=(400, 3))
    given = labels.probabilities(z).argmax(1)
    given[::3] = rng.integers(3, size=len(given[::3]))
    strange = np.concatenate([given, [-1, -1]]), np.concatenate([z, [[9, 0, 0], [0, 9, 0]]])
    plain = metrics.temperature_for(given, lambda t: labels.probabilities(z, t))
    assert metrics.temperature_for(strange[0], lambda t: labels.probabilities(strange[1], t)) == pytest.approx(
        plain, rel=0.02
    )


def test_models_without_a_shift_answer_as_before() -> None:
    z = np.array([[1.0, -2.0], [0.5, 0.0]])
    np.testing.assert_array_equal(Decision(2.0).calibrated(z), z / 2)


def brute_force(best: Callable[[float], float], p: np.ndarray) -> float:
    return max(best(t) for t in [*np.unique(p), 2.0])


def f1_at(given: np.ndarray, p: np.ndarray, t: float) -> float:
    return metrics.f1_scores(given[:, None], (p >= t).astype(int)[:, None])[0]["f1"] or 0.0


@pytest.mark.parametrize(
    ("given", "p"),
    [
        ([1, 0, 1, 0, 0], [0.3, 0.5, 0.9, 0.9, 0.1]),
        ([1, 1, 0], [0.5, 0.5, 0.5]),
        ([0, 1], [1.0, 1.0]),
        ([1, 0, 0, 0], [0.0, 0.0, 0.0, 0.0]),
        ([1], [0.2]),
    ],
)
def test_the_threshold_for_f1_is_the_best_that_ties_allow(given: list[int], p: list[float]) -> None:
    truth, probability = np.array(given), np.array(p)
    t = metrics.threshold_for_f1(truth, probability)
    assert f1_at(truth, probability, t) == brute_force(lambda t: f1_at(truth, probability, t), probability)


def test_thresholds_are_the_best_of_all_on_many_tied_draws() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(1, 40))
        p = rng.random(n).round(int(rng.integers(1, 3)))
        given = (rng.random(n) < 0.4).astype(int)
        best = brute_force(lambda t, given=given, p=p: f1_at(given, p, t), p)
        assert f1_at(given, p, metrics.threshold_for_f1(given, p)) == pytest.approx(best, abs=1e-12)
        t = metrics.threshold_for_precision(given, p, 0.7)
        reached = [u for u in np.unique(p) if given[p >= u].mean() >= 0.7]
        assert (t is None) == (not reached)
        if t is not None:
            assert (p >= t).sum() == (p >= min(reached)).sum()


@pytest.mark.parametrize("task", ["classify", "tag"])
@pytest.mark.parametrize("learnable", [False, True])
def test_a_model_no_better_than_the_most_frequent_answer_is_warned_of(task: str, learnable: bool, tmp_path: Path) -> None:
    labels = ["x" if i % 3 else "y" for i in range(120)]
    known = {"x": "good", "y": "bad"} if learnable else {"x": "same", "y": "same"}
    if task == "classify":
        path = tmp_path / "a.csv"
        rows = (f"{known[label]} u{i},{label}\n" for i, label in enumerate(labels))
        path.write_text("text,label\n" + "".join(rows), encoding="utf-8")
    else:
        path = tmp_path / "a.conll"
        rows = (f"u{i} x\n{known[label]} {label}\n\n" for i, label in enumerate(labels))
        path.write_text("".join(rows), encoding="utf-8")
    small = ["--hidden-size", 8, "--spelling-size", 0, "--epochs", 10, "--learning-rate", 0.03] if task == "tag" else []
    _, said = run("train", task, path, "--out", tmp_path / "m", "-q", "--threads", 1, *small)
    assert said.count("warning: the model is not better than the most frequent answer") == (not learnable)


def test_the_share_of_the_most_frequent_answer() -> None:
    assert metrics.most_frequent_share("aab", "abbb") == 0.25
    assert metrics.most_frequent_share("aab", "") == 0


@pytest.mark.parametrize("vector_words", [50_000, 2, 0])
def test_a_tagger_knows_words_that_only_the_vectors_have(vector_words: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ["Anna", "Ben", "Zoë", "ZOË", "Oslo"]
    rows = "".join(f"{name} {' '.join(map(str, rng.normal(size=4).round(3)))}\n" for name in names)
    (tmp_path / "v.txt").write_text(rows, encoding="utf-8")
    (tmp_path / "a.conll").write_text("".join(f"Anna x\nw{i % 9} y\n\n" for i in range(60)), encoding="utf-8")
    small = {"threads": 1, "epochs": 1, "hidden_size": 4, "spelling_size": 0, "vectors": str(tmp_path / "v.txt")}
    options = tag_options(flags=small | {"vector_words": vector_words})
    for _ in train_tagger(options, [tmp_path / "a.conll"], tmp_path / "run"):
        pass
    found = unrolled.load(tmp_path / "run")
    known = {50_000: ["ben", "zoë", "oslo"], 2: ["ben"], 0: []}[vector_words]
    assert list(found.reading.forms.given) == known
    unknown = found.logits([["qqq"]])
    for word in ("Ben", "zoe\u0308", "OSLO"):
        told_apart = not np.allclose(found.logits([[word]]), unknown)
        assert told_apart == (word.lower().replace("e\u0308", "ë") in known), word
