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
from unrolled.data.tables import chosen, table_rows, there
from unrolled.data.text import Document, json_lines, lines_of, read_documents
from unrolled.errors import DataError, first_of

__all__ = ["Captioned", "read_captions"]

_FILE, _CAPTION = ("file", "image", "filename", "file_name"), ("caption", "text", "comment")
_COLUMNS = {"file": _FILE, "caption": _CAPTION, "split": ("split",)}
_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
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
    for document in read_documents(sources, encoding):
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
    name = document.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson")):
        return _jsonl(document, problems)
    if name.endswith(".json"):
        return _json(document)
    first = next(lines_of(document), "")
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


def _jsonl(document: Document, problems: list[str]) -> Iterator[_Line]:
    """{"file": ..., "caption": ...} or {"file": ..., "captions": [...]}, and "split"."""
    for place, line, row in json_lines(document, problems):
        row = row if isinstance(row, dict) else {}
        file = next((row[name] for name in _FILE if name in row), None)
        captions, split = row.get("captions") or [row[name] for name in _CAPTION if name in row], row.get("split")
        texts = isinstance(captions, list) and captions and all(isinstance(one, str) for one in captions)
        if not isinstance(file, str) or not texts or not isinstance(split, (str, type(None))):
            problems.append(f'{place}: needs the texts "file" and "caption" (or a list "captions"): {line.strip()[:60]!r}')
            continue
        yield from (_Line(file, caption, split) for caption in captions)


def _json(document: Document) -> Iterator[_Line]:
    """COCO: images and annotations; Karpathy: images with sentences."""
    try:
        whole = json.loads("\n".join(lines_of(document)))
        images = {image.get("id", n): image for n, image in enumerate(whole["images"])}
        for image in images.values():
            file = "/".join(filter(None, (image.get("filepath"), image.get("filename") or image["file_name"])))
            for sentence in image.get("sentences", ()):
                yield _Line(file, sentence["raw"].strip(), image.get("split"))
        for annotation in whole.get("annotations", ()):
            yield _Line(images[annotation["image_id"]]["file_name"], annotation["caption"].strip(), None)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{document.name}: is not JSON ({error}).") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{document.name}: expected COCO\'s captions ("images" with "id" and "file_name", "annotations" with '
            f'"image_id" and "caption") or Karpathy\'s ("images" with "filename" and "sentences"); missing: {error}'
        ) from None
