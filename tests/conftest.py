"""One thread, fixed seeds, and a small trained model that many tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import unrolled
from unrolled.data.samples import english, help_pages
from unrolled.data.scenes import save_scenes, scenes
from unrolled.data.tones import save_tones, tones
from untrained import untrained_captioner, untrained_recognizer

# Compiled kernels stay here from run to run, and processes that tests start find them.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "kernels"))
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    torch.manual_seed(7)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def english_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 30,000 characters of the English that Python ships."""
    path = tmp_path_factory.mktemp("text") / "english.txt"
    path.write_text(english().text[:30_000], encoding="utf-8")
    return path


SMALL = {"minutes": 5, "epochs": 2, "hidden_size": 24, "embedding_size": 16, "window": 40, "batch_size": 8, "threads": 1}


@pytest.fixture(scope="session")
def run_folder(english_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small character model."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    unrolled.train("language-model", [english_file], folder, preset="tiny", options=SMALL)
    return folder


@pytest.fixture(scope="session")
def vector_run(english_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of small word vectors; beside it "parts", with sub-words."""
    folder = tmp_path_factory.mktemp("runs")
    flags = {"vector_size": 20, "epochs": 3, "min_count": 2, "threads": 1}
    for name, parts in (("vec", {}), ("parts", {"subwords": True, "buckets": 50_000})):
        unrolled.train("word-vectors", [english_file], folder / name, options=flags | parts)
    return folder / "vec"


@pytest.fixture(scope="session")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on paragraphs of help(); beside it pages.jsonl, what it was trained on."""
    folder = tmp_path_factory.mktemp("classify")
    data = help_pages()
    rows = ({"body": text, "page": label[0]} for text, label in zip(data.texts, data.labels, strict=True))
    (folder / "pages.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    flags = {"text": "body", "label": "page", "threads": 1, "average_epochs": 15}
    unrolled.train("classify", [folder / "pages.jsonl"], folder / "run", options=flags)
    return folder / "run"


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that knows two people and a town; beside it sentences.conll, what it was trained on."""
    folder = tmp_path_factory.mktemp("tag")
    sentences = [f"{a} B-PER\nmet O\n{b} B-PER\nin O\nLondon B-LOC\n. O\n" for a in "AB" for b in "AB"] * 20
    (folder / "sentences.conll").write_text("\n".join(sentences), encoding="utf-8")
    flags = {"threads": 1, "minutes": 5, "epochs": 4, "hidden_size": 16, "batch_size": 4, "window": 16, "evaluations": 2}
    valid = [folder / "sentences.conll"]
    unrolled.train("tag", [folder / "sentences.conll"], folder / "run", valid=valid, options=flags)
    return folder / "run"


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that turns words round; beside it test.src and test.tgt."""
    from test_translate import FLAGS, reversed_words, write

    folder = tmp_path_factory.mktemp("translate")
    train, valid = write(folder, "train", reversed_words()), write(folder, "valid", reversed_words(40, seed=1))
    write(folder, "test", reversed_words(60, seed=2))
    unrolled.train("translate", train, folder / "run", valid=valid, options=FLAGS)
    return folder / "run"


@pytest.fixture(scope="session")
def folders(
    run_folder: Path, vector_run: Path, sentiment: Path, tagger: Path, translator: Path, tmp_path_factory: Any
) -> dict[str, Path]:
    """A model of each task by the name it is served under; photo.png and talk.wav beside those that take files."""
    made = tmp_path_factory.mktemp("served")
    drawn, songs = scenes(6, seed=1), tones(3, seed=1)
    untrained_captioner(drawn).save(made / "captions")
    untrained_recognizer(songs, encoder_size=8).save(made / "speech")
    save_scenes(drawn, made / "photos")[0].rename(made / "photo.png")
    save_tones(songs, made / "clips")[0].rename(made / "talk.wav")
    found = {"books": run_folder, "vec": vector_run, "sentiment": sentiment, "tags": tagger, "turned": translator}
    return found | {"captions": made / "captions", "speech": made / "speech"}
