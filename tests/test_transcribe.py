"""Speech recognition end to end: training, prediction, subtitles, streams, long recordings, the data doctor, pages."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import unrolled
from typed import run
from unrolled.data.audio import read_audio, write_wav
from unrolled.data.recordings import Recordings
from unrolled.data.tones import NOTES, RATE_HZ, save_tones, sung, tones
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.augment import noise
from unrolled.metrics.speech import aligned, character_errors, confusions, word_errors
from unrolled.models.recognizer import AttentionRecognizer
from unrolled.run.transcribe import resume_recognizer, train_recognizer, transcribe_options
from unrolled.tasks.fusion import Fusion, pieces_of
from unrolled.tasks.hearing import Search
from unrolled.tasks.recognizer import TrainedRecognizer
from unrolled.training.loop import Step

FLAGS: dict[str, Any] = {
    "threads": 1,
    "minutes": 5,
    "epochs": 4,
    "evaluations": 2,
    "learning_rate": 1e-2,
    "rate_hz": RATE_HZ,
}
FLAGS |= {
    "noise": 0.2,
    "time_masks": 0,
    "frequency_masks": 0,
    "encoder_size": 64,
    "encoder_layers": 1,
    "front": "stack",
    "reduction": 4,
    "streaming": True,
}
FLAGS |= {"average_decay": 0.9, "warp": 0.0, "speed": 0.0, "warmup_steps": 20, "nothing": 0.05, "window": 100}
FLAGS |= {"dropout_heard": 0.0}


def table(folder: Path, n: int, seed: int = 1, split: str = "train") -> list[str]:
    """Lines of a table of n songs, whose files are written."""
    found = tones(n, seed)
    files = save_tones(found, folder / split)
    pairs = enumerate(zip(files, found.texts, strict=True))
    return [f"{split}/{file.name}\t{text}\tvoice{i % 3}\t{split}" for i, (file, text) in pairs]


HEADER = "file\ttext\tspeaker\tsplit"


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; beside it songs.tsv, with a train, a valid and a test part, and its files."""
    folder = tmp_path_factory.mktemp("songs")
    lines = [HEADER]
    for split, n, seed in (("train", 700, 1), ("valid", 30, 2), ("test", 40, 3)):
        lines += table(folder, n, seed, split)
    (folder / "songs.tsv").write_text("\n".join(lines) + "\n")
    unrolled.train("transcribe", [folder / "songs.tsv"], folder / "run", options=FLAGS)
    return folder / "run"


@pytest.fixture(scope="module")
def recognizer(songs: Path) -> TrainedRecognizer:
    found = unrolled.load(songs)
    assert isinstance(found, TrainedRecognizer)
    return found


def long_song(seconds: float, seed: int = 5) -> tuple[np.ndarray, list[str], list[tuple[float, float]]]:
    """Samples of at least so many seconds, the words, and their times."""
    random, parts, words, times, at = np.random.default_rng(seed), [], list[str](), [], 0.0
    while at < seconds:
        some = random.choice(list(NOTES), 4).tolist()
        samples, own = sung(some, random)
        parts.append(samples)
        words += some
        times += [(b + at, e + at) for b, e in own]
        at += len(samples) / RATE_HZ
    return np.concatenate(parts), words, times


def test_it_learns_and_is_chosen_by_the_valid_part(songs: Path, recognizer: TrainedRecognizer) -> None:
    out, _ = run("evaluate", songs, songs.parent / "songs.tsv", "--split", "test", "--json")
    found = json.loads(out)
    assert found["recordings"] == 40
    assert found["wer"] < 0.05
    assert found["wer_interval"][0] <= found["wer"] <= found["wer_interval"][1]
    assert set(found["speakers"]) == {"voice0", "voice1", "voice2"}
    config = json.loads((songs / "best" / "config.json").read_text())
    assert (config["data"]["train"], config["data"]["valid"]) == (700, 30)
    assert config["options"]["data"]["train_split"] == "train"
    shown, _ = run("evaluate", songs, songs.parent / "songs.tsv", "--split", "valid")
    assert "word error rate" in shown
    assert "voice2" in shown
    assert "speech recogniser" in (songs / "README.md").read_text()
    assert recognizer.step_seconds == pytest.approx(0.04)


