"""The kernels of word2vec against loops of numpy, on text where nothing is left to chance; planted neighbours."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from unrolled.errors import ConfigError
from unrolled.kernels.huffman import huffman
from unrolled.kernels.noise import alias_table
from unrolled.models.word2vec import STRETCH, Word2Vec, Word2VecConfig

#: Word 0 is so frequent that the noise is always it.
COUNTS = np.array([10**6, 50, 40, 30, 20, 10, 5, 4, 3, 2, 1])
V = len(COUNTS)
OBJECTIVES = ["negative-sampling", "hierarchical-softmax", "softmax"]


def make(**config: Any) -> Word2Vec:
    plain = {"vector_size": 21, "window": 1, "negatives": 3, "noise_exponent": 20.0, "subsample": 0.0}
    model = Word2Vec(Word2VecConfig(V, **plain | config), COUNTS, seed=3)
    random = np.random.default_rng(5)
    model.vectors[:] = random.normal(size=model.vectors.shape) * 0.5
    model.output_vectors[:] = random.normal(size=model.output_vectors.shape) * 0.5
    return model


def text(n: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    ids = random.integers(0, V, n).astype(np.int32)
    ids[random.random(n) < 0.1] = -1
    return ids


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


class Reference:
    """What the docstring of `kernels/word2vec.py` says, in float64."""

    def __init__(self, model: Word2Vec) -> None:
        self.config, columns = model.config, model.config.vector_size + model._has_bias
        self.x, self.y = model.inputs[:, :columns].astype(float), model.outputs[:, :columns].astype(float)
        self.bias = model._has_bias
        self.paths = huffman(COUNTS)
        self.loss, self.inputs = 0.0, 0

    def targets(self, word: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, signs, and how often each counts."""
        if self.config.objective == "hierarchical-softmax":
            starts, nodes, turns = self.paths
            part = slice(starts[word], starts[word + 1])
            return nodes[part].astype(int), turns[part].astype(float), np.ones(len(nodes[part]))
        if word == 0:
            return np.array([0]), np.array([1.0]), np.array([1.0])
        return np.array([word, 0]), np.array([1.0, -1.0]), np.array([1.0, self.config.negatives])

    def step(self, x: np.ndarray, word: int, rate: float) -> np.ndarray:
        """Inputs (C, D) -> what they move by; the outputs move."""
        if self.config.objective == "softmax":
            f = x @ self.y.T
            p = np.exp(f) / np.exp(f).sum(1, keepdims=True)
            self.loss -= np.log(p[:, word]).sum()
            g = rate * ((np.arange(V) == word) - p)
            moved = g @ self.y
            self.y += g.T @ x
            return moved
        rows, signs, times = self.targets(word)
        q = sigmoid(signs * (x @ self.y[rows].T))
        self.loss -= np.log(q).sum()
        g = rate * times * signs * (1 - q)
        moved = g @ self.y[rows]
        self.y[rows] += g.T @ x
        return moved

    def train(self, ids: np.ndarray, rate: float) -> None:
        for i, word in enumerate(ids):
            around = range(max(0, i - 1), i if self.config.context == "left" else min(len(ids), i + 2))
            window = [int(ids[j]) for j in around if j != i and ids[j] >= 0]
            if word < 0 or not window:
                continue
            if self.config.architecture == "cbow":
                mean = self.x[window].mean(0)
                if self.bias:
                    mean[-1] = 1
                moved = self.step(mean[None], int(word), rate)[0]
                if self.bias:
                    moved[-1] = 0
                share = 1 / len(window) if self.config.cbow_gradient == "divided" else 1
                for other in window:
                    self.x[other] += share * moved
                self.inputs += 1
                continue
            one = self.config.exact or self.config.objective == "softmax" or len(set(window)) < len(window)
            for block in [[w] for w in window] if one else [window]:
                self.x[block] += self.step(self.x[block], int(word), rate)
                self.inputs += len(block)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("context", ["around", "left"])
