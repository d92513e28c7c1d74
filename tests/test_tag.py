"""Tagging: files of labelled words, capitals and marks taken out and put back, entities, the network, and the commands."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unrolled
from test_cli import run
from unrolled.cli.tag import _facts as tag_facts
from unrolled.data.restoring import restored, taken_apart
from unrolled.data.tagged import LONGEST, Tagged, TaggedColumns, read_restorable, read_tagged
from unrolled.data.text import lines
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.forms import WordForms
from unrolled.features.tagged_rows import NO_LABEL, TaggedRows, tagged_batch
from unrolled.metrics.tagging import entities, entity_scores, label_scores, marks_entities
from unrolled.models.tagger import Tagger, TaggerConfig
from unrolled.run.tag import tag_options, train_tagger
from unrolled.tasks.tag import TagTask

FLAGS = {
    "threads": 1,
    "minutes": 5,
    "epochs": 12,
    "batch_size": 8,
    "window": 16,
    "hidden_size": 24,
    "embedding_size": 16,
    "learning_rate": 0.02,
    "warmup_steps": 5,
    "evaluations": 3,
    "dropout_input": 0.1,
}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def what_follows(n: int = 300, seed: int = 0) -> Tagged:
    """Every word is labelled with the word after it, one of three: nothing before it tells."""
    rng, found = np.random.default_rng(seed), Tagged()
    for i in range(n):
        words = [f"w{k}" for k in rng.integers(3, size=int(rng.integers(3, 9)))]
        found.add(words, [*words[1:], "w0"], f"sentence {i + 1}")
    return found


class TestFiles:
    def test_two_columns_and_conll(self, tmp_path: Path) -> None:
        two = write(tmp_path / "two.tsv", "New York\tB-LOC\nis\tO\n\n\nfar\tO\n")
        found = read_tagged([two])
        assert found.words == [["New York", "is"], ["far"]]
        assert found.labels == [["B-LOC", "O"], ["O"]]
        assert found.places == [f"{two}, line 1", f"{two}, line 5"]
        text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n# CD I O\n\n"
        text += "-DOCSTART- -X- -X- O\n\nPeter NNP B-NP B-PER\n"
        with gzip.open(tmp_path / "four.conll.gz", "wt", encoding="utf-8") as file:
            file.write(text)
        found = read_tagged([tmp_path / "four.conll.gz"])
        assert found.words == [["EU", "rejects", "#"], ["Peter"]]
        assert found.labels == [["B-ORG", "O", "O"], ["B-PER"]]
        assert read_tagged([tmp_path / "four.conll.gz"], TaggedColumns(1, 2)).labels[0] == ["NNP", "VBZ", "CD"]
        assert read_tagged([tmp_path / "four.conll.gz"], TaggedColumns(1, -3)).labels[0] == ["NNP", "VBZ", "CD"]

    def test_universal_dependencies(self, tmp_path: Path) -> None:
        rows = [["1-2", "vámonos", *"_" * 8], ["1", "vamos", "ir", "VERB", *"_" * 6], ["2", "nos", "yo", "PRON", *"_" * 6]]
        rows += [["2.1", "ghost", *"_" * 8]]
        text = "# sent_id = 1\n#comment\n" + "\n".join(map("\t".join, rows)) + "\n\n"
        found = read_tagged([write(tmp_path / "es.conllu", text)])
        assert (found.words, found.labels) == ([["vamos", "nos"]], [["VERB", "PRON"]])

    def test_what_is_wrong_is_named(self, tmp_path: Path) -> None:
        bad = write(tmp_path / "bad.conll", "a X\nb X more\nc\n\nd X\n")
        with pytest.raises(DataError, match=r"bad.conll, line 2: has 3 columns, .* have 2.*'b X more'") as error:
            read_tagged([bad])
        assert "line 3: has 1 column," in str(error.value)
        with pytest.raises(DataError, match="line 1: has 1 column, but the word is to be in column 1"):
            read_tagged([write(tmp_path / "one.txt", "alone\n")])
        with pytest.raises(DataError, match=r"label in column 7\. Say where they stand with --word-column"):
            read_tagged([write(tmp_path / "few.txt", "a X\n")], TaggedColumns(1, 7))
        with pytest.raises(DataError, match="there is no column 0"):
            read_tagged([write(tmp_path / "zero.txt", "a X\n")], TaggedColumns(0, 1))
        with pytest.raises(DataError, match="an empty word or label"):
            read_tagged([write(tmp_path / "empty.tsv", "a\t\n")])
        with pytest.raises(DataError, match="holds no labelled words"):
            read_tagged([write(tmp_path / "none.txt", "-DOCSTART- O\n\n# a = b\n")])
        with pytest.raises(DataError, match="no such file"):
            read_tagged([tmp_path / "missing.conll"])

    def test_a_file_without_blank_lines_is_cut(self, tmp_path: Path) -> None:
        found = read_tagged([write(tmp_path / "long.txt", "a X\n" * (2 * LONGEST + 5))])
        assert list(map(len, found.words)) == [LONGEST, LONGEST, 5]
        assert found.cut == 1


class TestRestoring:
    @pytest.mark.parametrize(
        ("text", "labels"),
        [
            ("Mr. Smith left. Why?", "Xx. Xx x. Xx?"),
            ("NASA's \"U.S.\" plan, 3.5 days; I'm off!", "x XX. x, x x; Xx x!"),
            ('"Well," he said, "Go."', "Xx, x x, Xx."),
            ("他走了。你呢？", "x x x。 x x？"),
            ("in 2024, COVID-19 (and...) end", "x x, XX x. x"),
            ("Oui ! « Non », dit-il . Fin", "Xx! Xx, x. Xx"),
        ],
    )
    def test_taken_apart(self, text: str, labels: str) -> None:
        if text.startswith("NASA"):
            labels = "Xx XX. x, x x; Xx x!"
        assert taken_apart(text)[1] == labels.split()

    def test_and_put_back(self) -> None:
        for text in ("Mr. Smith left. Why?", "The US, NATO; I.", "他走了。你呢？", "Tom 走了, ok"):
            assert restored(*taken_apart(text)) == text

    @given(st.text(alphabet="aB1 .,?!'\"-()中国。\n", max_size=60))
    def test_what_is_put_back_is_taken_apart_alike(self, text: str) -> None:
        words, labels = taken_apart(text)
        again = taken_apart(restored(words, labels))
        assert again == (words, labels)

    def test_a_text_becomes_stretches(self) -> None:
        found = read_restorable([lines(["One two. " * 130], "text")])
        assert list(map(len, found.words)) == [100, 100, 60]
        assert found.labels[0][:2] == ["Xx", "x."]
        with pytest.raises(DataError, match="holds no words"):
            read_restorable([lines(["..."], "text")])


class TestEntities:
    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ("B-A I-A O B-B", {(0, 2, "A"), (3, 4, "B")}),
            ("B-A B-A I-B I-B", {(0, 1, "A"), (1, 2, "A"), (2, 4, "B")}),
            ("I-A I-A O I-B", {(0, 2, "A"), (3, 4, "B")}),
            ("B-A E-A S-A I-A E-A", {(0, 2, "A"), (2, 3, "A"), (3, 5, "A")}),
            ("B-A M-A L-A U-B O", {(0, 3, "A"), (3, 4, "B")}),
            ("O O", set()),
            ("", set()),
        ],
    )
    def test_found(self, labels: str, expected: set[tuple[int, int, str]]) -> None:
        assert entities(labels.split()) == expected

    def test_scores_by_hand(self) -> None:
        truth, answer = [["B-A", "I-A", "O", "B-B"], ["O"]], [["B-A", "O", "O", "B-B"], ["B-B"]]
        found = entity_scores(truth, answer)
        assert found["all"] == {"precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5, "support": 2}
        assert found["A"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
        assert found["B"] == {"precision": 1 / 2, "recall": 1, "f1": 2 / 3, "support": 1}

    def test_which_labels_mark_them(self) -> None:
        assert marks_entities(["O", "B-A", "I-A"])
        assert not marks_entities(["O", "NOUN"])
        assert not marks_entities(["O"])

    def test_scores_of_labels(self) -> None:
        scores = label_scores(np.array([[3, 1], [0, 0]]))
        assert scores[0] == {"precision": 1.0, "recall": 0.75, "f1": 6 / 7, "support": 4}
        assert scores[1] == {"precision": 0.0, "recall": None, "f1": 0.0, "support": 0}


class TestForms:
    def test_each_word_once_in_lower_case_and_by_its_letters(self) -> None:
        forms = WordForms.learned([["The", "the", "cat"], ["THE", "dog"]], min_count=2)
        assert forms.words == ["the"]
        found = forms.encode([["the", "The"], ["zebra", "the"]])
        assert found.numbers.tolist() == [0, 1, 2, 0]
        assert found.starts.tolist() == [0, 2, 4]
        assert found.rows.tolist() == [0, 0, 1]
        assert found.sizes.tolist() == [3, 3, 5]
        spelled = [[*forms.letters, "?"][i] for i in found.letters[0, :3]]
        assert spelled[2] == "e"
        (long,) = forms.encode([["x" * 100]]).sizes
        assert long == 24
        with pytest.raises(DataError, match="no word occurs 5 times"):
            WordForms.learned([["a"]], min_count=5)

    def test_every_sentence_is_in_one_batch(self) -> None:
        data = what_follows(80)
        forms = WordForms.learned(data.words, 1).encode(data.words)
        labels = np.arange(forms.starts[-1])
        rows = TaggedRows(forms, labels, tokens=40, seed=1)
        seen: list[int] = []
        for k in range(len(rows)):
            batch = rows.batch(0, k)
            assert batch.index.numel() <= 50
            seen += batch.labels[batch.labels != NO_LABEL].tolist()
            halves = [batch.shard(rank, 2) for rank in range(2)]
            assert sum(len(half.lengths) for half in halves) == len(batch.lengths)
        assert sorted(seen) == labels.tolist()


class TestModel:
    CONFIG = TaggerConfig(9, 7, 3, embedding_size=5, letter_size=3, spelling_size=4, hidden_size=6, n_layers=2)

    @pytest.mark.parametrize("spelling", [0, 4])
    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_alone_as_together_and_only_both_directions_see_what_follows(self, bidirectional: bool, spelling: int) -> None:
        model = Tagger(replace(self.CONFIG, bidirectional=bidirectional, spelling_size=spelling)).eval()
        forms = WordForms([f"{k}" for k in range(9)], list("1234567"))
        sentences = [["1", "2", "3", "77"], ["5"], ["2", "2"]]
        encoded = forms.encode(sentences)
        together = model(tagged_batch(encoded, [0, 1, 2]))
        for i, words in enumerate(sentences):
            alone = model(tagged_batch(encoded, [i]))
            torch.testing.assert_close(together[: len(words), i], alone[:, 0], rtol=1e-4, atol=1e-5)
        other = model(tagged_batch(forms.encode([["1", "2", "4", "77"]]), [0]))
        same = torch.allclose(together[:2, 0], other[:2, 0], atol=1e-6)
        assert same is not bidirectional
        batch = tagged_batch(encoded, [0, 1, 2], np.array([0, 1, 2, 0, 1, 2, 2]))
        found = model.loss(batch)
        expected = [-together[t, i].log_softmax(0)[batch.labels[i, t]] for i in range(3) for t in range(len(sentences[i]))]
        torch.testing.assert_close(found.loss, torch.stack(expected).sum())
        assert found.n_tokens == 7

    def test_sizes_that_make_no_sense(self) -> None:
        with pytest.raises(ConfigError, match="unknown cell 'lstn'"):
            replace(self.CONFIG, cell="lstn")
        with pytest.raises(ConfigError, match="n_outputs must be at least 2"):
            replace(self.CONFIG, n_outputs=1)


def test_both_directions_learn_what_one_cannot(tmp_path: Path) -> None:
    right = {}
    for bidirectional in (False, True):
        options = tag_options(flags=FLAGS | {"bidirectional": bidirectional})
        *_, done = train_tagger(options, what_follows(), tmp_path / str(bidirectional))
        right[bidirectional] = done.held["accuracy"]
    assert right[True] > 0.97
    assert right[False] < 0.6
    assert done.usual < 0.6
    tagger = unrolled.load(tmp_path / "True")
    found = tagger.evaluate(what_follows(50, seed=9))
    assert found["accuracy"] > 0.97
    assert found["tokens"] == sum(map(len, what_follows(50, seed=9).words))
    answer, long = tagger.predict(["w1 w2 w0 w1", ["w2", "w0"] * 700])
    assert answer.words == ("w1", "w2", "w0", "w1")
    assert answer.labels[:3] == ("w2", "w0", "w1")
    assert len(long.labels) == 1400
    np.testing.assert_allclose(tagger.probabilities([["w1", "w2"]]).sum(1), 1)
    explained = tagger.explain([["w1", "w2", "w0"]])[0]
    z = tagger.logits([["w1", "w2", "w0"]])
    total = np.array(explained["contributions"]).sum(1) + explained["nothing"]
    np.testing.assert_allclose(total, z[np.arange(3), z.argmax(1)], atol=0.1)
    parts = np.abs(explained["contributions"])
    assert parts[0].argmax() == 1, "the label of a word comes from the word after it"


def test_names_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    people, places = ("Ada", "Bob", "Cyd", "Dan", "Eve"), ("Rome", "Oslo", "Bonn")
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(150):
        a, b = rng.choice(people, 2)
        rows.append(f"{a} B-PER\n{b} I-PER\nmet O\nher O\nin O\n{rng.choice(places)} B-LOC\n. O\n")
    write(Path("train.conll"), "\n".join(rows))
    args = [part for key, value in FLAGS.items() for part in ("-s", f"{key}={value}")]
    _, said = run("train", "tag", "train.conll", "--out", "run", *args)
    assert "F1 of whole entities" in said
    assert "with the most frequent label of each word" in said
    out, _ = run("predict", "run", "Ada Bob met her in Rome.")
    assert out == "Ada\tB-PER\nBob\tI-PER\nmet\tO\nher\tO\nin\tO\nRome\tB-LOC\n.\tO\n\n"
    out, _ = run("predict", "run", "--json", stdin=b"Dan Eve met her in Oslo .\n\n")
    first, empty = map(json.loads, out.splitlines())
    assert first["tokens"][5]["label"] == "B-LOC"
    assert empty == {"tokens": []}
    write(Path("test.conll"), "Ada B-PER\nBob I-PER\nmet O\n\nZoe B-DOG\n")
    out, _ = run("evaluate", "run", "test.conll", "--out", "test.html")
    assert "label not in training   B-DOG (1 time)" in out
    assert "entity f1" in out
    assert "Whole entities" in Path("test.html").read_text()
    report = Path("run/report.html").read_text()
    assert "What it answered" in report
    _, err = run("explain", "run", "Ada Bob met her", "--out", "why.html")
    assert "wrote why.html" in err
    out, _ = run("info", "run")
    assert "spelling_size: 25" in out
    _, err = run("evaluate", "run", "test.conll", "--vocabulary", "5", code=2)
    assert "--vocabulary has no effect on a tagger" in err
    _, err = run("train", "tag", "train.conll", "--out", "run", code=3)
    assert "--overwrite" in err


def test_restoring_from_the_command_line(english_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = [part for key, value in (FLAGS | {"epochs": 4}).items() for part in ("-s", f"{key}={value}")]
    run("train", "tag", english_file, "--restore", "--out", "run", "--json", *args)
    out, _ = run("predict", "run", "the value of the object")
    assert taken_apart(out)[0] == ["the", "value", "of", "the", "object"]
    (found,) = unrolled.load("run").predict(["THE VALUE, of: it"])
    assert found.words == ("the", "value", "of", "it")
    write(Path("held.txt"), "The value of the object is its value. It is an object.\n")
    out, _ = run("evaluate", "run", "held.txt", "--json")
    assert json.loads(out)["tokens"] == 12


def test_what_was_found_in_the_examples(tmp_path: Path, vector_run: Path) -> None:
    data = what_follows(100)
    data.add(data.words[0], ["w0"] * len(data.words[0]), "again")
    flags = {name: value for name, value in FLAGS.items() if name != "embedding_size"}
    options = tag_options(flags=flags | {"vectors": str(vector_run), "freeze_vectors": True})
    task = TagTask(options, data, data.part([0, 1]))
    assert task.facts.overlap == 2
    assert task.facts.contradictory >= 1
    model = task.build()
    assert model.embedding.size == unrolled.load(vector_run).size
    assert not model.embedding.weight.requires_grad
    strange = Tagged([["w1"]], [["new"]], ["there, line 1"])
    with pytest.raises(DataError, match="the validation sentences: got the labels 'new', none of which the model knows"):
        TagTask(options, data, strange)
    some = Tagged([data.words[0], ["w1"]], [data.labels[0], ["new"]], ["", ""])
    task = TagTask(options, data, some)
    assert task.facts.unknown_labels == {"new": 1}
    assert task.given.tolist()[-1] == -1
    without, found = (TagTask(options, data, part).evaluate(model) for part in (some.part([0]), some))
    n = len(data.words[0])
    assert found["valid_accuracy"] == pytest.approx(without["valid_accuracy"] * n / (n + 1))
    assert found["valid_loss"] == pytest.approx(without["valid_loss"])
    assert "1 of the labels of validation sentences do not occur in training" in tag_facts(task.facts, options.training)
    task.evaluate(model)
    task.save(model, tmp_path, {})
    assert 0 < unrolled.load(tmp_path).temperature < 1000
    with pytest.raises(DataError, match="all words have the label 'X'"):
        TagTask(options, Tagged([["a"]], [["X"]], ["here"]))
    many = Tagged([["a"] * 3000], [[str(i) for i in range(3000)]], ["here"])
    with pytest.raises(DataError, match="Do --word-column and"):
        TagTask(options, many)
    with pytest.raises(DataError, match="too few sentences"):
        TagTask(options, Tagged([["a", "b"]], [["X", "Y"]], ["here"]))
    with pytest.raises(ConfigError, match="unknown preset 'big'"):
        tag_options(preset="big")
    with pytest.raises(ConfigError, match="no sentences"):
        _saved(task, tmp_path).evaluate(Tagged())


def _saved(task: TagTask, folder: Path) -> unrolled.tasks.tagger.TrainedTagger:
    task.trained(task.build()).save(folder / "model")
    return unrolled.load(folder / "model")


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    task = TagTask(tag_options(flags=FLAGS), what_follows(50))
    _saved(task, tmp_path)
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"labels": ["a", "b"]}))
    with pytest.raises(FolderError, match=r"not those of config\.json"):
        unrolled.load(tmp_path / "model")
    path.write_text(json.dumps(config | {"model": {}}))
    with pytest.raises(FolderError, match="does not describe a tagger"):
        unrolled.load(tmp_path / "model")
    path.write_text(json.dumps(config))
    (tmp_path / "model" / "seen.bin").unlink()
    with pytest.raises(FolderError, match=r"seen\.bin cannot be read"):
        unrolled.load(tmp_path / "model")