def test_words_are_heard_where_they_are_sung(recognizer: TrainedRecognizer) -> None:
    off = []
    for seed in range(10):
        samples, times = sung(["do", "sol", "mi"], np.random.default_rng(seed))
        found = recognizer.transcribe(samples)
        assert found.text == "do sol mi"
        assert all(0 < w.confidence <= 1 for w in found.words)
        off += [abs((w.begin + w.end) / 2 - (b + e) / 2) for w, (b, e) in zip(found.words, times, strict=True)]
    assert np.median(off) < 0.12


def test_silence_and_noise_say_nothing(recognizer: TrainedRecognizer) -> None:
    random = np.random.default_rng(0)
    with pytest.raises(DataError, match="there are none"):
        recognizer.transcribe(np.zeros(0, np.float32))
    sounds = [np.zeros(8000, np.float32), np.full(100, 0.1, np.float32)]
    sounds += [(level * noise(12_000, random)).astype(np.float32) for level in (0.001, 0.01, 0.1)]
    assert [recognizer.transcribe(x).text for x in sounds] == [""] * len(sounds)
    only = Search(fusion=Fusion(phrases=["do re mi fa sol la ti", "sol"]))
    assert [recognizer.transcribe(x, only).text for x in sounds] == [""] * len(sounds)


@pytest.mark.parametrize("size", [50, 801, 8000])
def test_a_stream_hears_what_the_whole_says(recognizer: TrainedRecognizer, size: int) -> None:
    samples, _ = sung(["re", "la", "fa"], np.random.default_rng(3))
    (whole,) = recognizer.ear.spelled(recognizer.ear.listened([recognizer.frames_of(samples)[1]]))
    heard, stream = list[np.ndarray](), recognizer.stream()
    stream._ended = list  # type: ignore[method-assign]  # nothing is told or forgotten meanwhile
    for at in range(0, len(samples), size):
        stream.feed(samples[at : at + size])
        heard = [step.logs for step in stream._steps]
    assert len(whole) - 1 <= len(heard) <= len(whole)
    np.testing.assert_allclose(np.stack(heard), whole[: len(heard)], atol=2e-4)
    last = stream.finish()
    expected = recognizer.transcribe(samples)
    assert last.text == expected.text == "re la fa"
    for one, other in zip(last.words, expected.words, strict=True):
        assert one.begin == pytest.approx(other.begin, abs=0.02)


def test_a_long_stream_is_told_utterance_by_utterance(recognizer: TrainedRecognizer) -> None:
    parts, random = [], np.random.default_rng(1)
    for words in (["do", "re"], ["mi"], ["fa", "sol", "la"]):
        parts += [sung(words, random)[0], (0.001 * noise(2 * RATE_HZ, random)).astype(np.float32)]
    samples, stream, told = np.concatenate(parts), recognizer.stream(), list[Any]()
    for at in range(0, len(samples), 777):
        told += stream.feed(samples[at : at + 777])
    told.append(stream.finish())
    assert [one.text for one in told if one.text] == ["do re", "mi", "fa sol la"]
    begins = [w.begin for one in told for w in one.words]
    assert all(a < b for a, b in pairwise(begins))
    assert stream.finish().text == ""


def test_long_recordings_are_cut_and_joined(recognizer: TrainedRecognizer, tmp_path: Path) -> None:
    samples, words, times = long_song(75)
    write_wav(tmp_path / "long.wav", samples, RATE_HZ)
    (tmp_path / "bad.wav").write_text("no sound")
    found = list(
        recognizer.transcripts([tmp_path / "long.wav", tmp_path / "bad.wav", samples[: 2 * RATE_HZ]], batch_size=2)
    )
    assert isinstance(found[1], DataError)
    assert not isinstance(found[0], DataError)
    assert not isinstance(found[2], DataError)
    assert word_errors([" ".join(words)], [found[0].text]).value < 0.03
    assert found[0].seconds == pytest.approx(len(samples) / RATE_HZ)
    if len(found[0].words) == len(words):
        assert max(abs(w.begin - b) for w, (b, _) in zip(found[0].words, times, strict=True)) < 0.3


