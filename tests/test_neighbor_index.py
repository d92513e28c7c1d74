"""An index of neighbours: against the exact ones, kept in a file, refused where it does not belong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from unrolled.cli.main import app
from unrolled.data.vector_files import write_vectors
from unrolled.errors import DataError, MissingExtra
from unrolled.tasks.neighbor_index import NeighborIndex, make_index
from unrolled.tasks.vectors import Vectors


def some(n: int, seed: int = 0, size: int = 20) -> Vectors:
    """Words in clusters, as words are; one without length."""
    random = np.random.default_rng(seed)
    array = random.normal(size=(n // 20 + 1, size))[random.integers(n // 20 + 1, size=n)] + random.normal(size=(n, size))
    array[7] = 0
    return Vectors([f"w{i}" for i in range(n)], array.astype(np.float32))


def test_nearly_all_neighbours_are_found(tmp_path: Path) -> None:
    vectors = some(3000)
    made = make_index(vectors, tmp_path / "v.voy")
    assert made.words == 3000
    assert 0.97 < made.recall <= 1
    index, asked = NeighborIndex(vectors, tmp_path / "v.voy"), ["w3", "w2999", "w100"]
    for near, exact in zip(index.neighbors_of(asked, 5), vectors.neighbors_of(asked, 5), strict=True):
        assert [x.word for x in near] == [x.word for x in exact]
        np.testing.assert_allclose([x.cosine for x in near], [x.cosine for x in exact], atol=1e-5)
    assert len(index.neighbors_of(["w1"], 2500)[0]) == 2500
    with pytest.raises(DataError, match="'nothing' has no vector"):
        index.neighbors_of(["w1", "nothing"])


def test_very_few_words(tmp_path: Path) -> None:
    vectors = Vectors(["a", "b"], np.eye(2, dtype=np.float32))
    assert make_index(vectors, tmp_path / "v.voy").recall == 1
    assert [near.word for near in NeighborIndex(vectors, tmp_path / "v.voy").neighbors_of(["a"], 9)[0]] == ["b"]


def test_an_index_of_other_vectors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.voy"
    make_index(some(300), path)
    for other in (some(301), some(300, seed=1), some(300, size=21)):
        with pytest.raises(DataError, match="is an index of other vectors, 300 of 20 numbers"):
            NeighborIndex(other, path)
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is no index of neighbours, or damaged"):
            NeighborIndex(some(300), path)


def test_the_package_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "voyager", None)
    with pytest.raises(MissingExtra, match=r"pip install .*\[ann\]"):
        make_index(some(30), tmp_path / "v.voy")
    assert not list(tmp_path.iterdir())


def test_the_commands(tmp_path: Path) -> None:
    vectors, call = some(500), CliRunner().invoke
    write_vectors(tmp_path / "v.bin", vectors.words, vectors.array, "word2vec-bin")
    command = ["index", str(tmp_path / "v.bin"), "--out", str(tmp_path / "v.voy")]
    assert json.loads(call(app, [*command, "--json"]).stdout)["words"] == 500
    assert "exists already" in str(call(app, command).exception) + call(app, command).output
    assert "of the ten nearest words" in call(app, [*command, "--overwrite"]).output
    plain = ["neighbors", str(tmp_path / "v.bin"), "w1", "w2"]
    assert call(app, [*plain, "--index", str(tmp_path / "v.voy")]).stdout == call(app, plain).stdout
