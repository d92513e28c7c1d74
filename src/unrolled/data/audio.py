"""Recordings as samples, whatever their kind, rate and channels: one channel, from -1 to 1, at the rate that is asked for.

samples = read_audio("talk.mp3", 16_000)                    # float32 (N,)
for piece in audio_pieces("talk.mp3", 16_000): ...          # the same, a minute at a time

Files are read by libsndfile (WAV, FLAC, Ogg, Opus, MP3, AIFF and more); rates are changed by soxr.
"""

from __future__ import annotations

import io
import math
import os
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrolled.data.containers import JoinedParts, streams_in
from unrolled.data.sources import ByteSource, map_bytes, source_name
from unrolled.errors import DataError, MissingExtra
from unrolled.folders import write_bytes

__all__ = [
    "ENDINGS",
    "AudioFacts",
    "AudioSource",
    "Resampler",
    "audio_facts",
    "audio_pieces",
    "read_audio",
    "resampled",
    "write_wav",
]

#: What files of recordings are called; others are read as well, if they are named.
ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".sph")
#: Seconds of a piece.
_PIECE = 60
#: Samples that are read at once, of all channels.
_BLOCK = 1 << 23
#: Samples of a frame of MP3: decoders may drop the first, whose data began in the frame before.
_MP3_FRAME = 1152
#: Samples per second of recordings: others are of damaged headers, and could ask for any amount of memory.
_RATES = (1000, 1_000_000)
_EXPECTED = "Expected: WAV, FLAC, Ogg, Opus, MP3 or AIFF. Fix: convert others, such as m4a: ffmpeg -i OLD.m4a NEW.wav"


#: A file's name, the bytes of a file, or a file object that is open for reading bytes.
AudioSource = ByteSource


class AudioFacts(NamedTuple):
    """What the header of a file says. frames: samples of each channel."""

    rate_hz: int
    channels: int
    frames: int
    kind: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.rate_hz


