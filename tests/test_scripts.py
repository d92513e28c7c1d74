"""`--tokens auto`: the script of most letters decides what a token is, in captions, classifiers and word vectors."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled.data.captions import Captioned
from unrolled.data.labelled import Labelled
from unrolled.data.text import lines
from unrolled.errors import DataError
from unrolled.features import scripts
from unrolled.features.bags import TextFeatures
from unrolled.features.forms import WordForms
from unrolled.features.numbering import Spool
from unrolled.features.scripts import dominant_script
from unrolled.features.unknown import UnknownRate, unknown_share
from unrolled.features.words import READERS, read_words
from unrolled.folders import read_json
from unrolled.options.word_vectors import WordVectorsOptions
from unrolled.run.caption import caption_options, train_captioner
from unrolled.run.classify import classify_options
from unrolled.run.word_vectors import word_vectors_options
from unrolled.tasks.caption import CaptionTask
from unrolled.tasks.classify import Split
from unrolled.tasks.word_vectors import WordVectorsTask

SAMPLES = {
    "han": "酒店的位置很好，服务员也很热情。 very good 2023!",
    "japanese": "東京都内の飲食店。とてもおいしかったです。",
    "thai": "โรงแรมนี้ดีมาก พนักงานบริการดี ok",
    "lao": "ໂຮງແຮມນີ້ດີຫຼາຍ",
    "khmer": "សណ្ឋាគារនេះល្អណាស់",
    "burmese": "ဒီဟိုတယ်က အရမ်းကောင်းတယ်",
    "other": "The hotel is very good, 酒店. Отель хороший 한국어 हिन्दी",
}


@pytest.mark.parametrize("script", SAMPLES)
def test_the_script_of_most_letters(script: str) -> None:
    assert dominant_script([SAMPLES[script]]) == script
    assert dominant_script(["", "123 ... !?", *SAMPLES[script]]) == script


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        ([], "other"),
        (["123。、！ 😀 ́"], "other"),
        (["中文ab"], "other"),  # exactly half
        (["中文字ab"], "han"),
        (["日本国憲法前文日本国民は"], "japanese"),
        (["中" * 100 + "の"], "han"),  # kana in a Chinese text
        (["中文", "한국어텍스트"], "other"),
        (["ไทย", "ລາວ", "中文"], "other"),
        (["\u0e34\u0e35" * 50 + "abc"], "other"),  # marks are no letters
        (["中" * (1 << 20), "a" * (1 << 20), "文"], "han"),
    ],
)
def test_scripts_of_mixed_texts(texts: list[str], script: str) -> None:
    assert dominant_script(iter(texts)) == script


def test_graphemes_of_scripts_without_blanks_and_words_of_others() -> None:
    text = "น้ำดี ok! かがか\u3099漢字 don't 12 ក្មែរ"
    for name, marks in (("graphemes", []), ("graphemes-and-marks", ["!"])):
        read = read_words([lines([text])], READERS[name], Spool())
        found = read.spelled(read.numbers[read.numbers >= 0])
        assert found == [*["น้ำ", "ดี", "ok"], *marks, *["か", "が", "が", "漢", "字", "don't", "12", "ក្មែ", "រ"]]


@pytest.fixture
def without_zh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "has_chinese_words", lambda: False)
    monkeypatch.setattr("unrolled.tasks.word_vectors.has_chinese_words", lambda: False)


def examples(text: str) -> Labelled:
    found = Labelled()
    for i in range(40):
        found.add(f"{text} {i % 7}", ("ab"[i % 2],), 1.0, f"x, line {i}")
    return found


@pytest.mark.parametrize("script", SAMPLES)
def test_tokens_of_classifiers(script: str) -> None:
    split = Split(classify_options(), examples(SAMPLES[script]))
    expected = {"other": "words-and-marks", "han": "chinese-words"}.get(script, "graphemes-and-marks")
    assert split.options.data.tokens == expected
    reading, _ = split.read(1)
    assert reading.features.tokens == expected
    chosen = Split(classify_options(flags={"tokens": "whitespace"}), examples(SAMPLES[script]))
    assert chosen.options.data.tokens == "whitespace"


@pytest.mark.parametrize("script", SAMPLES)
def test_tokens_of_word_vectors(script: str) -> None:
    options = word_vectors_options(flags={"min_count": 1, "vector_size": 4})
    task = WordVectorsTask(options, [lines([SAMPLES[script]] * 10)], threads=1)
    expected = {"other": "words", "han": "chinese-words"}.get(script, "graphemes")
    assert task.options.data.tokens == expected
    assert task.notice == ""
    if script == "han":
        assert "酒店" in task.words
    assert task.trained().config["options"]["data"]["tokens"] == expected


@pytest.mark.usefixtures("without_zh")
def test_word_vectors_of_chinese_without_a_dictionary_say_so() -> None:
    options = word_vectors_options(flags={"min_count": 1, "vector_size": 4})
    task = WordVectorsTask(options, [lines([SAMPLES["han"]] * 10)], threads=1)
    assert task.options.data.tokens == "words"
    assert "extra zh" in task.notice
    with pytest.raises(DataError, match=r"'酒店' has no vector.*single characters.*extra zh.*chinese-words"):
        task.vectors()["酒店"]
    with pytest.raises(DataError) as caught:
        task.vectors()["飞机"]
    assert "single characters" not in str(caught.value)


def test_word_vectors_learn_on_with_the_tokens_they_had() -> None:
    options = word_vectors_options(flags={"min_count": 1, "vector_size": 4})
    trained = WordVectorsTask(options, [lines([SAMPLES["thai"]] * 10)], threads=1).trained()
    assert word_vectors_options(start=trained).data.tokens == "graphemes"
    assert word_vectors_options(start=trained, flags={"tokens": "auto"}).data.tokens == "graphemes"
    assert WordVectorsOptions().data.tokens == "auto"


def sheets(phrases: list[str]) -> Captioned:
    found = Captioned()
    for i in range(24):
        found.images.append(np.full((64, 64, 3), 10 * i, np.uint8))
        found.captions.append([phrases[i % len(phrases)]])
    return found


@pytest.mark.parametrize(
    ("phrases", "new", "tokens", "tokens_without_zh"),
    [
        (["一张红色的纸", "一只白色的狗"], "一只红色的狗。", "chinese-words", "char"),
        (["あかいかみ", "しろいいぬ"], "あかいいぬ", "graphemes", "graphemes"),
        (["กระดาษสีแดง", "สุนัขสีขาว"], "สุนัขสีแดง", "graphemes", "graphemes"),
        (["a red sheet", "a white dog"], "a red dog", "whitespace", "whitespace"),
    ],
)
def test_captions_can_be_new(
    phrases: list[str], new: str, tokens: str, tokens_without_zh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"encoder": "small", "encoder_weights": "none", "embedding_size": 8, "memory_size": 8, "decoder_size": 8}
    flags |= {"attention": "none", "threads": 1, "epochs": 1, "min_count": 1, "evaluations": 1}
    for expected in (tokens, tokens_without_zh):
        events = train_captioner(
            caption_options(flags=flags), sheets(phrases), tmp_path / "run", valid=sheets([new]), overwrite=True
        )
        task = next(event for event in events if isinstance(event, CaptionTask))
        assert task.options.data.tokens == expected
        ids = task.side.encode(task._plain(new))
        assert 0 not in ids[:-1]
        assert task.side.decode(ids.tolist()).replace("。", "") == new.replace("。", "")
        monkeypatch.setattr(scripts, "has_chinese_words", lambda: False)


def test_config_keeps_auto_and_run_and_model_what_was_taken(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f"{SAMPLES['thai']} {'ดี' if i % 2 else 'แย่'} {i},{i % 2}\n" for i in range(40)),
        encoding="utf-8",
    )
    unrolled.train("classify", [tmp_path / "a.csv"], tmp_path / "run", options={"threads": 1})
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text(encoding="utf-8"))["data"]["tokens"] == "auto"
    assert read_json(tmp_path / "run" / "run.json")["options"]["data"]["tokens"] == "graphemes-and-marks"
    config = read_json(tmp_path / "run" / "best" / "config.json")
    assert config["options"]["data"]["tokens"] == config["reading"]["tokens"] == "graphemes-and-marks"
    assert config["reading"]["normalization"] == "nfc"
    assert unrolled.load(tmp_path / "run").predict("แย่").label == "0"


@pytest.mark.parametrize(
    ("train", "valid", "warned"), [(0.0, 0.0, False), (0.1, 0.1, False), (0.11, 0.0, True), (0.0, 0.98, True)]
)
def test_many_unknown_symbols_are_warned_of(train: float, valid: float, warned: bool) -> None:
    rate = UnknownRate(train, valid, "words")
    assert (rate.warning() is not None) == warned
    if warned:
        assert f"{valid:.0%} in validation texts" in str(rate.warning())
    assert rate.to_metrics() == {"unknown_rate": valid, "unknown_rate_train": train}
    assert UnknownRate.of_sentences([np.array([0, 2, 3, 1])], [np.array([0, 1])], "words")[:2] == (1 / 3, 1.0)
    assert unknown_share([]) == 0.0
    alone = UnknownRate(0.2, None, "words")  # nothing was held out
    assert alone.to_metrics() == {"unknown_rate_train": 0.2}
    assert "validation" not in str(alone.warning())


def test_unknown_symbols_of_each_task(tmp_path: Path) -> None:
    flags = {"tokens": "whitespace", "min_count": 2, "threads": 1, "encoder": "small", "encoder_weights": "none"}
    flags |= {"attention": "none", "embedding_size": 8, "memory_size": 8, "decoder_size": 8}
    events = train_captioner(caption_options(flags=flags), sheets(["红 纸"]), tmp_path / "run", valid=sheets(["绿纸 红"]))
    task = next(event for event in events if isinstance(event, CaptionTask))
    assert task.unknown == (0.0, 0.5, "words")
    bags = TextFeatures.learned(["a b a", "a b c"], min_count=2, longest=2)
    assert bags[1].unknown_share == pytest.approx(1 / 6)
    assert bags[0].encode(["c d", ""]).unknown_share == 1.0
    forms = WordForms.learned([["ab", "ab"], ["xyz"]])
    assert forms.unknown_share(forms.encode([["ab", "abc", "ab"]])) == pytest.approx(1 / 7)
    options = word_vectors_options(flags={"min_count": 2, "vector_size": 4})
    words = WordVectorsTask(options, [lines(["a b a b c d"])], threads=1)
    assert words.unknown.train == pytest.approx(2 / 6)
    assert words.trained().metrics["unknown_rate"] == pytest.approx(2 / 6)
