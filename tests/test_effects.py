"""Flags without effect for the model at hand, or beside other flags, are usage errors that say what they are for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ConfigDict, ValidationError, create_model

import unrolled
from typed import run
from unrolled.server.problems import invalid
from unrolled.server.served.base import SearchOptions

OLD = Path(__file__).parent / "version_0_1"
FOLDERS = {
    task: str(OLD / task / "run")
    for task in ("caption", "classify", "language-model", "tag", "transcribe", "translate", "word-vectors")
}

#: A command ({task}: a run), and what the error says. Zeros count as given, and so do values that are the defaults.
IDLE = [
    ("sample {language-model} --beam 2 --temperature 1", "--temperature has no effect with --beam"),
    ("sample {language-model} --beam 2 --top-k 0 --seed 0", "--top-k, --seed have no effect with --beam"),
    ("sample {language-model} --beam 2 --rounded", "--rounded has no effect with --beam"),
    ("sample {language-model} --temperature 0 --top-p 0.9", "--top-p has no effect with --temperature 0"),
    ("predict {language-model} a --threshold 0", "--threshold has no effect on a language model: it is for a classifier"),
    ("predict {tag} a --beam 1", "--beam has no effect on a tagger: it is for a captioner or a speech recogniser or a tr"),
    ("predict {classify} a --encoding utf-8", "--encoding has no effect without a file of inputs (requires --input)"),
    ("predict {classify} a --text body", "--text has no effect without a file of inputs"),
    ("predict {tag} --input a.txt --text body", "--text has no effect on a.txt: it is a column of tables"),
    ("predict {classify} a --overwrite", "--overwrite has no effect without --out"),
    ("predict {language-model} a -s window=3", "-s has no effect on a language model in predict"),
    ("predict {translate} a --sample 2 --beam 3", "--beam has no effect with --sample"),
    ("predict {translate} a --sample 2 -s norm=none", "-s norm has no effect with --sample"),
    ("predict {translate} a -s temperature=0.5", "-s temperature has no effect without --sample"),
    ("predict {translate} a --beam 1 -s alpha=0.5", "-s alpha has no effect on a greedy search (requires --beam 2"),
    ("predict {translate} a -s norm=none -s alpha=0.5", "-s alpha has no effect with norm none"),
    ("predict {transcribe} a.wav --format srt --json", "--format has no effect with --json"),
    ("predict {transcribe} a.wav --timestamps --format vtt", "--timestamps has no effect with --format vtt"),
    ("predict {transcribe} a.wav --timestamps --n-best 2", "--n-best has no effect where the words"),
    ("predict {transcribe} a.wav -s lm_weight=0.5", "-s lm_weight has no effect without --language-model"),
    ("predict {transcribe} a.wav -s hotword_weight=0", "-s hotword_weight has no effect without --hotwords"),
    ("predict {transcribe} --stream --batch-size 2", "--batch-size has no effect with --stream"),
    ("predict {caption} a.png --beam 1 -s norm=none", "-s norm has no effect on a greedy search"),
    ("explain {translate} abc -s seed=5", "-s seed has no effect in explain: it is for unrolled predict --sample"),
    ("explain {classify} abc --words 5", "--words has no effect on a classifier: it is for word vectors"),
    ("explain {tag} abc --encoding utf-8", "--encoding has no effect without a file of inputs"),
    ("evaluate {word-vectors} a.tsv --batch-size 3", "--batch-size has no effect on word vectors"),
    ("evaluate {language-model} a.txt --adapt cache --batch-size 3", "--batch-size has no effect with --adapt"),
    ("evaluate {language-model} a.txt -s window=3", "-s has no effect on a language model in evaluate without --adapt"),
    ("evaluate {classify} a.txt --label y", "--label has no effect on a.txt"),
    ("evaluate {classify} a.csv --threshold 0.2 --unicode-errors strict", "--unicode-errors has no effect on the folder"),
    ("evaluate {tag} a.conll --overwrite", "--overwrite has no effect without --out"),
    ("neighbors {word-vectors} a --unicode-errors replace", "--unicode-errors has no effect on the folder"),
    ("analogy {word-vectors} a b c --unicode-errors ignore", "--unicode-errors has no effect on the folder"),
    ("export {word-vectors} x.bin --unicode-errors strict", "--unicode-errors has no effect on the folder"),
    ("index {word-vectors} --out x.voy --unicode-errors strict", "--unicode-errors has no effect on the folder"),
    ("compare {tag} {tag} --encoding utf-8", "--encoding has no effect without --on"),
    ("check translate a.tsv --overwrite", "--overwrite has no effect without --out"),
    ("check tag a.conll --json --most 3", "--most has no effect with --json"),
    ("serve {tag} --token-file t --without-token", "--without-token has no effect with --token-file"),
]


@pytest.mark.parametrize(("command", "said"), IDLE, ids=[command for command, _ in IDLE])
def test_a_flag_without_effect_is_a_usage_error(
    command: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "a.csv", "a.tsv", "a.conll", "a.wav", "a.png"):
        Path(name).write_text("x\n")
    _, error = run(*(word.format_map(FOLDERS) for word in command.split()), code=2)
    assert said in error
    assert not Path("x.bin").exists()


@pytest.mark.parametrize("task", ["caption", "classify", "language-model", "tag", "transcribe", "translate"])
def test_a_device_that_is_not_there_is_refused_before_data_are_read(task: str, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    files = [tmp_path / name for name in (["a.x", "b.x"] if task == "translate" else ["a.x"])]
    for file in files:
        file.write_bytes(b"\xff\x00 nothing that can be read")
    settings = ["-s", "network=rnn"] if task == "classify" else []
    _, error = run("train", task, *files, "--out", tmp_path / "run", "--device", "cuda", *settings, code=3)
    assert "no CUDA device" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "field", "said"),
    [
        ({"input": "a"}, "input", "Did you mean 'inputs'?"),
        ({"inputs": "a", "optoins": {}}, "optoins", "Did you mean 'options'?"),
        ({"inputs": "a", "options": {"beams": 5}}, "options.beams", "Did you mean 'beam'?"),
        ({"inputs": "a", "options": {"n-best": 5}}, "options.n-best", "Did you mean 'n_best'?"),
        ({"inputs": "a", "options": {"zzzzzz": 5}}, "options.zzzzzz", "no such name"),
    ],
)
def test_an_unknown_field_of_a_request_is_told_the_nearest_name(data: Any, field: str, said: str) -> None:
    options = create_model("Options", __base__=SearchOptions)
    body = create_model("Body", __config__=ConfigDict(extra="forbid"), inputs=(str, ""), options=(options, options()))
    with pytest.raises(ValidationError) as caught:
        body.model_validate_json(json.dumps(data))
    found = dict(invalid(caught.value, model=body).errors)
    assert said in found.get(field, found.get("options", ""))


def test_an_option_as_an_argument_of_train_is_told_where_it_goes(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"no argument 'minutes', 'beam'.*options=\{'minutes': 0.1, 'beam': 3\}"):
        unrolled.train("caption", "a.tsv", tmp_path / "run", minutes=0.1, beam=3)


@pytest.mark.parametrize("task", ["caption", "classify", "language-model", "tag", "transcribe", "translate"])
def test_missing_validation_files_are_found_before_training_data_are_read(task: str, tmp_path: Path) -> None:
    files = [tmp_path / name for name in (["a.x", "b.x"] if task == "translate" else ["a.x"])]
    for file in files:
        file.write_bytes(b"\xff\x00 nothing that can be read")
    valid = ["--valid-pairs" if task == "translate" else "--valid", tmp_path / "gone.tsv"]
    _, error = run("train", task, *files, "--out", tmp_path / "run", *valid, code=3)
    assert "gone.tsv: no such file" in error


def test_flags_with_effect_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("body\nabc\n")
    run("predict", FOLDERS["classify"], "--input", "a.csv", "--text", "body", "--threshold", 0, "--encoding", "utf-8")
    run("predict", FOLDERS["translate"], "abc", "--sample", 1, "-s", "temperature=0.5", "-s", "max_length=5")
    run("predict", FOLDERS["translate"], "abc", "--beam", 1, "-s", "max_length=5")
    run("sample", FOLDERS["language-model"], "--length", 3, "--temperature", 0)
    run("explain", FOLDERS["classify"], "abc", "--batch-size", 4)
