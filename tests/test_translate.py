"""Translation: pairs of sentences from files, training, searching, judging, explaining; from Python and as commands."""

from __future__ import annotations

import itertools
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import unrolled
from test_cli import run
from unrolled.cli.translate import SPEAKER
from unrolled.data.pairs import Pairs, read_pairs
from unrolled.data.samples import dates
from unrolled.decoding.beam import Hypothesis
from unrolled.decoding.sampling import SamplingOptions
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.pair_codec import PairCodec
from unrolled.features.pair_rows import NO_SYMBOL, PairRows, pair_batch
from unrolled.features.vocabulary import END, UNKNOWN
from unrolled.metrics.translation import corpus_scores, loops
from unrolled.run.translate import train_translator, translate_options
from unrolled.tasks.explain_translator import blame, favourite
from unrolled.tasks.search_errors import choices, judged, shares
from unrolled.tasks.translate import TranslateTask
from unrolled.tasks.translation import Wishes, in_parts
from unrolled.training.loop import Evaluated, Step

SIZES = {"tokens": "char", "embedding_size": 16, "encoder_size": 24, "decoder_size": 48, "attention_size": 24}
FLAGS = SIZES | {"threads": 1, "minutes": 5, "epochs": 12, "batch_size": 16, "window": 8, "learning_rate": 0.01}
FLAGS |= {"warmup_steps": 10, "evaluations": 3, "smoothing": 0.0}
FLAGS |= {f"dropout_{kind}": 0.0 for kind in ("input", "output", "word")}
WITHOUT_ATTENTION = {name: value for name, value in FLAGS.items() if name != "attention_size"} | {"attention": "none"}


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


def test_what_may_be_prescribed(translator: Path) -> None:
    found = unrolled.load(translator)
    assert all("D" in one.text for one in found.translate(["abc", "ce"], wishes=Wishes(required=["D"])))
    assert all(one.text.startswith("EE") for one in found.translate(["abc", "ce"], wishes=Wishes("EE")))
    with pytest.raises(ConfigError, match="cannot write 'Z'"):
        found.translate(["abc"], wishes=Wishes(required=["Z"]))
    costly = found.translate(["abc"], BeamOptions(4, 4, coverage=5.0))[0]
    plain = found.translate(["abc"], BeamOptions(4, 4))[0]
    assert costly.score <= plain.score
    assert found.forced("abc", "CB").score < found.forced("abc", "CBA").score


def test_translations_may_be_drawn(translator: Path) -> None:
    found = unrolled.load(translator)
    drawn = found.sampled("abcd", 20, SamplingOptions(temperature=1.5, seed=3))
    assert len({one.text for one in drawn}) > 1
    assert [one.text for one in drawn[:3]] == [one.text for one in found.sampled("abcd", 3, SamplingOptions(1.5, seed=3))]
    greedy = found.translate(["abcd"], BeamOptions(1))[0]
    (likeliest,) = found.sampled("abcd", 1, SamplingOptions(temperature=0))
    assert likeliest.symbols == greedy.symbols
    np.testing.assert_allclose(likeliest.token_scores, greedy.token_scores, atol=1e-5)
    with pytest.raises(ConfigError, match="1 to 200 symbols"):
        found.sampled(" ")


def test_a_long_text_is_translated_in_parts_and_nothing_is_lost(translator: Path) -> None:
    found = unrolled.load(translator)
    found.longest = 5
    one, short = found.translate(["abc de cd ba", "abc"])
    assert one.parts == 3
    assert one.text == " ".join(found.translate([part])[0].text for part in ("abc", "de", "cd ba"))
    assert one.attention is not None
    assert one.attention.shape == (len(one.symbols), len(one.read))
    assert one.to_json()["parts"] == 3
    assert (short.parts, "parts" in short.to_json()) == (1, False)
    with pytest.raises(ConfigError, match="prescribed"):
        found.translate(["abc de cd"], wishes=Wishes("A"))
    with pytest.raises(ConfigError, match="take a part of it"):
        found.explain("abc de cd")
    assert found.evaluate(Pairs(["abc de cd"], ["CBA ED DC"], ["1"]))["in_parts"] == 1
    fits = lambda text: len(text) <= 12  # noqa: E731
    assert in_parts("One is. Two are! Three", fits) == ["One is.", "Two are!", "Three"]
    assert in_parts("一二三。四五六七八九。十一十二十三", lambda text: len(text) <= 5) == [
        "一二三。",
        "四五六",
        "七八九。",
        "十一十",
        "二十三",
    ]
    assert "".join(in_parts("a" * 30, fits)) == "a" * 30


