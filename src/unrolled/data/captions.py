"""Captions of image files: tables (.tsv, .csv), JSON lines, COCO's and Karpathy's JSON, Flickr8k's token file; .gz of each.

found = read_captions(["captions.tsv"], Path("photos"), split="train")
found.images[0], found.captions[0]                   # PosixPath('photos/1.jpg'), ['A dog runs .', 'A brown dog .']
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrolled.data.paths import list_sources
from unrolled.data.tables import chosen, is_json, json_values, read_tables, table_rows, there
from unrolled.data.text import Document, lines_of
from unrolled.data.valid_text import json_problem
from unrolled.errors import DataError, first_of

__all__ = ["Captioned", "read_captions"]

_FILE, _CAPTION = ("file", "image", "filename", "file_name"), ("caption", "text", "comment")
_COLUMNS = {"file": _FILE, "caption": _CAPTION, "split": ("split",)}
_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
_EXPECTED = (
    'expected COCO\'s captions ("images" with "id" and "file_name", "annotations" with "image_id" and "caption") or '
    'Karpathy\'s ("images" with "filename" and "sentences")'
)
_TOKEN = re.compile(r"(.+?)#\d+\t(.*)")


class _Line(NamedTuple):
    """A caption of a file, and the part of the data that it belongs to, where that is said."""

    file: str
    caption: str
    split: str | None


@dataclass
class Captioned:
    """Images (n), files or pixels (height, width, 3), each with its captions.

    missing: captions' files that are not there; empty: captions without words; bare: images of the folder without captions.
    """

    images: list[Path | np.ndarray] = field(default_factory=list)
    captions: list[list[str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    empty: int = 0
    bare: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def columns(self) -> tuple[Sequence[Any], ...]:
        """All that is learned from: whole names of images and their captions, (n,) each."""
        return [str(image.absolute() if isinstance(image, Path) else image) for image in self.images], self.captions

    def part(self, rows: Iterable[int]) -> Captioned:
        """Some of the images."""
        rows = list(rows)
        return Captioned([self.images[i] for i in rows], [self.captions[i] for i in rows])


def read_captions(
    sources: str | Path | Iterable[str | Path],
    images: Path | None = None,
    *,
    split: str | None = None,
    encoding: str = "utf-8",
) -> Captioned:
    """Read files of captions; images: the folder that names of images begin from, or else that of the file of captions.

    split: only lines of this part of the data. Raises DataError naming up to ten lines that cannot be read, or where no
    captioned image is there.
    """
    sources = list_sources(sources)
    found, problems, at = Captioned(), list[str](), dict[Path, int]()
    missing = dict[str, None]()
    for document in read_tables(sources, encoding):
        folder = images if images is not None else Path(document.name).parent
        lines = list(_lines(document, problems))
        if problems:
            continue
        for line in chosen(lines, split, document.name):
            path = folder / line.file
            if not line.caption.strip():
                found.empty += 1
            elif path in at:
                found.captions[at[path]].append(line.caption.strip())
            elif str(path) in missing or not there(path):
                missing[str(path)] = None
            else:
                at[path] = len(found)
                found.images.append(path)
                found.captions.append([line.caption.strip()])
    if problems:
        raise DataError(first_of(problems))
    found.missing = list(missing)
    names = ", ".join(map(str, sources))
    if not len(found) and found.missing:
        raise DataError(
            f"{names}: none of the {len(found.missing):,} images is there; looked for {found.missing[0]}. Say where they "
            "are with --images FOLDER."
        )
    if not len(found):
        raise DataError(f"{names}: holds no captions.")
    if split is None and images is not None:
        in_folder = sum(path.suffix.lower() in _ENDINGS for path in images.iterdir())
        found.bare = max(0, in_folder - sum(path.parent == images for path in at))
    return found


def _lines(document: Document, problems: list[str]) -> Iterator[_Line]:
    first = next((line for line in lines_of(document) if line.strip()), "")
    if document.name.lower().removesuffix(".gz").endswith(".json") and first.lstrip().startswith("{"):
        whole = _whole(document)
        if isinstance(whole, dict) and not any(name in whole for name in _FILE):
            return _json(document.name, whole, problems)
    if is_json(document):
        return _objects(document, problems)
    if _TOKEN.match(first):
        return _tokens(document, problems)
    return _table(document, problems)


def _tokens(document: Document, problems: list[str]) -> Iterator[_Line]:
    """Flickr8k's own: name.jpg#0, a tab, a caption."""
    for number, text in enumerate(lines_of(document), start=1):
        place, found = f"{document.name}, line {number}", _TOKEN.match(text)
        if found:
            yield _Line(found[1], found[2], None)
        elif text.strip():
            problems.append(f"{place}: expected name.jpg#0, a tab and a caption: {text.strip()[:60]!r}")


