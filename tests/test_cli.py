"""The command line as a user meets it: output, exit codes, messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "unrolled"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "NO_COLOR": "1"}
TRAIN = ["train", "language-model"]
SMALL = ["--preset=tiny", "--epochs=1", "--hidden-size=8", "--embedding-size=8", "--window=20", "--threads=1"]


def run(*arguments: object, stdin: bytes = b"", code: int = 0) -> tuple[str, str]:
    done = subprocess.run([*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, env=ENVIRONMENT, check=False)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, f"exit {done.returncode}, expected {code}\n{out}\n{err}"
    assert "Traceback" not in err
    return out, err


def test_unrolled_threads_is_heard_by_every_command() -> None:
    script = (
        "import os, sys; from unrolled.cli.main import main\nsys.argv = ['unrolled', '--version']\n"
        "try: main()\nexcept SystemExit: pass\nprint(os.environ['OMP_NUM_THREADS'])"
    )
    for value, expected in (("3", "3"), ("many", "1")):
        environment = ENVIRONMENT | {"UNROLLED_THREADS": value}
        out = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
        ).stdout
        assert out.splitlines()[-1] == expected


def test_help_is_light_and_names_every_verb() -> None:
    script = (
        "import sys; from unrolled.cli.main import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'numba', 'matplotlib', 'tokenizers'} & set(sys.modules); print(heavy or 'light')"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
    assert out.endswith("light\n")
    for verb in ("train", "evaluate", "sample", "predict", "explain", "info", "demo"):
        assert f"\n  {verb} " in out


def test_info_of_a_model_needs_no_torch(run_folder: Path) -> None:
    script = (
        "import sys; from unrolled.cli.main import app\n"
        f"try: app(['info', {str(run_folder)!r}])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
    assert "- task: language-model" in out
    assert out.endswith("False\n")


def test_flags_and_their_defaults_come_from_the_options() -> None:
    out, _ = run(*TRAIN, "--help")
    assert "--hidden-size" in out
    assert "tiny 192" in out
    printed, _ = run(*TRAIN, "x", "--out", "y", "--print-config", "--hidden-size", "77", "-s", "window=9")
    assert "hidden_size = 77" in printed
    assert "window = 9" in printed


def test_all_text_can_be_trained_on(english_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    out, err = run(*TRAIN, english_file, "--out", folder, *SMALL, "--valid-fraction", "0", "--json")
    best = json.loads(out)
    assert "valid_loss" not in best
    assert best["step"] == json.loads((folder / "last" / "metrics.json").read_text())["step"]
    assert "0 to validate on" in err
    assert "Last model: step" in err
    assert "(best)" not in err
    assert "nothing was held out" in (folder / "report.html").read_text()
    assert "alidation" not in (folder / "README.md").read_text()
    for setting in ("schedule=plateau", "average_after=2"):
        _, err = run(*TRAIN, english_file, "--out", tmp_path / "n", *SMALL, "--valid-fraction", "0", "-s", setting, code=3)
        assert "need validation" in err
    assert json.loads(run("evaluate", folder, english_file, "--json")[0])["loss"] < 4.3


def test_the_whole_way(english_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    out, err = run(*TRAIN, english_file, "--out", folder, *SMALL, "--json")
    best = json.loads(out)
    assert best["valid_loss"] < 4.3
    assert "validation" in err
    assert {p.name for p in folder.iterdir()} >= {
        "config.toml",
        "metrics.jsonl",
        "report.html",
        "README.md",
        "best",
        "last",
    }
    out, _ = run("evaluate", folder, english_file, "--json")
    found = json.loads(out)
    assert found["tokens"] == 30_000
    assert found["unit"] == "characters"
    text, _ = run("evaluate", folder, english_file)
    assert f"{found['perplexity']:.4f}" in text
    one, _ = run("sample", folder, "--prompt", "The ", "--length", "30", "--seed", "4")
    again, _ = run("sample", folder, "--prompt", "The ", "--length", "30", "--seed", "4", "--n", "2", "--json")
    assert one == json.loads(again.splitlines()[0])["text"] + "\n"
    assert one.startswith("The ")
    page = tmp_path / "why.html"
    run("explain", folder, "The value", "--out", page)
    assert page.read_text().startswith("<!doctype html>")
    _, err = run("explain", folder, "The value", "--out", page, code=3)
    assert "exists already" in err
    run("explain", folder, "The value", "--out", page, "--overwrite")
    assert json.loads(run("explain", folder, "The value")[0])["text"] == "The value"
    run("explain", folder, "The value", "--out", tmp_path / "why.png")
    assert (tmp_path / "why.png").read_bytes()[:4] == b"\x89PNG"
    config = folder / "config.toml"
    printed, _ = run(*TRAIN, "x", "--out", "y", "--config", config, "--print-config")
    assert printed == config.read_text().partition("\n")[2]


def test_predict_answers_line_by_line(run_folder: Path) -> None:
    lines = "The value\n\nзима 猫\n" + "x" * 3000 + "\nThe value\n"
    out, _ = run("predict", run_folder, "--json", stdin=lines.encode())
    found = [json.loads(line) for line in out.splitlines()]
    assert [f["text"] for f in found] == lines.splitlines()
    assert found[1]["perplexity"] is None
    assert found[0]["log_probability"] == pytest.approx(found[4]["log_probability"], abs=1e-3)
    assert sum(t["surprisal"] for t in found[0]["tokens"]) == pytest.approx(-found[0]["log_probability"], abs=1e-3)
    plain, _ = run("predict", run_folder, "The value")
    log_probability, perplexity, tokens = plain.rstrip("\n").split("\t")
    assert float(log_probability) == pytest.approx(found[0]["log_probability"], abs=1e-3)
    assert float(perplexity) == pytest.approx(found[0]["perplexity"], rel=1e-3)
    assert len(tokens.split(" ")) == 9
    assert run("predict", run_folder, stdin=b"")[0] == ""
    out, err = run("predict", run_folder, "--json", stdin=b"fine\nbad \xff\nfine\n", code=4)
    assert "line 2: not utf-8 at byte 4" in err
    answers = [json.loads(line) for line in out.splitlines()]
    assert "error" in answers[1]
    assert answers[0]["text"] == answers[2]["text"] == "fine"


def test_a_closed_pipe_is_no_error(run_folder: Path) -> None:
    shell = f"{' '.join(COMMAND)} sample {run_folder} --length 3000 | head -c 20"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == 20
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        (b"", [], "holds no text"),
        (b"\x00\x01\x02", [], "binary"),
        (b"caf\xe9", [], "not utf-8 at byte 3"),
        (b"a", [], "too short to hold"),
        (b"a short text", [], "less than one window"),
        (b"a" * 5000, [], "different characters"),
        (b"fine text " * 200, ["-s", "hiden_size=3"], "Did you mean 'hidden_size'"),
        (b"fine text " * 200, ["-s", "hidden_size"], "-s takes key=value"),
        (b"fine text " * 200, ["-s", "banana.hidden_size=5"], "unknown key 'banana.hidden_size'"),
        (b"fine text " * 200, ["--hidden-size", "0"], "hidden-size"),
        (b"fine text " * 200, ["--preset", "chra"], "Did you mean 'char'"),
        (b"fine text " * 200, ["-s", "cell=grru"], "Did you mean 'gru'"),
        (b"fine text " * 200, ["--config", "missing.toml"], "missing.toml: cannot be read"),
    ],
)
def test_bad_input_is_refused_with_code_3_and_leaves_nothing(
    tmp_path: Path, content: bytes, flags: list[str], message: str
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    preset = [] if "--preset" in flags else ["--preset", "tiny"]
    _, err = run(*TRAIN, path, "--out", tmp_path / "run", *preset, *flags, code=3)
    assert message in err
    assert not (tmp_path / "run").exists()


def test_config_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    for content, message in (
        ("[model]\nhiden_size = 3\n", "Did you mean 'hidden_size'"),
        ("[modle]\n", "Did you mean 'model'"),
        ("window = 3\n", "unknown section [window]"),
        ("[model\n", "not a TOML file"),
        ("[data]\nhidden_size = 3\n", "unknown key 'hidden_size' in [data]"),
    ):
        path.write_text(content)
        _, err = run(*TRAIN, "x", "--out", tmp_path / "y", "--config", path, code=3)
        assert message in err


def test_existing_and_unwritable_output(english_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    _, err = run(*TRAIN, english_file, "--out", tmp_path, *SMALL, code=3)
    assert "nothing is overwritten" in err
    _, err = run(*TRAIN, english_file, "--out", "/proc/nothing/here", *SMALL, code=3)
    assert "cannot be written" in err
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_usage_errors_are_code_2(run_folder: Path) -> None:
    run("juggle", code=2)
    run("sample", code=2)
    run("sample", run_folder, "--length", "many", code=2)
    _, err = run("sample", run_folder, "--top-p", "3", code=3)
    assert "top-p" in err
    _, err = run("demo", "juggling", code=3)
    assert "language-model" in err
    _, err = run("info", "nowhere", code=3)
    assert "no such folder" in err


def test_ctrl_c_saves_and_returns_130(english_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [*COMMAND, *TRAIN, english_file, "--out", folder, *SMALL, "--epochs", "1000", "--minutes", "5"]
    process = subprocess.Popen([str(c) for c in command], stderr=subprocess.PIPE, env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err.decode()
    assert b"Traceback" not in err
    assert err.endswith(b"interrupted\n")
    last = json.loads(metrics.read_text().splitlines()[-1])
    assert last["step"] > 0
    assert run("sample", folder, "--length", "5")[0]


def test_stdin_trains(english_file: Path, tmp_path: Path) -> None:
    run(*TRAIN, "-", "--out", tmp_path / "run", *SMALL, "--quiet", stdin=english_file.read_bytes())
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()


def test_environment_variables_are_options() -> None:
    command = [*COMMAND, *TRAIN, "x", "--out", "y", "--print-config"]
    out = subprocess.run(
        command, capture_output=True, text=True, check=True, env=ENVIRONMENT | {"UNROLLED_HIDDEN_SIZE": "33"}
    )
    assert "hidden_size = 33" in out.stdout


@pytest.mark.parametrize(
    "flag", ["--minutes=inf", "--epochs=inf", "--learning-rate=inf", "--seed=99999999999999999999", "--n-layers=100000000"]
)
def test_endless_options_are_refused(tmp_path: Path, flag: str) -> None:
    _, err = run(*TRAIN, "x", "--out", tmp_path / "y", flag, "--print-config", code=3)
    assert flag[2:].partition("=")[0] in err


def test_streams_that_are_closed_or_narrow(run_folder: Path, tmp_path: Path) -> None:
    sample = f"{' '.join(COMMAND)} sample {run_folder} --length 5 --prompt 猫"
    for shell, code in (
        (f"{sample} >&-", 0),
        (f"{sample} 2>&-", 0),
        (f"{sample} <&-", 0),
        (f"PYTHONIOENCODING=ascii {sample}", 0),
    ):
        done = subprocess.run(["bash", "-c", shell], capture_output=True, env=ENVIRONMENT, check=False)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
    assert done.stdout.startswith(b"\\u732b")
    train = f"{' '.join(COMMAND)} train language-model - --out {tmp_path}/r {' '.join(SMALL)} 2>&1 | head -1"
    subprocess.run(["bash", "-c", train], input=b"some text. " * 300, capture_output=True, env=ENVIRONMENT, check=True)
    last = (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["epoch"] == 1  # trained to its end although nobody read the output


def test_names_that_are_not_utf8(english_file: Path, tmp_path: Path) -> None:
    folder, text = os.fsencode(tmp_path) + b"/r\xff", os.fsencode(tmp_path) + b"/t\xff.txt"
    Path(os.fsdecode(text)).write_text(english_file.read_text()[:3000])
    command = [*COMMAND, *TRAIN, text, b"--out", folder, *SMALL]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    assert "\\udcff" in (Path(os.fsdecode(folder)) / "best" / "config.json").read_text()


def test_debug_shows_where(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--debug", "info", str(tmp_path)], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 3
    assert "Traceback" in done.stderr
