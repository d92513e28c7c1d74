"""Scores of texts: word and character errors whatever the white space, BLEU by the script, the order of n-best lists."""

from __future__ import annotations

import random
import types

import pytest

from unrolled.metrics.speech import aligned, character_errors, confusions, word_errors
from unrolled.metrics.translation import bleu_tokenizer, corpus_scores
from unrolled.tasks.transcript import Alternative, Transcript

SPACES = "\t \n\r\v\f\x1c\x85\u00a0\u1680\u2000\u2009\u2028\u2029\u202f\u205f\u3000\u200b"


@pytest.mark.parametrize("space", [*SPACES, "\r\n", " \t", "\u3000 ", "\ufeff ", " \u2060"])
def test_words_end_at_every_white_space(space: str) -> None:
    said = f"{space}a{space}b{space}c{space}"
    assert word_errors([said], ["a b c"]).value == 0
    assert word_errors(["a b c"], [said]).value == 0
    assert word_errors([said], ["a x c"]).errors.tolist() == [1]
    assert word_errors([said], ["a x c"]).units.tolist() == [3]
    assert [(step.said, step.heard) for step in aligned(said, "a c")] == [("a", "a"), ("b", None), ("c", "c")]
    assert confusions([(said, "a x c")]) == [("b", "x", 1)]
    if len(space) == 1 or space == "\r\n":
        assert character_errors([said], ["a b c"]).value == 0
        assert character_errors(["a b c"], [said]).units.tolist() == [5]


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("  a ", "b", 1.0),
        ("a", " a  ", 0.0),
        ("", "  ", 0.0),
        (" \u3000", "", 0.0),
        ("今天\u3000好", "今天 好", 0.0),
        ("\ufeffab", "ab", 0.0),
        ("می\u200cخواهم", "می خواهم", 1 / 8),  # a joiner is a letter of the word
    ],
)
def test_outer_white_space_is_no_character(said: str, heard: str, rate: float) -> None:
    assert character_errors([said], [heard]).value == pytest.approx(rate)


def test_rates_are_those_of_jiwer() -> None:
    jiwer = pytest.importorskip("jiwer")
    draw = random.Random(0)
    texts = ["".join(draw.choices("abc  ", k=draw.randrange(1, 12))) for _ in range(400)]
    pairs = [(a, b) for a, b in zip(texts[:200], texts[200:], strict=True) if a.strip()]
    for said, heard in pairs:
        assert character_errors([said], [heard]).value == pytest.approx(jiwer.cer(said, heard)), (said, heard)
        assert word_errors([said], [heard]).value == pytest.approx(jiwer.wer(said, heard)), (said, heard)


@pytest.mark.parametrize(
    ("references", "tokenizer"),
    [
        (["A dog runs.", "Ein Hund rennt."], "13a"),
        (["Собака бежит", "مرحبا بالعالم", "कुत्ता दौड़ता है"], "13a"),
        (["개가 달린다"], "13a"),
        (["一只狗在草地上跑。", "两个人 in Paris"], "zh"),
        (["犬が走っている。", "東京タワーへ行きました"], "char"),
        (["カタカナ"], "char"),
        (["หมากำลังวิ่ง"], "char"),
        (["ໝາກໍາລັງແລ່ນ"], "char"),
        (["ឆ្កែកំពុងរត់"], "char"),
        (["ခွေးပြေးနေသည်"], "char"),
        (["The word 狗 means dog"], "13a"),
        (["12 34", "..."], "13a"),
        ([""], "13a"),
    ],
)
def test_bleu_takes_the_tokenizer_of_the_script(
    references: list[str], tokenizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert bleu_tokenizer(references) == tokenizer
    scores = corpus_scores(references, references)
    assert f"|tok:{tokenizer}|" in scores["bleu_signature"]


def test_japanese_takes_mecab_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: types.ModuleType(name))
    assert bleu_tokenizer(["犬が走っている。"]) == "ja-mecab"
    assert bleu_tokenizer(["一只狗在草地上跑。"]) == "zh"


def test_bleu_of_a_script_without_blanks_counts_its_characters() -> None:
    near, far = corpus_scores(["หมากำลังวิ่งอยู่"], ["หมากำลังวิ่งเร็ว"]), corpus_scores(["แมวนอนหลับ"], ["หมากำลังวิ่งเร็ว"])
    assert near["bleu"] > 50 > far["bleu"]


def test_transcripts_are_listed_in_the_order_of_their_scores() -> None:
    found = Transcript("a", "x", (), -3.0, 1.0, (Alternative("y", -2.0, -1.5), Alternative("z", -9.0, -4.0)), -1.0)
    assert found.ranked() == [(-1.0, "x"), (-1.5, "y"), (-4.0, "z")]
    told = found.to_json()
    assert [told["score"], *(one["score"] for one in told["others"])] == [-1.0, -1.5, -4.0]
