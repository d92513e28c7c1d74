"""One input gives one result, an iterable of inputs a list; a str is a path where data are read. In every task."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unrolled
from serving import loaded
from unrolled.data.audio import read_audio
from unrolled.data.images import read_image
from unrolled.errors import ConfigError, DataError
from unrolled.tasks.media_inputs import to_samples

#: The method that answers inputs, and inputs of the task, by the name of a model in `folders`.
METHODS = {"sentiment": "predict", "tags": "predict", "turned": "translate", "captions": "caption", "speech": "transcribe"}
TEXTS = {"sentiment": ["a b", "import os"], "tags": ["A met B", "in London"], "turned": ["abc de", "ed"]}


@pytest.fixture(scope="module")
def models(folders: Mapping[str, Path]) -> dict[str, Any]:
    return loaded(folders)


def inputs_of(name: str, folders: Mapping[str, Path]) -> list[Any]:
    if name in TEXTS:
        return TEXTS[name]
    file = folders["captions"].parent / ("photo.png" if name == "captions" else "talk.wav")
    return [str(file), file]


def answer(model: Any, name: str) -> Callable[..., Any]:
    return getattr(model, METHODS[name])


def comparable(result: Any) -> Any:
    """A result without its arrays and without what floating point sums over a batch change."""
    text = getattr(result, "text", None)
    return (type(result), text, getattr(result, "labels", None))


class Table:
    """What a DataFrame is to code that does not import pandas: columns, items, and iteration over the names."""

    columns = ("review", "text", "stars")

    def __getitem__(self, name: str) -> list[str]:
        return [name]

    def __iter__(self) -> Any:
        return iter(self.columns)


class Series:
    """A column: an iterable of values with an `__array__`, which is no array of numbers."""

    def __init__(self, values: list[Any]) -> None:
        self.values, self.shape, self.iloc = values, (len(values),), None

    def __iter__(self) -> Any:
        return iter(self.values)

    def __array__(self, *_: Any) -> np.ndarray:
        return np.array(self.values, object)


@pytest.mark.parametrize("name", METHODS)
def test_one_input_gives_one_result_and_an_iterable_a_list(name: str, models: Any, folders: Any) -> None:
    ask, inputs = answer(models[name], name), inputs_of(name, folders)
    alone = [comparable(ask(one)) for one in inputs]
    assert not any(kind in (list, tuple) for kind, *_ in alone)
    forms: list[Any] = [inputs, tuple(inputs), (one for one in inputs), iter(inputs), dict.fromkeys(inputs).keys()]
    forms += [Series(inputs), np.array(inputs, object)]
    if name in TEXTS:
        forms.append(np.array(inputs))
    for form in forms:
        assert [comparable(one) for one in ask(form)] == alone, type(form)
    assert [comparable(one) for one in ask(inputs[:1])] == alone[:1]
    assert len(ask(set(inputs))) == 2
    assert ask([]) == []
    assert ask(iter(())) == []
    assert [comparable(one) for one in ask(inputs, batch_size=1)] == alone


@pytest.mark.parametrize("name", METHODS)
def test_what_is_no_input_is_a_type_error_that_says_what_is(name: str, models: Any) -> None:
    ask = answer(models[name], name)
    for wrong, named in ((None, "None"), (3, "int"), (2.5, "float"), ({"text": "a"}, "dict"), (object(), "object")):
        with pytest.raises(TypeError, match=rf"got {named}, expected (a|an) "):
            ask(wrong)
        with pytest.raises(TypeError, match=rf"input 1: got {named}, expected (a|an) "):
            ask([inputs_like(name), wrong])
    with pytest.raises(TypeError, match=r"input 0: got list"):
        ask([[["a"]]])
    column = "text" if name in TEXTS else "review"
    with pytest.raises(TypeError, match=rf"Table with the columns 'review', 'text', 'stars'.*\['{column}'\]"):
        ask(Table())


def inputs_like(name: str) -> Any:
    return {"captions": np.zeros((4, 4, 3), np.uint8), "speech": np.zeros(8000, np.float32)}.get(name, "a")


@pytest.mark.parametrize("name", ["sentiment", "tags", "turned"])
def test_bytes_paths_and_missing_values_are_no_texts(name: str, models: Any) -> None:
    ask = answer(models[name], name)
    for wrong, advice in ((b"abc", "decode"), (Path("a.txt"), "read_text"), (float("nan"), "missing values")):
        with pytest.raises(TypeError, match=advice):
            ask(wrong)
        with pytest.raises(TypeError, match=rf"input 1: .*{advice}"):
            ask(["a", wrong])


def test_a_tagger_takes_lists_of_words_inside_a_list(models: Any) -> None:
    model, words = models["tags"], ["A", "met", "B"]
    (tagged,) = model.predict([words])
    assert tagged.words == ("A", "met", "B")
    assert [one.words for one in model.predict(words)] == [("A",), ("met",), ("B",)]
    assert [one.words for one in model.predict((words, "in London", tuple(words)))][1] == ("in", "London")
    assert model.predict([np.array(words)])[0].labels == tagged.labels
    assert model.explain([words])[0]["tokens"] == words
    assert [one["tokens"] for one in model.explain(words)] == [["A"], ["met"], ["B"]]
    with pytest.raises(TypeError, match="input 0: got list"):
        model.predict([["A", 3]])


def test_inputs_are_read_in_batches_as_they_are_needed(models: Any) -> None:
    taken = []

    def texts() -> Any:
        for i in range(1000):
            taken.append(i)
            yield "a"

    found = models["sentiment"].predictions(texts(), batch_size=10)
    next(found)
    assert len(taken) == 10


def test_explain_follows_the_rule(models: Any, folders: Any) -> None:
    for name in (*METHODS, "books"):
        inputs = ["It was", "He was"] if name == "books" else inputs_of(name, folders)
        assert isinstance(models[name].explain(inputs[0]), dict)
        both = models[name].explain(inputs)
        assert [type(one) for one in both] == [dict, dict]
        with pytest.raises(TypeError, match="expected"):
            models[name].explain(7)


def test_scores_and_neighbors_follow_the_rule(models: Any) -> None:
    books, vectors = models["books"], models["vec"]
    assert [one.text for one in books.score(["It was", "so"])] == ["It was", "so"]
    assert books.score("It was").tokens == books.score(["It was"])[0].tokens
    word, other = vectors.words[0], vectors.words[1]
    assert vectors.neighbors_of(word, 3) == [vectors.neighbors(word, 3)]
    both = [[near.word for near in one] for one in vectors.neighbors([word, other], 3)]
    assert both == [[near.word for near in vectors.neighbors(one, 3)] for one in (word, other)]
    assert vectors.neighbors([]) == []
    with pytest.raises(TypeError, match="got int, expected a word"):
        vectors.neighbors(3)


def test_images_in_every_form_give_the_same_caption(models: Any, folders: Any) -> None:
    from PIL import Image

    model, file = models["captions"], folders["captions"].parent / "photo.png"
    pixels, expected = read_image(file), model.caption(file)
    forms = [pixels, torch.from_numpy(pixels), pixels / 255.0, pixels.astype(np.int64), pixels.astype(np.float32)]
    forms += [file.read_bytes(), bytearray(file.read_bytes()), io.BytesIO(file.read_bytes()), Image.open(file)]
    for form in forms:
        assert model.caption(form).score == pytest.approx(expected.score), type(form)
    assert len(model.caption([pixels, Image.open(file), file])) == 3
    assert len(model.caption(np.stack([pixels, pixels]))) == 2  # (2, height, width, 3): two images
    grey = pixels.mean(2).astype(np.uint8)
    assert model.caption(grey).score == pytest.approx(model.caption(np.stack([grey] * 3, 2)).score)
    assert model.caption(grey[..., None]).score == pytest.approx(model.caption(grey).score)
    for wrong, said in (
        (pixels.transpose(2, 0, 1), "move the colors last"),
        (np.zeros((0, 4, 3), np.uint8), "expected"),
        (np.full((4, 4, 3), np.nan), "got values from nan"),
        (np.full((4, 4), 300), "got values from 300"),
        (np.zeros(5), "expected .height, width"),
        (b"no image", "no image that can be read"),
    ):
        with pytest.raises(DataError, match=said):
            model.caption(wrong)
    assert [type(one).__name__ for one in model.captions([pixels, b"no", file])] == ["Caption", "DataError", "Caption"]


def test_recordings_in_every_form_give_the_same_text(models: Any, folders: Any) -> None:
    model, file = models["speech"], folders["speech"].parent / "talk.wav"
    rate_hz = model.front.rate_hz
    samples, expected = read_audio(file, rate_hz), model.transcribe(file)
    whole = np.round(samples * 32768).astype(np.int16)
    forms = [samples, torch.from_numpy(samples), samples.astype(np.float64), whole, whole.astype(np.int32) * 65536]
    forms += [(samples, rate_hz), (torch.from_numpy(samples), np.int64(rate_hz)), (whole, float(rate_hz))]
    forms += [file.read_bytes(), io.BytesIO(file.read_bytes()), str(file)]
    for form in forms:
        read = to_samples(form, rate_hz)
        if isinstance(read, np.ndarray):
            np.testing.assert_allclose(read, samples, atol=2e-5)
        found = model.transcribe(form)
        assert found.seconds == pytest.approx(expected.seconds)
        if not isinstance(read, np.ndarray) or np.array_equal(read, samples):  # 16 bits change silence, and so the text
            assert found.log_probability == pytest.approx(expected.log_probability, rel=1e-4), type(form)
    assert len(model.transcribe([samples, (samples, rate_hz), file])) == 3
    assert len(model.transcribe((samples, samples))) == 2  # a tuple of recordings is no (samples, rate)
    fast = model.transcribe((np.repeat(samples, 2), 2 * rate_hz))
    assert fast.seconds == pytest.approx(expected.seconds, abs=0.01)
    for wrong, said in (
        ((rate_hz, samples), r"got \(rate, samples\)"),
        ((samples, 0), "got the rate 0"),
        ((samples, "16000"), "got|input"),
        (np.stack([samples, samples]), r"shape \(2, "),
        (np.full(8000, np.nan, np.float32), "not all numbers"),
        (np.zeros(8000, np.int64), "int64"),
        (np.zeros(0, np.float32), "there are none"),
        (b"no sound", "no recording that can be read"),
    ):
        with pytest.raises((DataError, TypeError), match=said):
            model.transcribe(wrong)
    with pytest.raises(TypeError, match=r"input 0: got float.*as an array"):
        model.transcribe([0.1, 0.2])


def test_evaluate_takes_paths(models: Any, folders: Any, tmp_path: Path, english_file: Path) -> None:
    pages = folders["sentiment"].parent / "pages.jsonl"
    found = models["sentiment"].evaluate(pages)
    assert found == models["sentiment"].evaluate([str(pages)])
    sentences = folders["tags"].parent / "sentences.conll"
    assert models["tags"].evaluate(sentences)["sentences"] == models["tags"].evaluate(str(sentences))["sentences"] > 0
    assert models["tags"].evaluate(unrolled.lines(["A\tB-PER", "met\tO"]))["tokens"] == 2
    source = folders["turned"].parent / "test.src"
    assert models["turned"].evaluate([source, source.with_suffix(".tgt")])["pairs"] == 60
    assert models["turned"].evaluate([unrolled.lines(["abc"]), unrolled.lines(["CBA"])])["pairs"] == 1
    both = models["books"].evaluate(english_file), models["books"].evaluate([str(english_file)])
    assert both[0] == both[1]
    (tmp_path / "pairs.tsv").write_text(f"{models['vec'].words[0]}\t{models['vec'].words[1]}\t3\n")
    assert models["vec"].evaluate(tmp_path / "pairs.tsv")[0]["pairs"] == 1
    photo, talk = folders["captions"].parent / "photo.png", folders["speech"].parent / "talk.wav"
    (tmp_path / "captions.tsv").write_text("file\tcaption\nphoto.png\ta red square\n")
    (tmp_path / "clips.tsv").write_text("file\ttext\ntalk.wav\tdo re\n")
    assert models["captions"].evaluate(tmp_path / "captions.tsv", images=photo.parent)[0]["images"] == 1
    assert models["speech"].evaluate(str(tmp_path / "clips.tsv"), audio=talk.parent)[0]["recordings"] == 1


@pytest.mark.parametrize("name", [*METHODS, "books", "vec"])
def test_evaluate_refuses_what_is_no_path(name: str, models: Any) -> None:
    with pytest.raises(DataError, match=r"'nothing.tsv': no such file or folder(.|\n)*A str is always a path"):
        models[name].evaluate("nothing.tsv")
    for wrong, named in ((None, "None"), (3, "int"), (b"a.tsv", "bytes"), ({"a": 1}, "dict"), (Table(), "Table")):
        with pytest.raises(TypeError, match=f"got .*{named}, expected a path"):
            models[name].evaluate(wrong)
    with pytest.raises(TypeError, match="source 0: got tuple, expected a path"):
        models[name].evaluate([("a", "b")])


TASKS = ["language-model", "word-vectors", "classify", "tag", "translate", "caption", "transcribe"]


@pytest.mark.parametrize("task", TASKS)
def test_train_takes_paths_and_says_how_texts_are_passed(task: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = r"unrolled.lines\(" if task in [*TASKS[:2], "tag", "translate"] else "written to a file first"
    for missing in ("corpus.txt", ["to be or not. " * 500], [Path("a\0b")], "a\nb"):
        with pytest.raises(DataError, match=rf"no such file or folder(.|\n)*{said}"):
            unrolled.train(task, missing, out)  # type: ignore[arg-type]
    for wrong, named in ((None, "None"), (7, "int"), (b"a.txt", "bytes"), ({"a": "b"}, "dict"), (Table(), "Table")):
        with pytest.raises(TypeError, match=f"sources: got .*{named}, expected a path"):
            unrolled.train(task, wrong, out)  # type: ignore[arg-type]
    for wrong, named in (([("text", "pos")], "tuple"), ([3], "int"), ([b"a"], "bytes"), (({}, {}), "dict")):
        with pytest.raises(TypeError, match=f"sources: source 0: got {named}, expected a path"):
            unrolled.train(task, wrong, out)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="sources: the list is empty"):
        unrolled.train(task, [], out)
    with pytest.raises(DataError, match=r"'nothing\.txt': no such file"):
        unrolled.train(task, Path(__file__), out, valid="nothing.txt")
    with pytest.raises(TypeError, match="out: got None"):
        unrolled.train(task, __file__, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="options: got list"):
        unrolled.train(task, __file__, out, options=["minutes"])  # type: ignore[arg-type]
    assert not out.exists()


def test_one_path_is_enough_to_train_on(tmp_path: Path, folders: Any) -> None:
    pages = str(folders["sentiment"].parent / "pages.jsonl")
    flags = {"text": "body", "label": "page", "threads": 1, "average_epochs": 2}
    made = [
        unrolled.train("classify", sources, tmp_path / str(i), valid=valid, options=flags)
        for i, (sources, valid) in enumerate([(pages, pages), ((Path(p) for p in [pages]), [Path(pages)])])
    ]
    assert made[0].predict("import os") == made[1].predict("import os")


def test_other_names_of_tasks_are_not_accepted_but_understood() -> None:
    for name, ours in (("lm", "language-model"), ("ner", "tag"), ("asr", "transcribe"), ("mt", "translate")):
        with pytest.raises(ConfigError, match=f"Did you mean '{ours}'"):
            unrolled.train(name, __file__, "out")
    with pytest.raises(ConfigError, match="unknown task 3"):
        unrolled.train(3, __file__, "out")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="load: got int"):
        unrolled.load(3)  # type: ignore[arg-type]
