"""Tables of examples: one rule for quotes, headers, marks and formats in every task."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unrolled.data.audio import write_wav
from unrolled.data.captions import read_captions
from unrolled.data.labelled import Columns, read_labelled
from unrolled.data.pairs import read_pairs
from unrolled.data.recordings import read_recordings
from unrolled.data.tables import field_rows
from unrolled.data.text import Document
from unrolled.errors import DataError


def read_texts(
    folder: Path, name: str, texts: list[str], written: Callable[[list[list[str]]], str]
) -> dict[str, list[str]]:
    """The texts that each task reads from a table of them."""
    for n in range(len(texts)):
        Image.new("RGB", (2, 2)).save(folder / f"{n}.png")
        write_wav(folder / f"{n}.wav", np.zeros(9), 8000)

    def file(header: list[str], first: str) -> Path:
        rows = [[text, first.format(n)] for n, text in enumerate(texts)]
        (folder / name).write_text(written([header, *rows]), encoding="utf-8")
        return folder / name

    return {
        "classify": read_labelled([file(["text", "label"], "x{}")]).texts,
        "translate": read_pairs([file(["target", "source"], "y{}")]).targets,
        "caption": [captions[0] for captions in read_captions([file(["caption", "file"], "{}.png")], folder).captions],
        "transcribe": read_recordings([file(["text", "file"], "{}.wav")], folder).texts,
    }


#: Texts as they stand between tabs, and what is meant.
BETWEEN_TABS = {
    '"He said ""no"", and left"': 'He said "no", and left',
    '5" disk': '5" disk',
    '"Hello, he said.': '"Hello, he said.',
    'the end"': 'the end"',
    '"a" and "b"': '"a" and "b"',
    '""': None,
    '"""quoted"""': '"quoted"',
    '"one" two"': '"one" two"',
    "\ufeffinside": "\ufeffinside",
    "它说\u201c不\u201d": "它说\u201c不\u201d",
    '"': '"',
}


def test_quotes_between_tabs_are_undone_only_where_they_are_well_formed_in_every_task(tmp_path: Path) -> None:
    raw = [text for text, meant in BETWEEN_TABS.items() if meant is not None]
    found = read_texts(tmp_path, "a.tsv", raw, lambda rows: "".join("\t".join(row) + "\n" for row in rows))
    for task, texts in found.items():
        assert texts == [BETWEEN_TABS[text] for text in raw], task


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ","), ("b.csv", ";"), ("c.csv", "\t")])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_programs_write_is_read_as_it_was(tmp_path: Path, name: str, delimiter: str, quoting: int, mark: str) -> None:
    texts = ['He said "no", and left', 'a "b', '5" disk; or 3', "two\nlines", "a\ttab", 'last "\n\nof "all"', "plain", "好"]

    def written(rows: list[list[str]]) -> str:
        file = io.StringIO()
        csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n").writerows(rows)  # type: ignore[arg-type]
        return mark + file.getvalue()

    for task, found in read_texts(tmp_path, name, texts, written).items():
        assert found == texts, task
    lines = read_labelled([tmp_path / name], Columns("text", "file")).places
    assert lines[3:6] == [f"{tmp_path / name}, line {n}" for n in (5, 7, 8)]


def test_json_lists_and_lines_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"file": "0.png", "caption": 'a "b"', "split": 1},
        {"file": "1.png", "caption": None},
        {"file": "1.png", "caption": "c"},
    ]
    for n in range(2):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{n}.png")
        write_wav(tmp_path / f"{n}.wav", np.zeros(9), 8000)
    for name, text in (
        ("a.jsonl", "\n".join(map(json.dumps, rows))),
        ("a.json", json.dumps(rows, indent=1)),
        ("b.json", json.dumps(rows)),
    ):
        (tmp_path / name).write_text("\ufeff" + text, encoding="utf-8")
        captions = read_captions([tmp_path / name], tmp_path)
        assert (captions.captions, captions.empty) == ([['a "b"'], ["c"]], 1)
    sounds = [
        {"audio_filepath": "0.wav", "text": "yo", "speaker": 1},
        {"audio_filepath": "1.wav", "text": "ye", "speaker": "b"},
    ]
    pairs = [{"src": "a", "tgt": "b"}, {"source": "c", "target": None}]
    for name, write in (("m.json", json.dumps), ("m.jsonl", lambda value: "\n".join(map(json.dumps, value)))):
        (tmp_path / name).write_text(write(sounds))
        assert read_recordings([tmp_path / name]).speakers == ["1", "b"]
        (tmp_path / name).write_text(write(pairs))
        found = read_pairs([tmp_path / name])
        assert (found.sources, found.empty) == (["a"], 1)
        (tmp_path / name).write_text(write([{"text": "x", "label": 3}]))
        assert read_labelled([tmp_path / name]).labels == [("3",)]
    (tmp_path / "bad.json").write_text('[{"src": "a"}, {"src": "a", "tgt": 3}, 4]')
    with pytest.raises(DataError, match=r"item 1: needs the texts(.|\n)*item 2: needs .*; 'tgt' is 3(.|\n)*item 3"):
        read_pairs([tmp_path / "bad.json"])
    (tmp_path / "cut.json").write_text('[{"src": "a"}, ')
    with pytest.raises(DataError, match="is not JSON"):
        read_pairs([tmp_path / "cut.json"])


@pytest.mark.parametrize(
    ("name", "content", "pairs"),
    [
        ("a.tsv", "source\ttarget\na\tb\n", [("a", "b")]),
        ("a.tsv", "Target\tSource\nb\ta\n", [("a", "b")]),
        ("a.csv", "id,src,tgt\n1,a,b\n2,c,\n", [("a", "b")]),
        ("a.csv", '"a, and so on",b\n', [("a, and so on", "b")]),
        ("a.csv", "de,en\na,b\n", [("a", "b")]),
        ("a.csv", "German;English\na;b\n", [("a", "b")]),
        ("a.tsv", "zh-CN\tsentence_en\na\tb\n", [("a", "b")]),
        ("a.tsv", "The source\tDie Quelle\na\tb\n", [("The source", "Die Quelle"), ("a", "b")]),
        ("a.tsv", 'a "quote\tb\n"c\td"\n', [('a "quote', "b"), ('"c', 'd"')]),
        ("a.txt", "a\tb\n\n", [("a", "b")]),
    ],
)
def test_headers_of_pairs_are_no_pairs(tmp_path: Path, name: str, content: str, pairs: list[tuple[str, str]]) -> None:
    (tmp_path / name).write_text(content)
    found = read_pairs([tmp_path / name])
    assert list(zip(found.sources, found.targets, strict=True)) == pairs
    with pytest.raises(DataError, match=r"line \d+: has 4 columns; (the header has|a source sentence)"):
        (tmp_path / name).write_text(content + "1\t2\t3\t4\n1,2,3,4\n1;2;3;4\n")
        read_pairs([tmp_path / name])


@given(st.lists(st.tuples(*[st.text(st.sampled_from('ab" \té好'), min_size=1, max_size=8)] * 2), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_any_table_that_is_written_is_read_again(rows: list[tuple[str, str]]) -> None:
    for name, options in (("a.tsv", {"delimiter": "\t"}), ("a.csv", {}), ("a.csv", {"quoting": csv.QUOTE_ALL})):
        file = io.StringIO()
        csv.writer(file, lineterminator="\n", **options).writerows([("x", "y"), *rows])  # type: ignore[arg-type]
        problems = list[str]()
        found = [tuple(fields) for _, fields in field_rows(Document(name, file.getvalue()), problems)]
        assert (found[1:], problems) == (rows, [])


@pytest.mark.parametrize(
    ("line", "text", "labels"),
    [
        ("__label__a good film __label__pos", "good film", ("a", "pos")),
        ("good __label__pos film", "good film", ("pos",)),
        ("good film\t__label__pos", "good film", ("pos",)),
        ("__label__a __label__a x", "x", ("a",)),
        ("x__label__a __label__b", "x__label__a", ("b",)),
        ("__label__a\u00a0b  two  blanks", "two  blanks", ("a\u00a0b",)),
    ],
)
def test_labels_of_fasttext_stand_anywhere(tmp_path: Path, line: str, text: str, labels: tuple[str, ...]) -> None:
    (tmp_path / "a.txt").write_text(line + "\n", encoding="utf-8")
    found = read_labelled([tmp_path / "a.txt"], Columns(separator=","))
    assert (found.texts, found.labels) == ([text], [labels])
    if len(labels) == 2:
        with pytest.raises(DataError, match="line 1: has 2 labels; if that is right, say --labels many"):
            read_labelled([tmp_path / "a.txt"])


@pytest.mark.parametrize("line", ["__label__ text", "text __label__", "__label__a __label__ text", "__label__"])
def test_an_empty_label_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.txt").write_text(line + "\n")
    for columns in (Columns(), Columns(separator=",")):
        with pytest.raises(DataError, match=r"a\.txt, line 1: has an empty label"):
            read_labelled([tmp_path / "a.txt"], columns)


def test_captions_in_json_go_to_the_image_they_are_of(tmp_path: Path) -> None:
    for n in (1, 2):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{n}.png")
    first, ok = {"id": 9, "file_name": "1.png"}, {"image_id": 9, "caption": "ok"}

    def read(images: list[object], annotations: list[object]) -> tuple[list[str], list[list[str]], int, list[str]]:
        (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": annotations}))
        found = read_captions([tmp_path / "c.json"], tmp_path)
        return [path.name for path in found.images if isinstance(path, Path)], found.captions, found.empty, found.missing

    assert read([first], [ok, {"image_id": 9, "caption": None}]) == (["1.png"], [["ok"]], 1, [])
    assert read([first | {"id": "9"}], [ok]) == (["1.png"], [["ok"]], 0, [])
    assert read([first, first], [ok, ok]) == (["1.png"], [["ok", "ok"]], 0, [])
    *found, missing = read([first], [ok, {"image_id": 8, "caption": "x"}])
    assert found == [["1.png"], [["ok"]], 0]
    assert missing == [str(tmp_path / "image_id 8, which no image has")]
    for twice in (9, "9"):
        with pytest.raises(
            DataError, match=r"c\.json, image 2: has the id 9 of image 1: captions of '1\.png' and of '2\.png'"
        ):
            read([first, {"id": twice, "file_name": "2.png"}], [ok])
    with pytest.raises(DataError, match=r"annotation 1: the caption of '1\.png' is no text but 3"):
        read([first], [{"image_id": 9, "caption": 3}])
    with pytest.raises(DataError, match=r"annotation 1: expected \"image_id\" and \"caption\", got '\[\]'"):
        read([first], [[]])
    with pytest.raises(DataError, match="image 1: expected COCO's captions"):
        read([3], [ok])


@pytest.mark.parametrize(
    ("suffix", "function"), [("parquet", "read_parquet"), ("xlsx", "read_excel"), ("feather", "read_feather")]
)
def test_formats_that_are_not_read_come_with_the_command_that_converts_them(
    tmp_path: Path, suffix: str, function: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"PAR1\0\0")
    for read in (read_labelled, read_pairs, read_captions, read_recordings):
        with pytest.raises(
            DataError, match=rf"a\.{suffix}: .*Fix: convert it: python -c .*pandas\.{function}.*to_csv\('.*a\.csv'"
        ):
            read([path])
