"""`unrolled info`: a model folder, a file of word vectors, or this installation. That of a model needs no torch."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled import __version__
from unrolled.cli.flags import UnicodeErrors
from unrolled.errors import ConfigError
from unrolled.folders import cache_folder, model_folder, read_config, tensor_shapes

__all__ = ["info"]

_REQUIREMENT = re.compile(r"^([\w.-]+)[^;]*(?:;\s*extra == ['\"](\w+)['\"])?$")


def info(
    model: Annotated[
        str | None, typer.Argument(help="A run or model folder, or a file of word vectors; without one, this installation.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    unicode_errors: UnicodeErrors = "strict",
) -> None:
    """What is in a model folder or a file of word vectors, or what is installed (Markdown to paste into a report).

    Example: unrolled info runs/books
    """
    found = _installation() if model is None else _model(model, unicode_errors)
    if as_json:
        print(json.dumps(found))
        return
    for section, rows in found.items():
        print(f"## {section}\n")
        for key, value in rows.items():
            print(f"- {key}: {value}")
        print()


def _installation() -> dict[str, dict[str, Any]]:
    core: dict[str, str] = {}
    extras: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("unrolled") or ():
        if (found := _REQUIREMENT.match(requirement)) and found[1] != "unrolled":
            version = _version(found[1]) or "missing"
            if found[2]:
                extras.setdefault(found[2], []).append(f"{found[1]} {version}")
            else:
                core[found[1]] = version
    system = {
        "unrolled": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        **_arithmetic(),
        "cache": str(cache_folder()),
    }
    return {"System": system, "Core packages": core, "Extras": {name: ", ".join(of) for name, of in extras.items()}}


def _arithmetic() -> dict[str, Any]:
    """Devices that models can be trained on, and the threads that a command takes unless it is told otherwise."""
    try:
        import torch
    except ImportError:
        return {"devices": "unknown: torch is not installed"}
    gpus = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return {"devices": ", ".join(["cpu", *gpus]), "threads": torch.get_num_threads()}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _model(path: str, errors: str) -> dict[str, dict[str, Any]]:
    if Path(path).is_file():
        return _vectors(path, errors)
    if errors != "strict":
        raise ConfigError(f"{path}: is no file of word vectors: --unicode-errors has no effect on it")
    folder = model_folder(path)
    config = read_config(folder)
    shapes = tensor_shapes(folder / "model.safetensors")
    found = {
        "Model": {
            "folder": str(folder),
            "task": config.get("task"),
            "written by": f"unrolled {config.get('unrolled')}",
            "parameters": f"{sum(math.prod(shape) for shape in shapes.values()):,}",
        },
        "Sizes": config.get("model") or {},
        "Data": config.get("data") or {},
        "Metrics": config.get("metrics") or {},
        "Drift": config.get("drift") or {},
        "Tensors": {name: " x ".join(map(str, shape)) or "scalar" for name, shape in sorted(shapes.items())},
    }
    return {section: rows for section, rows in found.items() if rows}


def _vectors(path: str, errors: str) -> dict[str, dict[str, Any]]:
    from unrolled.data.vector_files import read_vectors

    found = read_vectors(path, errors)
    twice = f"{len(found.twice)}, such as {found.twice[0]!r}; the first of each counts" if found.twice else "none"
    return {
        "Word vectors": {
            "file": path,
            "format": found.kind,
            "words": f"{len(found.words):,}",
            "numbers in a vector": found.vectors.shape[1],
            "words that stand there again": twice,
            "first words": ", ".join(found.words[:10]),
            **(found.facts or {}),
        }
    }
