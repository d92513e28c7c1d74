"""Translation: pairs of sentences from files, training, searching, judging, explaining; from Python and as commands."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

import unrolled
from test_cli import run
from unrolled.data.pairs import Pairs, read_pairs
from unrolled.data.samples import dates
from unrolled.decoding.beam import BeamOptions
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.pair_rows import NO_SYMBOL, PairRows, pair_batch
from unrolled.metrics.translation import corpus_scores, loops
from unrolled.run.translate import train_translator, translate_options
from unrolled.tasks.pair_codec import PairCodec
from unrolled.tasks.translate import TranslateTask
from unrolled.training.loop import Step

SIZES = {"tokens": "char", "embedding_size": 16, "encoder_size": 24, "decoder_size": 48, "attention_size": 24}
FLAGS = SIZES | {"threads": 1, "minutes": 5, "epochs": 12, "batch_size": 16, "window": 8, "learning_rate": 0.01}
FLAGS |= {"warmup_steps": 10, "evaluations": 3, "dropout_input": 0.0, "dropout_output": 0.0, "smoothing": 0.0}


def reversed_words(n: int = 400, seed: int = 0) -> Pairs:
    """Words of five letters, and the same from the end."""
    rng, found = np.random.default_rng(seed), Pairs()
    for i in range(n):
        word = "".join(rng.choice(list("abcde"), int(rng.integers(2, 6))))
        found.add(word, word[::-1].upper(), f"pair {i + 1}")
    return found


def write(folder: Path, name: str, pairs: Pairs) -> list[Path]:
    """A source file and a target file."""
    paths = [folder / f"{name}.{side}" for side in ("src", "tgt")]
    for path, texts in zip(paths, (pairs.sources, pairs.targets), strict=True):
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return paths


class TestFiles:
    def test_every_format_says_the_same(self, tmp_path: Path) -> None:
        pairs = Pairs(["Ein Hund", "Zwei"], ["A dog", "Two"], ["", ""])
        aligned = read_pairs(write(tmp_path, "a", pairs))
        (tmp_path / "b.tsv").write_text("Ein Hund\tA dog\n\nZwei\tTwo\n", encoding="utf-8")
        rows = [{"source": s, "target": t} for s, t in zip(pairs.sources, pairs.targets, strict=True)]
        (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        for found in (aligned, read_pairs([tmp_path / "b.tsv"]), read_pairs([tmp_path / "c.jsonl"])):
            assert (found.sources, found.targets) == (pairs.sources, pairs.targets)
        assert aligned.places[1] == f"{tmp_path / 'a.src'}, line 2"

    def test_what_is_wrong_is_named(self, tmp_path: Path) -> None:
        source, target = write(tmp_path, "x", reversed_words(20))
        lines = target.read_text().splitlines()
        target.write_text("\n".join([*lines[:7], "", *lines[7:]]) + "\n")
        with pytest.raises(DataError, match=r"20 lines.* 21: line i of one.*seem to part at line 8") as error:
            read_pairs([source, target])
        assert "x.src lost lines" in str(error.value)
        with pytest.raises(ConfigError, match="the same text is source and target"):
            read_pairs([source, source])
        with pytest.raises(ConfigError, match="got 3 files"):
            read_pairs([source, target, source])
        (tmp_path / "y.tsv").write_text("a\tb\nonly one\nc\td\te\n")
        with pytest.raises(DataError, match=r"y\.tsv, line 2: has 1 column; a source sentence") as error:
            read_pairs([tmp_path / "y.tsv"])
        assert "line 3: has 3 columns" in str(error.value)
        (tmp_path / "z.jsonl").write_text('{"source": "a"}\n{\n')
        with pytest.raises(DataError, match='needs the texts "source" and "target"') as error:
            read_pairs([tmp_path / "z.jsonl"])
        assert "line 2: is not JSON" in str(error.value)
        (tmp_path / "e.tsv").write_text("a\t \n \tb\n")
        with pytest.raises(DataError, match="hold no pair"):
            read_pairs([tmp_path / "e.tsv"])

    def test_empty_sides_are_counted_and_left_out(self, tmp_path: Path) -> None:
        source, target = tmp_path / "a.src", tmp_path / "a.tgt"
        source.write_text("one\n\ntwo\n")
        target.write_text("eins\nzwei\n\n")
        found = read_pairs([source, target])
        assert (found.sources, found.empty) == (["one"], 2)


def test_batches_hold_every_pair_once_and_shift_the_target() -> None:
    batch = pair_batch([np.array([5, 1]), np.array([6, 7, 1])], [np.array([3, 4, 1]), np.array([1])], padding=9, begin=8)
    assert batch.source.tolist() == [[5, 1, 9], [6, 7, 1]]
    assert batch.inputs.tolist() == [[8, 3, 4], [8, 1, 8]]
    assert batch.targets.tolist() == [[3, 4, 1], [1, NO_SYMBOL, NO_SYMBOL]]
    rng = np.random.default_rng(0)
    targets = [np.full(int(rng.integers(1, 9)), i) for i in range(60)]
    rows = PairRows([np.array([1])] * 60, targets, tokens=40, padding=9, begin=8, seed=1)
    seen = [int(row[0]) for k in range(len(rows)) for row in rows.batch(3, k).targets]
    assert sorted(seen) == list(range(60))
    assert sum(len(rows.batch(3, 0).shard(rank, 2).source) for rank in range(2)) == len(rows.batch(3, 0).source)


@pytest.mark.parametrize("tokens", ["char", "words", "bpe", "whitespace"])
@pytest.mark.parametrize("shared", [False, True])
def test_sentences_become_ids_and_back(tokens: str, shared: bool, tmp_path: Path) -> None:
    data = translate_options(flags={"tokens": tokens, "shared": shared, "min_count": 1}).data
    codec = PairCodec.fit(["Ein Hund rennt.", "Ein Mann."], ["A dog runs.", "A man."], data)
    assert (codec.source is codec.target) is shared
    (tmp_path / "m").mkdir()
    codec.save(tmp_path / "m")
    again = PairCodec.load(tmp_path / "m")
    ids = again.target.encode("A dog runs.")
    assert ids[-1] == again.target.vocabulary.end
    assert again.target.decode(ids.tolist()) == "A dog runs."
    assert again.source.encode("Ein Hund rennt.").tolist() == codec.source.encode("Ein Hund rennt.").tolist()


def test_it_learns_and_says_how_well(translator: Path) -> None:
    found = unrolled.load(translator)
    fresh = reversed_words(60, seed=2)
    made = found.translate(fresh.sources)
    right = [one.text == target for one, target in zip(made, fresh.targets, strict=True)]
    assert np.mean(right) > 0.9
    scores = found.evaluate(fresh)
    assert scores["bleu_signature"].startswith("nrefs:1|case:mixed")
    assert scores["chrf"] > 85
    assert sum(row["pairs"] for row in scores["by_length"]) == 60
    assert (scores["empty"], scores["not_proved_optimal"]) == (0, 0)
    one = made[0]
    assert one.attention is not None
    assert one.attention.shape == (len(one.symbols), len(one.read))
    np.testing.assert_allclose(one.attention.sum(1), 1, atol=1e-5)
    again = found.forced(one.source, one.text)
    np.testing.assert_allclose(again.token_scores, one.token_scores, atol=1e-5)
    assert again.score == pytest.approx(one.score, abs=1e-5)
    several = found.translate([fresh.sources[1]], BeamOptions(4, 4))[0]
    assert several.text == made[1].text
    assert len(several.others) == 3
    blank = found.translate(["abc", " ", "de"])
    assert [one.text for one in blank] == [found.translate(["abc"])[0].text, "", found.translate(["de"])[0].text]
    with pytest.raises(ConfigError, match="no pairs to evaluate"):
        found.evaluate(Pairs())


def test_the_verdict_on_a_reference(translator: Path) -> None:
    found = unrolled.load(translator)
    best = found.translate(["abc"])[0]
    assert found.explain("abc", best.text)["verdict"].startswith("none")
    assert found.explain("abc", "EEEE")["verdict"].startswith("model error")
    other = found.forced("abc", "EEEE")
    assert other.text == "EEEE"
    assert other.score < best.score
    assert "verdict" not in found.explain("abc")
    with pytest.raises(ConfigError, match="the reference is empty"):
        found.explain("abc", " ")


def test_from_the_command_line(translator: Path, tmp_path: Path) -> None:
    folder = translator.parent
    out, _ = run("predict", translator, "abc", "de")
    assert out == "CBA\nED\n"
    out, _ = run("predict", translator, "--json", stdin=b"abc\n\xff\nde\n", code=4)
    first, bad, last = map(json.loads, out.splitlines())
    assert first["translation"] == "CBA"
    assert first["optimal_in_beam"] is True
    assert len(first["attention"]) == len(first["tokens"])
    assert "not utf-8" in bad["error"]
    assert last["translation"] == "ED"
    out, _ = run("predict", translator, "abc", "--beam", 5, "--n-best", 3)
    assert out.splitlines()[0].endswith("\tCBA")
    assert len(out.splitlines()) == 3
    out, err = run("evaluate", translator, folder / "test.src", folder / "test.tgt")
    assert "nrefs:1" in out
    assert "words of the source" in out
    assert "changed places" not in err
    _, err = run("evaluate", translator, folder / "test.tgt", folder / "test.src")
    assert "have source and target changed places?" in err
    _, err = run("predict", translator, "abc", "--n-best", 9, code=3)
    assert "raise --beam" in err
    run("explain", translator, "abc", "--reference", "CBA", "--out", tmp_path / "why.html")
    assert "looked at" in (tmp_path / "why.html").read_text()
    _, err = run("predict", translator, "abc", "--threshold", "0.5", code=3)
    assert "means nothing for a translator" in err
    out, _ = run("info", translator)
    assert "attention: additive" in out


def test_two_validation_files_and_no_attention(tmp_path: Path) -> None:
    train, valid = write(tmp_path, "train", reversed_words(120)), write(tmp_path, "valid", reversed_words(20, seed=1))
    args = [part for key, value in (FLAGS | {"epochs": 2}).items() for part in ("-s", f"{key}={value}")]
    _, said = run("train", "translate", *train, "--valid", *valid, "--attention", "none", "--out", tmp_path / "run", *args)
    assert "120 pairs to train on, 20 to validate on" in said
    found = unrolled.load(tmp_path / "run")
    assert found.translate(["ab"])[0].attention is None
    assert found.model.attention is None


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    train = write(tmp_path, "train", reversed_words(120))
    options = translate_options(flags=FLAGS | {"epochs": 3})
    for _ in train_translator(options, train, tmp_path / "whole"):
        pass
    for event in train_translator(options, train, tmp_path / "parts"):
        if isinstance(event, Step) and event.step == 9:
            signal.raise_signal(signal.SIGINT)
    unrolled.resume(tmp_path / "parts")
    weights = [(tmp_path / name / "last" / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def test_what_was_found_in_the_pairs() -> None:
    pairs = reversed_words(60)
    pairs.add("a" * 300, "A" * 300, "long")
    task = TranslateTask(translate_options(flags=FLAGS), pairs, pairs.part([0, 1]))
    assert (task.facts.train, task.facts.long, task.facts.overlap) == (60, 1, 2)
    with pytest.raises(DataError, match="all pairs have more than 1 symbols"):
        TranslateTask(translate_options(flags=FLAGS | {"longest": 1}), pairs, pairs.part([0]))
    with pytest.raises(ConfigError, match="unknown cell"):
        translate_options(flags={"cell": "lstn"})
    with pytest.raises(ConfigError, match="unknown preset"):
        translate_options(preset="huge")


def test_a_damaged_folder_is_refused(translator: Path, tmp_path: Path) -> None:
    unrolled.load(translator).save(tmp_path / "m")
    path = tmp_path / "m" / "target-vocabulary.json"
    path.write_text(path.read_text().replace('"<eos>"', '"<end>"'))
    with pytest.raises(FolderError, match="the target vocabulary is damaged"):
        unrolled.load(tmp_path / "m")


def test_scores_and_loops() -> None:
    same = corpus_scores(["the cat sat on the mat"], ["the cat sat on the mat"])
    assert same["bleu"] == pytest.approx(100)
    assert "tok:13a" in same["bleu_signature"]
    chinese = corpus_scores(["今天天气很好"], ["今天天气真好"])
    assert "tok:zh" in chinese["bleu_signature"]
    assert chinese["bleu"] > 20
    assert loops([1, 2, 1, 2, 1, 2])
    assert loops([5, 5, 5])
    assert not loops([1, 2, 3, 1, 2, 3])
    assert not loops([])


def test_dates_are_as_the_calendar_has_them() -> None:
    found = dates(200, seed=3)
    assert dates(200, seed=3).sources == found.sources
    assert all(len(target) == 10 and target[4] == target[7] == "-" for target in found.targets)
    pairs = dict(zip(found.sources, found.targets, strict=True))
    assert all(target[:4] in source for source, target in pairs.items())
