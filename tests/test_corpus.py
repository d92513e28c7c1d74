"""Text longer than memory: read in chunks, kept as ids in a cache folder, and the same training comes out of it."""

from __future__ import annotations

import errno
import gzip
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import unrolled
from unrolled.data import text as data_text
from unrolled.data.samples import english
from unrolled.data.text import Document, LongDocument, _between_lines, read_documents
from unrolled.errors import DataError, FolderError
from unrolled.features import numbering as numbering_module
from unrolled.features.numbering import Spool, numbering_for
from unrolled.features.tokenizers import TOKENIZERS
from unrolled.features.vocabulary import Vocabulary
from unrolled.options.language_model import DataOptions
from unrolled.tasks.corpus import read_corpus
from unrolled.tasks.language_model import hold_out

TEXT = english().text[:60_000]


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Every text that is not tiny counts as long; the cache lies in the returned folder."""
    monkeypatch.setattr(data_text, "IN_MEMORY", 5500)
    monkeypatch.setattr(data_text, "CHUNK", 777)
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


any_text = st.text(alphabet="ab\"' \n\t.,中猫é", max_size=300) | st.lists(
    st.sampled_from(["a", "b", ".", " ", "\n", "\n\n", "\n ", '"', "猫"]), min_size=40, max_size=200
).map("".join)


@pytest.mark.parametrize("name", ["char", "words", "whitespace", "chinese-words", "bpe", "unigram"])
@settings(deadline=None, max_examples=150)
@given(text=any_text, cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_tokens_do_not_depend_on_chunks(name: str, text: str, cuts: list[int]) -> None:
    tokenizer = TOKENIZERS[name]()
    tokenizer.train(["some \"text\" to learn from, 猫 and more.\n\nA 'second' line\n" * 9], 300)
    pieces, at = [], 0
    while at < len(text):
        pieces.append(text[at : at + cuts[len(pieces) % len(cuts)]])
        at += len(pieces[-1])
    chunks = list(_between_lines(pieces, size=25))
    assert "".join(chunks) == text
    if len(text) <= 16 * 25:  # longer stretches without a line end are cut anywhere
        assert [symbol for chunk in chunks for symbol in tokenizer.split(chunk)] == tokenizer.split(text)


def test_a_stretch_without_line_ends_is_cut_after_a_blank() -> None:
    chunks = list(_between_lines(["word " * 300], size=10))
    assert "".join(chunks) == "word " * 300
    assert all(chunk.endswith(" ") and len(chunk) <= 170 for chunk in chunks[:-1])
    assert len(list(_between_lines(["x" * 1000], size=10))) > 1


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gb18030", "latin-1"])
def test_a_long_file_reads_as_a_short_one(tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ("\r\n" + TEXT[:5000] + "\r" + ("é" if encoding == "latin-1" else "猫é") * 800 + "\r\n\r\nend\r").replace(
        "’", ""
    )
    text = text.encode(encoding, "ignore").decode(encoding)
    for n, name in enumerate(("a.txt", "b.txt.gz")):
        raw = text.encode(encoding)
        (tmp_path / name).write_bytes(gzip.compress(raw) if n else raw)
        (document,) = read_documents([tmp_path / name], encoding)
        assert isinstance(document, LongDocument)
        monkeypatch.setattr(data_text, "IN_MEMORY", 10**9)
        (short,) = read_documents([tmp_path / name], encoding)
        monkeypatch.setattr(data_text, "IN_MEMORY", 5500)
        assert type(short) is Document
        assert document.text == short.text == text.replace("\r\n", "\n").replace("\r", "\n")
        assert (document.facts(), document.size) == (short.facts(), short.size)
        assert short.facts().alphabet == "".join(sorted(set(short.text)))
        for start, stop in ((0, 10), (700, 2400), (5000, short.size)):
            one, other = document.part(start, stop, "p"), short.part(start, stop, "p")
            assert one.text == other.text == short.text[start:stop]
            assert one.facts() == other.facts()
            assert one.part(3, 7, "q").text == other.text[3:7]
        for before in (0, 1, 2, 500, 776, 777, 778, 4000, short.size):
            assert document.line_start(before) == short.line_start(before) == short.text.rfind("\n", 0, before) + 1


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text " * 1000 + b"\xff\xfe" + b"more " * 500, r"not utf-8 at byte 5000 \(byte 0xff"),
        ("é".encode() * 1000 + b"\xc3", r"not utf-8 at byte 2000 \(byte 0xc3"),
        (b"x" * 3000 + b"\x00" + b"x" * 3000, "NUL character at position 3000"),
        (gzip.compress(TEXT.encode())[:-900], "damaged or cut off"),
        (b" \n" * 5000, "holds no text"),
    ],
)
def test_what_is_wrong_far_into_a_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_documents([tmp_path / "x.txt"])


@pytest.mark.parametrize("sentences", [False, True])
@pytest.mark.parametrize("name", ["char", "words", "whitespace", "bpe"])
def test_ids_are_those_of_the_whole_text(name: str, sentences: bool) -> None:
    text = TEXT[:20_000] + "\n\n  \nlast line"
    options = DataOptions(tokens=name, sentences=sentences, vocabulary_size=300)
    codec, ids = read_corpus([Document("a", text), Document("b", "one more\n")], options)
    expected = [symbol for t in (text, "one more\n") for part in codec.texts(t) for symbol in part]
    assert ids.dtype == codec.vocabulary.dtype
    assert ids.tolist() == codec.vocabulary.encode(expected).tolist()
    counted = Vocabulary.build(Counter(expected), min_count=codec.tokenizer.default_min_count, max_size=300)
    if name != "bpe":
        assert (counted.symbols, counted.counts) == (codec.vocabulary.symbols, codec.vocabulary.counts)


def test_too_many_different_symbols_become_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbering_module, "_MOST_SYMBOLS", 50)
    numbering = numbering_for(TOKENIZERS["whitespace"](), sentences=False, spool=Spool())
    chunks = [f"often w{i} often w{i + 1000}\n" for i in range(100)]
    numbering.read([chunks, ["w3 often"]])
    vocabulary = Vocabulary.build(numbering.counts(), min_count=2)
    assert "often" in vocabulary
    ids = numbering.ids(vocabulary)
    assert len(ids) == 503
    assert sum(vocabulary.counts) == 503
    assert sum(numbering.counts().values()) == 503
    assert len(set(numbering._symbols)) < 120  # type: ignore[attr-defined]
    assert (ids == vocabulary.encode(["often"])[0]).sum() == 201


def test_a_long_text_trains_as_a_short_one(tmp_path: Path, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights; the second training finds the ids in the cache; a damaged or deleted cache is made again."""
    (tmp_path / "t.txt").write_text(TEXT)
    flags: dict[str, Any] = {
        "epochs": 0.1,
        "hidden_size": 8,
        "embedding_size": 8,
        "threads": 1,
        "tokens": "words",
        "valid_fraction": 0.05,
    }

    def train(name: str) -> bytes:
        unrolled.train("language-model", [tmp_path / "t.txt"], tmp_path / name, preset="tiny", options=flags)
        return (tmp_path / name / "last" / "model.safetensors").read_bytes()

    first = train("a")
    (folder,) = [p for p in (long / "corpora").iterdir() if p.is_dir() and not p.name.startswith(".")]
    assert {p.name for p in folder.iterdir()} == {
        "ids",
        "vocabulary.json",
        "tokenizer.json",
        "spelling.json",
        "corpus.json",
    }
    made = (folder / "ids").stat().st_mtime_ns
    assert train("b") == first
    assert unrolled.resume(tmp_path / "b")
    assert (folder / "ids").stat().st_mtime_ns == made
    damage = {"ids": (folder / "ids").read_bytes()[:-5] + b"wrong", "vocabulary.json": b"{", "spelling.json": None}
    for name, content in damage.items():
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
        assert train(f"c {name}") == first
    monkeypatch.setattr(data_text, "IN_MEMORY", 10**9)
    assert train("d") == first


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.txt").write_text(TEXT)
    documents = read_documents([tmp_path / "t.txt"])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "pile", full)
    with pytest.raises(FolderError, match=r"No space left.*UNROLLED_CACHE"):
        read_corpus(documents, DataOptions())
    assert not [p for p in (long / "corpora").iterdir() if p.is_dir()]


def test_two_processes_fill_the_cache_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(TEXT)
    script = f"""
import sys
from unrolled.data import text
text.IN_MEMORY, text.CHUNK = 1000, 5000
from unrolled.options.language_model import DataOptions
from unrolled.tasks.corpus import read_corpus
codec, ids = read_corpus(text.read_documents([{str(tmp_path / "t.txt")!r}]), DataOptions(tokens="words"))
print(len(ids), int(ids.astype("int64").sum()))
"""
    environment = {"UNROLLED_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "PATH": ""}
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    answers = {process.communicate(timeout=60)[0] for process in running}
    _, ids = read_corpus([Document("t", TEXT)], DataOptions(tokens="words"))
    assert answers == {f"{len(ids)} {int(ids.astype(np.int64).sum())}\n"}


@pytest.mark.usefixtures("long")
def test_long_texts_are_held_out_as_short_ones(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(TEXT)
    (document,) = read_documents([tmp_path / "t.txt"])
    for fraction in (0.01, 0.1, 0.5):
        parts = hold_out([document], fraction, by_line=True)
        expected = hold_out([Document("t", TEXT)], fraction, by_line=True)
        assert [[d.text for d in part] for part in parts] == [[d.text for d in part] for part in expected]