def _table(document: Document, problems: list[str]) -> Iterator[_Line]:
    for _, values in table_rows(document, problems, _COLUMNS, ("file", "caption")):
        yield _Line(values["file"], values["caption"], values["split"].strip() if "split" in values else None)


def _objects(document: Document, problems: list[str]) -> Iterator[_Line]:
    """{"file": ..., "caption": ...} or {"file": ..., "captions": [...]}, and "split"."""
    for place, value in json_values(document, problems):
        row = value if isinstance(value, dict) else {}
        file = next((row[name] for name in _FILE if name in row), None)
        captions, split = row.get("captions") or [row[name] for name in _CAPTION if name in row][:1], row.get("split")
        texts = isinstance(captions, list) and captions and all(isinstance(text, str | None) for text in captions)
        if not isinstance(file, str) or not texts or not isinstance(split, str | int | None):
            given = json.dumps(value, ensure_ascii=False)[:60]
            problems.append(f'{place}: needs the texts "file" and "caption" (or a list "captions"): {given!r}')
            continue
        yield from (_Line(file, caption or "", None if split is None else str(split)) for caption in captions)


def _whole(document: Document) -> Any:
    """The value of a file that is one JSON value; None for one value a line."""
    try:
        value = json.loads(document.text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return None
        raise DataError(f"{document.name}: is not JSON ({error}).") from None
    except RecursionError as error:
        raise DataError(f"{document.name}: is not JSON ({error}).") from None
    problem = json_problem(value)
    if problem:
        raise DataError(
            f"{document.name}: a text {problem}. Fix: remove the escape \\uXXXX, or write \\ufffd in its place."
        )
    return value


def _json(name: str, whole: dict[str, Any], problems: list[str]) -> Iterator[_Line]:
    """COCO: images and annotations; Karpathy: images with sentences."""
    images, annotations = whole.get("images"), whole.get("annotations", [])
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise DataError(f'{name}: {_EXPECTED}; missing: a list "{"annotations" if isinstance(images, list) else "images"}"')
    files = dict[str, tuple[str, int]]()
    for number, image in enumerate(images, start=1):
        place, file = f"{name}, image {number}", _file_of(image)
        if file is None:
            problems.append(f"{place}: {_EXPECTED}; missing: 'file_name' in {json.dumps(image)[:60]!r}")
            continue
        key = str(image.get("id", f" {number}"))  # some writers have ids as texts in one list and as numbers in the other
        before = files.setdefault(key, (file, number))
        if before[0] != file:
            problems.append(
                f"{place}: has the id {key} of image {before[1]}: captions of {before[0]!r} and of {file!r} cannot be told "
                "apart. Fix: give each image an id of its own"
            )
        for sentence in image.get("sentences") or ():
            text = sentence.get("raw") if isinstance(sentence, dict) else sentence
            split = image.get("split")
            yield from _caption(place, file, text, split if split is None else str(split), problems)
    for number, annotation in enumerate(annotations, start=1):
        place = f"{name}, annotation {number}"
        if not isinstance(annotation, dict) or not {"image_id", "caption"} <= annotation.keys():
            problems.append(f'{place}: expected "image_id" and "caption", got {json.dumps(annotation)[:60]!r}')
        elif (known := files.get(str(annotation["image_id"]))) is None:
            yield _Line(f"image_id {annotation['image_id']!r}, which no image has", "of an image that is missing", None)
        else:
            yield from _caption(place, known[0], annotation["caption"], None, problems)


def _file_of(image: Any) -> str | None:
    """The name of an image's file: COCO's "file_name", or Karpathy's "filepath" and "filename"."""
    values = image if isinstance(image, dict) else {}
    name, folder = values.get("filename") or values.get("file_name"), values.get("filepath") or ""
    return "/".join(filter(None, (folder, name))) if isinstance(name, str) and isinstance(folder, str) else None


def _caption(place: str, file: str, caption: Any, split: str | None, problems: list[str]) -> Iterator[_Line]:
    """A caption; null is an empty one."""
    if isinstance(caption, str | None):
        yield _Line(file, (caption or "").strip(), split)
    else:
        problems.append(f"{place}: the caption of {file!r} is no text but {json.dumps(caption)[:60]}")
