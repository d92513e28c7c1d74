"""run.json: what a training was begun with, so that it can be continued, and only with the same.

Text that came from no file (standard input, a demo) is kept in inputs/ of the run folder.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unrolled import __version__
from unrolled.config import LIMITS, Options, Section, explain, flat, leaves, read_toml, take_auto
from unrolled.data.text import Document, read_documents
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.folders import read_json, write_json, write_text

__all__ = [
    "accept_changes",
    "chosen_threads",
    "read_record",
    "record_options",
    "record_threads",
    "recorded_documents",
    "recorded_options",
    "replanned",
    "write_record",
]

_FORMAT, _FORMAT_VERSION = "unrolled-run", 1
_ANYWAY = "or add --allow-changes to go on with the difference."


def write_record(
    folder: Path,
    task: str,
    options: Section,
    texts: Mapping[str, Sequence[Document] | None],
    examples: dict[str, Any] | None = None,
) -> None:
    """Note versions, options and texts; text without a file is copied into the run folder. examples: see `run.examples`."""
    noted = {
        part: documents and [_note(folder, f"{part}-{n}.txt", document) for n, document in enumerate(documents)]
        for part, documents in texts.items()
    }
    record = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "task": task, **_versions(), "examples": examples}
    write_json(folder / "run.json", record | {"options": options.model_dump(exclude_none=True), "texts": noted})


def _note(folder: Path, name: str, document: Document) -> dict[str, str]:
    path = document.path
    if path is None:
        path = f"inputs/{name}"
        (folder / "inputs").mkdir(exist_ok=True)
        write_text(folder / path, document.text)  # what came from no file is in memory
    return {"name": document.name, "path": path, "sha256": document.facts().sha256}


def read_record(folder: Path) -> dict[str, Any]:
    """run.json of a run folder; FolderError if there is none to go on with."""
    if not folder.is_dir():
        raise FolderError(f"{folder}: no such run folder. Begin a training with: unrolled train TASK FILES --out FOLDER")
    if not (folder / "run.json").exists():
        raise FolderError(f"{folder}: holds no run.json, so no training that can be resumed.")
    try:
        record = read_json(folder / "run.json")
    except FolderError:
        raise FolderError(f"{folder}: run.json is damaged, so the training cannot be resumed; train anew.") from None
    if not isinstance(record, dict) or (record.get("format"), record.get("format_version")) != (_FORMAT, _FORMAT_VERSION):
        raise FolderError(f"{folder}: run.json is of another format than this version of unrolled reads; train anew.")
    return record


def replanned(record: dict[str, Any], training: Any) -> bool:
    """Whether a limit of the run has changed since it began: then the run is planned again."""
    began = record["options"]["training"]
    return any(began.get(name) != getattr(training, name) for name in LIMITS)


def recorded_options(
    folder: Path, record: dict[str, Any], kind: type[Options], *, fixed: Collection[str], allow_changes: bool
) -> Options:
    """The options in config.toml; FolderError or ConfigError if versions or options are not those of the beginning.

    `fixed` options cannot be changed at all. An option that is "auto" has the value taken at the beginning, and so has one
    that had no effect, and is therefore not in config.toml. One that did
    not exist when the run began has the field's `unrecorded` value (`json_schema_extra`), else its default.
    """
    now = _versions()
    changed = [
        f"{name} {record.get(name)} then, {version} now" for name, version in now.items() if record.get(name) != version
    ]
    if changed and not allow_changes:
        raise FolderError(
            f"{folder}: was begun with other versions ({'; '.join(changed)}), which may not give the same model. "
            f"Install those, {_ANYWAY}"
        )
    path = folder / "config.toml"
    then, tree = flat(record["options"]), read_toml(path)
    for section, name, field in leaves(kind):
        extra = field.json_schema_extra
        written = tree.setdefault(section, {})
        if name in kind.conditions and name in then and isinstance(written, dict):
            written.setdefault(name, then[name])
        if name not in then and isinstance(extra, dict) and "unrecorded" in extra:
            then[name] = extra["unrecorded"]
            tree.setdefault(section, {}).setdefault(name, then[name])
        elif name not in then and field.default is not None:
            then[name] = field.default
    try:
        options = take_auto(kind.model_validate(tree), then)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from None
    found = flat(options.model_dump(exclude_none=True))
    different = [key for key in then | found if then.get(key) != found.get(key)]
    changed = [
        f"{key} was {then.get(key)}, is {found.get(key)}" for key in sorted(different, key=lambda key: key not in fixed)
    ]
    if any(key in fixed for key in different):
        raise ConfigError(
            f"{path}: a training that has begun cannot go on with other options of this kind ({'; '.join(changed)}). "
            "Put them back, or begin anew with another --out."
        )
    if changed and not allow_changes:
        raise ConfigError(
            f"{path}: options have changed since the training began ({'; '.join(changed)}). Put them back, {_ANYWAY}"
        )
    return options


def accept_changes(
    folder: Path, record: dict[str, Any], options: Section, texts: Mapping[str, Sequence[Document] | None]
) -> None:
    """Note that the training goes on with these versions, options and texts: from now on they are those it began with."""
    noted = {
        part: entries and [e | {"sha256": d.facts().sha256} for e, d in zip(entries, texts[part] or (), strict=True)]
        for part, entries in record["texts"].items()
    }
    changed = {"options": options.model_dump(exclude_none=True), "texts": noted}
    write_json(folder / "run.json", record | _versions() | changed)


def record_threads(folder: Path, threads: int) -> None:
    """Write to run.json the number of threads that was chosen by measuring."""
    write_json(folder / "run.json", read_record(folder) | {"chosen": {"threads": threads}})


def chosen_threads(folder: Path) -> int:
    """The number of threads that `record_threads` wrote; 0 if none was chosen."""
    if not (folder / "run.json").exists():
        return 0
    return int((read_record(folder).get("chosen") or {}).get("threads", 0))


def record_options(folder: Path, options: Section) -> None:
    """Write the options to run.json once those that were "auto" are derived."""
    write_json(folder / "run.json", read_record(folder) | {"options": options.model_dump(exclude_none=True)})


def recorded_documents(
    folder: Path, record: dict[str, Any], encoding: str, *, allow_changes: bool
) -> dict[str, list[Document] | None]:
    """Read the texts again; DataError names those that are gone or have changed."""
    texts: dict[str, list[Document] | None] = {}
    problems: list[str] = []
    for part, entries in record["texts"].items():
        documents: list[Document] = []
        for own, group in itertools.groupby(entries or (), lambda entry: not Path(entry["path"]).is_absolute()):
            noted = list(group)
            read = read_documents([folder / entry["path"] for entry in noted], "utf-8" if own else encoding)
            for entry, document in zip(noted, read, strict=True):
                documents.append(document.named(entry["name"]))
                if document.facts().sha256 != entry["sha256"]:
                    problems.append(f"{document.path}: is not the text that the training in {folder} began with.")
        texts[part] = None if entries is None else documents
    if problems and not allow_changes:
        raise DataError("\n".join(problems[:10]) + f"\nPut it back, {_ANYWAY}")
    return texts


def _versions() -> dict[str, str]:
    return {"unrolled": __version__, "torch": importlib.metadata.version("torch")}
