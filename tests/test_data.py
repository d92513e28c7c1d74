"""Readers: what they accept, and how they refuse."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from unrolled.data.samples import copy_task, english
from unrolled.data.text import read_documents
from unrolled.errors import DataError


def test_files_folders_gzip_and_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.txt").write_bytes(b"two\r\nlines\r")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("déjà".encode()))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.md").write_bytes(b"\xef\xbb\xbfmarked")
    (tmp_path / "ignored.bin").write_bytes(b"\x00")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"from stdin")))
    documents = read_documents([tmp_path, "-"])
    assert [d.text for d in documents] == ["déjà", "two\nlines\n", "marked", "from stdin"]
    assert documents[-1].name == "<standard input>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no text"),
        (b" \n\t\n", "holds no text"),
        (b"text\x00more", "binary"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "binary"),
        (b"caf\xe9 au lait", r"not utf-8 at byte 3 \(byte 0xe9.*--encoding"),
        ("text".encode("utf-16"), "--encoding utf-16"),
        ("text".encode("utf-32"), "--encoding utf-32"),
        (gzip.compress(b"cut off in the middle" * 100, mtime=0)[:40], "damaged or cut off"),
        (b"\x1f\x8bgarbage", "damaged or cut off"),
    ],
)
def test_bad_files_are_named_with_a_remedy(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_documents([path])
    assert "bad.txt" in str(caught.value)
    assert caught.value.exit_code == 3


def test_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_bytes("西游记".encode("gb18030"))
    assert read_documents([path], "gb18030")[0].text == "西游记"
    path.write_text("both", encoding="utf-16")
    assert read_documents([path], "utf-16")[0].text == "both"
    with pytest.raises(DataError, match="not an encoding"):
        read_documents([path], "klingon")


def test_all_problems_are_collected_up_to_ten(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_documents([tmp_path / f"missing{i}" for i in range(12)])
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert "and 2 more" in lines[-1]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no text files"):
        read_documents([tmp_path / "empty"])
    with pytest.raises(DataError, match="No text was given"):
        read_documents([])


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "secret.txt").write_text("x")
    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(DataError, match="cannot be read"):
        read_documents([tmp_path / "secret.txt"])


def test_english_is_there_and_the_copy_task_is_what_it_says() -> None:
    assert len(english().text) > 300_000
    inputs, answers = copy_task(50, 4, torch.Generator().manual_seed(0))
    assert inputs.shape == (50, 6)
    assert torch.equal(inputs[:, 0], answers)
    assert (inputs[:, 1:5] == 8).all()
    assert (inputs[:, 5] == 9).all()
    assert answers.unique().numel() == 8
    noisy, _ = copy_task(50, 4, torch.Generator().manual_seed(0), n_distractors=3)
    assert set(noisy[:, 1:5].unique().tolist()) == {8, 9, 10}
    assert (noisy[:, 5] == 11).all()


def test_a_python_without_topics_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="text file of your own"):
        english()
