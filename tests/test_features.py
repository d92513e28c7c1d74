"""Tokenizers, vocabulary, spelling and batches."""

from __future__ import annotations

import itertools
import json
import math
import unicodedata
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import DataError
from unrolled.features.batching import Columns, Sentences, bounds_of, read_windows
from unrolled.features.spelling import Spelling
from unrolled.features.tokenizers import TOKENIZERS, Tokenizer, load_tokenizer
from unrolled.features.vocabulary import Vocabulary

SAMPLE = 'The cat sat on the mat, didn\'t it? "Yes," he said.\n\n\tIt cost 3,000.50 — 猫坐在垫子上。<unk> <glue> ĠĊ\n' * 3
any_text = st.one_of(st.text(max_size=80), st.text(alphabet="ab\"' \n\t.,()中，<>glue Ġ", max_size=60))


def trained(name: str) -> Tokenizer:
    tokenizer = TOKENIZERS[name]()
    tokenizer.train([SAMPLE], 400)
    return tokenizer


@pytest.mark.parametrize("name", [n for n, t in TOKENIZERS.items() if t.lossless])
def test_any_text_comes_back(name: str) -> None:
    tokenizer = trained(name)
    stored = load_tokenizer(json.loads(json.dumps(tokenizer.to_json())))

    @settings(max_examples=150, deadline=None)
    @given(any_text)
    def check(text: str) -> None:
        symbols = tokenizer.split(text)
        assert tokenizer.join(symbols) == unicodedata.normalize("NFC", text)
        assert stored.split(text) == symbols

    check()


@pytest.mark.parametrize("name", TOKENIZERS)
def test_one_piece_for_each_symbol(name: str) -> None:
    """Streaming asks for it: the next piece must be there as soon as the symbol is."""
    tokenizer = trained(name)
    given_out = 0

    def feed() -> list[str]:
        nonlocal given_out
        pieces = []
        source = iter(tokenizer.split(SAMPLE))

        def count() -> object:
            nonlocal given_out
            for symbol in source:
                given_out += 1
                yield symbol

        for piece in tokenizer.pieces(count()):  # type: ignore[arg-type]
            pieces.append(piece)
            assert len(pieces) in (given_out, given_out + 1)
        return pieces

    assert "".join(feed()) == tokenizer.join(tokenizer.split(SAMPLE))


def test_words_are_clean() -> None:
    split = TOKENIZERS["words"]().split('He said "don\'t (ever) go," 3,000 times.猫坐x')
    assert split == [
        "He",
        "said",
        '"',
        "don't",
        "(",
        "ever",
        ")",
        "go",
        ",",
        '"',
        "3,000",
        "times",
        ".",
        "猫",
        "坐",
        "x",
    ]
    assert TOKENIZERS["words"]().split("a  b-c\nd") == ["a", "  ", "b", "<glue>", "-", "<glue>", "c", "\n", "d"]


def test_whitespace_counts_line_ends_and_knows_unk() -> None:
    tokenizer = TOKENIZERS["whitespace"]()
    symbols = tokenizer.split("the <unk>  sat\n\non mat")
    assert symbols == ["the", "<unk>", "sat", "<eos>", "<eos>", "on", "mat", "<eos>"]
    assert tokenizer.join(symbols) == "the <unk> sat\n\non mat\n"
    vocabulary = Vocabulary.build(Counter(symbols))
    assert vocabulary.encode(["<unk>", "<eos>", "dog"]).tolist() == [0, 1, 0]
    assert vocabulary.counts[:2] == (1, 3)


def test_user_text_never_becomes_a_special_symbol() -> None:
    for name in ("char", "words", "bpe", "unigram"):
        assert not {"<unk>", "<eos>"} & set(trained(name).split("<unk><eos> <unk> </s>"))


def test_damaged_tokenizers_are_refused() -> None:
    with pytest.raises(DataError, match="unknown tokenizer"):
        load_tokenizer({"name": "runes"})
    with pytest.raises(DataError, match="cannot be read"):
        load_tokenizer({"name": "bpe", "model": {"broken": True}})


