"""Words counted as Python counts them; files of vectors, whole and damaged; look-up, tests, training; the command line."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import unrolled
from unrolled.cli.main import app
from unrolled.data.samples import english
from unrolled.data.text import Document
from unrolled.data.vector_files import FORMATS, read_vectors, write_vectors
from unrolled.data.word_tests import Analogies, Similarities, read_word_test
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.numbering import Spool
from unrolled.features.phrases import join_phrases, learn_phrases
from unrolled.features.vocabulary import END, UNKNOWN
from unrolled.features.words import READERS, choose, read_words, rows_of
from unrolled.metrics.word_vectors import ranks, spearman
from unrolled.tasks.explain_word_vectors import explain_vectors
from unrolled.tasks.vectors import Vectors
from unrolled.training.hogwild import at_once

# ---------------------------------------------------------------------------------------------------------------- words

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def counted(text: str, reader: str) -> tuple[Counter[str], list[str], np.ndarray]:
    words = read_words([Document("x", text)], READERS[reader], Spool())
    names = words.spelled(range(len(words)))
    kept = choose(words.counts, min_count=1)
    ids = words.ids(rows_of(kept, len(words)), Spool())
    return Counter(dict(zip(names, words.counts.tolist(), strict=True))), words.spelled(kept), ids


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=st.sampled_from("ab'’ \n\t-.9ÄéßΩжا_"), max_size=60))
def test_words_are_those_of_a_regular_expression(text: str) -> None:
    counts, names, ids = counted(text, "words")
    lines = [[w.lower() for w in _WORD.findall(line)] for line in text.split("\n")]
    assert counts == Counter(w for line in lines for w in line)
    read = [[]] if not len(ids) else [list(part) for part in np.split(ids, np.flatnonzero(ids == -1))]
    assert [[names[i] for i in part if i >= 0] for part in read if any(i >= 0 for i in part)] == [x for x in lines if x]
    assert not ((ids[1:] == -1) & (ids[:-1] == -1)).any()


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet=st.sampled_from("aB,  \n\t\u3000é"), max_size=60))
def test_between_blanks(text: str) -> None:
    assert counted(text, "whitespace")[0] == Counter(text.split())


def test_a_han_character_is_a_word_and_case_can_count() -> None:
    assert counted("却说Sun悟空 ok", "words")[0] == Counter(["却", "说", "sun", "悟", "空", "ok"])
    assert counted("The the Don't", "cased-words")[0] == Counter(["The", "the", "Don't"])


def test_many_words_long_words_and_long_lines() -> None:
    """The table grows; words of more than a thousand characters are cut, and lines of any length are read to the end."""
    text = " ".join(f"w{i % 200_000}" for i in range(300_000)) + " " + "x" * 3000
    counts, _, ids = counted(text, "whitespace")
    assert len(counts) == 200_001
    assert sum(counts.values()) == 300_001 == (ids >= 0).sum()
    assert counts["x" * 1000] == 1


def test_the_most_frequent_are_chosen() -> None:
    counts = np.array([3, 9, 3, 1, 5])
    assert choose(counts, min_count=3).tolist() == [1, 4, 0, 2]
    assert choose(counts, min_count=1, most=2).tolist() == [1, 4]
    assert choose(counts, min_count=99).tolist() == []


def test_words_that_belong_together_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.features.phrases._BLOCK", 7)  # pairs across blocks
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(["a", "b", "c", "d", "new york", "new york times"], 12)) for _ in range(300)]
    words = read_words([Document("x", "\n".join(lines))], READERS["words"], Spool())
    total = int(words.counts.sum())
    text, meet = [line.split() for line in lines], Counter[tuple[str, str]]()
    for line in text:
        meet.update(pairwise(line))
    single = Counter(w for line in text for w in line)

    def information(a: str, b: str) -> float:
        share = meet[a, b] / total
        return float(np.log(share * total**2 / (single[a] * single[b])) / -np.log(share))

    pairs = learn_phrases(words, threshold=0.3, min_count=5)
    assert set(pairs) == {pair for pair in meet if meet[pair] >= 5 and information(*pair) >= 0.3}
    assert pairs == [("new", "york"), ("york", "times")] or set(pairs) == {("new", "york"), ("york", "times")}
    once = join_phrases(words, [("new", "york")], Spool())
    want = Counter(w for line in lines for w in line.replace("new york", "new_york").split())
    assert {w: n for w, n in zip(once.spelled(range(len(once))), once.counts.tolist(), strict=True) if n} == want
    twice = join_phrases(once, [("new_york", "times"), ("a", "nowhere")], Spool())
    want = Counter(
        w
        for line in lines
        for w in line.replace("new york times", "new_york_times").replace("new york", "new_york").split()
    )
    assert {w: n for w, n in zip(twice.spelled(range(len(twice))), twice.counts.tolist(), strict=True) if n} == want


def test_joining_goes_from_left_to_right_and_not_over_lines() -> None:
    words = read_words([Document("x", "a a a a a\nb\na b a b")], READERS["words"], Spool())
    found = join_phrases(words, [("a", "a"), ("a", "b")], Spool())
    names = found.spelled(range(len(found)))
    assert " ".join(names[n] if n >= 0 else "/" for n in found.numbers) == "a_a a_a a / b / a_b a_b /"


# ---------------------------------------------------------------------------------------------------------------- files

WORDS = ["the", "Straße", "却说", "x_y", "don't"]


@pytest.fixture
def vectors() -> Vectors:
    return Vectors(WORDS, np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32))


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "fasttext-bin"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_was_written_is_read(vectors: Vectors, kind: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    vectors.export(path, kind)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    found = read_vectors(path)
    assert (found.kind, found.words, found.twice) == (kind, WORDS, [])
    assert np.array_equal(found.vectors, vectors.array)
    assert np.array_equal(unrolled.load(path)["却说"], vectors["却说"])


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2), st.sampled_from("rgef")
)
def test_numbers_are_read_as_python_reads_them(pair: list[float], how: str) -> None:
    path = Path("/tmp") / f"unrolled-number-{threading.get_ident()}"
    shown = [repr(x) if how == "r" else f"{x:.12{how}}" for x in pair]
    path.write_text("word " + " ".join(shown) + "\n")
    found = read_vectors(path).vectors[0]
    path.unlink()
    np.testing.assert_allclose(found, np.array([float(x) for x in shown], np.float32), rtol=2e-7, atol=1e-45)


def test_real_files_are_not_always_tidy(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("a 1 2 3 \r\n. . . 4 5 6\r\nb 7 8 9\na 0 0 0\n", encoding="utf-8")
    found = read_vectors(path)
    assert found.words == ["a", ". . .", "b"]  # GloVe has words with blanks, and words that stand there again
    assert found.twice == ["a"]
    assert found.vectors.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    records = b"2 3\n" + b"".join(w + b" " + np.arange(3, dtype="<f4").tobytes() for w in (b"one", b"two"))
    path.write_bytes(records)  # gensim writes no line ends between records
    assert read_vectors(path).words == ["one", "two"]


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not of word vectors"),
    "text": (b"Some prose, nothing else.\nMore of it.\n", "not of word vectors"),
    "cut": (b"3 2\na 1 2\nb 3 4\nc 5", "row 3 of 3"),
    "cut binary": (b"2 3\n" + b"one " + b"\0" * 12 + b"two " + b"\0" * 8, "promises 2 words|row 2 of 2"),
    "too many rows": (b"1 2\na 1 2\nb 3 4\n", "has more than the 1 words"),
    "too few rows": (b"900000 300\na 1 2\n", "promises 900,000 words"),
    "ragged": (b"a 1 2 3\nb 1 2\n", "row 2 of 2"),
    "no number": (b"a 1 2 3\nb 1 x 3\n", "row 2 of 2"),
    "NaN": (b"2 2\na 1 2\nb nan 4\n", "row 2"),
    "NaN binary": (
        b"2 2\na " + np.array([1, 2], "<f4").tobytes() + b"b " + np.array([np.nan, 1], "<f4").tobytes(),
        "'b' holds NaN",
    ),
    "not UTF-8": (b"a 1 2 3\nb\xff 1 2 3\n", "row 2: the word b'b.xff' is not UTF-8"),
    "damaged gzip": (gzip.compress(b"a 1 2 3\n")[:-6], "damaged or cut off"),
    "fastText": ((793_712_314).to_bytes(4, "little") + b"\0" * 50, "fastText"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_say_what_is_wrong(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(BAD[name][0])
    with pytest.raises(DataError, match=BAD[name][1]) as caught:
        unrolled.load(path)
    assert str(path) in str(caught.value)


def test_what_cannot_be_written(vectors: Vectors, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'glove'"):
        vectors.export(tmp_path / "x", "glov")
    with pytest.raises(ConfigError, match="holds a blank"):
        write_vectors(tmp_path / "x", ["a b"], np.zeros((1, 2)), "glove")
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------------------- look-up


def test_neighbours_are_those_of_a_full_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.tasks.vectors._ROWS", 37)  # several blocks
    monkeypatch.setattr("unrolled.tasks.vectors._QUESTIONS", 8)
    random = np.random.default_rng(3)
    found = Vectors([f"w{i}" for i in range(300)], random.normal(size=(300, 12)).astype(np.float32))
    found.array[5] = 0
    units = found.array / np.maximum(np.linalg.norm(found.array, axis=1, keepdims=True), 1e-9)
    asked = [f"w{i}" for i in range(0, 300, 7)]
    for word, near in zip(asked, found.neighbors_of(asked, 9), strict=True):
        cosines = units @ units[int(word[1:])]
        cosines[int(word[1:])] = -9
        assert [n.word for n in near] == [f"w{i}" for i in np.argsort(-cosines)[:9]]
        np.testing.assert_allclose([n.cosine for n in near], np.sort(cosines)[::-1][:9], atol=1e-6)
    assert len(found.neighbors("w1", 1000)) == 299
    a, b, c = 1, 2, 3
    cosines = units @ (units[b] - units[a] + units[c])
    cosines[[a, b, c]] = -9
    assert [n.word for n in found.analogy("w1", "w2", "w3", 4)] == [f"w{i}" for i in np.argsort(-cosines)[:4]]
    assert found.similarity("w1", "w2") == pytest.approx(float(units[1] @ units[2]), abs=1e-6)


def test_looking_up(vectors: Vectors) -> None:
    assert "the" in vectors
    assert "The" not in vectors
    assert len(vectors) == 5
    assert vectors.size == 7
    assert np.shares_memory(vectors.matrix.numpy(), vectors.array)
    with pytest.raises(DataError, match=r"'THE' has no vector.*Nearest in spelling: the"):
        vectors["THE"]
    with pytest.raises(DataError, match=r"'q' has no vector(.|\n)*'p' has"):
        vectors.neighbors_of(["q", "the", "p"])
    with pytest.raises(DataError, match=r"\(Q, 7\)"):
        vectors.nearest(np.zeros((1, 3)))


def test_of_many_words_the_first_few_are_looked_up_without_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.tasks.vectors._SUGGESTED", 20)
    monkeypatch.setattr("unrolled.tasks.vectors._FEW", 3)
    found = Vectors([f"w{i}" for i in range(30)], np.arange(60, dtype=np.float32).reshape(30, 2))
    assert found["w29"].tolist() == [58, 59]
    assert "w30" not in found
    assert 5 not in found
    assert "index" not in found.__dict__
    assert found["w7"].tolist() == [14, 15]
    assert "index" in found.__dict__


def test_ranks_and_correlation() -> None:
    assert ranks(np.array([1, 1, 1.0])).tolist() == [2, 2, 2]
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(a, np.exp(a)) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert spearman(np.array([1, 2, 3, 4, 5.0]), np.array([5, 6, 7, 8, 7.0])) == pytest.approx(0.8207826816681233)
    assert spearman(a, np.ones(4)) is None
    assert spearman(a[:1], a[:1]) is None


def square() -> Vectors:
    """man, woman, king, queen at the corners of a parallelogram, and something else."""
    return Vectors(
        ["man", "woman", "king", "queen", "stone"],
        np.array([[1, 0, 0.1], [0, 1, 0.1], [1, 0, 1], [0, 1, 1], [-1, -1, 0]], np.float32),
    )


def test_questions_are_answered_and_those_without_vectors_counted() -> None:
    found = square().test(
        Analogies(
            "q",
            {
                "royal": [("man", "king", "woman", "queen"), ("Man", "KING", "woman", "king")],
                "none": [("a", "b", "c", "d")],
            },
        )
    )
    assert (found["right"], found["asked"], found["without_vector"]) == (1, 2, 1)
    assert found["categories"]["none"]["accuracy"] is None
    few = square().test(Analogies("q", {"royal": [("man", "king", "woman", "queen")]}), most=3)
    assert (few["asked"], few["accuracy"]) == (0, None)
    pairs = square().test(
        Similarities("s", [("man", "king"), ("man", "stone"), ("man", "woman"), ("x", "y")], [9, 1, 4, 5])
    )
    assert (pairs["spearman"], pairs["without_vector"]) == (pytest.approx(1), 1)


def test_test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "test"
    path.write_text("Word 1,Word 2,Human (mean)\nlove,sex,6.77\ntiger,cat,7.35\n")
    assert read_word_test(path) == Similarities(str(path), [("love", "sex"), ("tiger", "cat")], [6.77, 7.35])
    path.write_text("# heading\na\tb\t1\n\nc\td\t2\n")
    assert read_word_test(path)[2] == [1, 2]
    path.write_text(": one\na b c d\n: two\ne f g h\n")
    assert read_word_test(path)[1] == {"one": [("a", "b", "c", "d")], "two": [("e", "f", "g", "h")]}
    path.write_text("a\tb\t1\nno pair here\n")
    with pytest.raises(DataError, match="line 2: expected two words and a number"):
        read_word_test(path)
    path.write_text(": one\na b c\n")
    with pytest.raises(DataError, match="line 2: an analogy is four words"):
        read_word_test(path)


# -------------------------------------------------------------------------------------------------------------- at once


def test_at_once_gives_all_items_and_ends_when_closed() -> None:
    started: list[int] = []

    def job(k: int) -> Iterator[tuple[int, int]]:
        for i in range(100):
            started.append(k)
            yield k, i

    assert sorted(at_once([job(0), job(1)])) == [(k, i) for k in range(2) for i in range(100)]
    assert list(at_once([job(0), job(1)], in_turn=True)) == [(k, i) for i in range(100) for k in range(2)]

    def endless() -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield 1

    running = at_once([endless(), endless()])
    assert next(running) == 1
    running.close()
    assert threading.active_count() < 10


def test_an_error_in_a_thread_is_raised() -> None:
    def fails() -> Iterator[int]:
        yield 1
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        list(at_once([fails(), iter([])]))


# ----------------------------------------------------------------------------------------------------------- from files

FLAGS: dict[str, Any] = {"vector_size": 20, "epochs": 2, "min_count": 2, "threads": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text(english().text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "vec"
    unrolled.train("word-vectors", [corpus], folder, options=FLAGS)
    return folder


def test_a_run_is_whole_and_its_model_opens(run: Path, corpus: Path) -> None:
    assert {p.name for p in run.iterdir()} >= {
        "config.toml",
        "run.json",
        "metrics.jsonl",
        "report.html",
        "README.md",
        "best",
    }
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[1]["loss"] < rows[0]["loss"]
    vectors = unrolled.load(run)
    want = Counter(_WORD.findall(corpus.read_text(encoding="utf-8").lower()))
    assert dict(zip(vectors.words, vectors.counts.tolist(), strict=True)) == {w: n for w, n in want.items() if n > 1}
    assert vectors.rare == {w: 1 for w, n in want.items() if n == 1}
    assert vectors.array.shape == (len(vectors), 20)
    assert vectors.outputs.shape == (len(vectors), 20)
    copy = run.parent / "copy"
    vectors.save(copy)
    assert np.array_equal(unrolled.load(copy).array, vectors.array)


def test_threads_that_take_turns_give_the_same_vectors_again(corpus: Path, tmp_path: Path) -> None:
    flags = FLAGS | {"threads": 2, "deterministic": True, "epochs": 1}
    one, two = (unrolled.train("word-vectors", [corpus], tmp_path / name, options=flags) for name in "ab")
    assert np.array_equal(one.array, two.array)
    at_once_too = unrolled.train("word-vectors", [corpus], tmp_path / "c", options=flags | {"deterministic": False})
    assert at_once_too.array.shape == one.array.shape


@pytest.mark.parametrize("objective", ["hierarchical-softmax", "softmax"])
def test_other_objectives_from_files(corpus: Path, tmp_path: Path, objective: str) -> None:
    flags = FLAGS | {"objective": objective, "architecture": "cbow", "vocabulary_size": 300, "epochs": 1}
    found = unrolled.train("word-vectors", [corpus], tmp_path / "x", options=flags)
    assert len(found) == 300
    assert ("code_length" in found.config["data"]) == (objective == "hierarchical-softmax")


def test_the_best_by_the_probe_is_kept(corpus: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("the\ta\t5\nif\telse\t4\nthe\telse\t1\n")
    flags = FLAGS | {"epochs": 6, "patience": 1}
    unrolled.train("word-vectors", [corpus], tmp_path / "x", valid=[pairs], options=flags)
    rows = [json.loads(line) for line in (tmp_path / "x" / "metrics.jsonl").read_text().splitlines()]
    found = unrolled.load(tmp_path / "x")
    assert found.test(read_word_test(pairs))["spearman"] == max(row["pairs.tsv"] for row in rows)
    assert len(rows) <= 6


def test_phrases_are_kept_and_new_text_is_joined_the_same_way(corpus: Path, tmp_path: Path) -> None:
    flags = FLAGS | {"phrases": 2, "phrase_count": 5, "phrase_threshold": 0.6}
    found = unrolled.train("word-vectors", [corpus], tmp_path / "x", options=flags)
    joined = [word for word in found.words if "_" in word]
    assert joined
    assert len(found.phrases) == 2
    assert unrolled.load(tmp_path / "x").phrases == found.phrases
    a, b = found.phrases[0][0]
    more = tmp_path / "more.txt"
    more.write_text(f"{a} {b} zebra {a} {b} zebra\n" * 3)
    again = unrolled.train("word-vectors", [more], tmp_path / "y", options={"epochs": 1}, start=tmp_path / "x")
    row = again.index[f"{a}_{b}"]
    assert again.counts[row] == found.counts[row] + 6
    assert again.counts[again.index["zebra"]] == 6


def test_a_long_text_is_kept_in_files_while_it_is_trained_on(
    corpus: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("unrolled.run.word_vectors.IN_MEMORY", 1000)
    found = unrolled.train("word-vectors", [corpus], tmp_path / "x", options=FLAGS)
    assert np.array_equal(found.array, unrolled.load(run).array)
    assert not list((tmp_path / "cache").glob("word-vectors-*"))


def test_lines_from_python_are_gone_through_once(tmp_path: Path) -> None:
    passes = []

    def sentences() -> Iterator[Any]:
        passes.append(1)
        for n in range(400):
            yield "a b c" if n % 2 else ["b", "c", f"d{n % 8}"]

    options = {"tokens": "whitespace", "epochs": 2, "vector_size": 8}
    found = unrolled.train("word-vectors", [unrolled.lines(sentences(), "mine")], tmp_path / "run", options=options)
    assert passes == [1]
    assert dict(zip(found.words, found.counts.tolist(), strict=True)) == {
        "b": 400,
        "c": 400,
        "a": 200,
        **{f"d{n}": 50 for n in (0, 2, 4, 6)},
    }
    assert found.config["data"]["sources"] == ["mine"]
    with pytest.raises(DataError, match="lines: holds no text"):
        unrolled.lines([])
    with pytest.raises(DataError, match="NUL"):
        unrolled.lines(["a\0b"])


def test_words_that_are_too_few(tmp_path: Path) -> None:
    path = tmp_path / "few.txt"
    path.write_text("only once each word here\n")
    with pytest.raises(
        DataError, match=r"of 5 different words only 0 stand there 5 times or more \(the most frequent 1 times\)"
    ):
        unrolled.train("word-vectors", [path], tmp_path / "x", options={"epochs": 1})
    assert not (tmp_path / "x").exists()


def call(*arguments: Any, stdin: str | None = None) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, catch_exceptions=True)
    error = str(found.exception) if found.exception and not isinstance(found.exception, SystemExit) else found.stderr
    return found.exit_code, found.stdout, error


def test_the_commands(run: Path, tmp_path: Path) -> None:
    code, out, _ = call("neighbors", run, "the", "if", "-n", 3)
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == ["the", "if"]
    assert all(len(line.split("\t")) == 4 for line in out.splitlines())
    _, out, error = call("neighbors", run, "the", "zzzz", "--json")
    assert [json.loads(line)["neighbors"] is None for line in out.splitlines()] == [False, True]
    assert "'zzzz' has no vector" in error
    assert call("neighbors", run, stdin="the\nif\n")[1].count("\n") == 2
    assert len(call("analogy", run, "the", "if", "a", "-n", 2)[1].splitlines()) == 2
    for kind in FORMATS:
        path = tmp_path / kind
        assert call("export", run, path, "--format", kind)[0] == 0
        assert np.array_equal(unrolled.load(path).array, unrolled.load(run).array)
        assert call("neighbors", path, "the")[0] == 0
    assert "exists already" in call("export", run, path)[2]
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("the\ta\t5\nif\telse\t4\nthe\telse\t1\n")
    assert "3 of 3 pairs" in call("evaluate", run, pairs)[1]
    assert json.loads(call("evaluate", run, pairs, "--json")[1])["pairs"] == 3
    assert "has no effect on word vectors" in call("evaluate", run, pairs, "--adapt", "cache")[2]


def test_a_map_keeps_neighbours_together(run: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 15)
    array = random.normal(size=(6, 30))[groups] * 3 + random.normal(size=(90, 30))
    found = explain_vectors(Vectors([f"w{i}" for i in range(90)], array.astype(np.float32)), 90)["blocks"][0]
    places = np.array(found["places"])
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(90)
    assert (groups[distances.argmin(1)] == groups).all()
    assert np.abs(places).max() == 1
    again = explain_vectors(Vectors([f"w{i}" for i in range(90)], array.astype(np.float32)), 90)
    assert again["blocks"][0]["places"] == found["places"]
    for n in (1, 2, 3, 4):
        few = explain_vectors(Vectors([f"w{i}" for i in range(90)], array.astype(np.float32)), n)
        assert np.isfinite(few["blocks"][0]["places"]).all()
    page = tmp_path / "map.html"
    assert call("explain", run, "--words", 50, "--out", page)[0] == 0
    assert "http" not in page.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert call("explain", run, "--words", 20, "--out", tmp_path / "map.png")[0] == 0
    assert "takes no text" in call("explain", run, "words")[2]


def test_the_demo_and_the_command_that_it_suggests_show_words_that_are_alike(tmp_path: Path) -> None:
    code, _, err = call("demo", "word-vectors", "--out", tmp_path / "d", "--threads", "1")
    assert code == 0
    command = next(line for line in err.splitlines() if line.startswith("  unrolled neighbors "))
    code, out, _ = call("neighbors", tmp_path / "d", *command.split()[3:], "left", "true")
    assert code == 0
    nearest = {line.split("\t")[0]: line.split("\t")[1].split()[0] for line in out.splitlines()}
    assert nearest["uppercase"] == "lowercase"
    assert nearest["left"] == "right"
    assert nearest["true"] == "false"


def test_commands_of_other_models_say_so(run: Path, run_folder: Path) -> None:
    assert "holds a language model, expected word vectors" in call("neighbors", run_folder, "a")[2]
    assert "is explained on a text" in call("explain", run_folder)[2]
    assert "holds word vectors, expected a language model" in call("sample", run)[2]
    assert "holds word vectors, which answer no texts" in call("predict", run, "text")[2]
    code, out, error = call("compare", run, run)
    assert (code, "loss" in out) == (0, True)
    assert "is a model for 'word-vectors'" in error
    with pytest.raises(FolderError, match="word vectors are not resumed"):
        unrolled.resume(run)


def test_ctrl_c_saves_what_was_learned(corpus: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unrolled", "train", "word-vectors", str(corpus), "--out", str(tmp_path / "x")]
    with subprocess.Popen([*command, "--epochs", "100000"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 1 " in line:
                break
        process.send_signal(2)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "interrupted" in rest
    assert len(unrolled.load(tmp_path / "x")) > 100


def test_learning_on_keeps_rows_and_adds_counts(run: Path, tmp_path: Path) -> None:
    before, files = unrolled.load(run), {p: p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}
    seen_once = next(iter(before.rare))
    more = tmp_path / "more.txt"
    more.write_text(f"the list of zyzzyva and the zyzzyva of {seen_once} qwertz\n" * 1, encoding="utf-8")
    options = {"epochs": 1, "threads": 1, "learning_rate": 1e-9}
    found = unrolled.train("word-vectors", [more], tmp_path / "on", options=options, start=run)
    n = len(before)
    assert list(found.words) == [*before.words, "zyzzyva", seen_once]
    new = Counter(more.read_text(encoding="utf-8").split())
    want = {w: c + new[w] for w, c in zip(before.words, before.counts.tolist(), strict=True)} | {"zyzzyva": 2, seen_once: 2}
    assert dict(zip(found.words, found.counts.tolist(), strict=True)) == want
    assert found.rare == {w: c for w, c in before.rare.items() if w != seen_once} | {"qwertz": 1}
    np.testing.assert_allclose(found.array[:n], before.array, atol=1e-6)
    np.testing.assert_allclose(found.outputs[:n], before.outputs, atol=1e-6)
    assert found.config["drift"]["mean_cosine"] == pytest.approx(1, abs=1e-5)
    assert {p: p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()} == files
    again = unrolled.train(
        "word-vectors",
        [more],
        tmp_path / "again",
        options={"epochs": 5, "threads": 1, "learning_rate": 0.05, "subsample": 0},
        start=tmp_path / "on",
    )
    assert "qwertz" in again
    assert again.config["drift"]["mean_cosine"] < 1


def test_a_language_model_begins_with_vectors_of_sub_words(vector_run: Path, english_file: Path, tmp_path: Path) -> None:
    vectors = unrolled.load(vector_run.parent / "parts")
    flags: dict[str, Any] = {"tokens": "words", "embedding_size": 20, "hidden_size": 16, "threads": 1, "epochs": 1}
    flags |= {"vectors": str(vector_run.parent / "parts"), "freeze_vectors": True, "tied": False, "window": 20}
    text = tmp_path / "text.txt"
    text.write_text("the objectionables of a valuelessness\n" * 40 + english_file.read_text(encoding="utf-8"))
    trained = unrolled.train("language-model", [text], tmp_path / "lm", options=flags | {"minutes": 1})
    weight, vocabulary = trained.model.embedding.weight.detach().numpy(), trained.codec.vocabulary
    assert {"objectionables", "valuelessness"} <= set(vocabulary.symbols) - set(vectors.index)
    for row, symbol in enumerate(vocabulary.symbols):
        form = vectors.form(symbol)
        if symbol in (UNKNOWN, END) or form is None:
            continue
        vector = vectors[form]
        np.testing.assert_allclose(weight[row], vector / np.linalg.norm(vector), atol=1e-5)
    assert vectors.form(UNKNOWN) is not None  # its letters could be read as a word
    unknown = weight[vocabulary.symbols.index(UNKNOWN)]
    assert unknown @ vectors[UNKNOWN] < 0.99 * np.linalg.norm(unknown) * np.linalg.norm(vectors[UNKNOWN])


@pytest.mark.parametrize("freeze", [False, True])
def test_a_language_model_begins_with_vectors(run: Path, english_file: Path, tmp_path: Path, freeze: bool) -> None:
    vectors = unrolled.load(run)
    flags: dict[str, Any] = {"tokens": "words", "embedding_size": 20, "hidden_size": 16, "vectors": str(run), "threads": 1}
    flags |= {"freeze_vectors": freeze, "tied": False, "epochs": 1, "minutes": 1, "window": 20}
    trained = unrolled.train("language-model", [english_file], tmp_path / "lm", options=flags)
    weight, vocabulary = trained.model.embedding.weight.detach().numpy(), trained.codec.vocabulary
    cosines = [
        float(weight[row] @ vectors[s.lower()] / np.linalg.norm(weight[row]) / np.linalg.norm(vectors[s.lower()]))
        for row, s in enumerate(vocabulary.symbols)
        if s.lower() in vectors
    ]
    assert len(cosines) > 0.5 * len(vocabulary)
    assert (min(cosines) > 0.99999) == freeze
    assert np.mean(cosines) > 0.9


def test_vectors_that_fit_no_language_model(run: Path, run_folder: Path, english_file: Path, tmp_path: Path) -> None:
    words: dict[str, Any] = {"tokens": "words", "epochs": 1, "vectors": str(run)}
    for flags, message in [
        (words, "add --embedding-size 20"),
        (words | {"embedding_size": 20, "freeze_vectors": True}, "--no-tied"),
        (words | {"input": "one-hot"}, "one-hot"),
        (words | {"vectors": str(run_folder)}, "holds a model of the task 'language-model'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            unrolled.train("language-model", [english_file], tmp_path / "x", options=flags)
        assert not (tmp_path / "x").exists()


def test_what_cannot_be_learned_on(run: Path, run_folder: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vector-size: the vectors to learn on from were made with 20, not 30"):
        unrolled.train("word-vectors", [corpus], tmp_path / "x", options={"vector_size": 30}, start=run)
    with pytest.raises(FolderError, match="language-model"):
        unrolled.train("word-vectors", [corpus], tmp_path / "x", start=run_folder)
    with pytest.raises(ConfigError, match="for word vectors"):
        unrolled.train("language-model", [corpus], tmp_path / "x", start=run)
    path = tmp_path / "v.bin"
    unrolled.load(run).export(path, "glove")
    assert "a file holds no counts" in call("train", "word-vectors", corpus, "--out", tmp_path / "x", "--from", path)[2]
