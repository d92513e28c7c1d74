"""A vocabulary shortlist: which symbols go with which, and a search among them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import unrolled
from test_cli import run
from test_translate import FLAGS, reversed_words
from test_translator import CONFIG, sentences
from unrolled.data.pairs import Pairs
from unrolled.decoding.beam import beam_search
from unrolled.decoding.listed import Lists
from unrolled.decoding.required import Prescribed
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, FolderError
from unrolled.features.shortlist import Shortlist
from unrolled.models.translator import Translator
from unrolled.models.translator_engine import TranslatorEngine
from unrolled.tasks.search_errors import judged
from unrolled.types import State


def word_pairs(n: int = 400) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sentences of five of 300 words; word w is written 299 - w, in another order, and 300 ends both."""
    rng = np.random.default_rng(1)
    sources = [rng.integers(300, size=5) for _ in range(n)]
    targets = [299 - rng.permutation(row) for row in sources]
    return [np.append(s, 300) for s in sources], [np.append(t, 300) for t in targets]


def test_what_stands_for_what_is_learned() -> None:
    sources, targets = word_pairs()
    found = Shortlist.learned(sources, targets, 301, 301)
    often = np.flatnonzero(np.bincount(np.concatenate(sources), minlength=301)[:300] >= 5)
    assert np.mean(found.likely[often, 0] == 299 - often) > 0.95
    assert found.frequent[0] == 300
    lists = found.lists([sources[0], sources[1][:2]], 2, [300, 7], [[11], ()], padding=301)
    assert lists[:, :2].tolist() == [[300, 7]] * 2
    assert set(targets[0].tolist()) | {11} <= set(lists[0].tolist())
    assert (lists[:, -1] == 301).all()
    for line in lists.tolist():
        symbols = [symbol for symbol in line if symbol != 301]
        assert len(set(symbols)) == len(symbols)


class Masked:
    """A translator that gives every symbol outside of a sentence's list probability 0."""

    def __init__(self, model: Translator, allowed: np.ndarray) -> None:
        self.model, self.allowed = model, torch.from_numpy(allowed)

    def start(self, source: tuple[Tensor, Tensor]) -> tuple[object, State]:
        return self.model.start(source)

    def step(self, last: Tensor, state: State, memory: object, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        logits, after = self.model.step(last, state, memory, sentence_of_row)  # type: ignore[arg-type]
        return logits.masked_fill(~self.allowed[sentence_of_row], -torch.inf), after


@pytest.mark.parametrize("attention", ["additive", "none"])
def test_a_listed_search_is_one_without_the_other_symbols(attention: str) -> None:
    torch.manual_seed(3)
    model = Translator(replace(CONFIG, n_target=40, attention=attention)).eval()
    source, begin, end = sentences(), 40, 1
    allowed = np.random.default_rng(2).random((3, 40)) < 0.3
    allowed[:, [end, 5, 6]] = True
    table = np.full((3, 41), begin, np.int64)
    for line, row in zip(table, allowed, strict=True):
        symbols = [end, *(s for s in np.flatnonzero(row) if s != end)]
        line[: len(symbols)] = symbols
    lists, prescribed = Lists(table), [Prescribed(), Prescribed([5]), Prescribed((), [[6, 5]])]
    options = BeamOptions(4, 3, max_length=6)
    wanted = beam_search(
        Masked(model, allowed), source, torch.full((3,), begin), options, end=end, prescribed=prescribed, keep_tree=True
    )
    places = beam_search(
        TranslatorEngine(model),
        (*source, table),
        torch.full((3,), lists.begin),
        options,
        end=0,
        prescribed=lists.prescribed(prescribed),
        keep_tree=True,
    )
    for mine, theirs in zip(lists.told(places), wanted, strict=True):
        assert [h.symbols for h in mine.hypotheses] == [h.symbols for h in theirs.hypotheses]
        for a, b in zip(mine.hypotheses, theirs.hypotheses, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-4)
        assert mine.tree is not None
        assert theirs.tree is not None
        assert [[node.symbol for node in step] for step in mine.tree] == [[n.symbol for n in step] for step in theirs.tree]


def test_translators_have_one(translator: Path, tmp_path: Path) -> None:
    found = unrolled.load(translator)
    fresh = reversed_words(30, seed=2)
    listed = found.joined_by([], listed=3)
    plain, made = found.translate(fresh.sources), listed.translate(fresh.sources)
    assert [one.text for one in made] == [one.text for one in plain]  # of few symbols all are frequent
    for a, b in zip(made, plain, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-5)
    alone = listed.translate(fresh.sources[:1])[0]
    assert alone.token_scores == pytest.approx(made[0].token_scores, abs=1e-5)
    assert {row.blame for row in judged(listed, fresh, made)} == {row.blame for row in judged(found, fresh, plain)}
    assert listed.forced("abc", "EEEE").score == pytest.approx(found.forced("abc", "EEEE").score, abs=1e-5)
    assert run("predict", translator, "abc", "--shortlist", "5")[0].strip() == found.translate(["abc"])[0].text
    unrolled.load(translator).save(tmp_path / "copy")
    again = tmp_path / "copy" / "shortlist.safetensors"
    assert again.exists()
    again.write_bytes(again.read_bytes()[:50])
    with pytest.raises(FolderError, match=r"shortlist\.safetensors: is damaged"):
        unrolled.load(tmp_path / "copy")
    again.unlink()
    with pytest.raises(ConfigError, match="--shortlist needs a model that has one"):
        unrolled.load(tmp_path / "copy").joined_by([], listed=3)
    Shortlist(np.zeros((3, 64), np.int32), np.zeros(2, np.int32)).save(again)
    with pytest.raises(FolderError, match="does not go with the vocabularies"):
        unrolled.load(tmp_path / "copy")


def test_a_training_learns_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = Pairs()
    for i in range(300):
        words = rng.integers(200, size=3)
        pairs.add(" ".join(f"w{w}" for w in words), " ".join(f"v{w}" for w in words), f"pair {i}")
    flags = FLAGS | {"tokens": "whitespace", "epochs": 2, "min_count": 1}
    found = unrolled.train("translate", pairs, tmp_path / "run", options=flags)
    names, source = found.codec.target.vocabulary.symbols, pairs.sources[0]
    lists = found.shortlist.lists([found.codec.source.encode(source)], 4, [0], [()], padding=-1)[0]
    assert set(source.replace("w", "v").split()) <= {names[i] for i in lists if i >= 0}
    assert len(lists) < len(names)
    written = found.joined_by([], listed=4).translate([source])[0].symbols
    assert set(written) <= {names[i] for i in lists if i >= 0}