def test_the_commands(songs: Path, tmp_path: Path) -> None:
    samples, words, _ = long_song(3)
    write_wav(tmp_path / "a.wav", samples, RATE_HZ)
    (tmp_path / "only.txt").write_text("do re mi\n" + " ".join(words) + "\nfa\n")
    text = " ".join(words)
    out, _ = run("predict", songs, tmp_path / "a.wav")
    assert out == text + "\n"
    out, _ = run("predict", songs, tmp_path / "a.wav", "--timestamps")
    assert [line.split("\t")[3] for line in out.splitlines()] == words
    out, _ = run("predict", songs, tmp_path / "a.wav", "--format", "srt")
    assert out.startswith("1\n00:00:00,")
    out, _ = run("predict", songs, tmp_path / "a.wav", "--format", "vtt")
    assert out.startswith("WEBVTT\n\n00:00:00.")
    out, err = run("predict", songs, tmp_path / "a.wav", tmp_path / "gone.wav", "--format", "json", code=4)
    assert json.loads(out.splitlines()[0])["words"][0]["word"] == words[0]
    assert "gone.wav: cannot be read" in err
    out, _ = run("predict", songs, tmp_path / "a.wav", "--phrases", tmp_path / "only.txt", "--json")
    assert json.loads(out)["text"] == text
    out, _ = run("predict", songs, tmp_path / "a.wav", "--hotwords", tmp_path / "only.txt", "--n-best", 3)
    assert out.splitlines()[0].endswith(text)
    out, _ = run("predict", songs, "--stream", "-", stdin=(tmp_path / "a.wav").read_bytes())
    assert out.split() == words
    twice = tmp_path / "twice.wav"
    write_wav(twice, np.concatenate([samples, np.zeros(2 * RATE_HZ, np.float32), samples]), RATE_HZ)
    out, _ = run("predict", songs, "--stream", "-", "--format", "srt", stdin=twice.read_bytes() + b"LIST\x04\0\0\0abcd")
    assert [line for line in out.splitlines() if line.isdigit()] == [str(n) for n in range(1, 1 + out.count(" --> "))]
    _, err = run("predict", songs, tmp_path / "a.wav", twice, "--format", "srt", code=3)
    assert "one recording" in err
    for wrong, reason in ((["--format", "doc"], "unknown format 'doc'"), (["--phrases", "gone.txt"], "gone.txt"),
                          (["-s", "lm_weigth=1"], "lm_weigth")):  # fmt: skip
        _, err = run("predict", songs, tmp_path / "a.wav", *wrong, code=3)
        assert reason in err
    assert "no effect" in run("predict", songs, tmp_path / "a.wav", "--threshold", "0.5", code=2)[1]


