"""Recordings and what is said in them: tables (.tsv, .csv), JSON lines, or a folder with a text beside each recording.

found = read_recordings(["clips.tsv"], Path("flac"), split="train")
found.files[0], found.texts[0], found.speakers[0]           # PosixPath('flac/1.flac'), 'one two', 'anna'

Columns: file, text, and if there are such, speaker and split. What was made of recordings before, frames (T, F) in .npy
or .npz files, may stand in place of recordings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrolled.data.audio import ENDINGS
from unrolled.data.paths import list_sources
from unrolled.data.tables import chosen, is_json, object_rows, read_tables, table_rows, there
from unrolled.data.text import Document, read_documents
from unrolled.errors import DataError, first_of

__all__ = ["FRAMES", "Recordings", "read_recordings", "splits_of"]

_COLUMNS = {
    "file": ("file", "path", "audio", "audio_filepath", "filename", "wav_filename", "wav"),
    "text": ("text", "transcript", "sentence", "transcription"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "split": ("split",),
}
#: Files that hold frames.
FRAMES = (".npy", ".npz")


class _Line(NamedTuple):
    place: str
    file: Path
    text: str
    speaker: str
    split: str | None


@dataclass
class Recordings:
    """Recordings (n), files or samples at the rate of the model, float32 (N,); their texts, speakers, where each was found,
    and what part of the data it belongs to, "" where nothing is known. missing: files that are not there; empty: texts
    without words that were left out.
    """

    files: list[Path | np.ndarray] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    empty: int = 0

    def __len__(self) -> int:
        return len(self.files)

    def columns(self) -> tuple[Sequence[Any], ...]:
        """All that is learned from: whole names of files, texts and speakers, (n,) each."""
        return [str(f.absolute() if isinstance(f, Path) else f) for f in self.files], self.texts, self.speakers

    def part(self, rows: Iterable[int]) -> Recordings:
        """Some of the recordings."""
        found = Recordings()
        for i in rows:
            found.add(self.files[i], self.texts[i], self.speakers[i], self.places[i], self.splits[i])
        return found

    def add(self, file: Path | np.ndarray, text: str, speaker: str = "", place: str = "", split: str = "") -> None:
        """One recording more."""
        self.splits.append(split)
        self.files.append(file)
        self.texts.append(text)
        self.speakers.append(speaker)
        self.places.append(place)


def read_recordings(
    sources: str | Path | Iterable[str | Path],
    audio: Path | None = None,
    *,
    split: str | None = None,
    encoding: str = "utf-8",
) -> Recordings:
    """Read tables of recordings, or folders of them; audio: the folder that names of files begin from, or else that of the
    table.

    split: only lines of this part of the data. Raises DataError naming up to ten lines that cannot be read, or where no
    recording is there.
    """
    sources = list_sources(sources)
    found, problems = Recordings(), list[str]()
    for source in sources:
        lines = list(_lines(Path(source), audio, encoding, problems))
        if problems:
            continue
        for line in chosen(lines, split, str(source)):
            if not line.text.strip():
                found.empty += 1
            elif not there(line.file):
                found.missing.append(str(line.file))
            else:
                found.add(line.file, line.text.strip(), line.speaker, line.place, line.split or "")
    if problems:
        raise DataError(first_of(problems))
    names = ", ".join(map(str, sources))
    if not len(found) and found.missing:
        raise DataError(
            f"{names}: none of the {len(found.missing):,} recordings is there; looked for {found.missing[0]}. Say where "
            "they are with --audio FOLDER."
        )
    if not len(found):
        raise DataError(f"{names}: holds no recordings with texts.")
    return found


def splits_of(sources: Sequence[str | Path], encoding: str = "utf-8") -> set[str]:
    """The names of the parts of the data that every one of the tables has; folders have none."""
    found = list[set[str]]()
    for path in map(Path, sources):
        lines = () if path.is_dir() else _lines(path, None, encoding, [])
        found.append({line.split for line in lines if line.split})
    return set.intersection(*found) if found else set()


def _lines(source: Path, audio: Path | None, encoding: str, problems: list[str]) -> Iterator[_Line]:
    if source.is_dir():
        yield from _pairs(source, encoding, problems)
        return
    for document in read_tables([source], encoding):
        folder = audio if audio is not None else Path(document.name).parent
        for place, values in _rows(document, problems):
            split = values["split"].strip() or None if "split" in values else None
            yield _Line(place, folder / values["file"], values["text"], values.get("speaker", "").strip(), split)


def _rows(document: Document, problems: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    read = object_rows if is_json(document) else table_rows
    return read(document, problems, _COLUMNS, ("file", "text"))


def _pairs(folder: Path, encoding: str, problems: list[str]) -> Iterator[_Line]:
    """a.wav and a.txt, in the folder and those below."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (*ENDINGS, *FRAMES) and not p.name.startswith("."))
    if not files:
        raise DataError(f"{folder}: holds no recordings ({', '.join(ENDINGS)}).")
    without = 0
    for file in files:
        text = next((t for t in (file.with_suffix(".txt"), file.with_suffix(".lab")) if t.is_file()), None)
        if text is None:
            without += 1
        elif not text.stat().st_size:
            yield _Line(str(text), file, "", "", None)
        else:
            try:
                (document,) = read_documents([text], encoding)
            except DataError as error:
                problems.append(str(error))
                continue
            yield _Line(str(text), file, " ".join(document.text.split()), "", None)
    if without == len(files):
        raise DataError(
            f"{folder}: has {without:,} recordings, but no text beside any of them: {files[0].with_suffix('.txt').name} is "
            f"to hold what is said in {files[0].name}. Or give a table with the columns file and text."
        )
    if without:
        problems.append(f"{folder}: {without:,} recordings have no text beside them, as name.txt.")
