"""Text of all scripts: words keep their marks and joiners, normal forms are alike, what is no text is refused."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from unrolled.cli.inputs import collect_inputs
from unrolled.data.captions import read_captions
from unrolled.data.restoring import restored, taken_apart
from unrolled.data.tables import json_values
from unrolled.data.text import Document, json_lines, lines
from unrolled.data.valid_text import check_text
from unrolled.errors import DataError
from unrolled.features.bags import TextFeatures
from unrolled.features.forms import WordForms
from unrolled.features.graphemes import graphemes
from unrolled.features.normal_form import compose
from unrolled.features.numbering import Spool
from unrolled.features.tokenizers import TOKENIZERS, ChineseWords, Words, load_tokenizer, words_in
from unrolled.features.words import READERS, read_words, reader_for
from unrolled.options.serve import LimitOptions
from unrolled.server.served.base import Served
from unrolled.tasks.inputs import TEXTS, TEXTS_OR_WORDS, WORDS, InputType, iter_inputs
from unrolled.tasks.reading import places

#: Texts whose blanks are the only borders of words.
BLANKS = [
    "हिन्दी भाषा में",
    "বাংলা র‌্যাব ক্‌ষ",  # with a non-joiner before a virama
    "நன்றி தமிழ்",
    "ന്‍ അവന്‍ മലയാളം",  # chillus written with a joiner at the end
    "සිංහල ශ්‍රී ලංකා",
    "สวัสดี ครับ น้ำ",
    "ខ្ញុំ ស្រឡាញ់",
    "မြန်မာ ဘာသာ",
    "བོད སྐད",
    "مُحَمَّد رَسُولٌ",
    "می‌خواهم کتاب‌ها نمی‌‌دانم",
    "שָׁלוֹם עוֹלָם",
    "ܫܠܳܡܳܐ ܥܰܡ",
    "Tiếng Việt cần",
    "café naïve Å̧ngström",
    "Donau­dampf schiff",
    "ਪੰਜਾਬੀ ਭਾਸ਼ਾ",
    "ትግርኛ ኢትዮጵያ",
    "ᜊᜌ᜔ᜊᜌᜒᜈ᜔ x̱ʷ",
    "i̇stanbul ŗ̃ 1️⃣",
]
FORMS = ["NFC", "NFD"]
SIGNS = ["👩‍👧", "👩🏽‍🚀", "❤️‍🔥", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☝🏿", "#️⃣", "©️"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", BLANKS)
def test_words_keep_marks_and_joiners(text: str, form: str) -> None:
    text = unicodedata.normalize(form, text)
    composed = unicodedata.normalize("NFC", text).split()
    assert Words().split(text) == composed
    assert words_in(text) == text.split()
    for name in ("words", "words-and-marks", "cased-words"):
        found = read_words([lines([text])], READERS[name], Spool())
        lower = (
            composed
            if name == "cased-words"
            else [word.lower() if len(word.lower()) == len(word) else word for word in composed]
        )
        assert found.spelled(found.numbers[found.numbers >= 0]) == lower


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "text", [*BLANKS, "Élan vital café.", "हिन्दी भाषा है। यह?", "هل جاء؟ نعم، جاء.", "İstanbul'da İyi!"]
)
def test_restoring_loses_nothing(text: str, form: str) -> None:
    text = unicodedata.normalize(form, text).replace("\u20e3", "")  # a keycap is a sign
    words, labels = taken_apart(text)
    assert unicodedata.normalize("NFC", restored(words, labels)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", ["これは漢字です", "漢字、かな。カナも", "東京タワーへ"])
def test_restoring_sets_no_blanks_between_han_and_kana(text: str) -> None:
    assert restored(*taken_apart(text)) == text


@pytest.mark.parametrize("sign", SIGNS)
def test_signs_keep_what_modifies_them(sign: str) -> None:
    assert words_in(f"so {sign} x{sign}") == ["so", sign, "x", sign]
    assert graphemes(f"{sign}{sign}a") == [sign, sign, "a"]
    assert ChineseWords().split(f"好{sign}")[-1] == sign
    found = read_words([lines([f"a {sign} b{sign}{sign}"])], READERS["words-and-marks"], Spool())
    assert found.spelled(found.numbers[found.numbers >= 0]) == ["a", sign, "b", sign, sign]
    found = read_words([lines([f"a {sign} b"])], READERS["words"], Spool())
    assert found.spelled(found.numbers[found.numbers >= 0]) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't it’s 3,000.50 a.b x_y", ["don't", "it’s", "3,000.50", "a.b", "x_y"]),
        ("'quoted' ... end-to-end", ["'", "quoted", "'", ".", ".", ".", "end", "-", "to", "-", "end"]),
        ("漢字かなカナ한국어Latin", ["漢", "字", "かなカナ한국어Latin"]),
        ("漢\ufe00字", ["漢\ufe00", "字"]),
        ("a\u200bb\u200cc\u200d d", ["a", "\u200b", "b\u200cc\u200d", "d"]),
        ("\u200ca \u0301 \ufeffb", ["\u200c", "a", "\u0301", "\ufeff", "b"]),
        ("a‿b＿c", ["a‿b＿c"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_in(text) == words


@pytest.mark.parametrize("text", ["हिन्दी café", "می‌خواهم", "สวัสดี ครับ", "Привет мир", "α\u0301βγ", "한국어"])
def test_chinese_words_leave_other_scripts_whole(text: str) -> None:
    symbols = ChineseWords().split(f"我们{text}很好")
    assert "".join(symbols) == unicodedata.normalize("NFC", f"我们{text}很好")
    clusters = graphemes(unicodedata.normalize("NFC", text))
    assert all(set(graphemes(symbol)) <= {*clusters, *"我们很好"} for symbol in symbols)
    if text != "สวัสดี ครับ":
        assert set(unicodedata.normalize("NFC", text).split()) <= set(symbols)


def test_old_models_cut_words_as_before() -> None:
    old = load_tokenizer({"name": "words"})
    assert old.split("e\u0301a की") == ["e", "<glue>", "\u0301", "<glue>", "a", "क", "<glue>", "ी"]
    assert old.to_json() == {"name": "words"}
    assert words_in("की", "none") == ["क", "ी"]
    assert taken_apart("की है।", "none")[0] == ["क", "ह"]
    found = read_words([lines(["e\u0301 می\u200cخ 👩\u200d👧"])], reader_for("words-and-marks", "none"), Spool())
    assert found.spelled(range(len(found))) == ["e\u0301", "می", "\u200c", "خ", "👩", "\u200d", "👧"]
    assert load_tokenizer(json.loads(json.dumps(Words().to_json()))).normalization == "nfc"


def test_new_words_are_those_of_old_models_in_plain_text() -> None:
    text = "The cat's on-line; 3,000.5 — “ok” (a_b) naïve Ünïcode über привет 漢字かな。\n\t“…” x86 £5 50% a+b=c 한국어 #1"
    assert Words().split(text) == load_tokenizer({"name": "words"}).split(text)
    for name in ("words", "words-and-marks", "cased-words", "whitespace"):
        new, old = (read_words([lines([text])], reader_for(name, kind), Spool()) for kind in ("nfc", "none"))
        assert new.spelled(range(len(new))) == old.spelled(range(len(old)))
        assert new.numbers.tolist() == old.numbers.tolist()


#: Cases of GraphemeBreakTest.txt (Unicode 15.1); borders are shown as "|".
@pytest.mark.parametrize(
    "case",
    [
        "\r\n|a|\n|\u0308", "a\u0308|b", " \u200d|\u0646", "\u1100\u1160|\u1100",
        "\uac00\u11a8\u11a8|\u1160",
        "\uac01\u11a8|\u1160",
        "\U0001f1e6\U0001f1e7|\U0001f1e8|b", "a|\U0001f1e6\U0001f1e7\u200d|\U0001f1e8", "a\u0903|b",
        "a|\u0600b",
        "\U0001f476\U0001f3ff|\U0001f476", "\U0001f6d1\u200d\U0001f6d1", "a\u200d|\U0001f6d1", "\u2701\u200d\u2701",
        "\u0915|\u0924", "\u0915\u094d\u0924", "\u0915\u094d\u200d\u0924", "\u0915\u093c\u094d\u0924",
        "\u0915\u094d\u094d|a",         "a\u094d|\u0924", "\u0915\u094d\u0924\u094d\u092f",
        "\u0e01\u0e33|x", "\u17a0\u17d2\u17c5", "\u1781\u17d2\u1798",
    ],
)  # fmt: skip
def test_graphemes_of_the_standard(case: str) -> None:
    assert graphemes(case.replace("|", "")) == case.split("|")


any_script = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("".join([*BLANKS, *SIGNS]) + "\u0300\u0301\u200c\u200d\u0903 \n.,'’\"漢かa1_"),
    ),
    max_size=40,
)


@pytest.mark.parametrize("name", [name for name, kind in TOKENIZERS.items() if kind.lossless])
def test_the_symbols_of_a_text_are_its_normal_form(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    tokenizer.train([" ".join(BLANKS)], 300)

    @settings(max_examples=150, deadline=None)
    @given(any_script)
    def check(text: str) -> None:
        composed = unicodedata.normalize("NFC", text)
        symbols = tokenizer.split(text)
        assert tokenizer.join(symbols) == composed
        assert tokenizer.split(unicodedata.normalize("NFD", text)) == symbols
        if name in ("graphemes", "words", "chinese-words"):
            joined = [symbol for symbol in symbols if symbol != "<glue>"]
            borders = {sum(map(len, joined[:i])) for i in range(len(joined))}
            if "".join(joined) == composed:
                for found in re.finditer(r"(?<=\w)[\u0300-\u036f\u0900-\u0903\u093a-\u093c\u093e-\u094d]", composed):
                    assert found.start() not in borders

    check()


@settings(max_examples=100, deadline=None)
@given(any_script)
def test_readers_read_normal_forms_alike(text: str) -> None:
    if "\0" in text:
        return
    composed, decomposed = (unicodedata.normalize(form, text) for form in FORMS)
    for name in ("words", "words-and-marks", "graphemes", "graphemes-and-marks", "whitespace"):
        found = []
        for form in (composed, decomposed):
            read = read_words([Document("x", form)], READERS[name], Spool())
            found.append((read.numbers.tolist(), read.spelled(range(len(read)))))
        assert found[0] == found[1]


@settings(max_examples=60, deadline=None)
@given(any_script)
def test_words_of_taggers_and_restoring_are_parts_of_the_text(text: str) -> None:
    at = 0
    for word in words_in(text):
        at = text.index(word, at) + len(word)
    words, labels = taken_apart(text)
    assert len(words) == len(labels)
    letters = [c.lower() for c in text if c.isalnum()]
    assert "".join(c for word in words for c in word if c.isalnum()) == "".join("".join(letters).split("_"))


def test_forms_are_looked_up_by_their_normal_form() -> None:
    forms = WordForms.learned([["café"] * 3, [unicodedata.normalize("NFD", "café")]], min_count=1)
    assert forms.words == ["café"]
    assert forms.encode([[unicodedata.normalize("NFD", "Café")]]).rows.tolist() == [0]
    assert WordForms(forms.words, forms.letters, "none").encode([["cafe\u0301"]]).rows.tolist() == [1]


def test_texts_of_classifiers_are_read_by_their_normal_form() -> None:
    features, _ = TextFeatures.learned(["café naïve हिन्दी", "café naïve हिन्दी"], min_count=1, longest=2)
    composed, decomposed = (features.encode([unicodedata.normalize(form, "naïve café हिन्दी")]) for form in FORMS)
    assert composed.features.tolist() == decomposed.features.tolist()
    assert [row >= 0 for _, row in features.split(unicodedata.normalize("NFD", "Café हिन्दी x"))] == [True, True, False]


@pytest.mark.parametrize("text", ["a\ud83d b", "\ude00", "x\udcff", "\ud83d" * 3])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_halves_of_surrogate_pairs_are_no_text(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]()
    tokenizer.train(["abc " * 50], 300)
    with pytest.raises(DataError, match=r"half of a surrogate pair \(U\+D"):
        tokenizer.split(text)


@pytest.mark.parametrize("text", ["😀", "\U0010ffff \ue000 \u0378", "\u2028\x85\x0b\ufeff\x1b", "\ufdd0\uffff"])
def test_odd_characters_are_text(text: str) -> None:
    check_text(text)
    assert Words().join(Words().split(text)) == text
    TextFeatures.learned([f"a {text} a"] * 2, min_count=1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (r'{"text": "good \ud83d film"}', r"x, line 2: has half of a surrogate pair \(U\+D83D\) at position 5"),
        (r'{"text": ["a", {"b": "\udc00"}]}', r"x, line 2: has half of a surrogate pair \(U\+DC00\)"),
        (r'{"a\ud800": 1}', "x, line 2: has half"),
        (r'{"text": "a\u0000b"}', "x, line 2: has a NUL character at position 1"),
        (r'{"text": "\ude00\ud83d"}', "x, line 2: has half"),
    ],
)
def test_json_that_holds_no_text_is_named_with_its_line(line: str, problem: str) -> None:
    problems: list[str] = []
    good = r'{"text": "\ud83d\ude00 \\ud83d"}'
    found = list(json_lines(Document("x", f"{good}\n{line}\n{good}\n"), problems))
    assert [place for place, _, _ in found] == ["x, line 1", "x, line 3"]
    assert len(problems) == 1
    assert re.match(problem, problems[0])


def test_a_word_of_a_million_characters() -> None:
    word = "aé\u0301" * 330_000
    assert words_in(word) == [word]
    assert len(Words().split(word)) == 1
    assert len(read_words([Document("x", word)], READERS["words"], Spool())) == 1
    assert len(taken_apart(word)[0]) == 1


def test_texts_that_are_no_text_are_named() -> None:
    for text in ("a\0b", "a\ud83db"):
        with pytest.raises(DataError, match=r"texts: text 2: has (a NUL|half)"):
            TextFeatures.learned(["fine", text], min_count=1)
        with pytest.raises(DataError, match="lines: has"):
            lines([text])


@pytest.mark.parametrize("kind", [TEXTS, WORDS, TEXTS_OR_WORDS])
@pytest.mark.parametrize("text", ["a\0b", "\0", "a\ud83d", "\udce9t\u00e9"])
def test_inputs_of_every_task_are_texts(kind: InputType, text: str) -> None:
    with pytest.raises(DataError, match=r"the text: has (a NUL|half)"):
        list(iter_inputs(kind, text))
    with pytest.raises(DataError, match=r"input 2: has (a NUL|half)"):
        list(iter_inputs(kind, ["fine", "\u2028 \ufeff 😀", text]))
    if kind is TEXTS_OR_WORDS:
        with pytest.raises(DataError, match="input 0: has"):
            list(iter_inputs(kind, [["fine", text]]))


def test_requests_with_what_is_no_text_are_refused() -> None:
    adapter = TypeAdapter(Served("x", None, LimitOptions()).Input)
    assert adapter.validate_python("fine é 😀") == "fine é 😀"
    for text in ("a\0b", "a\ud83d"):
        with pytest.raises(ValidationError):
            adapter.validate_python(text)


@settings(max_examples=200, deadline=None)
@given(any_script)
def test_places_of_the_normal_form_are_those_of_the_text(text: str) -> None:
    for form in ("as it is", *FORMS):
        passed = text if form == "as it is" else unicodedata.normalize(form, text)
        composed, starts = compose(passed)
        assert composed == unicodedata.normalize("NFC", passed)
        assert len(starts) == len(composed) + 1
        assert (np.diff(starts) >= 0).all()
        assert starts[-1] == len(passed)
        at = 0
        for word in words_in(composed):
            at = composed.index(word, at)
            start, end = starts[at], starts[at + len(word)]
            assert unicodedata.normalize("NFC", passed[start:end]) == word
            at += len(word)


@pytest.mark.parametrize("text", ["Café, naïve हिन्दी! 한국", "a ñ ở", "é"])
def test_tokens_stand_in_the_text_that_was_passed_in(text: str) -> None:
    decomposed = unicodedata.normalize("NFD", text)
    tokens = words_in(unicodedata.normalize("NFC", text))
    spans = places(decomposed, tokens, "nfc").tolist()
    assert [unicodedata.normalize("NFC", decomposed[start:end]) for start, end in spans] == tokens
    own = words_in(decomposed)
    assert [decomposed[start:end] for start, end in places(decomposed, own, "none")] == own


BAD = [("a\0b", "has a NUL"), ("a\udce9", "has half"), ("\ud83d", "has half"), (["fine", "x\0"], "has a NUL")]


def test_inputs_that_are_no_text_keep_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    speaker: Any = SimpleNamespace(media="", read=lambda *_: lambda *_: ["one", *(value for value, _ in BAD), "\x85 last"])
    bad: dict[int, str] = {}
    assert list(collect_inputs(None, speaker, [], ["f.txt"], None, "utf-8", bad)) == ["one", "", "", "", "", "\x85 last"]
    assert list(bad) == [2, 3, 4, 5]
    assert all(text.startswith(f"f.txt, input {n}: {said}") for (n, text), (_, said) in zip(bad.items(), BAD, strict=True))
    bad.clear()
    assert list(collect_inputs(None, speaker, ["one", "caf\udce9", "two"], [], None, "utf-8", bad)) == ["one", "", "two"]
    assert bad[2].startswith("input 2: has half of a surrogate pair (U+DCE9) at position 3")
    bad.clear()
    stdin = io.TextIOWrapper(io.BytesIO(b"one\na\0b\n" + b"a\xe9\n\xed\xa0\xbd\n" + "é\u2028\n".encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert list(collect_inputs(None, speaker, [], [], None, "utf-8", bad)) == ["one", "", "", "", "é\u2028"]
    assert [text.split(":")[0] for text in bad.values()] == [f"<standard input>, line {n}" for n in (2, 3, 4)]
    bad.clear()
    media: Any = SimpleNamespace(media="an image", read=speaker.read)
    assert list(collect_inputs(None, media, ["odd\udce9name.png"], [], None, "utf-8", bad)) == ["odd\udce9name.png"]
    assert not bad


def test_whole_json_files_that_hold_no_text_are_named(tmp_path: Path) -> None:
    problems: list[str] = []
    items = list(json_values(Document("x.json", '[{"text": "a"}, {"text": "\\ud83d"}, {"text": "b"}]'), problems))
    assert [place for place, _ in items] == ["x.json, item 1", "x.json, item 3"]
    assert "x.json, item 2: has half of a surrogate pair" in problems[0]
    (tmp_path / "c.json").write_text('{"images": [{"file_name": "1.jpg", "captions": ["a \\ud83d"]}]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"c.json: a text has half of a surrogate pair"):
        read_captions([tmp_path / "c.json"], tmp_path)
