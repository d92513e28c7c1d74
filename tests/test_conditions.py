"""Options that have no effect in the chosen configuration are refused, in every task; unknown variables, too."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from typed import run
from unrolled import config
from unrolled.conditions import FACTS, SET, UNSET, Above, Not, Requirement
from unrolled.config import leaves, to_toml, with_facts
from unrolled.errors import ConfigError, UsageError
from unrolled.options import caption, classify, language_model, serve, tag, training, transcribe, translate, word_vectors
from unrolled.run.caption import caption_options
from unrolled.run.classify import classify_options
from unrolled.run.language_model import language_model_options
from unrolled.run.tag import tag_options
from unrolled.run.transcribe import transcribe_options
from unrolled.run.translate import translate_options
from unrolled.run.word_vectors import word_vectors_options

TASKS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "caption": (caption.CaptionOptions, caption_options),
    "classify": (classify.ClassifyOptions, classify_options),
    "language-model": (language_model.LanguageModelOptions, language_model_options),
    "tag": (tag.TagOptions, tag_options),
    "transcribe": (transcribe.TranscribeOptions, transcribe_options),
    "translate": (translate.TranslateOptions, translate_options),
    "word-vectors": (word_vectors.WordVectorsOptions, word_vectors_options),
}

#: Options that always have an effect. A new option stands here or among the conditions of its task.
UNCONDITIONAL = {
    "training": "minutes epochs max_steps batch_size window accumulate optimiser learning_rate warmup_steps schedule "
    "average_decay weight_decay clip evaluations patience seed precision device deterministic threads",
    "caption": "images train_split valid_split tokens plain vocabulary_size min_count longest fit encoding cell "
    "embedding_size decoder_size decoder_layers memory_size attention dropout_features dropout_input dropout_output "
    "dropout_word smoothing vectors select beam norm reward",
    "classify": "text label weight labels encoding tokens strip_tags class_weights min_count vocabulary_size network "
    "ngrams weighting rest dropout average_epochs average_rate target",
    "language-model": "tokens vocabulary_size min_count sentences encoding cell hidden_size n_layers input learned_state "
    "dropout_input dropout_output dropout_word softmax penalty_activation penalty_change",
    "tag": "restore encoding min_count vocabulary_size cell spelling_size hidden_size n_layers bidirectional dropout_input "
    "dropout_output dropout_word vectors select",
    "transcribe": "audio train_split valid_split tokens vocabulary_size min_count lower marks longest encoding "
    "streaming frequency_masks time_masks head cell encoder_size encoder_layers front reduction dropout_heard select beam",
    "translate": "tokens vocabulary_size min_count shared longest encoding cell embedding_size encoder_size decoder_size "
    "encoder_layers decoder_layers attention bridge dropout_input dropout_output dropout_word smoothing select beam norm "
    "reward",
    "word-vectors": "tokens min_count vocabulary_size encoding architecture objective context vector_size word_window "
    "subsample subwords minutes epochs max_steps learning_rate seed threads deterministic",
}


@pytest.mark.parametrize("task", TASKS)
def test_every_option_says_when_it_has_an_effect(task: str) -> None:
    model, _ = TASKS[task]
    names = {leaf.name for leaf in leaves(model)}
    free = set(UNCONDITIONAL[task].split())
    if task != "word-vectors":
        free |= set(UNCONDITIONAL["training"].split())
    conditional = set(model.conditions)
    assert names - conditional == free - conditional, "name the option in the conditions of its task, or in UNCONDITIONAL"
    assert conditional <= names
    for condition in model.conditions.values():
        for test in (test for tests in condition.alternatives for test in tests):
            assert test.option in names | FACTS.keys()


#: Task, settings of the configuration, options without effect in it, what the error names.
IDLE = [
    (
        "classify",
        {},
        "learning_rate batch_size hidden_size n_layers cell optimiser patience clip precision",
        "--preset rnn",
    ),
    ("classify", {}, "blend adversarial pooling dropout_word schedule warmup_steps", "--network average"),
    ("classify", {}, "reach", "--target precision"),
    ("classify", {}, "separator", "--labels many"),
    ("classify", {"labels": "many"}, "order", "--labels ordered"),
    ("classify", {"network": "rnn"}, "gradual_unfreezing layer_rate_decay freeze_vectors", "--vectors"),
    ("classify", {"network": "rnn", "n_layers": 1}, "dropout_between", "--n-layers"),
    ("classify", {"network": "rnn", "vectors": "v"}, "vector_size embedding_size", "--vectors"),
    ("classify", {"network": "rnn", "encoder": "e"}, "vectors cell hidden_size n_layers bidirectional", "--encoder"),
    ("translate", {"attention": "none"}, "attention_size looks input_feeding coverage", "--attention none"),
    ("translate", {"attention": "dot"}, "attention_size", "--attention additive or scaled-dot"),
    ("translate", {"norm": "none"}, "alpha", "--norm none"),
    ("translate", {}, "dropout_between", "--encoder-layers"),
    ("translate", {}, "average_after", "--average-decay"),
    ("caption", {"attention": "none"}, "attention_size looks", "--attention none"),
    ("caption", {}, "begins", "--attention none"),
    ("caption", {}, "window", "--batch-size"),
    ("caption", {}, "freeze_vectors", "output matrix"),
    ("caption", {}, "encoder_share shift mirror dropout_encoder", "--fine-tune"),
    ("caption", {"valid_split": "dev"}, "valid_fraction", "--valid-split"),
    ("transcribe", {}, "embedding_size decoder_size decoder_layers attention attention_size pace smoothing", "--head ctc"),
    ("transcribe", {}, "dropout_input dropout_output dropout_word ctc_weight", "--head ctc"),
    ("transcribe", {"head": "attention"}, "ctc_weight", "--head attention"),
    ("transcribe", {"head": "hybrid", "attention": "general"}, "attention_size", "--attention general"),
    ("transcribe", {}, "n_cepstra", "--kind mfcc"),
    ("transcribe", {"streaming": True}, "own_mean", "--streaming"),
    ("transcribe", {"frequency_masks": 0, "time_masks": 0}, "frequency_part time_part", "masks"),
    ("transcribe", {"noise": 0, "edge_seconds": 0}, "snr_low snr_high", "--noise"),
    ("tag", {}, "freeze_vectors vector_words unicode_errors", "--vectors"),
    ("tag", {"spelling_size": 0}, "letter_size", "--spelling-size"),
    ("tag", {"restore": True}, "word_column tag_column split", "--restore"),
    ("tag", {"cell": "mingru"}, "dropout_weight", "--cell mingru"),
    ("tag", {"schedule": "cosine"}, "plateau_factor plateau_patience", "--schedule plateau"),
    ("language-model", {"input": "one-hot"}, "embedding_size tied vectors", "--input embedded"),
    ("language-model", {"softmax": "adaptive"}, "tied", "--softmax adaptive"),
    ("language-model", {"vectors": "v"}, "freeze_vectors", "--no-tied"),
    ("language-model", {"n_layers": 1}, "dropout_between", "--n-layers above 1"),
    ("word-vectors", {"objective": "hierarchical-softmax"}, "negatives noise_exponent exact", "negative-sampling"),
    ("word-vectors", {"objective": "softmax"}, "negatives noise_exponent exact", "negative-sampling"),
    ("word-vectors", {}, "cbow_gradient", "--architecture cbow"),
    ("word-vectors", {}, "min_ngram max_ngram buckets", "--subwords"),
    ("word-vectors", {}, "phrase_threshold phrase_count", "--phrases"),
]


#: Values of options whose bounds exclude what `other` would take.
OTHER = {"rate_hz": 16_000, "n_mels": 40, "layer_rate_decay": 2.0}


def other(model: Any, name: str) -> Any:
    """A value that the option may have and that is not its default."""
    if name in OTHER:
        return OTHER[name]
    (field,) = (leaf.field for leaf in leaves(model) if leaf.name == name)
    kind, default = str(field.annotation), field.default
    if "bool" in kind:
        return not default
    if "Literal" in kind and default != "auto" and "int" not in kind:
        return next(value for value in field.annotation.__args__ if value != default)
    if "str" in kind:
        return "gru" if name == "cell" and default != "gru" else "lstm" if name == "cell" else "x"
    return (default or 0.25 if "float" in kind else default or 1) * (0.5 if "float" in kind else 2)


@pytest.mark.parametrize(("task", "settings", "names", "message"), IDLE)
def test_options_without_effect_are_refused(task: str, settings: dict[str, Any], names: str, message: str) -> None:
    model, choose = TASKS[task]
    base = to_toml(choose(flags=settings))
    for name in names.split():
        assert f"\n{name} = " not in base
        value = other(model, name)
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} has no effect") as caught:
            choose(flags=settings | {name: value})
        assert message in str(caught.value)
        assert caught.value.exit_code == 2
        with pytest.raises(UsageError, match="has no effect"):
            choose(flags=settings, settings=[f"{name}={str(value).lower() if isinstance(value, bool) else value}"])
    everything = " ".join(f"--{name.replace('_', '-')}" for name in names.split())
    with pytest.raises(UsageError) as caught:
        choose(flags=settings | {name: other(model, name) for name in names.split()})
    assert all(flag in str(caught.value) for flag in everything.split())  # all of them at once


#: Task, a fact of the run, options that have no effect then.
BY_FACT = [
    ("language-model", {}, {"valid": True}, "valid_fraction"),
    ("classify", {}, {"valid": True}, "valid_fraction hold_out"),
    ("classify", {}, {"check": True}, "network target valid_fraction hold_out"),
    ("tag", {}, {"valid": True}, "valid_fraction"),
    ("translate", {}, {"valid": True}, "valid_fraction"),
    ("caption", {}, {"valid": True}, "valid_fraction"),
    ("caption", {}, {"own_encoder": True}, "encoder encoder_weights encoder_share shift"),
    ("transcribe", {}, {"valid": True}, "valid_fraction hold_out"),
    ("transcribe", {}, {"frames": True}, "kind rate_hz n_mels deltas warp noise nothing"),
    ("word-vectors", {}, {"probe": False}, "patience"),
    ("word-vectors", {}, {"processes": False}, "average_words"),
    ("word-vectors", {}, {"start": True}, "phrases"),
    ("caption", {"encoder": "small"}, {"own_encoder": False}, "fine_tune"),
    ("caption", {"encoder_weights": "none"}, {"own_encoder": False}, "fine_tune"),
    ("language-model", {"valid_fraction": 0}, {"valid": False}, "patience"),
]


@pytest.mark.parametrize(("task", "settings", "facts", "names"), BY_FACT)
def test_facts_of_the_run_count_too(task: str, settings: dict[str, Any], facts: dict[str, bool], names: str) -> None:
    model, choose = TASKS[task]
    plain = with_facts(choose(flags=settings), facts)
    for name in names.split():
        assert f"\n{name} = " not in to_toml(plain)
        value = other(model, name)
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} has no effect"):
            with_facts(choose(flags=settings | {name: value}), facts)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_written_to_config_toml_is_accepted_again(task: str) -> None:
    _, choose = TASKS[task]
    for settings in [{}, *(settings for name, settings, *_ in IDLE if name == task)]:
        options = choose(flags=settings)
        again = choose(file=tomllib.loads(to_toml(options)))
        assert to_toml(again) == to_toml(options)


@pytest.mark.parametrize("task", TASKS)
def test_config_files_of_version_0_1_hold_all_options_and_are_accepted(task: str) -> None:
    """Values that have no effect are accepted where they are defaults, of whichever preset."""
    _, choose = TASKS[task]
    path = Path(__file__).with_name("version_0_1") / task / "run" / "config.toml"
    choose(file=tomllib.loads(path.read_text(encoding="utf-8")))


def test_a_config_file_with_another_value_without_effect_is_refused() -> None:
    translate_options(file={"model": {"attention": "none", "attention_size": 256}})
    with pytest.raises(ConfigError, match="config file: --attention-size has no effect with --attention none") as caught:
        translate_options(file={"model": {"attention": "none", "attention_size": 99}})
    assert caught.value.exit_code == 3
    with pytest.raises(ConfigError, match="--plateau-factor"):
        tag_options(file={"training": {"plateau_factor": 0.1}})
    language_model_options(preset="tiny", file={"model": {"n_layers": 1, "dropout_between": 0.3}})  # preset word has .3


def test_presets_never_complain() -> None:
    for task, presets in (
        ("classify", classify.PRESETS),
        ("language-model", language_model.PRESETS),
        ("transcribe", transcribe.PRESETS),
    ):
        for preset in presets:
            TASKS[task][1](preset=preset, flags={"encoder": "e"} if preset == "transfer" else {})


def test_an_environment_variable_without_effect_is_one_line_of_notice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config._PRINTED.clear()
    monkeypatch.setenv("UNROLLED_HIDDEN_SIZE", "77")
    monkeypatch.setenv("UNROLLED_PLATEAU_FACTOR", ".25")
    monkeypatch.setenv("UNROLLED_PORT", "9000")  # of `unrolled serve`
    monkeypatch.setenv("UNROLLED_CACHE", os.environ.get("UNROLLED_CACHE", ""))
    options = classify_options()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "UNROLLED_HIDDEN_SIZE with --network average" in err
    assert "UNROLLED_PLATEAU_FACTOR" in err
    assert "UNROLLED_PORT (an option of another command)" in err
    assert "UNROLLED_CACHE" not in err
    assert "hidden_size" not in to_toml(options)
    classify_options()
    assert capsys.readouterr().err == ""  # said once
    assert classify_options(preset="rnn").recurrent.hidden_size == 77


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("UNROLLED_LEARNIN_RATE", "UNROLLED_LEARNING_RATE"),
        ("UNROLLED_HIDEN_SIZE", "UNROLLED_HIDDEN_SIZE"),
        ("UNROLLED_PROT", "UNROLLED_PORT"),
        ("UNROLLED_CACHES", "UNROLLED_CACHE"),
        ("UNROLLED_XQZ", "UNROLLED_"),
    ],
)
def test_an_unknown_environment_variable_is_an_error(monkeypatch: pytest.MonkeyPatch, variable: str, nearest: str) -> None:
    monkeypatch.setenv(variable, "1")
    for choose in (classify_options, language_model_options, word_vectors_options):
        with pytest.raises(ConfigError, match=variable) as caught:
            choose()
        assert nearest in str(caught.value)
    for command in (["info"], ["train", "tag", "x", "--out", "y", "--print-config"], ["serve", "x"]):
        _, err = run(*command, code=3)
        assert f"{variable}: unknown environment variable" in err


def test_options_of_serve_are_known_to_every_task() -> None:
    assert {"port", "host", "workers"} <= {leaf.name for leaf in leaves(serve.ServeOptions)}
    assert {training.TrainingOptions, serve.LimitOptions} <= set(config._models(config.Section))


def test_the_command_line_exits_with_2_and_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "good one,a\nbad one,b\n" * 20)
    wrong = ["--learning-rate", "99", "--hidden-size", "3", "--cell", "gru", "--optimiser", "sgd"]
    _, err = run("train", "classify", path, "--out", tmp_path / "run", *wrong, code=2)
    assert "--cell, --hidden-size, --optimiser, --learning-rate have no effect with --network average" in err
    _, err = run("train", "classify", path, "--valid", path, "--valid-fraction", "0.2", "--out", tmp_path / "run", code=2)
    assert "--valid-fraction has no effect with --valid" in err
    assert not (tmp_path / "run").exists()
    printed, _ = run("train", "classify", path, "--out", tmp_path / "run", "--print-config")
    assert "hidden_size" not in printed
    assert "learning_rate" not in printed


def test_cuda_where_there_is_none_is_an_error_for_an_average_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"good {i},a\nbad {i},b\n" for i in range(40)))
    _, err = run("train", "classify", path, "--out", tmp_path / "run", "--device", "cuda", code=3)
    assert "CUDA" in err
    assert not (tmp_path / "run").exists()
    run("train", "classify", path, "--out", tmp_path / "run", "--device", "cpu", "-q")


def test_tests_of_values() -> None:
    values = {"a": 1, "b": None, "c": "x", "d": False}
    assert Requirement("a", (SET,)).holds(values)
    assert Requirement("b", (UNSET,)).holds(values)
    assert not Requirement("a", (Above(1),)).holds(values)
    assert not Requirement("b", (Above(1),)).holds(values)
    assert Requirement("c", ("x", "y")).holds(values)
    assert not Requirement("c", (Not("x"),)).holds(values)
    assert Requirement("unknown", ("x",)).holds(values)  # a fact that is not known yet