def test_vocabulary_keeps_the_most_frequent() -> None:
    counts = Counter({"a": 5, "b": 5, "c": 3, "d": 1, "<eos>": 2})
    vocabulary = Vocabulary.build(counts, min_count=2, max_size=4)
    assert vocabulary.symbols == ("<unk>", "<eos>", "a", "b")
    assert vocabulary.counts == (4, 2, 5, 5)
    assert (vocabulary.begin, vocabulary.padding, len(vocabulary)) == (4, 5, 4)
    assert vocabulary.decode([0, 2, 4, 5]) == ["<unk>", "a", "<bos>", "<pad>"]
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again.symbols == vocabulary.symbols
    assert "a" in again
    assert "d" not in again
    with pytest.raises(DataError, match="twice"):
        Vocabulary(["<unk>", "<eos>", "a", "a"], [0, 0, 1, 1])
    with pytest.raises(DataError, match="starts with"):
        Vocabulary(["a"], [1])


def test_one_hot_is_the_unit_vector_of_the_index() -> None:
    vocabulary = Vocabulary.build(Counter("aabc"))
    ids = vocabulary.encode("cab")
    hot = vocabulary.one_hot(ids)
    assert hot.shape == (3, len(vocabulary))
    assert (hot.argmax(1) == ids).all()
    assert (hot.sum(1) == 1).all()
    assert not vocabulary.one_hot([vocabulary.begin, vocabulary.padding]).any()


def test_spelling_costs_are_a_distribution_over_words() -> None:
    spelling = Spelling.fit(["ab", "b"])
    p_end = (2 + 1) / (5 + 1 + 1)
    p_b = (2 + 1 / 0x110000) / 7
    assert spelling.cost("b") == pytest.approx(-math.log(p_b * p_end))
    assert spelling.cost("bb") == pytest.approx(-math.log(p_b * p_b * p_end))
    assert spelling.cost("猫") > spelling.cost("bbbb")
    total = p_end + (3 + 0x110000 / 0x110000) / 7
    assert total == pytest.approx(1)
    assert Spelling.from_json(spelling.to_json()).cost("ba") == spelling.cost("ba")


def columns(n: int = 103, batch_size: int = 4, window: int = 7) -> Columns:
    return Columns(np.arange(n, dtype=np.int32), batch_size=batch_size, window=window, begin=n, seed=5)