@pytest.mark.parametrize(
    "architecture",
    [{"exact": False}, {"exact": True}, {"architecture": "cbow"}, {"architecture": "cbow", "cbow_gradient": "word2vec"}],
)
def test_the_kernels_do_what_the_equations_say(objective: str, context: str, architecture: dict[str, Any]) -> None:
    model = make(objective=objective, context=context, **architecture)
    reference, ids = Reference(model), text(300)
    found = model.train(ids, (0.03, 0.03), model.desks([1])[0])
    reference.train(ids, 0.03)
    assert found.words == (ids >= 0).sum()
    assert found.inputs == reference.inputs
    assert found.loss == pytest.approx(reference.loss, rel=1e-5)
    columns = reference.x.shape[1]
    np.testing.assert_allclose(model.inputs[:, :columns], reference.x, atol=2e-5)
    np.testing.assert_allclose(model.outputs[:, :columns], reference.y, atol=2e-5)
    assert not model.inputs[:, columns:].any()
    assert not model.outputs[:, columns:].any()


@pytest.mark.parametrize("size", [1, 4, 16, 17, 100, 300])
@pytest.mark.parametrize("negatives", [1, 5, 20])
def test_any_size_and_any_number_of_targets(size: int, negatives: int) -> None:
    """Blocks of all shapes: with uniform noise, windows of up to eight inputs and up to 21 targets."""
    counts = np.full(60, 10)
    model = Word2Vec(Word2VecConfig(60, vector_size=size, window=4, negatives=negatives, subsample=0.0), counts, seed=1)
    ids = np.random.default_rng(0).integers(0, 60, 4000).astype(np.int32)
    ids = np.where(ids % 2, ids, (np.roll(ids, 1) + 1) % 60).astype(np.int32)  # something to learn
    desk = model.desks([1])[0]
    first = model.train(ids, (1e-6, 1e-6), desk)
    different = 59 * (1 - (59 / 60) ** negatives)  # what is drawn twice is one target
    assert first.loss / first.inputs == pytest.approx((1 + different) * np.log(2), rel=0.02)
    for _ in range(30):
        found = model.train(ids, (0.05, 0.05), desk)
    assert found.loss / found.inputs < 0.97 * first.loss / first.inputs
    assert np.isfinite(model.inputs).all()
    assert np.isfinite(model.outputs).all()


def planted(groups: np.ndarray, sentences: int) -> np.ndarray:
    """Sentences of words of one group each."""
    random = np.random.default_rng(2)
    rows = groups[random.integers(len(groups), size=sentences)]
    words = np.take_along_axis(rows, random.integers(groups.shape[1], size=(sentences, 6)), axis=1)
    return np.column_stack([words, np.full(sentences, -1)]).ravel().astype(np.int32)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("architecture", ["skip-gram", "cbow"])
@pytest.mark.parametrize("context", ["around", "left"])
def test_planted_neighbours_are_recovered(objective: str, architecture: str, context: str) -> None:
    groups = np.random.default_rng(1).permutation(60).reshape(10, 6)
    ids = planted(groups, 8000)
    config = Word2VecConfig(60, 20, architecture, objective, context, subsample=0.0)
    model = Word2Vec(config, np.bincount(ids[ids >= 0], minlength=60), seed=1)
    desk = model.desks([1])[0]
    for _ in range(5):
        for at in range(0, len(ids), STRETCH):
            model.train(ids[at : at + STRETCH], (0.05, 0.05), desk)
    units = model.vectors / np.linalg.norm(model.vectors, axis=1, keepdims=True)
    cosines = units @ units.T - 9 * np.eye(60)
    for group in groups:
        for word in group:
            assert set(np.argsort(-cosines[word])[:5]) == set(group) - {word}


