"""The house rules that a program can check: who imports whom, sizes, public names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import unrolled

ROOT = Path(unrolled.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
FOUNDATION = {
    *("aliases", "messages", "metric_names", "conditions", "errors", "extras", "types", "config", "folders", "options"),
    *("clock", ""),
}
MAY_IMPORT: dict[str, set[str]] = {
    "": {"run", "tasks", "cells", "layers", "data", "errors"},  # the package itself: lazy public names
    "aliases": set(),
    "metric_names": set(),
    "errors": {"aliases", "extras"},
    "extras": set(),
    "messages": {"aliases"},
    "types": {"errors"},
    "conditions": set(),
    "config": {"aliases", "conditions", "errors", "messages"},
    "folders": {"errors"},
    "options": {"conditions", "config", "options"},
    "data": FOUNDATION | {"kernels"},
    "features": FOUNDATION | {"data", "kernels"},
    "clock": set(),
    "kernels": {"folders", "clock", "errors"},
    "cells": FOUNDATION,
    "layers": FOUNDATION | {"cells", "kernels"},
    "models": FOUNDATION | {"cells", "layers", "kernels"},
    "training": FOUNDATION,
    "decoding": FOUNDATION | {"kernels"},
    "metrics": FOUNDATION,
    "pictures": FOUNDATION,
    "tasks": FOUNDATION | {"data", "features", "models", "layers", "decoding", "metrics", "training"},
    "comparison": FOUNDATION | {"data", "metrics", "record", "tasks"},
    "record": FOUNDATION | {"data"},
    "run": FOUNDATION | {"record"} | {"data", "features", "cells", "tasks", "training", "pictures"},
    "server": FOUNDATION | {"data", "tasks", "decoding", "pictures"},
    "cli": FOUNDATION | {"comparison", "run", "data", "tasks", "training", "pictures", "decoding", "server"},
    "__main__": {"cli"},
}


def part(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(tree: ast.AST) -> set[str]:
    """Modules imported anywhere in a file: at the top, in functions, for types, by importlib."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("unrolled."):
            found.add(node.value.split(" ")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_the_right_way(path: Path) -> None:
    here = part(path)
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if name.startswith("unrolled."):
            there = name.split(".")[1]
            if (ROOT / there).is_dir() or (ROOT / f"{there}.py").exists():
                assert there == here or there in MAY_IMPORT[here], f"{here} must not import {there}"


def test_the_loop_is_driven_by_the_runner_alone() -> None:
    for path in FILES:
        if "unrolled.training.loop" in imports(ast.parse(path.read_text(encoding="utf-8"))):
            assert part(path) in {"run", "cli"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            assert lines <= 60, f"{node.name} has {lines} lines"
            exempt = part(path) in ("cli", "kernels") or path.name == "dropin.py" or node.name in ("sample", "stream")
            positional = [a.arg for a in node.args.args if a.arg not in ("self", "cls")]
            assert exempt or len(positional) + len(node.args.kwonlyargs) <= 8, f"{node.name} takes too many parameters"
            assert node.args.kwarg is None or node.name == "run", f"{node.name} takes **kwargs"


def test_every_module_says_what_it_is_and_lists_its_names() -> None:
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not tree.body:
            continue
        assert ast.get_docstring(tree), path
        public = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")]
        for node in public:
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"
        named = [n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__"]
        if public:
            assert {n.name for n in public} <= set(ast.literal_eval(named[0])), path


def test_public_names_exist() -> None:
    assert sorted(unrolled.__all__) == unrolled.__all__
    for name in unrolled.__all__:
        assert getattr(unrolled, name) is not None
    assert set(unrolled.__all__) <= set(dir(unrolled))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = unrolled.nonsense


def test_only_unroll_loops_over_time() -> None:
    """`Cell.step`, `record` and `backward` are called nowhere but in cells/ and layers/unroll.py."""
    for path in FILES:
        if part(path) == "cells" or path.name == "unroll.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                assert not (owner.endswith("cell") and node.func.attr in ("step", "record", "backward")), path
