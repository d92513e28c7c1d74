"""Model and run folders: what is in them, how they are written so that a crash leaves the old or the new one whole.

A run folder:    config.toml  run.json  inputs/  metrics.jsonl  report.html  curves.png  events/  README.md  best/  last/
A model folder:  config.json (with `format`, `format_version`, `task`)  model.safetensors  vocabulary.json  tokenizer.json
                 spelling.json  metrics.json  README.md

JSON and safetensors only: opening a folder made by someone else runs nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unrolled import __version__
from unrolled.errors import FolderError

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "cache_folder",
    "check_new",
    "check_run",
    "header",
    "latest",
    "model_folder",
    "new_folder",
    "open_model",
    "prepare_model",
    "prepare_run",
    "read_config",
    "read_json",
    "read_rows",
    "run_lock",
    "settle_run",
    "tensor_entries",
    "tensor_shapes",
    "write_bytes",
    "write_json",
    "write_stream",
    "write_text",
]

FORMAT, FORMAT_VERSION = "unrolled-model", 1
_RUN_FILES = {
    "config.toml",
    "run.json",
    "inputs",
    "metrics.jsonl",
    "report.html",
    "curves.png",
    "events",
    "README.md",
    "best",
    "last",
}


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old content or the new, never half of either."""
    write_stream(path, [data])