def test_frequent_words_are_dropped_as_the_formula_says() -> None:
    counts = np.array([80_000, 15_000, 5_000])
    model = Word2Vec(Word2VecConfig(3, 8, subsample=0.01), counts, seed=1)
    ids = np.random.default_rng(0).choice(3, 40_000, p=counts / counts.sum()).astype(np.int32)
    desk = model.desks([1])[0]
    assert model.train(ids, (0.01, 0.01), desk).words == 40_000
    kept = np.bincount(desk.kept[desk.kept >= 0], minlength=3)  # behind the last kept one: zeros
    frequency = counts / counts.sum()
    chance = np.minimum(1, np.sqrt(0.01 / frequency) + 0.01 / frequency)
    want = chance * np.bincount(ids, minlength=3)
    np.testing.assert_allclose(kept[1:], want[1:], rtol=0.05)


def test_the_same_seed_gives_the_same_tables() -> None:
    found = []
    for _ in range(2):
        model = Word2Vec(Word2VecConfig(V, 30, subsample=0.001), COUNTS, seed=9)
        model.train(text(5000), (0.05, 0.01), model.desks([4])[0])
        found.append(model.inputs.copy())
    assert np.array_equal(*found)
    other = Word2Vec(Word2VecConfig(V, 30, subsample=0.001), COUNTS, seed=9)
    other.train(text(5000), (0.05, 0.01), other.desks([5])[0])
    assert not np.array_equal(other.inputs, found[0])


@pytest.mark.parametrize("seed", range(5))
def test_huffmans_tree_is_as_short_as_can_be(seed: int) -> None:
    counts = np.random.default_rng(seed).zipf(1.3, 200).clip(max=10**9)
    paths, nodes, turns = huffman(counts)
    heap = sorted(counts.tolist())
    cost = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        cost += joined
        heapq.heappush(heap, joined)
    lengths = np.diff(paths)
    assert int(lengths @ counts) == cost
    order = np.argsort(-counts, kind="stable")
    assert (np.diff(lengths[order]) >= 0).all(), "frequent words near the root"
    prefixes: dict[tuple[int, ...], int] = {}
    codes = []
    for word in range(200):
        code = tuple(turns[paths[word] : paths[word + 1]].tolist())
        codes.append(code)
        for k, node in enumerate(nodes[paths[word] : paths[word + 1]].tolist()):
            assert prefixes.setdefault(code[:k], node) == node
    assert not set(codes) & set(prefixes), "no word is on the way to another"
    assert sorted(prefixes.values()) == list(range(199))
    assert prefixes[()] == 0


def shares(table: np.ndarray) -> np.ndarray:
    """The probability of each word that the table stands for."""
    n, threshold = len(table), (table >> np.uint64(32)).astype(float) / 2**32
    found = threshold / n
    np.add.at(found, (table & np.uint64(0xFFFFFFFF)).astype(int), (1 - threshold) / n)
    return found


def weights() -> Iterator[np.ndarray]:
    yield np.array([3.0])
    yield np.ones(7)
    yield np.array([1e-9, 1.0, 1e9, 5.0, 0.0])
    yield np.random.default_rng(0).zipf(1.2, 5000).astype(float) ** 0.75


@pytest.mark.parametrize("given", list(weights()), ids=len)
def test_the_alias_table_stands_for_the_distribution(given: np.ndarray) -> None:
    np.testing.assert_allclose(shares(alias_table(given)), given / given.sum(), atol=1e-9)


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="two words"):
        Word2Vec(Word2VecConfig(1), np.array([5]))
    with pytest.raises(ConfigError, match="60,000"):
        Word2Vec(Word2VecConfig(60_000, objective="softmax"), np.ones(60_000, np.int64))


