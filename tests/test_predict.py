"""`predict`, `explain` and `evaluate` on the command line: inputs from files and standard input, answers to files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import unrolled
from typed import run
from unrolled.cli import inputs

TEXTS = ["import os", "a b c", "", "\u4f60\u597d\u4e16\u754c", 'say "no", twice']


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def labels(shown: str) -> list[str]:
    return [line.split("\t")[0] for line in shown.splitlines()]


def write_inputs(folder: Path) -> list[str]:
    """The same texts in every format."""
    rows = [json.dumps({"page": "x", "body": text}, ensure_ascii=False) for text in TEXTS]
    quoted = [text.replace('"', '""') for text in TEXTS]
    made = {
        "a.txt": "".join(f"{text}\n" for text in TEXTS),
        "crlf.txt": "\r\n".join(TEXTS),
        "a.csv": "page,body\n" + "".join(f'x,"{text}"\n' for text in quoted),
        "a.tsv": "body\tpage\n" + "".join(f"{text}\tx\n" for text in TEXTS),
        "a.jsonl": "\n".join(rows),
        "a.json": f"[{','.join(rows)}]",
        "lines": "\n".join(TEXTS) + "\n",
    }
    for name, text in made.items():
        (folder / name).write_bytes(text.encode())
    return list(made)


def test_files_of_every_format_give_the_answers_of_their_texts(sentiment: Path, tmp_path: Path) -> None:
    expected = [one.label or "-" for one in unrolled.load(sentiment).predict(TEXTS)]
    names = write_inputs(tmp_path)
    for name in names:
        assert labels(run("predict", sentiment, "--input", name)[0]) == expected, name
    both, _ = run("predict", sentiment, "--input", "a.csv", "--input", "a.txt", "--batch-size", 2, "--threads", 1)
    assert labels(both) == expected * 2
    piped = "\n".join(TEXTS).encode()
    assert labels(run("predict", sentiment, "--input", "-", stdin=piped)[0]) == expected
    assert labels(run("predict", sentiment, "-", stdin=piped)[0]) == expected
    assert labels(run("predict", sentiment, stdin=piped)[0]) == expected
    mixed, _ = run("predict", sentiment, "import os", "-", "a b c", stdin=b"x\n\xff\n", code=4)
    assert len(mixed.splitlines()) == 4
    assert mixed.splitlines()[2] == "-\t-"


def test_the_column_is_that_of_training_or_text(sentiment: Path, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    expected = [one.label or "-" for one in unrolled.load(sentiment).predict(["x"] * len(TEXTS))]
    assert labels(run("predict", sentiment, "--input", "a.csv", "--text", "page")[0]) == expected
    (tmp_path / "b.csv").write_text("review,stars\ngood,5\n")
    _, said = run("predict", sentiment, "--input", "b.csv", code=3)
    assert "b.csv, line 1: got the columns 'review', 'stars', expected 'body'. Fix: name the column, --text NAME." in said
    (tmp_path / "b.jsonl").write_text('{"body": "a"}\n{"body": 3}\n')
    _, said = run("predict", sentiment, "--input", "b.jsonl", code=3)
    assert "b.jsonl, line 2: got 3 in 'body', expected a text." in said
    (tmp_path / "c.csv").write_text("body\na\nb,c\n")
    assert "line 3: got 2 fields, expected 1" in run("predict", sentiment, "--input", "c.csv", code=3)[1]
    (tmp_path / "d.parquet").write_bytes(b"PAR1\x00\x01")
    assert "read_parquet" in run("predict", sentiment, "--input", "d.parquet", code=3)[1]


def test_answers_go_to_a_file_one_line_each(sentiment: Path, tagger: Path, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    printed, _ = run("predict", sentiment, "--input", "a.txt")
    shown, said = run("predict", sentiment, "--input", "a.txt", "--out", "answers.txt")
    assert (shown, said.strip()) == ("", "wrote 5 answers to answers.txt")
    assert (tmp_path / "answers.txt").read_text() == printed
    assert "exists already" in run("predict", sentiment, "a", "--out", "answers.txt", code=3)[1]
    _, said = run("predict", sentiment, "a b c", "--out", "answers.txt", "--overwrite", "--json")
    assert said.strip() == "wrote 1 answer to answers.txt"
    assert json.loads((tmp_path / "answers.txt").read_text())["text"] == "a b c"
    run("predict", tagger, "A met B", "in London", "--out", "tags.txt")
    assert (tmp_path / "tags.txt").read_text().splitlines() == ["A\tB-PER met\tO B\tB-PER", "in\tO London\tB-LOC"]
    run("predict", sentiment, "--out", "partial.txt", stdin=b"a\n\xff\nb\n", code=4)
    assert (tmp_path / "partial.txt").read_text().splitlines()[1] == "-\t-"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_output_that_would_destroy_an_input_is_refused(sentiment: Path, tmp_path: Path) -> None:
    write_inputs(tmp_path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    before = (tmp_path / "a.txt").read_bytes()
    for out in ("a.txt", "./a.txt", tmp_path / "a.txt", "link.txt"):
        _, said = run("predict", sentiment, "--input", "a.txt", "--out", out, "--overwrite", code=2)
        assert "is one of the inputs" in said
    assert (tmp_path / "a.txt").read_bytes() == before
    assert "no folder" in run("predict", sentiment, "a", "--out", "nowhere/a.txt", code=3)[1]
    assert "is a folder" in run("predict", sentiment, "a", "--out", tmp_path, code=3)[1]
    assert "names a file" in run("predict", sentiment, "a", "--out", "-", code=2)[1]


def test_the_name_of_a_file_is_no_text(sentiment: Path, tmp_path: Path) -> None:
    (tmp_path / "good film").write_text("bad\n")
    write_inputs(tmp_path)
    for name in ("a.txt", "good film", str(tmp_path / "a.csv")):
        _, said = run("predict", sentiment, "some text", name, code=2)
        assert "--input" in said
        assert "standard input" in " ".join(said.split())
        assert "--input" in run("explain", sentiment, name, code=2)[1]
    assert labels(run("predict", sentiment, "-", stdin=b"good film\n")[0])  # goes through standard input
    _, said = run("predict", sentiment, "reviwes.txt")
    assert "is read as a text; there is no such file" in said
    assert "no such file" in run("predict", sentiment, "--input", "reviwes.txt", code=3)[1]
    assert "is a folder" in run("predict", sentiment, "--input", tmp_path, code=3)[1]
    assert "not both" in run("predict", sentiment, "text", "--input", "a.txt", code=2)[1]


def test_taggers_read_files_of_words_and_translators_the_source(tagger: Path, translator: Path, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("A B-PER\nmet O\n\nLondon B-LOC\n")
    (tmp_path / "words.conll").write_text("A\nmet\n\n\nLondon\n")
    for name in ("a.conll", "words.conll"):
        shown, _ = run("predict", tagger, "--input", name)
        assert shown == "A\tB-PER\nmet\tO\n\nLondon\tB-LOC\n\n"
    plain, _ = run("predict", translator, "abc de", "ed")
    (tmp_path / "pairs.tsv").write_text("abc de\tED CBA\ned\tDE\n")
    (tmp_path / "pairs.csv").write_text("target,source\nX,abc de\nY,ed\n")
    (tmp_path / "pairs.jsonl").write_text('{"source": "abc de", "target": "x"}\n{"source": "ed"}\n')
    (tmp_path / "own.csv").write_text("id,german\n1,abc de\n2,ed\n")
    for name in ("pairs.tsv", "pairs.csv", "pairs.jsonl"):
        assert run("predict", translator, "--input", name)[0] == plain, name
    assert run("predict", translator, "--input", "own.csv", "--text", "german")[0] == plain
    assert "got the columns" in run("predict", translator, "--input", "own.csv", "--text", "deutsch", code=3)[1]


def test_lists_of_media_are_relative_to_their_file(folders: Mapping[str, Path], tmp_path: Path) -> None:
    home = folders["captions"].parent
    for model, name in (("captions", "photo.png"), ("speech", "talk.wav")):
        (home / f"{model}.txt").write_text(f"{name}\n\n{home / name}\n")
        (home / f"{model}.csv").write_text(f"file,split\n{name},a\nmissing{name},b\n")
        (home / f"{model}.jsonl").write_text(json.dumps({"file": name}) + "\n")
        expected, _ = run("predict", folders[model], home / name)
        assert run("predict", folders[model], "--input", home / f"{model}.txt")[0] == expected * 2
        assert run("predict", folders[model], "--input", home / f"{model}.jsonl")[0] == expected
        _, said = run("predict", folders[model], "--input", home / f"{model}.csv", "--out", "out.txt", code=4)
        assert (tmp_path / "out.txt").read_text() == expected + "-\n"
        assert f"missing{name}" in said
        (tmp_path / "out.txt").unlink()
        _, said = run("predict", folders[model], "--input", home / name, code=2)
        assert "not a list of paths" in said
        _, said = run("predict", folders[model], home / name, "--out", home / name, "--overwrite", code=2)
        assert "is one of the inputs" in said


def test_explain_takes_a_file_with_one_input(sentiment: Path, tagger: Path, folders: Any, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("import os\n")
    (tmp_path / "two.txt").write_text("import os\nb\n")
    (tmp_path / "one.csv").write_text("body\nimport os\n")
    alone = run("explain", sentiment, "import os")[0]
    for name in ("one.txt", "one.csv"):
        assert run("explain", sentiment, "--input", name, "--threads", 1, "--batch-size", 4)[0] == alone
    assert run("explain", sentiment, "-", stdin=b"import os\n")[0] == alone
    assert run("explain", sentiment, "--input", "-", stdin=b"import os\n")[0] == alone
    assert "more than one input" in run("explain", sentiment, "--input", "two.txt", code=3)[1]
    (tmp_path / "words.conll").write_text("A\nmet\n")
    assert json.loads(run("explain", tagger, "--input", "words.conll")[0])["tokens"] == ["A", "met"]
    home = folders["captions"].parent
    (home / "one.list.txt").write_text("photo.png\n")
    assert "caption" in json.loads(run("explain", folders["captions"], "--input", home / "one.list.txt")[0])


def test_explain_writes_what_the_suffix_says(sentiment: Path, tmp_path: Path) -> None:
    for name in ("x.gif", "x", "x.htmlx", "x.pdf"):
        _, said = run("explain", sentiment, "import os", "--out", name, code=2)
        assert ".html, .png or .json" in " ".join(said.replace("│", " ").split())
    run("explain", sentiment, "import os", "--out", "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == json.loads(run("explain", sentiment, "import os")[0])
    run("explain", sentiment, "import os", "--out", "x.HTML")
    assert (tmp_path / "x.HTML").read_text().startswith("<!doctype html>")
    _, said = run("evaluate", sentiment, sentiment.parent / "pages.jsonl", "--out", "x.gif", code=2)
    assert ".html" in said


def test_evaluate_cuts_and_counts_unknown_labels(sentiment: Path, tagger: Path, tmp_path: Path) -> None:
    known = unrolled.load(sentiment).labels.names[0]
    rows = [{"body": "import os", "page": known}]
    rows += [{"body": f"text {i}", "page": f"{i} " + "a long review " * 20} for i in range(50)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shown, _ = run("evaluate", sentiment, "a.jsonl")
    lines = [line for line in shown.splitlines() if line.startswith("label not in training")]
    assert len(lines) == 10
    assert max(map(len, shown.splitlines())) < 150
    assert "and 40 other labels (40 times)" in shown
    assert "(1 time)" in lines[0]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows[1:])))
    _, said = run("evaluate", sentiment, "b.jsonl", code=3)
    assert "b.jsonl: got the labels '0 a long" in said
    assert "none of which the model knows" in said
    assert len(said) < 2000
    (tmp_path / "reviews.tsv").write_text("".join(f"pos\ta review {i}\n" for i in range(100)))
    _, said = run("evaluate", tagger, "reviews.tsv", code=3)
    assert "none of which the model knows; expected 'B-LOC', 'B-PER', 'O'" in said
    with pytest.raises(unrolled.errors.DataError, match="none of which the model knows"):
        unrolled.load(sentiment).evaluate("b.jsonl")


def test_evaluations_take_batch_size_and_threads(sentiment: Path, tagger: Path, translator: Path) -> None:
    files = {sentiment: [sentiment.parent / "pages.jsonl"], tagger: [tagger.parent / "sentences.conll"]}
    files |= {translator: [translator.parent / "test.src", translator.parent / "test.tgt"]}
    for model, paths in files.items():
        whole = json.loads(run("evaluate", model, *paths, "--json")[0])
        small = json.loads(run("evaluate", model, *paths, "--json", "--batch-size", 3, "--threads", 1)[0])
        key = "bleu" if model == translator else "accuracy"
        assert small[key] == whole[key]


def test_speech_errors_are_few_and_relative(folders: Mapping[str, Path], tmp_path: Path) -> None:
    talk = folders["speech"].parent / "talk.wav"
    for i in range(8):
        (tmp_path / f"{i}.wav").write_bytes(talk.read_bytes())
    (tmp_path / "clips.tsv").write_text("file\ttext\n" + "".join(f"{i}.wav\tdo re\n" for i in range(8)))
    shown, _ = run("evaluate", folders["speech"], tmp_path / "clips.tsv")
    assert shown.count("  said   do re") == 5
    assert str(tmp_path) not in shown
    assert "3 more wrong transcripts: all are in --json" in shown
    assert len(json.loads(run("evaluate", folders["speech"], "clips.tsv", "--json")[0])["errors"]) == 8


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--ensemble", "sentiment", "holds a model of the task 'classify', expected one of 'translate'"),
        ("--ensemble", "nothing", "--ensemble nothing: no such folder"),
        ("--ensemble", "books", "holds a model of the task 'language-model'"),
        ("--language-model", "sentiment", "holds a model of the task 'classify', expected one of 'language-model'"),
        ("--language-model", "nothing.arpa", "--language-model nothing.arpa: no such file"),
        ("--hotwords", "nothing.txt", "--hotwords nothing.txt: no such file"),
        ("--phrases", ".", "--phrases .: is a folder"),
    ],
)
def test_helpers_are_checked_before_a_model_is_loaded(
    flag: str, value: str, said: str, folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import unrolled.tasks

    def load(path: str) -> Any:
        raise AssertionError(f"{path} was loaded")

    monkeypatch.setattr(unrolled.tasks, "load", load)
    for verb in (("predict", "turned", "abc"), ("explain", "turned", "abc"), ("evaluate", "turned", "a.src", "a.tgt")):
        model = folders[verb[1]]
        assert said in run(verb[0], model, *verb[2:], flag, folders.get(value, Path(value)), code=3)[1]


def test_an_ensemble_of_another_kind_is_refused_in_python_too(folders: Mapping[str, Path]) -> None:
    with pytest.raises(unrolled.errors.ConfigError, match="ensemble: got a TrainedClassifier, expected translators"):
        unrolled.load(folders["turned"]).joined_by([unrolled.load(folders["sentiment"])])


def test_one_line_replaces_every_line_end() -> None:
    assert inputs.one_line("a\r\nb\nc\u2028d\x0be\n") == "a b c d e"