def audio_facts(source: AudioSource) -> AudioFacts:
    """Return what the headers of a recording say. Raises DataError for what is no recording, or is cut off.

    Of several recordings in one file, as `cat a.mp3 b.mp3` makes it, all frames are counted, at the rate of the first.
    """
    name = source_name(source)
    facts = list[AudioFacts]()
    for stream in _streams(source, name):
        with _decoded(stream, name) as file:
            facts.append(AudioFacts(file.samplerate, file.channels, file.frames, file.format))
    rate = facts[0].rate_hz
    return facts[0]._replace(frames=sum(part.frames * rate // part.rate_hz for part in facts))


def read_audio(source: AudioSource, rate_hz: int, longest: float | None = None, name: str | None = None) -> np.ndarray:
    """Read a recording as one channel, float32 (N,) from -1 to 1, at a sampling rate.

    Args:
        source: a file's name, the bytes of a file, or a file object that is open for reading bytes (read to its end).
        rate_hz: samples per second of the result, whatever the file has.
        longest: seconds that are read at most.
        name: what errors call the recording; the file's name by default.

    Raises:
        DataError: for what is no recording, is empty, damaged, cut off, or longer than `longest`.
    """
    name = source_name(source) if name is None else name
    pieces = list[np.ndarray]()
    left = math.inf if longest is None else int(longest * rate_hz) + 1
    for stream in _streams(source, name):
        with _decoded(stream, name) as file:
            for piece in _pieces(file, name, rate_hz, _PIECE if longest is None else min(_PIECE, longest)):
                pieces.append(piece)
                left -= len(piece)
                if left < 0:  # looked at here as well as before: the header of a file may say anything
                    seconds = file.frames / file.samplerate
                    raise DataError(f"{name}: has {seconds:,.1f} s; at most {longest:g} s are read here.")
    if not pieces:
        raise DataError(f"{name}: holds no sound: less than one sample at the rate that is read.")
    return np.concatenate(pieces)


def audio_pieces(source: AudioSource, rate_hz: int, seconds: float = _PIECE) -> Iterator[np.ndarray]:
    """`read_audio` in pieces of about so many seconds, so that of a long file only one is in memory."""
    name = source_name(source)
    for stream in _streams(source, name):
        with _decoded(stream, name) as file:
            yield from _pieces(file, name, rate_hz, seconds)


def _pieces(file: Any, name: str, rate_hz: int, seconds: float) -> Iterator[np.ndarray]:
    """Decode one stream: one channel, at a sampling rate, piece by piece."""
    if not file.frames:
        raise DataError(f"{name}: holds no sound: 0 samples.")
    if not _RATES[0] <= file.samplerate <= _RATES[1]:
        least, most = _RATES
        raise DataError(f"{name}: has {file.samplerate:,} samples per second, expected {least:,} to {most:,}.")
    resampler = Resampler(file.samplerate, rate_hz)
    block, seen = max(1, min(int(seconds * file.samplerate), _BLOCK // file.channels)), 0
    while True:
        samples = file.read(block, dtype="float32", always_2d=True)
        seen += len(samples)
        last = len(samples) < block
        mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(1)
        if not np.isfinite(mono).all():
            raise DataError(f"{name}: holds samples that are no numbers (NaN or infinite).")
        piece = resampler.feed(mono, last=last)
        if len(piece):
            yield piece
        if last:
            break
    if seen < file.frames - (_MP3_FRAME if file.format == "MP3" else 0):
        raise DataError(
            f"{name}: is damaged or cut off: {seen / file.samplerate:.2f} of {file.frames / file.samplerate:.2f} s can be "
            "decoded. Fix: copy or record it again."
        )


class Resampler:
    """Samples that come in pieces, at another rate. MissingExtra without soxr, where the rates differ."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = None if from_hz == to_hz else _soxr().ResampleStream(from_hz, to_hz, 1, "float32")

    def feed(self, samples: np.ndarray, *, last: bool = False) -> np.ndarray:
        """Float32 (N,) -> what of it is known at the other rate; all of it with the last."""
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)


def resampled(samples: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Samples at another rate, which need not be whole."""
    return samples if from_hz == to_hz else _soxr().resample(samples, from_hz, to_hz, "MQ")


def write_wav(path: Path, samples: np.ndarray, rate_hz: int) -> None:
    """Samples (N,) from -1 to 1 as a WAV file of 16 bits."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    write_bytes(path, data.getvalue())


def _soxr() -> Any:
    try:
        import soxr
    except ImportError:
        raise MissingExtra("soxr", "speech", "Changing the rate of recordings") from None
    return soxr


def _streams(source: AudioSource, name: str) -> list[Any]:
    """Return what soundfile is to open, one after another: most often the file itself."""
    data = map_bytes(source, name)
    if not len(data):
        raise DataError(f"{name}: is empty: no recording.")
    parts = streams_in(data, name)
    if parts:
        return [JoinedParts(stream) for stream in parts]
    if isinstance(data, bytes):
        return [JoinedParts([data])]
    assert isinstance(source, str | Path)
    return [os.fsencode(source) if os.name == "posix" else str(source)]  # soundfile refuses names that are not UTF-8


@contextmanager
def _decoded(stream: Any, name: str) -> Iterator[Any]:
    """A stream, open; what libsndfile says about it as a DataError that names it."""
    try:
        import soundfile
    except ImportError:
        raise MissingExtra("soundfile", "speech", "Reading recordings") from None

    class Sequential(soundfile.SoundFile):
        """A file that is read from its start to its end. soundfile seeks after every read: decoders of MP3 lose their
        state by that, and the samples after it are wrong.
        """

        def seekable(self) -> bool:
            return False

    try:
        file = Sequential(stream)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error}).") from None
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        said = str(getattr(error, "error_string", error)).rstrip(".")
        raise DataError(f"{name}: is no recording that can be read ({said}). {_EXPECTED}") from None
    with file:
        try:
            yield file
        except soundfile.LibsndfileError as error:
            raise DataError(f"{name}: is damaged or cut off ({str(error.error_string).rstrip('.')}).") from None
