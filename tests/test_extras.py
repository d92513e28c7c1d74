"""The command that installs an extra works from where the user is: a clone, a wheel, another folder."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from unrolled import extras
from unrolled.errors import MissingExtra

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [name for name in PROJECT["optional-dependencies"] if name not in ("dev", "docs")]


def words(command: str) -> list[str]:
    return shlex.split(command)


@pytest.mark.parametrize("extra", ["speech", "zh", "all"])
def test_in_a_clone_the_clone_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extra: str) -> None:
    monkeypatch.chdir(ROOT)
    found = words(extras.install_command(extra))
    assert found[1:] == ["-m", "pip", "install", "-c", "constraints.txt", "-e", f".[{extra}]"]
    monkeypatch.chdir(tmp_path)
    found = words(extras.install_command(extra))
    assert found[0] == sys.executable
    assert found[5:] == [str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{extra}]"]


def test_the_interpreter_is_named_as_it_is_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "with blank" / ".venv" / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    python.parent.mkdir(parents=True)
    assert words(extras.install_command("zh"))[0] == str(python)  # quoted
    monkeypatch.chdir(tmp_path / "with blank")
    assert words(extras.install_command("zh"))[0] == ".venv/bin/python"


@pytest.mark.parametrize("extra", EXTRAS)
def test_from_a_wheel_its_requirements_are_installed(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    """Names and ranges are those of pyproject.toml; nothing asks an index for the package itself."""
    stated = {
        f"{requirement}; extra == '{name}'" if ";" not in requirement else f"{requirement} and extra == '{name}'"
        for name, requirements in PROJECT["optional-dependencies"].items()
        for requirement in requirements
    }
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["torch>=2.6,<3", *sorted(stated)])
    monkeypatch.setattr(extras, "_clone", lambda: None)
    found = words(extras.install_command(extra))
    assert found[1:4] == ["-m", "pip", "install"]
    requirements = PROJECT["optional-dependencies"][extra]
    if extra == "all":
        inner = re.findall(r"[\w]+", requirements[0].partition("[")[2])
        requirements = [one for name in inner for one in PROJECT["optional-dependencies"][name]]
    assert set(found[4:]) == set(requirements)
    assert "unrolled" not in " ".join(found[4:])


def test_metadata_as_installers_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["uvloop>=0.21; (sys_platform != 'win32') and extra == 'serve'", 'soxr>=0.5 ; extra == "speech"', "numpy>=1"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    monkeypatch.setattr(extras, "_clone", lambda: None)
    assert words(extras.install_command("serve"))[4:] == ["uvloop>=0.21; (sys_platform != 'win32')"]
    assert words(extras.install_command("speech"))[4:] == ["soxr>=0.5"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: None)
    assert "pip install" in extras.install_command("speech")


def test_every_missing_extra_names_a_known_extra_and_the_command() -> None:
    used = set()
    for path in (ROOT / "src").rglob("*.py"):
        used |= set(re.findall(r'MissingExtra\([^)]*?, "(\w+)", "', path.read_text(encoding="utf-8")))
    assert used <= set(EXTRAS)
    assert {"speech", "vision", "serve", "zh", "ann", "translate", "plots"} <= used
    error = MissingExtra("soundfile", "speech", "Reading recordings")
    assert str(error) == (
        "Reading recordings needs the package 'soundfile'. Install it with: " + extras.install_command("speech")
    )


def test_no_text_prints_a_command_that_an_index_cannot_answer() -> None:
    for path in [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.*")]:
        if path.suffix in (".py", ".md", ".js", ".html", "") and path.is_file() and path.name != "extras.py":
            assert not re.search(r"pip install ['\"]?unrolled\b", path.read_text(encoding="utf-8")), path


def test_make_demo_installs_what_the_demos_need() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    demo = makefile.partition("/.demo:")[2].partition("touch")[0]
    assert {"plots", "speech", "translate", "vision"} <= set(re.findall(r"\w+", demo.partition(".[")[2].partition("]")[0]))
