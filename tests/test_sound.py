"""Sound: files of every kind as samples, frames as Kaldi computes them, long recordings in pieces, subtitles."""

from __future__ import annotations

import io
import os
import struct
import threading
from itertools import pairwise
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data.audio import audio_facts, audio_pieces, read_audio, write_wav
from unrolled.data.raw_audio import raw_pieces
from unrolled.data.recordings import read_recordings, splits_of
from unrolled.data.tones import RATE_HZ, save_tones, sung, tones
from unrolled.errors import ConfigError, DataError
from unrolled.features.augment import Augment, noise
from unrolled.features.segments import segments
from unrolled.features.sound import FrontEnd, Normal
from unrolled.features.spoken_rows import Sounds, read_frames
from unrolled.features.transcripts import Spoken
from unrolled.options.transcribe import AugmentOptions
from unrolled.tasks.subtitles import cues, srt, vtt
from unrolled.tasks.transcript import Word, joined


def augmented(**changes: float) -> Augment:
    return Augment(**AugmentOptions(**changes).model_dump())


def hiss(n: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n) * 0.1).astype(np.float32)


@pytest.mark.parametrize(("rate", "mels"), [(8000, 40), (16000, 80), (22050, 23)])
@pytest.mark.parametrize("kind", ["log-mel", "mfcc"])
def test_frames_are_kaldis(rate: int, mels: int, kind: str) -> None:
    x = hiss(rate + 57)
    if kind == "mfcc":
        options = knf.MfccOptions()
        options.num_ceps, options.use_energy = 13, False
    else:
        options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.samp_freq, options.mel_opts.num_bins = 0, rate, mels
    theirs = (knf.OnlineMfcc if kind == "mfcc" else knf.OnlineFbank)(options)
    theirs.accept_waveform(rate, (x * 32768).tolist())
    theirs.input_finished()
    expected = np.stack([theirs.get_frame(i) for i in range(theirs.num_frames_ready)])
    front = FrontEnd(kind, rate, mels)
    (found,) = front.frames([x])
    assert found.shape == expected.shape == (front.n_frames(len(x)), front.n_features)
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_recordings_are_framed_together_as_alone_and_short_ones_give_a_frame() -> None:
    front, some = FrontEnd(rate_hz=8000, n_mels=20, deltas=True), [hiss(n, n) for n in (5, 200, 1000, 4321)]
    together = front.frames(some)
    for x, found in zip(some, together, strict=True):
        torch.testing.assert_close(found, front.frames([x])[0], rtol=1e-4, atol=1e-4)
        assert len(found) == max(1, front.n_frames(len(x)))


def test_deltas_are_a_regression_over_five_frames() -> None:
    (plain,), (found,) = (FrontEnd(rate_hz=8000, n_mels=5, deltas=d).frames([hiss(3000)]) for d in (False, True))

    def slope(x: np.ndarray) -> np.ndarray:
        at = np.clip(np.arange(-2, len(x) + 2), 0, len(x) - 1)
        padded = x[at]
        return sum(k * padded[2 + k : 2 + k + len(x)] for k in (-2, -1, 1, 2)) / 10

    x = plain.numpy()
    np.testing.assert_allclose(found[:, 5:10], slope(x), atol=1e-4)
    np.testing.assert_allclose(found[4:-4, 10:], slope(slope(x))[4:-4], atol=1e-4)


def test_a_warp_moves_tones_and_bad_front_ends_are_refused() -> None:
    t = np.arange(8000) / 8000
    x = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    front = FrontEnd(rate_hz=8000, n_mels=40)
    low, same, high = (front.frames([x], [w])[0].mean(0).argmax() for w in (0.8, 1.0, 1.2))
    assert low < same < high
    for wrong in ({"kind": "magic"}, {"n_mels": 0}, {"low_hz": 5000.0}, {"kind": "mfcc", "n_cepstra": 99}):
        with pytest.raises(ConfigError):
            FrontEnd(**({"rate_hz": 8000} | wrong))


