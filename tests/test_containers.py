"""Recordings in files: what a header promises is compared with what is there, and all recordings of a file are read."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unrolled.data.audio import audio_facts, audio_pieces, read_audio
from unrolled.data.mpeg import mpeg_streams
from unrolled.data.ogg import ogg_streams
from unrolled.errors import DataError

RATE = 16_000
SECONDS = 2
SOUND = (0.3 * np.sin(np.arange(SECONDS * RATE) / 6)).astype(np.float32)
#: Formats of libsndfile with the encoding of samples, and whether the header says how many there are.
KINDS = [
    *(("WAV", encoding) for encoding in ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM", "GSM610")),
    *(("AIFF", encoding) for encoding in ("PCM_16", "PCM_24", "ULAW")),
    *((kind, "PCM_16") for kind in ("WAVEX", "W64", "RF64", "AU", "CAF", "NIST", "FLAC")),
    *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("CAF", "ALAC_16"), ("NIST", "ULAW")),
]


def encoded(
    kind: str, encoding: str | None = None, rate: int = RATE, samples: np.ndarray = SOUND, **options: object
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=encoding, **options)
    return file.getvalue()


def seconds(data: bytes) -> float:
    return len(read_audio(data, RATE)) / RATE


@pytest.mark.parametrize(("kind", "encoding"), KINDS)
def test_a_file_that_ends_early_is_refused_and_files_that_were_joined_are_read_whole(
    tmp_path: Path, kind: str, encoding: str, capfd: pytest.CaptureFixture[str]
) -> None:
    data = encoded(kind, encoding)
    whole = seconds(data)
    assert whole == pytest.approx(SECONDS, abs=0.04)
    for end in (len(data) - 2, len(data) * 3 // 4, len(data) // 2):
        (tmp_path / "cut").write_bytes(data[:end])
        for source in (tmp_path / "cut", data[:end]):
            with pytest.raises(DataError, match=r"cut off.*Fix: |cut off.*lost sync"):
                read_audio(source, RATE)
    (tmp_path / "twice").write_bytes(data * 2)
    assert seconds(data * 2) == pytest.approx(2 * whole, abs=1e-3)
    assert audio_facts(tmp_path / "twice").seconds == pytest.approx(2 * whole, abs=1e-3)
    pieces = list(audio_pieces(tmp_path / "twice", RATE, seconds=0.5))
    np.testing.assert_array_equal(np.concatenate(pieces), read_audio(data * 2, RATE))
    assert max(map(len, pieces)) <= RATE // 2 + 1
    assert capfd.readouterr() == ("", "")


def at(data: bytes, place: int, field: str, value: int) -> bytes:
    """Bytes with a number written over some of them."""
    new = struct.pack(field, value)
    return data[:place] + new + data[place + len(new) :]


def of_pipe(kind: str, size: int) -> bytes:
    """A file whose size of samples was written before it was known."""
    data = encoded(kind, "PCM_16")
    field = {"WAV": "<I", "AIFF": ">I", "AU": ">I", "W64": "<q", "CAF": ">q", "RF64": "<q"}[kind]
    if kind == "WAV":
        data = at(data, 4, field, size)
    place = {"AU": 8, "RF64": 28, "AIFF": data.find(b"SSND") + 4, "W64": data.find(b"data") + 16}
    return at(data, place.get(kind, data.find(b"data") + 4), field, size)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *(("WAV", size) for size in (0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFDA)),
        *(("AIFF", size) for size in (0, 0xFFFFFFFF, 0x7F000008)),
        *(("AU", 0), ("AU", 0xFFFFFFFF), ("W64", 0), ("CAF", -1), ("RF64", 0), ("RF64", -1)),
    ],
)
def test_a_recording_that_was_written_to_a_pipe_is_read_to_its_end(kind: str, size: int) -> None:
    data = of_pipe(kind, size)
    assert seconds(data) == SECONDS
    assert seconds(data[:-1000]) == pytest.approx(SECONDS - 500 / RATE)
    assert seconds(encoded(kind, "PCM_16") + data) == 2 * SECONDS


def uncounted(data: bytes) -> bytes:
    """A FLAC file whose header counts no samples."""
    return at(at(data, 21, "B", data[21] & 0xF0), 22, "I", 0)


@pytest.mark.parametrize(
    ("rate", "encoding"), [(8000, "PCM_S8"), (16_000, "PCM_16"), (44_100, "PCM_24"), (96_000, "PCM_16")]
)
def test_flac_without_a_count_of_samples(rate: int, encoding: str) -> None:
    sound = np.random.default_rng(0).normal(0, 0.2, rate + 777).astype(np.float32)
    data = encoded("FLAC", encoding, rate, sound)
    np.testing.assert_array_equal(read_audio(uncounted(data), rate), read_audio(data, rate))
    assert len(read_audio(data + uncounted(data) + data, rate)) == 3 * len(sound)
    with pytest.raises(DataError, match="cut off"):
        read_audio(uncounted(data)[: len(data) // 2], rate)


def mp3_frames(data: bytes) -> bytes:
    """An MP3 file without the frame that counts the others."""
    ((_, frames),) = mpeg_streams(data, "a.mp3")
    return bytes(frames)


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2), (44_100, 1), (48_000, 2)])
def test_mp3_of_every_kind_is_read_whole(mode: str, rate: int, channels: int, capfd: pytest.CaptureFixture[str]) -> None:
    t = np.arange(3 * rate) / rate
    sound = (np.sin(9.4 * t) > 0) * (0.3 * np.sin(1885 * t) + 0.05 * np.random.default_rng(0).normal(size=len(t)))
    data = encoded("MP3", None, rate, np.stack([sound] * channels, 1), bitrate_mode=mode, compression_level=0.3)
    frames = mp3_frames(data)
    tag = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
    for content, length in (
        (data, 3),
        (data + data, 6),
        (frames, 3),
        (frames + frames, 6),
        (data + frames, 6),
        (frames + tag + data, 6),
        (tag + data + b"TAG" + bytes(125) + tag + data + b"APETAGEX" + struct.pack("<I", 2000) + bytes(20), 6),
        (frames[700:], 3),  # a stream that was joined late
        (b"\0" * 99 + data + b"\0" * 9999, 3),
    ):
        assert len(read_audio(content, rate)) / rate == pytest.approx(length, abs=2600 / rate)
    count = data.index(b"Xing" if b"Xing" in data else b"Info") + 8
    assert len(read_audio(at(data, count, ">I", 0), rate)) / rate == pytest.approx(3, abs=0.2)
    assert len(read_audio(at(data, count, ">I", 9), rate)) / rate == pytest.approx(3, abs=0.2)
    with pytest.raises(DataError, match=r"cut off: its header promises 3\.\d\d s, 1\.\d\d s are there"):
        read_audio(data[: len(data) // 2], rate)
    assert capfd.readouterr() == ("", "")


def test_files_of_several_kinds_and_rates_that_were_joined() -> None:
    assert seconds(encoded("WAV") + encoded("WAV", rate=8000)) == 3 * SECONDS
    assert audio_facts(encoded("WAV", rate=8000) + encoded("WAV")).frames == 1.5 * SECONDS * 2 * 8000
    assert seconds(encoded("MP3", rate=44_100) + encoded("MP3")) == pytest.approx(SECONDS * (1 + RATE / 44_100), abs=0.01)
    assert seconds(encoded("OGG", "VORBIS") + encoded("OGG", "OPUS")) == 2 * SECONDS
    stereo = np.stack([SOUND, SOUND], 1)
    assert seconds(encoded("FLAC") + encoded("FLAC", samples=stereo)) == 2 * SECONDS


def test_pages_of_ogg_that_are_damaged_or_missing() -> None:
    data = encoded("OGG", "VORBIS", samples=np.tile(SOUND, 5))
    pages = [i for i in range(len(data)) if data[i : i + 4] == b"OggS"]
    assert len(pages) > 4
    assert ogg_streams(data + b"a tag", "a.ogg")[0][0].nbytes == len(data) + 5
    for damaged, reason in (
        (at(data, pages[2] + 99, "B", data[pages[2] + 99] ^ 1), "has another checksum"),
        (data[: pages[2]] + data[pages[3] :], "pages are missing"),
        (data[: pages[-1]], "not marked as the end"),
        (data[: pages[-1]] + encoded("OGG", "OPUS"), "not marked as the end"),
        (data[: pages[2]] + bytes(50) + data[pages[2] :], "no page begins at byte"),
    ):
        with pytest.raises(DataError, match=f"a.ogg: is (damaged|cut off).*{reason}.*Fix: "):
            read_audio(damaged, RATE, name="a.ogg")


def test_what_follows_the_samples() -> None:
    data = encoded("WAV")
    other = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"
    for content in (data + other, data + other[:-3], data + b"\x01\x80", data + bytes(100_000)):
        assert seconds(content) == SECONDS
    assert seconds(data + other + data) == 2 * SECONDS
    assert seconds(at(data[:36] + other + data[36:], 36 + len(other) + 4, "<I", 0xFFFFFFFF)) == SECONDS
    with pytest.raises(DataError, match="holds no sound"):
        seconds(at(data, 40, "<I", 0)[:44] + other)
    with pytest.raises(DataError, match=r"bytes behind the samples that its header mentions.*Fix: "):
        seconds(at(encoded("WAV", samples=np.tile(SOUND, 3)), 40, "<I", 1000))


@pytest.mark.parametrize("change", ["flip", "cut", "insert"])
@pytest.mark.parametrize("kind", ["WAV", "AIFF", "W64", "RF64", "AU", "CAF", "FLAC", "OGG", "MP3", "NIST"])
def test_heads_that_are_damaged_end_in_a_message(kind: str, change: str) -> None:
    drawn, data = np.random.default_rng(0), encoded(kind, samples=SOUND[:4000])
    changes: dict[str, Callable[[int], bytes]] = {
        "flip": lambda i: at(data, i, "B", int(drawn.integers(256))),
        "cut": lambda i: data[:i],
        "insert": lambda i: data[:i] + drawn.bytes(3) + data[i:],
    }
    for place in range(120):
        try:
            read_audio(changes[change](place), RATE)
        except DataError as error:
            assert str(error).startswith("<bytes>: ")  # noqa: PT017
