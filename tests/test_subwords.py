"""Sub-words: n-grams as fastText has them, kernels against loops of numpy, words never seen, fastText's files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import unrolled
from unrolled.cli.main import app
from unrolled.data.fasttext import FastText, write_fasttext
from unrolled.data.samples import english
from unrolled.data.text import Document
from unrolled.data.vector_files import read_vectors
from unrolled.data.word_tests import Similarities
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.subwords import NGrams, Parts, Subwords
from unrolled.kernels.huffman import huffman
from unrolled.models.word2vec import STRETCH, Word2Vec, Word2VecConfig
from unrolled.run.word_vectors import train_word_vectors, word_vectors_options
from unrolled.tasks.trained_vectors import TrainedWordVectors

# --------------------------------------------------------------------------------------------------------------- n-grams


def buckets_of(word: str, shortest: int, longest: int, buckets: int) -> list[int]:
    """What the docstring of `kernels/ngrams.py` says, in plain Python."""
    marked, found = f"<{word}>", []
    for start in range(len(marked)):
        for end in range(start + shortest, min(start + longest, len(marked)) + 1):
            if end - start == 1 and (start == 0 or end == len(marked)):
                continue
            mixed = 2_166_136_261
            for byte in marked[start:end].encode():
                mixed = (mixed ^ (byte | (0xFFFFFF00 if byte > 127 else 0))) * 16_777_619 % 2**32
            found.append(mixed % buckets)
    return found


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), max_size=5),
    st.integers(1, 4),
    st.integers(0, 4),
    st.integers(1, 2**31 - 1),
)
def test_ngrams_are_runs_of_characters(words: list[str], shortest: int, more: int, buckets: int) -> None:
    counts, found = NGrams(shortest, shortest + more, buckets).of(words)
    wanted = [buckets_of(w, shortest, shortest + more, buckets) if w != "</s>" else [] for w in words]
    assert counts.tolist() == [len(some) for some in wanted]
    assert found.tolist() == [bucket for some in wanted for bucket in some]


def test_fasttexts_own_numbers() -> None:
    """Rows that fastText 0.9.2 gives the n-grams <wh whe her ere re> among 2,000,000 buckets."""
    assert NGrams(3, 3, 2_000_000).of(["where"])[1].tolist() == [167_652, 420_941, 1_473_420, 1_529_033, 867_498]
    assert not NGrams(3, 6, 1000).of(["</s>"])[0].any()
    assert not NGrams(3, 0, 1000).of(["where"])[0].any()


# --------------------------------------------------------------------------------------------------------------- kernels

WORDS = ["of", "abc", "abcd", "bcde", "xyz", "xyzz", "yzza", "größe", "größer", "abcabc"]
#: Word 0 is so frequent that the noise is always it.
COUNTS = np.array([10**6, 50, 40, 30, 20, 10, 5, 4, 3, 2])
V, NEGATIVES = len(WORDS), 3
NGRAMS = NGrams(2, 4, 40)


def make(**config: Any) -> tuple[Word2Vec, Parts]:
    plain = {"vector_size": 21, "window": 1, "negatives": NEGATIVES, "noise_exponent": 20.0, "subsample": 0.0}
    parts = Parts(WORDS, NGRAMS)
    model = Word2Vec(Word2VecConfig(V, **plain | {"subwords": True} | config), COUNTS, seed=3, parts=parts)
    random = np.random.default_rng(5)
    model.input_vectors[:] = random.normal(size=model.input_vectors.shape)
    model.output_vectors[:] = random.normal(size=model.output_vectors.shape) * 0.5
    return model, parts


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


class Reference:
    """What the docstring of `kernels/subwords.py` says, in float64."""

    def __init__(self, model: Word2Vec) -> None:
        self.config = model.config
        self.table, self.y = model.input_vectors.astype(float), model.output_vectors.astype(float)
        buckets = sorted({b for word in WORDS for b in buckets_of(word, 2, 4, 40)})
        self.parts = [[row, *(V + buckets.index(b) for b in buckets_of(word, 2, 4, 40))] for row, word in enumerate(WORDS)]
        self.paths, self.loss, self.inputs = huffman(COUNTS), 0.0, 0

    def step(self, h: np.ndarray, targets: list[tuple[int, float, float]]) -> np.ndarray:
        """h moves for targets (row, sign, weight) at once."""
        rows = [row for row, _, _ in targets]
        signs, weights = (np.array([target[k] for target in targets]) for k in (1, 2))
        q = sigmoid(signs * (self.y[rows] @ h))
        self.loss -= np.log(q).sum()
        g = 0.03 * weights * signs * (1 - q)
        moved = h + g @ self.y[rows]
        self.y[rows] += np.outer(g, h)
        return moved

    def targets(self, word: int) -> list[tuple[int, float, float]]:
        if self.config.objective == "hierarchical-softmax":
            starts, nodes, turns = self.paths
            part = slice(starts[word], starts[word + 1])
            return [(int(n), float(t), 1.0) for n, t in zip(nodes[part], turns[part], strict=True)]
        return [(word, 1.0, 1.0), *([(0, -1.0, float(NEGATIVES))] if word else [])]

    def train(self, ids: np.ndarray) -> None:
        cbow, left = self.config.architecture == "cbow", self.config.context == "left"
        for i, word in enumerate(ids):
            places = {i - 1, i + 1} if not left else {i - 1} if cbow else {i + 1}
            window = [int(ids[j]) for j in sorted(places) if 0 <= j < len(ids) and ids[j] >= 0]
            if word < 0 or not window:
                continue
            of = window if cbow else [int(word)]
            before = np.mean([self.table[self.parts[w]].mean(0) for w in of], 0)
            h = self.learned(before, int(word), window)
            share = 1 / len(of) if cbow and self.config.cbow_gradient == "divided" else 1
            for w in of:
                np.add.at(self.table, self.parts[w], share * (h - before))

    def learned(self, h: np.ndarray, word: int, window: list[int]) -> np.ndarray:
        for target in [word] if self.config.architecture == "cbow" else window:
            h = self.step(h, self.targets(target))
            self.inputs += 1
        return h


@pytest.mark.parametrize("objective", ["negative-sampling", "hierarchical-softmax"])
@pytest.mark.parametrize("context", ["around", "left"])
@pytest.mark.parametrize(
    "architecture",
    [{"exact": False}, {"exact": True}, {"architecture": "cbow"}, {"architecture": "cbow", "cbow_gradient": "word2vec"}],
)
def test_the_kernel_does_what_the_equations_say(objective: str, context: str, architecture: dict[str, Any]) -> None:
    model, _ = make(objective=objective, context=context, **architecture)
    random = np.random.default_rng(0)
    ids = random.integers(0, V, 300).astype(np.int32)
    ids[random.random(300) < 0.1] = -1
    reference = Reference(model)
    found = model.train(ids, (0.03, 0.03), model.desks([1])[0])
    reference.train(ids)
    assert found.words == (ids >= 0).sum()
    assert found.inputs == reference.inputs
    assert found.loss == pytest.approx(reference.loss, rel=1e-5)
    np.testing.assert_allclose(model.input_vectors, reference.table, atol=5e-5)
    np.testing.assert_allclose(model.output_vectors, reference.y, atol=5e-5)
    assert not model.inputs[:, 21:].any()
    means = [reference.table[some].mean(0) for some in reference.parts]
    np.testing.assert_allclose(model.vectors, means, atol=5e-5)


@pytest.mark.parametrize("architecture", ["skip-gram", "cbow"])
@pytest.mark.parametrize("objective", ["negative-sampling", "hierarchical-softmax"])
@pytest.mark.parametrize("window", [1, 15])
def test_a_word_never_seen_is_near_the_words_of_its_stem(architecture: str, objective: str, window: int) -> None:
    """Stems that go together in sentences, with endings; the vector of a stem with an ending held back."""
    random = np.random.default_rng(1)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    stems = ["".join(random.choice(letters, 6)) for _ in range(24)]
    words = [stem + ending for stem in stems for ending in ("ing", "ed", "s")]
    topics = random.permutation(24).reshape(6, 4)
    rows = np.take_along_axis(topics[random.integers(6, size=4000)], random.integers(4, size=(4000, 6)), axis=1)
    ids = np.column_stack([3 * rows + random.integers(3, size=rows.shape), np.full(4000, -1)]).ravel().astype(np.int32)
    counts = np.bincount(ids[ids >= 0], minlength=72)
    ngrams, config = (
        NGrams(3, 6, 100_000),
        Word2VecConfig(72, 20, architecture, objective, window=window, subsample=0.0, subwords=True),
    )
    parts = Parts(words, ngrams)
    model = Word2Vec(config, counts, seed=1, parts=parts)
    desk = model.desks([1])[0]
    for _ in range(6 if architecture == "skip-gram" else 40):  # its words move by shares
        for at in range(0, len(ids), STRETCH):
            assert np.isfinite(model.train(ids[at : at + STRETCH], (0.05, 0.05), desk).loss)
    subwords = Subwords(ngrams, model.input_vectors, 72, parts.buckets)
    units = model.vectors / np.linalg.norm(model.vectors, axis=1, keepdims=True)
    same_stem, same_topic = [], []
    for topic in topics:
        for stem in topic:
            unseen = subwords.vectors_of([stems[stem] + "ful"])[0]
            near = np.argsort(-(units @ unseen))[:9] // 3
            same_stem.append(stem in near)
            same_topic.append(np.isin(near, topic).mean())
    assert all(same_stem)
    assert np.mean(same_topic) > 0.9


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match="sub-words go with negative sampling"):
        make(objective="softmax")
    for flags, what in (({"objective": "softmax"}, "not with the full softmax"), ({"min_ngram": 7}, "above --max-ngram 6")):
        options = word_vectors_options(flags={"subwords": True, **flags})
        with pytest.raises(ConfigError, match=what):
            list(train_word_vectors(options, [Document("x", "a b")], "never-made"))


# ----------------------------------------------------------------------------------------------------------- from a text


def train(text: str, out: Path, start: Any = None, **flags: Any) -> TrainedWordVectors:
    corpus = out.parent / f"{out.name}.txt"
    corpus.write_text(text, encoding="utf-8")
    flags = {"epochs": 1, "vector_size": 16, "threads": 1, "subwords": True} | flags
    flags |= {"buckets": flags.get("buckets", 100_000)} if flags["subwords"] else {}
    options = word_vectors_options(flags=flags, start=start)
    list(train_word_vectors(options, [corpus], out, start=start))
    return TrainedWordVectors.load(out)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subwords")
    train(english().text[:200_000], folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def hierarchical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("subwords")
    train(english().text[:200_000], folder / "run", objective="hierarchical-softmax", architecture="cbow")
    return folder / "run"


def test_words_never_seen_have_vectors(run: Path) -> None:
    vectors = unrolled.load(run)
    word = vectors.words[30]
    new = f"un{word}ness"
    assert new in vectors
    assert new not in vectors.index
    assert vectors[new].shape == (16,)
    assert vectors.neighbors(new, 3)
    assert vectors.similarity(new, word) > vectors.similarity(new, vectors.words[31])
    assert "\u4e2d" not in vectors
    with pytest.raises(DataError, match="has no vector"):
        vectors["\u4e2d"]
    found = vectors.test(Similarities("s", [(word, new), (word, "\u4e2d"), (word.upper(), vectors.words[9])], [1, 2, 3]))
    assert (found["without_vector"], found["from_subwords"]) == (1, 1)
    own = vectors.subwords.vectors_of(vectors.words, np.arange(len(vectors)))
    np.testing.assert_allclose(own, vectors.array, atol=1e-6)


def test_learning_on_with_new_words(run: Path, tmp_path: Path) -> None:
    before = TrainedWordVectors.load(run)
    old = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    after = train("zyxwvut again zyxwvut and zyxwvut\n" * 400, tmp_path / "on", start=before, learning_rate=1e-6)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == old
    assert list(after.words[: len(before)]) == list(before.words)
    assert "zyxwvut" in after.index
    np.testing.assert_allclose(after.array[: len(before)], before.array, atol=1e-3)
    assert before.subwords is not None
    assert after.subwords is not None
    assert set(before.subwords.buckets.tolist()) < set(after.subwords.buckets.tolist())
    with pytest.raises(ConfigError, match="max-ngram: the vectors to learn on from were made with 6, not 5"):
        word_vectors_options(flags={"max_ngram": 5}, start=before)


def test_a_damaged_folder(run: Path, tmp_path: Path) -> None:
    vectors = TrainedWordVectors.load(run)
    assert vectors.subwords is not None
    vectors.subwords.buckets = vectors.subwords.buckets[:-1]
    vectors.save(tmp_path / "bad")
    with pytest.raises(FolderError, match="do not fit each other"):
        unrolled.load(tmp_path / "bad")


# ------------------------------------------------------------------------------------------------------- fastText's files


@pytest.mark.parametrize("kind", ["run", "hierarchical"])
def test_a_fasttext_file_gives_the_same_vectors(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    vectors = TrainedWordVectors.load(request.getfixturevalue(kind))
    vectors.export(tmp_path / "v.bin", "fasttext-bin")
    found = unrolled.load(tmp_path / "v.bin")
    assert found.words == vectors.words  # by falling count already
    np.testing.assert_allclose(found.array, vectors.array, atol=1e-6)
    for word in ("unseen", "the-of", "größer"):
        np.testing.assert_allclose(found[word], vectors[word], atol=1e-6)
    assert found.counts.tolist() == vectors.counts.tolist()
    told = CliRunner().invoke(app, ["info", str(tmp_path / "v.bin")]).stdout
    assert "fasttext-bin" in told
    assert "3 to 6 characters, 100,000 buckets" in told
    assert vectors.config["model"]["objective"] in told
    with pytest.raises(ConfigError, match="export a run or model folder"):
        found.export(tmp_path / "again.bin", "fasttext-bin")


def test_plain_vectors_as_a_fasttext_file(tmp_path: Path) -> None:
    vectors = train("a b b c c c d d d d e e e e e f f f f f f\n" * 50, tmp_path / "plain", subwords=False)
    vectors.counts[:] = vectors.counts[::-1].copy()  # as after learning on: not in order
    vectors.export(tmp_path / "v.bin", "fasttext-bin")
    found = unrolled.load(tmp_path / "v.bin")
    assert found.words == vectors.words[::-1]
    for word in vectors.words:
        np.testing.assert_array_equal(found[word], vectors[word])
    assert found.array.flags.aligned
    assert found.neighbors("a", 2)
    assert "none" in CliRunner().invoke(app, ["info", str(tmp_path / "v.bin")]).stdout


@pytest.mark.parametrize("seed", range(4))
def test_the_tree_is_fasttexts_with_ties_and_all(seed: int) -> None:
    """fastText builds it so, and numbers its inner nodes as they are made; ours are numbered from the root."""
    counts = np.sort(np.random.default_rng(seed).integers(1, 9, 40))[::-1]
    n, leaf, node = len(counts), len(counts) - 1, len(counts)
    weight, parent, code = [*counts.tolist(), *[10**15] * (n - 1)], [-1] * (2 * n - 1), [False] * (2 * n - 1)
    for new in range(n, 2 * n - 1):
        both = []
        for _ in range(2):
            if leaf >= 0 and weight[leaf] < weight[node]:
                both.append(leaf)
                leaf -= 1
            else:
                both.append(node)
                node += 1
        weight[new] = weight[both[0]] + weight[both[1]]
        parent[both[0]] = parent[both[1]] = new
        code[both[1]] = True
    paths, nodes, turns = huffman(counts)
    for word in range(n):
        at, wanted = word, []
        while parent[at] >= 0:
            wanted.append((parent[at] - n, code[at]))
            at = parent[at]
        part = slice(paths[word], paths[word + 1])
        assert [(n - 2 - k, t > 0) for k, t in zip(nodes[part].tolist(), turns[part], strict=True)] == wanted[::-1]


def model(**settings: int) -> FastText:
    plain = {"dim": 3, "ws": 5, "epoch": 1, "minCount": 1, "neg": 5, "wordNgrams": 1, "loss": 2, "model": 2, "bucket": 4}
    plain |= {"minn": 2, "maxn": 3, "lrUpdateRate": 100, "t": 0, "tokens": 30} | settings
    random = np.random.default_rng(0)
    words, inputs = ["the", "größe"], random.normal(size=(2 + plain["bucket"], 3)).astype(np.float32)
    return FastText(plain, words, np.array([20, 10]), [], inputs, inputs[:2] * 2)


def packed(made: FastText) -> bytes:
    return b"".join(write_fasttext(made))


def by_hand(version: int = 12, labels: int = 0, quantised: bool = False, pruned: int = -1, name: bytes = b"the") -> bytes:
    """A fastText file as fastText's sources write it."""
    settings = (3, 5, 1, 1, 5, 1, 3 if labels else 2, 3 if labels else 2, 4, 2, 3, 100)
    entries = [(name, 20, 0), ("größe".encode(), 10, 0)] + [(b"__label__%d" % i, 5, 1) for i in range(labels)]
    head = struct.pack("<ii12id", 793_712_314, version, *settings, 1e-4)
    words = struct.pack("<iiiqq", len(entries), 2, labels, 30, pruned)
    words += b"".join(word + b"\0" + struct.pack("<qb", n, kind) for word, n, kind in entries)
    table = np.arange(18, dtype="<f4").reshape(6, 3)
    outputs = np.ones((labels or 2, 3), "<f4")
    inputs = struct.pack("<?qq", quantised, 6, 3) + table.tobytes()
    return head + words + inputs + struct.pack("<?qq", False, *outputs.shape) + outputs.tobytes()


