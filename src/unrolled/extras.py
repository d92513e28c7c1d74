"""The command that installs an optional part of the package, as it works from where the user is.

The package is on no index yet, so that `pip install unrolled[speech]` finds nothing. In a clone the clone is installed with
the extra; from a wheel, the packages that its metadata names for the extra.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["install_command"]

_EXTRA = re.compile(r"""\s*(?:\band\b)?\s*extra\s*==\s*['"]([\w-]+)['"]""")
_OWN = re.compile(r"^unrolled\[([\w,\s-]+)\]")


def install_command(extra: str) -> str:
    """Return the command line that installs the packages of an extra into this Python."""
    clone = _clone()
    if clone is not None:
        constraints = clone / "constraints.txt"
        options = f"-c {_quoted(_relative(constraints))} " if constraints.exists() else ""
        return f"{_pip()} {options}-e {_quoted(f'{_relative(clone)}[{extra}]')}"
    wanted = dict.fromkeys(_requirements(extra))
    return f"{_pip()} {' '.join(map(_quoted, wanted)) or _quoted(f'unrolled[{extra}]')}"


def _clone() -> Path | None:
    """Return the folder of the source tree that this package is imported from, if it is one."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "src" / "unrolled").is_dir() else None


def _requirements(extra: str) -> Iterator[str]:
    """Yield the requirements of an extra in the metadata of the installed package, with extras of its own taken apart."""
    try:
        requirements = importlib.metadata.requires("unrolled") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for requirement in requirements:
        needed, _, marker = requirement.partition(";")
        found = _EXTRA.search(marker)
        if found is None or found[1] != extra:
            continue
        own = _OWN.match(needed)
        if own is not None:
            for name in own[1].split(","):
                yield from _requirements(name.strip())
            continue
        rest = _EXTRA.sub("", marker).strip()
        yield f"{needed.strip()}; {rest}" if rest else needed.strip()


def _pip() -> str:
    python = _quoted(_relative(Path(sys.executable)))
    try:
        importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        if shutil.which("uv"):
            return f"uv pip install --python {python}"
    return f"{python} -m pip install"


def _relative(path: Path) -> str:
    """Return a path as it is typed here: below the working folder without that folder's name, else absolute."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _quoted(word: str) -> str:
    if re.fullmatch(r"[\w./\\:=-]+", word):
        return word
    return f'"{word}"' if os.name == "nt" or "'" in word else f"'{word}'"