def write_stream(path: Path, pieces: Iterable[bytes]) -> None:
    """`write_bytes` of pieces one after another."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FolderError(f"{path}: cannot be written ({error.strerror or error}).") from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8; what UTF-8 cannot hold (half of a surrogate pair from a file name, say) is written as an escape."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl of a run folder, without the corrections of its plan."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key != "corrections"} for row in rows]


def header(task: str) -> dict[str, Any]:
    """What config.json of every model folder begins with."""
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "task": task, "unrolled": __version__}


def write_json(path: Path, data: Any) -> None:
    """Write JSON, UTF-8, one key a line; the escapes of `write_text` are escapes of JSON too."""
    write_text(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder; on success it takes the place of `path`, on any error `path` stays as it was."""
    temporary, old = path.with_name(f".{path.name}.{os.getpid()}.tmp"), path.with_name(f".{path.name}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise FolderError(f"{path}: cannot be written ({error.strerror or error}).") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)


def latest(path: Path) -> Path:
    """The folder that `new_folder` wrote last, also if a crash came between its two renames; clears what a crash left."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    old = path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.rename(path)
    return path


def check_new(path: Path | None, *, overwrite: bool, what: str = "--out") -> None:
    """Raise FolderError if there is a file already where one is to be written, unless under `overwrite`."""
    if path is not None and path.exists() and not overwrite:
        raise FolderError(f"{path}: exists already. Choose another {what} or add --overwrite.")


def check_run(path: Path, *, overwrite: bool) -> None:
    """Raise FolderError unless a run may be made at `path`: it is new or empty, or under `overwrite` a run and no more."""
    if path.is_symlink() and not path.exists():
        raise FolderError(f"{path}: is a link that leads nowhere. Choose another --out.")
    if path.exists() and not path.is_dir():
        raise FolderError(f"{path}: is a file; --out names a folder.")
    try:
        found = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except OSError as error:
        raise FolderError(f"{path}: cannot be read ({error.strerror or error}). Choose another --out.") from None
    if not found:
        return
    foreign = sorted(name for name in found if name not in _RUN_FILES and not name.startswith("."))
    if "metrics.jsonl" not in found or foreign:
        what = f" (it holds {foreign[0]}, which no run has)" if foreign else ""
        raise FolderError(f"{path}: is not empty and not a run{what}; nothing is overwritten. Choose another --out.")
    if not overwrite:
        raise FolderError(f"{path}: holds a run already. Choose another --out, or add --overwrite to replace that run.")


def prepare_run(path: Path, *, overwrite: bool) -> None:
    """Make the empty run folder, or say why it cannot be made. Two processes cannot both get it.

    Under `overwrite` the old run is set aside until `settle_run`.
    """
    check_run(path, overwrite=overwrite)
    try:
        if path.exists() and any(path.iterdir()):
            with run_lock(path):
                shutil.rmtree(_aside(path), ignore_errors=True)
                path.rename(_aside(path))
        path.mkdir(parents=True, exist_ok=True)
        (path / "metrics.jsonl").touch(exist_ok=False)
    except FileExistsError:
        raise FolderError(f"{path}: another training has just begun there. Choose another --out.") from None
    except OSError as error:
        raise FolderError(f"{path}: cannot be written ({error.strerror or error}). Choose another --out.") from None


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the run folder; FolderError if another process does. The lock ends with its process, however that ends."""
    from filelock import FileLock, Timeout  # here, because --help needs this file and no lock

    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FolderError(
            f"{path}: another training is at work there. Wait for it to end, or choose another --out."
        ) from None
    try:
        yield
    finally:
        lock.release()


def settle_run(path: Path) -> None:
    """After a training, however it ended: keep the new run if it has a model, else the old one or nothing."""
    if (path / "best").exists():
        shutil.rmtree(_aside(path), ignore_errors=True)
        return
    shutil.rmtree(path, ignore_errors=True)
    if _aside(path).exists():
        _aside(path).rename(path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def cache_folder() -> Path:
    """Where what can be made again is kept: UNROLLED_CACHE, or the user's cache folder."""
    from platformdirs import user_cache_dir  # here, because --help needs this file and no cache

    return Path(os.environ.get("UNROLLED_CACHE") or user_cache_dir("unrolled", appauthor=False))


def model_folder(path: str | Path) -> Path:
    """The model folder that `path` is or holds: a model folder itself, or a run's best/ (last/ before the first best)."""
    folder = Path(path)
    for candidate in (folder, folder / "best", folder / ".best.old", folder / "last", folder / ".last.old"):
        if (candidate / "config.json").is_file():
            return candidate
    if not folder.exists():
        raise FolderError(f"{folder}: no such folder. Train a model first: unrolled train --help")
    if not folder.is_dir():
        raise FolderError(f"{folder}: is a file; a model is a folder with config.json and model.safetensors.")
    raise FolderError(f"{folder}: holds no model (no config.json here, in best/ or in last/).")


def read_json(path: Path) -> Any:
    """Read a JSON file of a model folder."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FolderError(f"{path}: is missing; the model folder is not whole. Copy it again.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FolderError(f"{path}: is damaged ({error}). Copy the model folder again.") from None


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder, format checked."""
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise FolderError(f"{folder}: config.json was not written by unrolled ('format' is not '{FORMAT}').")
    if config.get("format_version") != FORMAT_VERSION:
        raise FolderError(
            f"{folder}: format version {config.get('format_version')!r}; this version of unrolled reads {FORMAT_VERSION}. "
            "Install the version of unrolled that wrote it."
        )
    return config


def open_model(path: str | Path, task: str, what: str) -> tuple[Path, dict[str, Any]]:
    """The model folder that `path` is or holds, and its config.json; FolderError unless it is `what`: of this task."""
    folder = model_folder(path)
    config = read_config(folder)
    if config.get("task") != task:
        raise FolderError(f"{folder}: is a model for '{config.get('task')}', not {what}.")
    return folder, config


def prepare_model(path: str | Path) -> Path:
    """The folder, made, for a model to be written to; FolderError if it holds something other than a model."""
    folder = Path(path)
    if folder.exists() and any(folder.iterdir()) and not (folder / "model.safetensors").exists():
        raise FolderError(f"{folder}: is not empty and not a model folder; nothing is overwritten.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file, read from its header alone."""
    return {name: entry["shape"] for name, entry in tensor_entries(path)[1].items()}


def tensor_entries(path: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Where the tensors of a safetensors file begin, and of each by name its shape, dtype and data_offsets."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > 100_000_000:
                raise ValueError("header too long")
            header = json.loads(file.read(size))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return 8 + size, {name: entry | {"shape": tuple(entry["shape"])} for name, entry in entries.items()}
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise FolderError(f"{path}: is not a whole safetensors file ({error}). Copy the model folder again.") from None