def test_normal_frames_have_mean_and_deviation_of_the_training() -> None:
    frames = [torch.randn(50, 4) * 3 + k for k in range(3)]
    own, all_ = (Normal.of(frames, own_mean=m) for m in (True, False))
    torch.testing.assert_close(own(frames[2] + 7), own(frames[2]))
    assert not torch.allclose(all_(frames[2] + 7), all_(frames[2]))
    assert abs(torch.cat([all_(x) for x in frames]).std() - 1) < 0.05
    assert Normal(**own.to_json())(frames[0]).equal(own(frames[0]))


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("rate", [8000, 44100, 96000])
def test_every_kind_of_file_is_read_at_the_rate_asked_for(tmp_path: Path, ending: str, rate: int) -> None:
    if (ending, rate) in (("mp3", 96000), ("ogg", 96000)):
        pytest.skip("this kind knows no such rate")
    t = np.arange(rate) / rate
    both = np.stack([0.5 * np.sin(2 * np.pi * 440 * t), 0.1 * np.sin(2 * np.pi * 440 * t)], 1)
    soundfile.write(tmp_path / f"a.{ending}", both, rate, subtype="PCM_24" if ending in ("wav", "flac", "aiff") else None)
    found = read_audio(tmp_path / f"a.{ending}", 8000)
    assert found.dtype == np.float32
    assert abs(len(found) - 8000) <= 1200  # mp3 has some silence at its ends
    spectrum = np.abs(np.fft.rfft(found))
    assert abs(spectrum.argmax() * 8000 / len(found) - 440) < 5
    assert 0.25 < np.abs(found).max() < 0.36
    assert audio_facts(tmp_path / f"a.{ending}").channels == 2


def test_a_file_in_pieces_is_the_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", hiss(50_000), 11025)
    whole = read_audio(tmp_path / "a.wav", 8000)
    pieces = list(audio_pieces(tmp_path / "a.wav", 8000, seconds=0.37))
    assert len(pieces) > 5
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    with pytest.raises(DataError, match=r"a\.wav: has 4\.5 s; at most 2 s"):
        read_audio(tmp_path / "a.wav", 8000, longest=2)


def test_recordings_come_as_files_bytes_and_file_objects(tmp_path: Path) -> None:
    latin = str(tmp_path / os.fsdecode(b"\xe9.wav"))
    write_wav(Path(latin), hiss(5000), 8000)
    data = Path(latin).read_bytes()
    whole = read_audio(Path(latin), 8000)
    assert len(whole) == 5000
    with Path(latin).open("rb") as file:
        for source in (latin, data, bytearray(data), memoryview(data), io.BytesIO(data), file):
            np.testing.assert_array_equal(read_audio(source, 8000), whole)
    assert audio_facts(io.BytesIO(data)).frames == 5000
    np.testing.assert_array_equal(np.concatenate(list(audio_pieces(data, 8000, seconds=0.1))), whole)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    np.testing.assert_array_equal(read_audio(tmp_path / "pipe", 8000), whole)
    writer.join()
    with pytest.raises(DataError, match="<bytes>: is empty"):
        read_audio(b"", 8000)
    with pytest.raises(DataError, match="upload: is no recording"):
        read_audio(b"text" * 99, 8000, name="upload")
    with pytest.raises(TypeError, match="mode 'rb'"):
        read_audio(io.StringIO("text"), 8000)  # type: ignore[arg-type]


def test_what_is_no_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("not a sound at all, but a text that goes on for a while\n" * 20)
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan, 0.2], np.float32), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "whole.flac", hiss(80_000), 8000)
    data = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    expected = {
        "missing.wav": "No such file",
        "empty.wav": "is empty",
        "text.wav": "is no recording that can be read",
        "nothing.wav": "holds no sound",
        "nan.wav": "no numbers",
        "cut.flac": "cut off",
    }
    for name, reason in expected.items():
        with pytest.raises(DataError, match=f"{name}.*{reason}"):
            read_audio(tmp_path / name, 8000)


def test_wav_that_is_written_is_read_again(tmp_path: Path) -> None:
    x = np.array([0, 0.5, -0.5, 1.5, -1.5], np.float32)
    write_wav(tmp_path / "a.wav", x, 8000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", 8000), np.clip(x, -1, 1), atol=1e-4)


def raw_wav(samples: np.ndarray, rate: int, channels: int = 1, bits: int = 16) -> bytes:
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, channels, rate, 0, 0, bits)
    return head + struct.pack("<4sI", b"data", 0xFFFFFFFF) + samples.astype("<i2").tobytes()


def test_a_stream_is_wav_or_bare_samples_and_may_stop_anywhere() -> None:
    x = (hiss(8000) * 32767).astype(np.int16)
    for data in (x.tobytes() + b"\x01", raw_wav(x, 8000), raw_wav(np.repeat(x, 2), 8000, channels=2)):
        found = np.concatenate(list(raw_pieces(io.BytesIO(data), 8000)))
        np.testing.assert_allclose(found, x / 32768, atol=1e-6)
    assert abs(sum(map(len, raw_pieces(io.BytesIO(raw_wav(x, 16000)), 8000))) - 4000) < 3
    assert sum(map(len, raw_pieces(io.BytesIO(b""), 8000))) == 0
    for data in (raw_wav(x, 8000, bits=24), b"RIFF\0\0\0\0WAVE", b"OggS" + bytes(100)):
        with pytest.raises(DataError, match="standard input"):
            list(raw_pieces(io.BytesIO(data), 8000))


