"""The data doctor of pairs, labelled words and captions finds what was planted, and nothing in what is sound."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from typed import run


def kinds(out: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for fault in json.loads(out)["faults"]:
        found[fault["kind"]] = found.get(fault["kind"], 0) + 1
    return found


def test_pairs(tmp_path: Path) -> None:
    rows = [(f"ein Satz mit Wort {i}", f"a sentence with word {i}") for i in range(30)]
    sound = tmp_path / "sound.tsv"
    sound.write_text("".join(f"{a}\t{b}\n" for a, b in rows))
    out, _ = run("check", "translate", sound)
    assert "nothing wrong was found" in out
    rows += [
        rows[0],
        ("the same", "the same"),
        ("@@", "a very long sentence that is no translation of any other"),
        ("", "x"),
    ]
    (tmp_path / "a.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in rows))
    out, _ = run("check", "translate", tmp_path / "a.tsv", "--json", "--out", tmp_path / "faults.csv")
    found = kinds(out)
    assert found.pop("rare") >= 1
    assert found == {"copied": 1, "outlier": 1, "repeated": 1}
    assert "'@' stands in no other text" in out
    assert json.loads(out)["with_an_empty_side"] == 1
    assert "a.tsv, line 33" in (tmp_path / "faults.csv").read_text()


def test_labelled_words(tmp_path: Path) -> None:
    sentences = ["Harry B-PER\nmet O\nRon B-PER\n", "Harry B-PER\nmet O\nRon B-LOC\n", "Ann I-PER\nis O\nLee I-PER\n",
                 "in O\nNew B-LOC\nYork I-LOC\n", "in O\nNew B-LOC\nYork I-LOC\n"]  # fmt: skip
    (tmp_path / "a.conll").write_text("\n".join(sentences))
    out, _ = run("check", "tag", tmp_path / "a.conll", "--json")
    assert kinds(out) == {"contradictory": 1, "entity": 2, "repeated": 1}
    shown, _ = run("check", "tag", tmp_path / "a.conll")
    assert "'Lee' is I-PER after O" in shown


def test_images_and_captions(tmp_path: Path) -> None:
    for i in range(8):
        Image.new("RGB", (9, 9), (i * 20, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "8.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "9.png").write_text("no image")
    rows = [f"{i}.png\t{'a sheet of paper' if i < 7 else 'paper'}\n" for i in range(11)]
    (tmp_path / "a.tsv").write_text("file\tcaption\n" + "".join(rows))
    out, err = run("check", "caption", tmp_path / "a.tsv", "--images", tmp_path, "--json", code=4)
    assert kinds(out) == {"unread": 2, "repeated": 1, "short": 2, "everywhere": 1}
    assert "2 files could not be read" in err
