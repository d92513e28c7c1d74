"""The wheel holds what a user needs, and the documentation is executed."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import unrolled
from test_translate import FLAGS
from unrolled.cli.main import app
from unrolled.data.pairs import Pairs
from unrolled.data.scenes import save_scenes, scenes
from unrolled.data.tones import save_tones, tones
from unrolled.run.translate import translate_options
from unrolled.tasks.translate import TranslateTask
from untrained import untrained_captioner, untrained_recognizer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "--disable-pip-version-check", "-w", str(folder)], check=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    mine = {str(p.relative_to(source)) for p in source.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert mine <= names
    assert {"unrolled/py.typed", "unrolled/pictures/draw.js"} <= names
    assert not any(name.startswith(("tests", "benchmarks")) for name in names)


def test_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own that borrows only the dependencies."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    site = next(home.glob("lib/python*/site-packages"))
    (site / "parent.pth").write_text(str(Path(pytest.__file__).parents[1]))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(home / "bin" / "python"),
        "install",
        "--no-deps",
        "--no-index",
        "-q",
    ]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
    code = "import unrolled; print(unrolled.__file__)"
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = subprocess.run(
        [home / "bin" / "python", "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True, env=clean
    )
    assert run.stdout.startswith(str(home))
    script = [home / "bin" / "unrolled", "demo", "--minutes", "0.02", "--out", tmp_path / "demo"]
    done = subprocess.run(script, cwd=tmp_path, check=True, capture_output=True, text=True, env=clean)
    assert done.stdout.startswith("The ")
    assert "What to do next" in done.stderr


def test_docstring_examples() -> None:
    attempted = 0
    for found in pkgutil.walk_packages(unrolled.__path__, "unrolled."):
        if not found.name.endswith("__main__"):
            result = doctest.testmod(importlib.import_module(found.name))
            assert result.failed == 0, found.name
            attempted += result.attempted
    assert attempted >= 10


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_python_in_the_documentation_runs(
    path: Path, run_folder: Path, vector_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "books").symlink_to(run_folder)
    (tmp_path / "runs" / "vec").symlink_to(vector_run)
    for block in blocks(path, "python"):
        exec(compile(block, str(path), "exec"), {})


@pytest.fixture
def documented(
    run_folder: Path,
    vector_run: Path,
    sentiment: Path,
    tagger: Path,
    english_file: Path,
    tmp_path: Path,
) -> Path:
    """A folder with all files and runs that the documentation names, small ones."""
    (tmp_path / "runs").mkdir()
    for name in ("books", "big"):
        (tmp_path / "runs" / name).symlink_to(run_folder)
    for name in ("vec", "parts"):
        (tmp_path / "runs" / name).symlink_to(vector_run.parent / name)
    (tmp_path / "runs" / "sentiment").symlink_to(sentiment)
    (tmp_path / "runs" / "tags").symlink_to(tagger)
    drawn = scenes(6, seed=1)
    pairs = Pairs(["Ein Hund rennt."] * 9, ["A dog runs."] * 9, ["-"] * 9)
    task = TranslateTask(translate_options(flags=FLAGS), pairs, pairs)
    task.trained(task.build()).save(tmp_path / "runs" / "de-en")
    for name, texts in (("test.de", pairs.sources), ("test.en", pairs.targets)):
        (tmp_path / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    untrained_captioner(drawn).save(tmp_path / "runs" / "captions")
    shutil.copy(save_scenes(drawn, tmp_path / "photos")[0], tmp_path / "photo.jpg")
    rows = [f"{n + 1}.png\tdev\t{caption}\n" for n, (caption,) in enumerate(drawn.captions)]
    (tmp_path / "captions.tsv").write_text("file\tsplit\tcaption\n" + "".join(rows))
    shutil.copy(tagger.parent / "sentences.conll", tmp_path)
    songs = tones(3, seed=1)
    shutil.copy(save_tones(songs, tmp_path / "clips")[0], tmp_path / "talk.wav")
    (tmp_path / "clips.tsv").write_text("file\ttext\n" + "".join(f"{n}.wav\t{t}\n" for n, t in enumerate(songs.texts)))
    untrained_recognizer(songs, encoder_size=4, streaming=True).save(tmp_path / "runs" / "speech")
    for name in ("names.txt", "phrases.txt"):
        (tmp_path / name).write_text("do re mi\nsol\n")
    rows = [f"w{n % 7} breakpoint {n},debugging\nw{n % 5} string {n},strings\n" for n in range(20)]
    text = "body,page\n" + "".join(rows)
    doubled = "\n".join(f"{line},{line}" for line in text.splitlines())  # as runs/sentiment names them, and as texts do
    (tmp_path / "reviews.csv").write_text(doubled.replace("body,page,body,page", "body,page,review,sentiment"))
    (tmp_path / "pairs.tsv").write_text("value\tobject\t5\nthe\tvalue\t1\n")
    (tmp_path / "analogies.txt").write_text(": plural\nobject objects value values\n")
    for name in ("corpus.txt", "held-out.txt", "lines.txt"):
        (tmp_path / name).write_text(english_file.read_text()[:3000])
    return tmp_path


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_commands_in_the_documentation_are_understood(
    path: Path, documented: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training commands are parsed (--print-config); all others run on small models and texts."""
    monkeypatch.chdir(documented)
    for block in blocks(path, "sh"):
        for line in block.splitlines():
            command = re.sub(r"\s#.*", "", line).strip()
            if not command.startswith("unrolled ") or command.startswith("unrolled demo"):
                continue
            words = shlex.split(command.partition("<")[0])[1:]
            words += ["--print-config"] if words[0] in ("train", "serve") and "--resume" not in words else []
            done = CliRunner().invoke(app, words, input="The value\n" if "<" in command else None)
            assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception}"


def test_links_between_documents_lead_somewhere() -> None:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