def decisions(model: Word2Vec, old: int, x: np.ndarray) -> np.ndarray:
    """For each of the first words the log-probability, given x, of all turns that tell it from others of them."""
    paths, nodes, turns = huffman(model.counts)
    below: dict[tuple[int, int], set[int]] = {}
    for word in range(old):
        for k in range(paths[word], paths[word + 1]):
            below.setdefault((int(nodes[k]), int(turns[k])), set()).add(word)
    found = np.zeros(old)
    for word in range(old):
        for k in range(paths[word], paths[word + 1]):
            if (int(nodes[k]), -int(turns[k])) in below:
                found[word] += np.log(sigmoid(turns[k] * (x @ model.outputs[nodes[k], : len(x)])))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_inner_nodes_are_carried_over_when_words_join(seed: int) -> None:
    """New words, much rarer or much more frequent, change no decision between old ones, but move the numbers of nodes."""
    random = np.random.default_rng(seed)
    counts = 100_000 * np.sort(random.integers(10, 1000, 40))[::-1].copy()
    config = {"objective": "hierarchical-softmax", "vector_size": 12}
    before = Word2Vec(Word2VecConfig(40, **config), counts)
    before.output_vectors[:] = random.normal(size=before.output_vectors.shape)
    after = Word2Vec(Word2VecConfig(47, **config), np.append(counts, [1, 1, 1, 1, 1, 1, counts.sum()]))
    after.take_over(before.vectors, before.output_vectors, counts)
    x = random.normal(size=12)
    np.testing.assert_allclose(decisions(after, 40, x), decisions(before, 40, x), rtol=1e-5)
    assert np.array_equal(after.vectors[:40], before.vectors)
    padded = Word2Vec(Word2VecConfig(47, **config), after.counts)
    padded.output_vectors[:39] = before.output_vectors  # what appending rows would do
    assert np.abs(decisions(padded, 40, x) - decisions(before, 40, x)).max() > 1


def test_a_subtree_whose_sides_change_is_turned_round() -> None:
    config = {"objective": "hierarchical-softmax", "vector_size": 4}
    before = Word2Vec(Word2VecConfig(3, **config), np.array([9, 5, 4]))
    before.output_vectors[:] = np.random.default_rng(0).normal(size=(2, 4))
    after = Word2Vec(Word2VecConfig(3, **config), np.array([9, 5, 6]))  # the lighter of the two has become the heavier one
    after.take_over(before.vectors, before.output_vectors, before.counts)
    x = np.ones(4)
    np.testing.assert_allclose(decisions(after, 3, x), decisions(before, 3, x), rtol=1e-5)


@pytest.mark.parametrize("architecture", ["skip-gram", "cbow"])
def test_threads_with_copies_of_the_upper_nodes_learn_what_one_learns(architecture: str) -> None:
    groups = np.random.default_rng(1).permutation(60).reshape(10, 6)
    ids = planted(groups, 16000)
    config = Word2VecConfig(60, 20, architecture, "hierarchical-softmax", subsample=0.0)
    model = Word2Vec(config, np.bincount(ids[ids >= 0], minlength=60), seed=1)
    desks = model.desks([1, 2, 3])
    assert [tuple(desk.own) for desk in desks] == [(60 + 59 * k, 59, 3) for k in range(3)]
    loss = []
    for _ in range(5):
        for at in range(0, len(ids), 10_000):
            desk = desks[at // 10_000 % 3]
            found = model.train(ids[at : at + 10_000], (0.05, 0.05), desk)
            loss.append(found.loss / found.inputs)
            copies = model.outputs[desk.own[0] : desk.own[0] + 59]
            assert np.array_equal(copies, model.outputs[:59])  # nothing is left in the copies alone
    assert loss[-1] < 0.8 * loss[0]
    units = model.vectors / np.linalg.norm(model.vectors, axis=1, keepdims=True)
    cosines = units @ units.T - 9 * np.eye(60)
    for group in groups:
        for word in group:
            assert set(np.argsort(-cosines[word])[:5]) == set(group) - {word}
    assert model.output_vectors.shape == (59, 20)