@pytest.mark.parametrize("labels", [0, 2])
@pytest.mark.parametrize("version", [11, 12])
def test_files_as_fasttext_writes_them(labels: int, version: int, tmp_path: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(by_hand(version, labels))
    vectors, table = unrolled.load(path), np.arange(18, dtype=np.float32).reshape(6, 3)
    assert vectors.words == ["the", "größe"]
    parts = buckets_of("the", 2, 3, 4)
    if labels and version == 11:  # had no n-grams, whatever the header says
        assert np.array_equal(vectors["the"], table[0])
        assert "them" not in vectors
    else:
        np.testing.assert_allclose(vectors["the"], table[[0, *(2 + b for b in parts)]].mean(0), rtol=1e-6)
        np.testing.assert_allclose(vectors["them"], table[[2 + b for b in buckets_of("them", 2, 3, 4)]].mean(0), rtol=1e-6)
    told = CliRunner().invoke(app, ["info", str(path)]).stdout
    assert ("labels: 2, such as '__label__0'" in told) == bool(labels)


def test_every_way_to_cut_a_file_off_is_noticed(tmp_path: Path) -> None:
    path, whole = tmp_path / "v.bin", packed(model())
    path.write_bytes(whole)
    assert read_vectors(path).kind == "fasttext-bin"
    for n in range(4, len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(DataError, match="again"):
            read_vectors(path)


def with_nan(made: FastText) -> FastText:
    made.inputs[4, 1] = np.nan
    return made


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "version": (lambda: by_hand(version=13), "version 13; known are 11 and 12"),
    "quantised": (lambda: by_hand(quantised=True), r"quantised fastText model \(.ftz\)"),
    "pruned": (lambda: by_hand(pruned=3), "pruned words"),
    "not UTF-8": (lambda: by_hand(name=b"th\xff"), "word 1: .* is not UTF-8"),
    "twice": (lambda: by_hand(name="größe".encode()), "stands in its dictionary twice"),
    "NaN": (lambda: packed(with_nan(model())), "row 5: the vector of n-gram bucket 2 holds NaN"),
    "rows": (lambda: packed(model()._replace(inputs=np.ones((3, 3), np.float32))), "damaged|cut off"),
    "no words": (lambda: by_hand()[:64] + struct.pack("<iiiqq", 0, 0, 0, 0, -1), "promises 0 words"),
    "huge": (lambda: by_hand()[:64] + struct.pack("<iiiqq", 2**31 - 1, 2**31 - 1, 0, 0, -1), "promises 2147483647"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "v.bin"
    path.write_bytes(BAD[name][0]())
    with pytest.raises(DataError, match=BAD[name][1]) as caught:
        unrolled.load(path)
    assert str(path) in str(caught.value)


def test_the_commands(run: Path, tmp_path: Path) -> None:
    call = CliRunner().invoke
    out = tmp_path / "v.bin"
    near = call(app, ["neighbors", str(run), "thereabouts"]).stdout
    assert near.count("\t") == 10
    assert call(app, ["export", str(run), str(out), "--format", "fasttext-bin"]).exit_code == 0
    assert call(app, ["neighbors", str(out), "thereabouts"]).stdout.count("\t") == 10
    assert call(app, ["export", str(out), str(tmp_path / "v.txt"), "--format", "glove"]).exit_code == 0
    assert call(app, ["export", str(out), str(tmp_path / "w.bin"), "--format", "fasttext-bin"]).exit_code != 0