@pytest.mark.parametrize("seed", range(5))
def test_the_texts_of_the_beam_are_in_the_order_of_both_numbers(recognizer: TrainedRecognizer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logs = np.log(rng.dirichlet(np.full(len(recognizer.side.vocabulary), 0.3), size=30)).astype(np.float32)
    for width in (2, 5, 20):
        found = recognizer.ear.heard_in(logs, logs, Search(width, n_best=width))
        scores = [found.score, *(score for _, _, score in found.others)]
        assert scores == sorted(scores, reverse=True)
        logs_of = [found.log_probability, *(log_p for _, log_p, _ in found.others)]
        assert logs_of == sorted(logs_of, reverse=True)
        assert found.score <= found.log_probability + 1e-4  # the search prunes alignments
        assert recognizer.ear.heard_in(logs, logs, Search(width)).symbols == found.symbols


def test_a_language_model_helps(songs: Path, recognizer: TrainedRecognizer, tmp_path: Path) -> None:
    """One that knows a single word makes it likelier than its sound, if it counts much."""
    tokens = ["do", "re", "mi", "fa", "sol", "la", "ti"]
    grams = "".join(f"{-0.01 if w == 'mi' else -4.0}\t{w}\n" for w in tokens)
    (tmp_path / "mi.arpa").write_text(
        f"\\data\\\nngram 1={2 + grams.count(chr(10))}\n\n\\1-grams:\n-9\t<unk>\n-1\t</s>\n{grams}\\end\\\n"
    )
    samples, _ = sung(["re", "mi"], np.random.default_rng(0))
    fusion = Fusion.of(recognizer.side, language_model=tmp_path / "mi.arpa")
    assert recognizer.transcribe(samples, Search(20, fusion=fusion)).text == "re mi"
    write_wav(tmp_path / "a.wav", samples, RATE_HZ)
    given = ["--language-model", tmp_path / "mi.arpa", "-s", "lm_weight=0.1", "-s", "reward=0"]
    out, _ = run("predict", songs, tmp_path / "a.wav", *given)
    assert out == "re mi\n"
    out, _ = run("predict", songs, tmp_path / "a.wav", *given[:2], "-s", "lm_weight=30", "-s", "reward=0")
    assert out != "re mi\n"
    out, _ = run(
        "predict", songs, tmp_path / "a.wav", *given[:2], "-s", "reward=50", "--n-best", "3", "--beam", "50", "--json"
    )
    told = json.loads(out)
    assert told["others"]
    assert all(one["log_probability"] <= 0 for one in (told, *told["others"]))  # of the sound alone, of each
    scores = [one["score"] for one in (told, *told["others"])]
    assert scores == sorted(scores, reverse=True)
    out, _ = run("predict", songs, tmp_path / "a.wav", *given[:2], "-s", "reward=50", "--n-best", "3", "--beam", "50")
    assert [float(line.partition("\t")[0]) for line in out.splitlines()] == [round(score, 4) for score in scores]
    with pytest.raises(ConfigError, match="compared by their sound alone"):
        Fusion.of(recognizer.side, hotwords=["do"], phrases=["re"])
    assert pieces_of(recognizer.side)[recognizer.side.encode("d")[0]] == "d"


def test_what_happens_inside_is_shown(songs: Path, recognizer: TrainedRecognizer, tmp_path: Path) -> None:
    samples, _ = sung(["re", "mi"], np.random.default_rng(0))
    found = recognizer.explain(samples)
    kinds = [block["kind"] for block in found["blocks"]]
    assert kinds.count("raster") == 3
    assert found["text"] == "re mi"
    json.dumps(found, allow_nan=False)
    write_wav(tmp_path / "a.wav", samples, RATE_HZ)
    run("explain", songs, tmp_path / "a.wav", "--out", tmp_path / "why.html")
    run("explain", songs, tmp_path / "a.wav", "--out", tmp_path / "why.png")
    assert (tmp_path / "why.png").read_bytes()[:4] == b"\x89PNG"
    assert recognizer.explain(np.zeros(8000, np.float32))["text"] == ""


def test_a_training_goes_on_as_if_it_had_never_stopped(songs: Path, tmp_path: Path) -> None:
    options = FLAGS | {"epochs": 0.5, "audio": str(songs.parent), "train_split": "test", "valid_split": "valid"}
    for name in ("whole", "broken"):
        events = train_recognizer(transcribe_options(flags=options), [songs.parent / "songs.tsv"], tmp_path / name)
        for event in events:
            if name == "broken" and isinstance(event, Step) and event.step == 2:
                events.close()
                break
    for _ in resume_recognizer(tmp_path / "broken"):
        pass
    one, other = (unrolled.load(tmp_path / name).model.state_dict() for name in ("whole", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(FolderError):
        train_recognizer(transcribe_options(flags=options), [songs.parent / "songs.tsv"], tmp_path / "whole").__next__()


@pytest.mark.parametrize("head", ["attention", "hybrid"])
def test_the_other_heads_learn_too(head: str, tmp_path: Path) -> None:
    """Two words, so that a decoder learns them in seconds."""
    random, made = np.random.default_rng(0), Recordings()
    for _ in range(160):
        words = random.permutation(["do", "la"])[: int(random.integers(1, 3))].tolist()
        made.add(sung(words, random)[0], " ".join(words))
    flags = FLAGS | {"streaming": False, "epochs": 30, "decoder_size": 32, "embedding_size": 8, "attention_size": 16}
    flags |= {"smoothing": 0.0, "dropout_output": 0.0, "dropout_input": 0.0, "nothing": 0.0, "tokens": "word", "noise": 0.0}
    flags |= {"edge_seconds": 0.0}
    options = transcribe_options(preset=head, flags=flags)
    for _ in train_recognizer(options, made.part(range(130)), tmp_path / "run", valid=made.part(range(130, 160))):
        pass
    trained = unrolled.load(tmp_path / "run")
    assert isinstance(trained.model, AttentionRecognizer)
    steps, symbols = (
        sum(len(x) / RATE_HZ / 0.04 for x in made.files[:130]),
        sum(len(t.split()) + 1 for t in made.texts[:130]),
    )
    assert (trained.model.bridge is None) == (head == "attention")
    assert trained.model.config.pace == (0 if head == "hybrid" else pytest.approx(2 / 3 * steps / symbols, rel=0.01))
    found, _ = trained.evaluate(made.part(range(130, 160)))
    assert found["wer"] < 0.1
    told = trained.transcribe(made.files[0])
    assert told.words[0].begin < told.words[0].end
    kinds = [block["kind"] for block in trained.explain(made.files[0])["blocks"]]
    assert kinds.count("raster") == (3 if head == "attention" else 4)
    with pytest.raises(ConfigError, match="from both ends"):
        trained.stream()
    some = [made.files[0], np.concatenate([made.files[1], made.files[2]])]
    assert [one.log_probability for one in trained.transcripts(some)] == pytest.approx(
        [trained.transcribe(one).log_probability for one in some], abs=1e-4
    )
    assert len(trained.ear.heard([torch.zeros(8, trained.front.n_features)])[0].symbols) <= 2
    with pytest.raises(ConfigError, match="--head ctc"):
        trained.transcribe(made.files[0], Search(fusion=Fusion.of(trained.side, hotwords=["do"])))


def test_what_cannot_be_learned_from_is_told(songs: Path, tmp_path: Path) -> None:
    shutil.copytree(songs.parent / "test", tmp_path / "test")
    lines = (songs.parent / "songs.tsv").read_text().splitlines()
    rows = [line.rsplit("\t", 1)[0] for line in lines if line.endswith("\ttest")]
    (tmp_path / "test" / "broken.wav").write_text("broken")
    whole = tmp_path / "test" / "half.flac"
    soundfile.write(whole, np.random.default_rng(0).normal(0, 0.1, 3 * RATE_HZ), RATE_HZ)
    whole.write_bytes(whole.read_bytes()[:9000])
    np.save(tmp_path / "test" / "frames.npy", np.zeros((20, 40), np.float32))
    write_wav(tmp_path / "test" / "short.wav", np.zeros(400, np.float32), RATE_HZ)
    rows += ["test/broken.wav\tdo\tx", "test/short.wav\tdo re mi fa sol la\tx", "test/gone.wav\tdo\tx", "test/0.wav\t \tx"]
    rows += ["test/half.flac\tdo\tx", "test/frames.npy\tdo\tx", "test/1.wav\t...\tx"]
    (tmp_path / "a.tsv").write_text("\n".join([HEADER.rsplit("\t", 1)[0], *rows]) + "\n")
    flags = [f"-s{name}={value}" for name, value in FLAGS.items() if name not in ("epochs",)]
    _, err = run("train", "transcribe", tmp_path / "a.tsv", "--out", tmp_path / "run", "-sepochs=0.2", *flags)
    for reason in ("1 recordings are not there", "3 recordings cannot be read", "2 recordings have no text", "half.flac: ",
                   "frames.npy: holds frames",
                   "broken.wav: is no recording", "gone.wav"):  # fmt: skip
        assert reason in err, reason
    _, err = run("train", "transcribe", tmp_path / "a.tsv", "--out", tmp_path / "run2", "--hold-out", "speakers",
                 "-sepochs=0.2", "-svalid_fraction=0.3", *flags)  # fmt: skip
    with pytest.raises(ConfigError, match="unknown preset 'ctx'"):
        transcribe_options(preset="ctx")


def silence(path: Path) -> Path:
    write_wav(path, np.zeros(8000, np.float32), RATE_HZ)
    return path


def test_frames_made_elsewhere_are_learned_from(recognizer: TrainedRecognizer, tmp_path: Path) -> None:
    found = tones(40, seed=1)
    rows = ["file\ttext"]
    for i, (samples, text) in enumerate(zip(found.files, found.texts, strict=True)):
        assert isinstance(samples, np.ndarray)
        np.save(tmp_path / f"{i}.npy", recognizer.front.frames([samples])[0].numpy())
        rows.append(f"{i}.npy\t{text}")
    (tmp_path / "a.tsv").write_text("\n".join(rows) + "\n")
    of_sound = {"rate_hz", "warp", "noise", "nothing", "speed"}  # have no effect on frames
    flags = {name: value for name, value in FLAGS.items() if name not in of_sound} | {"epochs": 0.3}
    trained = unrolled.train("transcribe", [tmp_path / "a.tsv"], tmp_path / "run", options=flags)
    assert trained.front.kind == "given"
    assert isinstance(trained.transcribe(tmp_path / "0.npy").text, str)
    with pytest.raises(DataError, match="is no file of frames"):
        trained.transcribe(silence(tmp_path / "a.wav"))
    with pytest.raises(DataError, match="numbers a frame"):
        np.save(tmp_path / "bad.npy", np.zeros((5, 3)))
        trained.transcribe(tmp_path / "bad.npy")


def test_a_training_from_a_relative_table_goes_on_from_elsewhere(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = transcribe_options(flags=FLAGS | {"epochs": 0.2})
    monkeypatch.chdir(songs.parent)
    events = train_recognizer(options, ["songs.tsv"], tmp_path / "run", valid=["songs.tsv"])
    task = next(events)
    assert (task.facts.train, task.facts.valid) == (700, 30)
    assert any(isinstance(event, Step) for event in events)
    events.close()
    monkeypatch.chdir(tmp_path)
    assert next(resume_recognizer(tmp_path / "run")).facts.train == 700


@pytest.mark.parametrize("given", [False, True])
def test_whose_split_is_whose(songs: Path, tmp_path: Path, given: bool) -> None:
    """Another table to choose by is read as a whole unless it has a split for it; a folder beside a table has no splits."""
    rows = [line.split("\t") for line in (songs.parent / "songs.tsv").read_text().splitlines() if line.endswith("test")]
    column, part = ("\tsplit", "\tdev") if given else ("", "")
    lines = [f"{songs.parent / row[0]}\t{row[1]}{part}" for row in rows]
    (tmp_path / "other.tsv").write_text("\n".join([f"file\ttext{column}", *lines]) + "\n")
    options = transcribe_options(flags=FLAGS | {"epochs": 0.2})
    task = next(train_recognizer(options, [songs.parent / "songs.tsv"], tmp_path / "run", valid=[tmp_path / "other.tsv"]))
    assert (task.facts.train, task.facts.valid) == (700, 40)
    if given:
        (tmp_path / "clips").mkdir()
        (tmp_path / "clips" / "a.txt").write_text("do")
        write_wav(tmp_path / "clips" / "a.wav", sung(["do"], np.random.default_rng(0))[0], RATE_HZ)
        both = [songs.parent / "songs.tsv", tmp_path / "clips"]
        assert sum(next(train_recognizer(options, both, tmp_path / "run2")).facts[:2]) == 771


def test_a_damaged_folder_is_refused(songs: Path, tmp_path: Path) -> None:
    shutil.copytree(songs / "best", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    for change in (
        {"front": {"kind": "magic"}},
        {"model": {}},
        {"normal": config["normal"], "front": config["front"] | {"n_mels": 7}},
    ):
        (tmp_path / "model" / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(FolderError):
            TrainedRecognizer.load(tmp_path / "model")


def test_the_doctor_finds_what_was_planted(songs: Path, tmp_path: Path) -> None:
    folder, random = tmp_path / "clips", np.random.default_rng(0)
    rows = table(folder, 20, seed=9)
    shutil.copy(folder / "train" / "3.wav", folder / "again.wav")
    write_wav(folder / "loud.wav", 20 * sung(["do"], random)[0], RATE_HZ)
    write_wav(folder / "silent.wav", np.zeros(9000, np.float32), RATE_HZ)
    write_wav(folder / "short.wav", sung(["do"], random)[0][:600], RATE_HZ)
    write_wav(folder / "wrong.wav", sung(["la", "ti", "la"], random)[0], RATE_HZ)
    write_wav(folder / "slow.wav", np.concatenate([sung(["mi"], random)[0]] * 30), RATE_HZ)
    (folder / "text.wav").write_text("text")
    planted = {"again.wav": "x", "loud.wav": "do", "silent.wav": "do re", "short.wav": "do re mi fa sol",
               "wrong.wav": "do re mi", "slow.wav": "mi", "text.wav": "la", "gone.wav": "la"}  # fmt: skip
    rows += [f"{name}\t{text}\tvoice1\ttest" for name, text in planted.items()]
    (folder / "a.tsv").write_text("\n".join([HEADER, *rows]) + "\n")
    out, err = run("check", "transcribe", folder / "a.tsv", "--json", "--model", songs, "--out", tmp_path / "f.csv", code=4)
    found = json.loads(out)
    of: dict[str, list[str]] = {}
    for fault in found["faults"]:
        of.setdefault(fault["kind"], []).append(Path(fault["file"]).name)
    assert of["clipped"] == ["loud.wav"]
    assert "silent.wav" in of["silent"]
    assert of["impossible"] == ["short.wav"]
    assert of["repeated"] == ["again.wav"]
    assert of["unread"] == ["gone.wav", "text.wav"]
    assert [f["what"] for f in found["faults"] if f["kind"] == "rare"] == ["'x' stands in no other text"]
    assert "slow.wav" in of["outlier"]
    assert len(of["leak"]) == 1
    assert "wrong.wav" in of["suspicious"]
    assert set(of["suspicious"]) <= set(planted)
    assert "2 files could not be read" in err
    assert (tmp_path / "f.csv").read_text().startswith("kind,file,place,what\nunread,")
    shown, _ = run("check", "transcribe", songs.parent / "songs.tsv")
    assert "speakers on both sides of a split" in shown


def test_errors_are_counted_by_words_and_characters() -> None:
    assert [tuple(step) for step in aligned("a b c", "a x c d")] == [("a", "a"), ("b", "x"), ("c", "c"), (None, "d")]
    assert [tuple(step) for step in aligned("", "a")] == [(None, "a")]
    rate = word_errors(["a b c", "", "d"], ["a x c d", "y", "d"])
    assert rate.errors.tolist() == [2, 1, 0]
    assert rate.value == pytest.approx(3 / 4)
    assert character_errors(["abc", "", "d"], ["abd", "xy", ""]).errors.tolist() == [1, 2, 1]
    assert confusions([("a b", "a c"), ("b", "c"), ("", "d")]) == [("b", "c", 2), ("", "d", 1)]
    assert word_errors([""], ["a"]).value == 1


def test_stereo_deep_and_fast_recordings_are_heard(recognizer: TrainedRecognizer, tmp_path: Path) -> None:
    samples, _ = sung(["sol", "do"], np.random.default_rng(2))
    fast = np.interp(np.arange(len(samples) * 12) / 12, np.arange(len(samples)), samples)
    soundfile.write(tmp_path / "a.wav", np.stack([fast, fast], 1), 12 * RATE_HZ, subtype="PCM_24")
    assert recognizer.transcribe(tmp_path / "a.wav").text == "sol do"
    assert len(read_audio(tmp_path / "a.wav", RATE_HZ)) == pytest.approx(len(samples), abs=2)