def test_models_translate_together(translator: Path, tmp_path: Path) -> None:
    found = unrolled.load(translator)
    both = found.joined_by([unrolled.load(translator)])
    assert [one.text for one in both.translate(["abc", "de"])] == ["CBA", "ED"]
    assert both.translate(["abc"])[0].score == pytest.approx(found.translate(["abc"])[0].score, abs=1e-5)
    assert asked(found, "abc", ensemble=[translator]) == ["CBA"]
    other = TranslateTask(translate_options(flags=FLAGS | {"tokens": "bpe"}), reversed_words(60), reversed_words(9, seed=1))
    other.trained(other.build()).save(tmp_path / "other")
    with pytest.raises(ConfigError, match="the same vocabularies"):
        found.joined_by([unrolled.load(tmp_path / "other")])


def test_unknown_words_become_those_that_were_looked_at() -> None:
    pairs = Pairs(["der Hund", "die Katze"] * 9, ["the dog", "the cat"] * 9, ["x"] * 18)
    task = TranslateTask(translate_options(flags=FLAGS | {"tokens": "words"}), pairs, pairs.part([0, 1]))
    found = task.trained(task.build())
    row, vocabulary = found.codec.source.encode("der Zug"), found.codec.target.vocabulary
    symbols = [vocabulary.encode(["the"])[0], vocabulary.unknown, vocabulary.end]
    looked = np.array([[0.8, 0.1, 0.1], [0.1, 0.3, 0.6], [0, 0, 1]])
    told = found.told("der Zug", row, Hypothesis(symbols, [-1, -1, -1], -1, looked), optimal=True)
    assert told.text == "the Zug"
    assert told.symbols[1] == UNKNOWN
    plain = TranslateTask(translate_options(flags=WITHOUT_ATTENTION), pairs, pairs.part([0, 1]))
    with pytest.raises(ConfigError, match="needs a model with attention"):
        plain.trained(plain.build()).translate(["der Hund"], wishes=Wishes(replace_unknown=True))


def test_the_models_own_favourite_is_proved(translator: Path) -> None:
    found = unrolled.load(translator)
    own = favourite(found, "abc", 2000)
    assert own.proved
    assert own.translation.text == "CBA"
    assert own.translation.score == pytest.approx(own.bound, abs=1e-5)
    told = found.explain("abc", "EEEE", exact=2000)
    assert told["favourite"]["proved"] is True
    assert any("proved in" in str(value) for _, value in told["blocks"][0]["rows"])
    stopped = favourite(found, "abcd", 1)
    assert stopped.steps <= 2


def test_a_tree_shows_where_the_reference_left_the_beam(translator: Path) -> None:
    found = unrolled.load(translator)
    told = found.explain("abc", "EEEE")
    (tree,) = [block for block in told["blocks"] if block["kind"] == "tree"]
    best = [node["token"] for nodes in tree["steps"] for node in nodes if "best" in node["paths"]]
    assert best == ["C", "B", "A", END]
    assert all(0 <= node["parent"] < len(before) for before, nodes in itertools.pairwise(tree["steps"]) for node in nodes)
    left = told["left_the_beam"]
    assert left["symbol"] in (1, 2)
    assert f"at symbol {left['symbol']}, 'E': log P" in left["what"]
    assert found.explain("abc", "CBA")["left_the_beam"] == {"symbol": None, "what": "never left it"}
    part = found.explain("abc", "CBE")["left_the_beam"]
    assert part["symbol"] is None or part["symbol"] >= 3