def test_tables_of_recordings(tmp_path: Path) -> None:
    files = save_tones(tones(3, seed=1), tmp_path / "clips")
    rows = [("0.wav", "do re", "ann", "train"), ("1.wav", "mi", "bob", "test"), ("gone.wav", "fa", "ann", "train"),
            ("2.wav", " ", "ann", "train")]  # fmt: skip
    (tmp_path / "a.tsv").write_text("file\ttext\tspeaker\tsplit\n" + "".join("\t".join(row) + "\n" for row in rows))
    (tmp_path / "a.csv").write_text("path,sentence,client_id,split\n" + "".join(",".join(row) + "\n" for row in rows))
    lines = "".join(f'{{"audio": "{a}", "text": "{b}", "speaker": "{c}", "split": "{d}"}}\n' for a, b, c, d in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    for name in ("a.tsv", "a.csv", "a.jsonl"):
        found = read_recordings([tmp_path / name], tmp_path / "clips")
        assert (found.files, found.texts, found.speakers) == (files[:2], ["do re", "mi"], ["ann", "bob"]), name
        assert (found.missing, found.empty) == ([str(tmp_path / "clips" / "gone.wav")], 1)
        assert read_recordings([tmp_path / name], tmp_path / "clips", split="test").texts == ["mi"]
        assert splits_of([tmp_path / name]) == {"test", "train"}
        with pytest.raises(DataError, match=r"no split 'tset'.*Did you mean 'test'"):
            read_recordings([tmp_path / name], tmp_path / "clips", split="tset")
        with pytest.raises(DataError, match=r"none of the 3 recordings is there.*--audio"):
            read_recordings([tmp_path / name])


def test_a_folder_of_pairs_and_tables_that_are_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    files = save_tones(tones(2, seed=1), folder)
    with pytest.raises(DataError, match=r"no text beside any of them: 0\.txt"):
        read_recordings([folder])
    for file in files:
        file.with_suffix(".txt").write_text("do\nre\n")
    assert read_recordings([folder]).texts == ["do re", "do re"]
    (tmp_path / "bad.tsv").write_text("name\tword\na\tb\n")
    with pytest.raises(DataError, match=r"bad\.tsv, line 1: a header with the columns file and text"):
        read_recordings([tmp_path / "bad.tsv"])
    (tmp_path / "short.tsv").write_text("file\ttext\na.wav\n")
    with pytest.raises(DataError, match=r"short\.tsv, line 2: 1 fields, but the header has 2"):
        read_recordings([tmp_path / "short.tsv"])
    (tmp_path / "bad.jsonl").write_text('{"file": "a.wav", "text": 3}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl, line 1: needs the texts"):
        read_recordings([tmp_path / "bad.jsonl"])


def test_frames_made_elsewhere(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((7, 3)))
    np.savez(tmp_path / "a.npz", frames=np.ones((7, 3), np.float16))
    assert read_frames(tmp_path / "a.npy", 3).equal(read_frames(tmp_path / "a.npz"))
    np.save(tmp_path / "flat.npy", np.ones(7))
    np.save(tmp_path / "nan.npy", np.full((2, 3), np.nan))
    (tmp_path / "text.npy").write_text("x")
    for name, reason in (("flat", "shape"), ("nan", "no numbers"), ("text", "no file of frames")):
        with pytest.raises(DataError, match=f"{name}.*{reason}"):
            read_frames(tmp_path / f"{name}.npy")
    with pytest.raises(DataError, match="has 3 numbers a frame, the others have 4"):
        read_frames(tmp_path / "a.npy", 4)


@pytest.mark.parametrize("room", [0, 1 << 20])
def test_a_recording_is_the_same_whenever_it_is_read(tmp_path: Path, room: int) -> None:
    """A training that goes on reads for the first time what the one before it had kept."""
    soundfile.write(tmp_path / "a.wav", hiss(9000), 11025, subtype="FLOAT")
    sounds = Sounds([tmp_path / "a.wav"], FrontEnd(rate_hz=8000))
    sounds._room = room
    first, again = sounds.samples(0), sounds.samples(0)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, read_audio(tmp_path / "a.wav", 8000), atol=1e-4)


def test_augmentation_is_drawn_from_its_generator_and_can_be_nothing() -> None:
    x, augment = hiss(8000), augmented()
    one, same, other = (augment.sound(x, 8000, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert len(one) != len(other) or not np.allclose(one, other)
    none = augmented(speed=0, warp=0, noise=0, edge_seconds=0, frequency_masks=0, time_masks=0)
    np.testing.assert_array_equal(none.sound(x, 8000, np.random.default_rng(1)), x)
    assert none.warps(3, np.random.default_rng(1)) == []
    frames = torch.randn(100, 40)
    assert none.masked(frames, np.random.default_rng(1)).equal(frames)
    masked = augmented(time_part=0.2, frequency_part=0.5).masked(frames, np.random.default_rng(3))
    assert 0 < (masked == 0).float().mean() < 0.9
    for n in (1, 2, 777):
        assert np.isfinite(noise(n, np.random.default_rng(0))).all()
    assert abs(np.sqrt(np.mean(np.square(noise(5000, np.random.default_rng(0))))) - 1) < 1e-3


@given(st.integers(0, 60_000), st.integers(1, 9000), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_segments_cover_a_recording_once(n: int, size: int, seed: int) -> None:
    x = hiss(n, seed)
    found = list(segments((x[i : i + size] for i in range(0, n, size)), 1000, longest=10, context=1))
    assert bool(found) == bool(n)
    at = 0.0
    for one in found:
        assert one.own[0] == at
        assert one.own[1] - one.own[0] <= 11
        begin = round(one.begin * 1000)
        np.testing.assert_array_equal(one.samples, x[begin : begin + len(one.samples)])
        assert one.begin <= one.own[0]
        assert one.own[1] <= one.begin + len(one.samples) / 1000 + 1e-9
        at = one.own[1]
    assert round(at * 1000) == n
    assert [one.last for one in found] == [i == len(found) - 1 for i in range(len(found))]


def test_a_recording_is_cut_where_it_is_quiet() -> None:
    x = hiss(25_000)
    x[7000:7400] = 0
    first = next(segments([x], 1000, longest=10))
    assert 7.0 <= first.own[1] <= 7.4


def test_words_of_pieces_are_neither_doubled_nor_lost() -> None:
    def words(*given: tuple[str, float, float]) -> list[Word]:
        return [Word(text, begin, end, 1.0) for text, begin, end in given]

    left = words(("a", 1, 2), ("b", 9.2, 10.6))
    assert [w.text for w in joined([left, words(("b", 9.4, 10.9), ("c", 12, 13))], [10.0])] == ["a", "b", "c"]
    late = words(("a", 1, 2), ("b", 9.6, 10.6))
    assert [w.text for w in joined([late, words(("b", 9.1, 10.5), ("c", 12, 13))], [10.0])] == ["a", "b", "c"]
    assert [w.text for w in joined([late, words(("c", 12, 13))], [10.0])] == ["a", "c"]
    assert [w.text for w in joined([words(("a", 1, 2)), words(("a", 11, 12))], [10.0])] == ["a", "a"]


def test_subtitles_are_short_and_in_order() -> None:
    random = np.random.default_rng(0)
    at, words = 0.0, list[Word]()
    for i in range(200):
        at += random.choice([0.05, 0.1, 1.5])
        words.append(Word("w" * int(random.integers(1, 12)) + str(i), at, at + 0.3, 0.9))
        at += 0.3
    found = cues(words)
    assert " ".join(line for cue in found for line in cue.lines).split() == [w.text for w in words]
    assert all(len(cue.lines) <= 2 and max(map(len, cue.lines)) <= 42 for cue in found)
    assert all(a.end <= b.begin for a, b in pairwise(found))
    assert all(0 < cue.end - cue.begin <= 6.3 for cue in found)
    one = [Word("a<b", 3661.5, 3662.0, 1.0)]
    assert srt(one) == "1\n01:01:01,500 --> 01:01:02,500\na<b\n"
    assert vtt(one) == "WEBVTT\n\n01:01:01.500 --> 01:01:02.500\na&lt;b\n"
    assert srt([]) == ""
    assert vtt([]) == "WEBVTT\n"


def test_spelling_is_made_the_same() -> None:
    assert Spoken()("It’s 5 o'clock -- NOW!") == "it's 5 o'clock now"
    assert Spoken()("'tis the 'end'") == "tis the end"
    assert Spoken(lower=False, marks=True)("Hi,   you!") == "Hi, you!"
    assert Spoken()("cafe\u0301") == "caf\u00e9"
    assert Spoken()("你好，世界") == "你好 世界"


def test_songs_are_known_by_their_words_and_times() -> None:
    samples, times = sung(["do", "sol"], np.random.default_rng(0))
    assert times[-1][1] < len(samples) / RATE_HZ
    assert all(b < e for b, e in times)
    assert tones(5, seed=3).texts == tones(5, seed=3).texts