def test_columns_read_the_stream_with_inputs_one_step_behind() -> None:
    split = columns()
    batches = [split.batch(0, k) for k in range(len(split))]
    targets = torch.cat([b.targets for b in batches], dim=1)
    assert targets.shape == (4, 103 // 4)
    assert (targets[:, 1:] - targets[:, :-1] == 1).all()
    assert targets[:, 0].tolist() == [0, 25, 50, 75]
    assert targets.flatten().unique().numel() == targets.numel()  # no token twice
    assert batches[0].fresh.all()
    for batch in batches:
        assert (batch.inputs[:, 1:] == batch.targets[:, :-1]).all()
        assert (batch.inputs[batch.fresh, 0] == 103).all()
        assert (batch.inputs[~batch.fresh, 0] == batch.targets[~batch.fresh, 0] - 1).all()
        assert batch.n_tokens == batch.targets.numel()


def test_batches_are_a_pure_function_of_seed_epoch_and_number() -> None:
    a, b = columns(), columns()
    assert torch.equal(a.batch(3, 2).targets, b.batch(3, 2).targets)
    assert not torch.equal(a.batch(3, 2).targets, a.batch(4, 2).targets)
    covered = {int(i) for e in range(30) for k in range(len(a)) for i in a.batch(e, k).targets.flatten()}
    assert covered == set(range(103))  # what one epoch leaves over, another reads


def test_columns_shrink_for_short_text_and_refuse_less_than_a_window() -> None:
    assert columns(n=20, batch_size=8, window=7).batch_size == 2
    with pytest.raises(DataError, match="6 tokens, less than one window of 7"):
        columns(n=6)


def test_some_columns_start_anew() -> None:
    split = Columns(np.arange(40_000, dtype=np.int32), batch_size=32, window=10, begin=40_000, seed=1)
    share = torch.cat([split.batch(1, k).fresh for k in range(1, len(split))]).float().mean().item()
    assert 0.03 < share < 0.05


def test_a_batch_moves_whole() -> None:
    meta = torch.device("meta")
    split = Sentences(ended([np.arange(2, 6), np.arange(2, 4)]), tokens=99, begin=50, end=1, seed=2)
    batch = split.batch(0, 0)
    moved = batch.to(meta)
    assert all(t.device == meta for t in (moved.inputs, moved.targets, moved.fresh, moved.lengths))  # type: ignore[union-attr]
    assert batch.to(torch.device("cpu")) is batch


def ended(lines: list[np.ndarray]) -> np.ndarray:
    """Lines one after another, each with its end, in bytes as a small vocabulary has them."""
    return np.concatenate([np.append(line, 1) for line in lines]).astype(np.uint8)


@pytest.mark.parametrize(
    ("lengths", "tokens"), [([3] * 7, 9), ([1, 1, 2, 2, 3, 50, 60], 9), ([4], 1), ([1, 2, 2, 3, 9], 10**9)]
)
def test_groups_are_as_large_as_they_may_be(lengths: list[int], tokens: int) -> None:
    bounds = bounds_of(np.array(lengths), tokens).tolist()
    assert bounds[0] == 0
    assert bounds[-1] == len(lengths)
    for start, stop in itertools.pairwise(bounds):
        assert (stop - start) * lengths[stop - 1] <= tokens or stop - start == 1
        assert stop == len(lengths) or (stop + 1 - start) * lengths[stop] > tokens


def test_sentences_stand_alone_and_every_one_is_read() -> None:
    lines = [np.arange(2, 2 + n, dtype=np.int32) for n in (3, 1, 8, 3, 2, 5)]
    split = Sentences(ended(lines), tokens=9, begin=50, end=1, seed=2)
    rows = []
    for k in range(len(split)):
        batch = split.batch(1, k)
        assert batch.fresh.all()
        assert batch.lengths is not None
        assert batch.targets.numel() <= 9 or len(batch.lengths) == 1
        for inputs, targets, length in zip(
            batch.inputs.tolist(), batch.targets.tolist(), batch.lengths.tolist(), strict=True
        ):
            assert inputs[0] == 50
            assert inputs[1:length] == targets[: length - 1]
            assert targets[length - 1] == 1
            rows.append(targets[: length - 1])
    assert sorted(rows) == sorted(line.tolist() for line in lines)
    with pytest.raises(DataError, match="no lines"):
        Sentences(np.zeros(0, np.uint8), tokens=9, begin=50, end=1, seed=2)


def test_long_lines_are_read_in_pieces_and_end_once() -> None:
    split = Sentences(ended([np.arange(2, 25)]), tokens=9, begin=50, end=1, seed=2, longest=10)
    batches = [split.batch(0, k) for k in range(len(split))]
    rows = [
        (i[:n], t[:n])
        for b in batches
        for i, t, n in zip(b.inputs.tolist(), b.targets.tolist(), b.lengths.tolist(), strict=True)
    ]  # type: ignore[union-attr]
    rows.sort(key=lambda row: row[1][0] if row[1][0] != 1 else 99)
    assert [target for _, targets in rows for target in targets] == [*range(2, 25), 1]
    assert [inputs[0] for inputs, _ in rows] == [50, 11, 21]


def test_subword_vocabularies_know_every_byte() -> None:
    for name in ("bpe", "unigram"):
        tokenizer = trained(name)
        vocabulary = Vocabulary.build(Counter(tokenizer.split("plain")), max_size=400, always=tokenizer.alphabet())
        assert len(vocabulary) <= 400
        assert 0 not in vocabulary.encode(tokenizer.split("猫 🐈 \x07 é"))


def test_read_windows_reads_every_id_of_every_text_once_in_order() -> None:
    texts = [np.arange(10 * i, 10 * i + n, dtype=np.int32) for i, n in enumerate((5, 0, 9, 2, 9))]
    found: dict[int, list[int]] = {i: [] for i in range(5)}
    for alive, batch in read_windows(texts, begin=99, batch_size=2, window=4):
        lengths = [batch.inputs.shape[1]] * len(alive) if batch.lengths is None else batch.lengths.tolist()
        for i, inputs, targets, n in zip(alive, batch.inputs.tolist(), batch.targets.tolist(), lengths, strict=True):
            before = found[i][-1] if found[i] else 99
            assert inputs[:n] == [before, *targets[: n - 1]]
            found[i] += targets[:n]
        assert bool(batch.fresh.all()) == (len(found[alive[0]]) <= 4)
    assert [found[i] for i in range(5)] == [t.tolist() for t in texts]
