"""Errors of options, tasks, verbs and values: they name ours where another tool's name is typed, before work begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import unrolled
from typed import run
from unrolled.aliases import option_advice, task_advice, value_advice
from unrolled.config import leaves
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.options.classify import ClassifyOptions
from unrolled.options.language_model import LanguageModelOptions
from unrolled.run.language_model import language_model_options


def flat(said: str) -> str:
    """A message without the line ends and frames of usage errors."""
    return " ".join(said.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("train classify a.csv --out x --lr 3", "--learning-rate"),
        ("train tag a --out x --num-epochs 3", "--epochs"),
        ("train tag a --out x --optimizer adam", "--optimi"),
        ("train language-model a --gpu 0", "--device"),
        ("train translate a b --output-dir x", "--out"),
        ("train caption a --out x --early-stopping 3", "--patience"),
        ("train word-vectors a --out x --dim 100", "--vector-size"),
        ("train transcribe a --out x --sample-rate 8000", "--rate-hz"),
        ("train language-model a --out x --bptt 35", "--window"),
        ("train language-model a --out x --dropout .5", "--dropout-output"),
        ("train tag a --out x --num-workers 4", "leave it out"),
        ("check classify a --text-column x", "--text"),
        ("sample x --max-new-tokens 3", "--length"),
        ("sample x --temp 3", "--temperature"),
        ("predict x a --num-beams 3", "--beam"),
        ("predict x a --output x.txt", "--out"),
        ("predict x a --num-return-sequences 3", "--n-best"),
        ("evaluate x a --bs 3", "--batch-size"),
        ("serve x --cert a.pem", "--certificate"),
        ("train classify a --learnin-rate 1", "Did you mean '--learning-rate'"),
    ],
)
def test_flags_of_other_tools_are_named_and_not_accepted(words: str, ours: str) -> None:
    _, said = run(*words.split(), code=2)
    assert f"No such option: {next(w for w in words.split() if w.startswith('--') and w != '--out')}" in flat(said)
    assert ours in flat(said)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("lr", "learning_rate"), ("training.lr", "learning_rate"), ("num-epochs", "epochs"), ("hidden_dim", "hidden_size")],
)
def test_keys_of_other_tools_are_named_everywhere(name: str, ours: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"unknown key '{name}'. Here it is called {ours}"):
        language_model_options(settings=[f"{name}=1"])
    with pytest.raises(ConfigError, match=f"Here it is called {ours}"):
        unrolled.train("language-model", __file__, tmp_path / "x", options={name: 1})
    with pytest.raises(ConfigError, match=f"unknown key .* in .training.. Here it is called {ours}"):
        language_model_options(file={"training": {name.rpartition(".")[2]: 1}})


def test_no_name_of_another_tool_is_ours_and_all_lead_somewhere() -> None:
    from unrolled import aliases

    ours = {leaf.name for leaf in leaves(LanguageModelOptions)} | {leaf.name for leaf in leaves(ClassifyOptions)}
    for option, others in aliases._OPTIONS.items():
        for other in others:
            known = (ours | {option}) - {other}
            assert option_advice(other, known), other
    assert option_advice("qqqqqq", ours) == ""


def test_tasks_verbs_and_values_of_other_tools() -> None:
    for name, ours in (("lm", "language-model"), ("ner", "tag"), ("asr", "transcribe"), ("mt", "translate")):
        assert f"Did you mean '{ours}'" in flat(run("train", name, "a", "--out", "x", code=2)[1])
        assert ours in task_advice(name.upper(), ["language-model", "tag", "transcribe", "translate"])
    assert "Did you mean 'classify'" in flat(run("train", "sentiment", "a", code=2)[1])
    assert "Did you mean 'evaluate'" in flat(run("eval", "x", code=2)[1])
    assert "Did you mean 'sample'" in flat(run("generate", "x", code=2)[1])
    assert "Did you mean 'info'" in flat(run("inof", "x", code=2)[1])
    assert "Did you mean 'gru'" in run("train", "tag", __file__, "--out", "x", "--cell", "GRU", code=3)[1]
    assert value_advice("GPU", ["cpu", "cuda"]) == " Did you mean 'cuda'?"
    for words in (["--labels", "multi"], ["-s", "labels=multi"]):
        code = 2 if words[0] == "--labels" else 3
        said = flat(run("train", "classify", __file__, "--out", "x", *words, code=code)[1])
        assert "Value error" not in said
        assert "Did you mean 'many'" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"learning_rate": -1}, "learning-rate: got -1, expected a number greater than 0"),
        ({"epochs": "many"}, "epochs: got 'many', expected a number"),
        ({"hidden_size": 2.5}, "hidden-size: got 2.5, expected a whole number"),
        ({"tied": "perhaps"}, "tied: got 'perhaps', expected true or false"),
        ({"schedule": "exponential"}, "schedule: got 'exponential', expected one of 'linear', 'cosine'"),
        ({"seed": float("nan")}, "seed: got nan, expected a (finite|whole) number"),
    ],
)
def test_values_are_refused_in_our_words(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        language_model_options(flags=options)
    assert not any(word in str(refused.value) for word in ("Input should", "Value error", "valid ", "pydantic"))


def test_what_a_training_begins_with_is_checked_first(folders: Mapping[str, Path], tmp_path: Path) -> None:
    pages, out = folders["sentiment"].parent / "pages.jsonl", tmp_path / "x"
    columns = {"text": "body", "label": "page"}
    for extra, error, said in (
        ({"encoder": "nothing"}, FolderError, "--encoder nothing: no such folder"),
        ({"encoder": str(folders["sentiment"])}, ConfigError, "holds a model of the task 'classify', expected"),
        ({"vectors": "nothing.txt"}, DataError, "--vectors nothing.txt: no such file or folder"),
        ({"vectors": str(folders["books"])}, ConfigError, "holds a model of the task 'language-model', expected"),
    ):
        preset = "transfer" if "encoder" in extra else "rnn"
        with pytest.raises(error, match=said):
            unrolled.train("classify", pages, out, preset=preset, options=columns | extra)
        assert not out.exists()
    for task in ("tag", "language-model"):
        with pytest.raises(DataError, match=r"--vectors nothing\.txt: no such file"):
            unrolled.train(task, __file__, out, options={"vectors": "nothing.txt"})
    assert (
        "--from nothing: no such folder"
        in run("train", "word-vectors", __file__, "--out", out, "--from", "nothing", code=3)[1]
    )


def test_wrong_verbs_name_the_right_one(folders: Mapping[str, Path]) -> None:
    for verb, model, right in (
        (["predict", "king"], "vec", "unrolled neighbors"),
        (["sample"], "sentiment", "unrolled predict"),
        (["neighbors", "king"], "tags", "unrolled predict"),
        (["analogy", "a", "b", "c"], "turned", "unrolled predict"),
        (["neighbors", "king"], "books", "unrolled sample"),
    ):
        assert right in run(verb[0], folders[model], *verb[1:], code=3)[1], verb


def test_queries_are_written_as_the_text_was(vector_run: Path, tmp_path: Path) -> None:
    model = unrolled.load(vector_run)
    word = next(word for word in model.words if word.isalpha())
    expected = run("neighbors", vector_run, word)[0].split("\t", 1)[1]
    for form in (word.upper(), word.capitalize()):
        assert run("neighbors", vector_run, form)[0] == f"{form}\t{expected}"
        assert model.neighbors(form) == model.neighbors(word)
        assert model.similarity(form, word) == pytest.approx(1)
    (tmp_path / "cased.txt").write_text("King 1 0\nthe 0 1\n")
    cased = unrolled.load(tmp_path / "cased.txt")
    assert cased.query("THE") == "THE"
    with pytest.raises(DataError, match="has no vector"):
        cased.neighbors("KING")


def test_print_config_needs_no_files() -> None:
    for task in ("language-model", "classify", "tag", "translate", "caption", "transcribe", "word-vectors"):
        shown, _ = run("train", task, "--print-config")
        assert "[" in shown
    assert "Missing" in run("train", "tag", code=2)[1]


def test_tables_that_are_read_as_text_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "a b c d"}\n' * 3)
    for task in ("language-model", "word-vectors"):
        _, said = run("train", task, "a.jsonl", "--out", "x", code=3)
        assert "note: a.jsonl is read as plain text" in said