def test_whose_fault_it_is_over_a_file(translator: Path, tmp_path: Path) -> None:
    found = unrolled.load(translator)
    pairs = Pairs(["abc", "de", "ce", "ab"], ["CBA", "EEEE", "Zz", "BA"], list("1234"))
    rows = list(judged(found, pairs, found.translate(pairs.sources)))
    assert [row.blame for row in rows] == ["found", "model", "unknown", "found"]
    told = shares(rows)
    assert told["blame"] == {"found": 0.5, "search": 0, "norm": 0, "model": 0.25, "unknown": 0.25}
    narrow = found.translate(["de"])[0]
    better = narrow._replace(symbols=["E"], token_scores=[-1e-9], score=0.0)
    assert blame(narrow, better) == "search"
    assert blame(narrow._replace(score=0.0), better._replace(score=-1.0)) == "norm"
    tried = list(choices(found, pairs.part([0, 1]), widths=(1, 3), alphas=(1.0,)))
    assert [(row.width, row.norm) for row in tried] == [(1, "none"), (1, "average"), (3, "none"), (3, "average")]
    folder = translator.parent
    page = tmp_path / "errors.html"
    out, _ = run("evaluate", translator, folder / "test.src", folder / "test.tgt", "--choose", "--out", page, "--beam", 3)
    assert "none: the reference itself was found" in out
    plain = BeamOptions(3, norm="none")
    for row in judged(found, pairs, found.translate(pairs.sources, plain), plain):
        assert row.right.score == pytest.approx(sum(row.right.token_scores), abs=1e-5)
        assert row.found.score >= row.right.score - 1e-5 or row.blame == "search"
    told = json.loads(run("explain", translator, "abc", "--reference", "CAB", "--beam", 1, "-s", "norm=none")[0])
    assert told["score"] == pytest.approx(found.translate(["abc"], replace(plain, width=1))[0].score, abs=1e-5)
    assert told["left_the_beam"]["what"].startswith(("never considered", "pruned"))
    assert "beam 10" in out
    assert "Why references were not found" in page.read_text()


def test_the_best_model_may_be_chosen_by_bleu_and_weights_averaged(tmp_path: Path) -> None:
    flags = FLAGS | {"select": "bleu", "average_decay": 0.9, "epochs": 4, "tokens": "char"}
    events = list(
        train_translator(
            translate_options(flags=flags), reversed_words(200), tmp_path / "run", valid=reversed_words(30, seed=1)
        )
    )
    rows = [event.row for event in events if isinstance(event, Evaluated)]
    best = max(rows, key=lambda row: (row["valid_bleu"], -row["valid_loss"]))
    assert unrolled.load(tmp_path / "run").metrics["step"] == best["step"]


def asked(trained: object, *texts: str, **given: object) -> list[str]:
    """What `predict` prints, without a process of its own."""
    names = ("beam", "n_best", "require", "prefix", "replace_unknown", "ensemble", "sample", "settings", "rounded")
    found = SPEAKER.predict(trained, texts, dict.fromkeys(names) | given, False)  # type: ignore[misc]
    return [SPEAKER.answer(one, None, as_json=False) for one in found]  # type: ignore[misc]


def test_what_predict_may_be_told(translator: Path) -> None:
    found = unrolled.load(translator)
    assert asked(found, "abc", "de", rounded=True) == ["CBA", "ED"]
    (several,) = asked(found, "abc", beam=5, n_best=3)
    assert several.splitlines()[0].endswith("\tCBA")
    assert len(several.splitlines()) == 3
    assert "D" in asked(found, "abc", require=["D"], settings=["norm=none", "max_length=6"])[0]
    (drawn,) = asked(found, "abc", sample=3, settings=["temperature=0.5", "seed=2"])
    assert len(drawn.splitlines()) == 3
    for given, what in (
        ({"n_best": 9}, "raise --beam"),
        ({"settings": ["nrom=none"]}, "unknown setting 'nrom'"),
    ):
        with pytest.raises(ConfigError, match=what):
            asked(found, "abc", **given)


def test_from_the_command_line(translator: Path, tmp_path: Path) -> None:
    folder = translator.parent
    out, _ = run("predict", translator, "--json", stdin=b"abc\n\xff\nde\n", code=4)
    first, bad, last = map(json.loads, out.splitlines())
    assert first["translation"] == "CBA"
    assert first["optimal_in_beam"] is True
    assert len(first["attention"]) == len(first["tokens"])
    assert "not utf-8" in bad["error"]
    assert last["translation"] == "ED"
    out, err = run("evaluate", translator, folder / "test.tgt", folder / "test.src")
    assert "nrefs:1" in out
    assert "words of the source" in out
    assert "have source and target changed places?" in err
    run("explain", translator, "abc", "--reference", "CBA", "--out", tmp_path / "why.html")
    assert "looked at" in (tmp_path / "why.html").read_text()
    _, err = run("predict", translator, "abc", "--threshold", "0.5", code=2)
    assert "has no effect on a translator" in err


def test_two_validation_files_and_no_attention(tmp_path: Path) -> None:
    train, valid = write(tmp_path, "train", reversed_words(120)), write(tmp_path, "valid", reversed_words(20, seed=1))
    args = [part for key, value in (WITHOUT_ATTENTION | {"epochs": 2}).items() for part in ("-s", f"{key}={value}")]
    _, said = run("train", "translate", *train, "--valid", *valid, "--out", tmp_path / "run", *args)
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
