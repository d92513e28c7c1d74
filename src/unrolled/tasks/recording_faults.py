"""What is wrong with recordings and their texts, before a training; and after one, which texts are probably wrong.

unread        files that are missing, empty, damaged or no recordings
clipped       a part of the samples at full scale: recorded too loud
silent        nothing louder than a whisper in an empty room
impossible    more symbols than the sound has steps: CTC cannot learn from it, and makes the loss infinite
outliers      much slower or faster than the others: a text cut off, or another recording's
rare          characters that stand in one text only
repeated      the same sound under two names; worse, on both sides of a split
leaks         speakers both in the training and in the test
suspicious    texts that a trained model finds much less likely than what it hears
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unrolled.data.audio import audio_facts, audio_pieces
from unrolled.data.recordings import FRAMES, Recordings
from unrolled.decoding.ctc import closed
from unrolled.errors import ConfigError, DataError
from unrolled.features.image_store import content_key
from unrolled.features.spoken_rows import read_frames
from unrolled.features.transcripts import Spoken
from unrolled.layers.ctc import frames_needed
from unrolled.models.recognizer import BLANK
from unrolled.tasks.faults import Fault, Findings, outliers, rare_letters
from unrolled.tasks.hearing import Search
from unrolled.tasks.recognizer import TrainedRecognizer

__all__ = ["examine", "suspicious"]

#: The part of the samples at full scale from which a recording is clipped.
_CLIPPED = 0.001
_FULL = 0.999
#: Loudest sample of a silent recording: -50 dB.
_SILENT = 10 ** (-50 / 20)
#: Seconds from one frame to the next.
_HOP = 0.01
_LISTENED = 32


_KINDS = {
    "unread": "cannot be read",
    "clipped": "recorded too loud: clipped",
    "silent": "silent",
    "impossible": "too short for their text",
    "outlier": "much slower or faster than others",
    "rare": "characters in one text only",
    "repeated": "the same sound twice",
    "leak": "speakers on both sides of a split",
    "suspicious": "texts that are probably wrong",
}


class _Sound(NamedTuple):
    seconds: float
    loudest: float
    clipped: float
    digest: bytes


def examine(recordings: Recordings, spoken: Spoken | None = None) -> Iterator[int | Findings]:
    """Look at every recording: how many have been looked at, now and then; then what was found."""
    found, rates, seen = Findings(_KINDS), Counter[int](), dict[bytes, int]()
    texts, seconds, paces = [(spoken or Spoken())(text) for text in recordings.texts], 0.0, dict[int, float]()
    found.faults += [Fault("unread", "", "is not there", file=path) for path in recordings.missing]
    for i, file in enumerate(recordings.files):
        if i % 100 == 0:
            yield i
        try:
            sound = _looked_at(Path(str(file)), rates)
        except DataError as error:
            found.faults.append(Fault("unread", recordings.places[i], str(error), file=str(file)))
            continue
        seconds += sound.seconds
        found.faults += [*_of_sound(sound, recordings, i), *_of_text(sound, texts[i], recordings, i)]
        if texts[i]:
            paces[i] = sound.seconds / len(texts[i])
        if sound.digest in seen:
            found.faults.append(_repeated(recordings, seen[sound.digest], i))
        seen.setdefault(sound.digest, i)
    found.faults += [*_paces(paces, recordings), *rare_letters(texts, recordings.places), *_leaks(recordings)]
    speakers = dict(Counter(name for name in recordings.speakers if name).most_common())
    found.facts = {"recordings": len(recordings), "minutes": seconds / 60, "without_a_text": recordings.empty}
    found.facts |= {"samples_a_second": dict(rates.most_common()), "speakers": speakers}
    yield found


def _looked_at(path: Path, rates: Counter[int]) -> _Sound:
    """A recording, gone through once in pieces."""
    digest, n, loudest, full = hashlib.blake2b(digest_size=16), 0, 0.0, 0
    if path.suffix.lower() in FRAMES:
        frames = read_frames(path)
        return _Sound(len(frames) * _HOP, 1.0, 0.0, content_key(frames.numpy()))
    rate = audio_facts(path).rate_hz
    for piece in audio_pieces(path, rate):
        digest.update(piece.tobytes())
        n, loudest = n + len(piece), max(loudest, float(np.abs(piece).max(initial=0)))
        full += int((np.abs(piece) >= _FULL).sum())
    rates[rate] += 1
    return _Sound(n / rate, loudest, full / max(1, n), digest.digest())


def _of_sound(sound: _Sound, recordings: Recordings, i: int) -> Iterator[Fault]:
    place, file = recordings.places[i], str(recordings.files[i])
    if sound.clipped > _CLIPPED:
        what = f"{100 * sound.clipped:.2f} % of the samples are at full scale"
        yield Fault("clipped", place, what, sound.clipped, file)
    if sound.loudest < _SILENT:
        loud = f"{20 * np.log10(sound.loudest):.0f} dB" if sound.loudest else "nothing at all"
        yield Fault("silent", place, f"its loudest sample is {loud}", -sound.loudest, file)


def _of_text(sound: _Sound, text: str, recordings: Recordings, i: int) -> Iterator[Fault]:
    needed, steps = frames_needed(np.array([ord(c) for c in text], np.int64)), int(sound.seconds / _HOP)
    if steps < needed:
        what = f"{sound.seconds:.2f} s for {len(text)} characters: {steps} frames, {needed} are needed"
        yield Fault("impossible", recordings.places[i], what, needed / max(1, steps), str(recordings.files[i]))


def _repeated(recordings: Recordings, first: int, i: int) -> Fault:
    parts = [recordings.splits[k] for k in (first, i)]
    across = parts[0] != parts[1]
    where = f", which is in {parts[0]}, this in {parts[1]}" if across else ""
    texts = "" if recordings.texts[first] == recordings.texts[i] else "; their texts differ"
    what = f"the same sound as {recordings.files[first]}{where}{texts}"
    return Fault("repeated", recordings.places[i], what, 2.0 * across + bool(texts), str(recordings.files[i]))


def _paces(paces: dict[int, float], recordings: Recordings) -> list[Fault]:
    """Recordings whose seconds a character are far from what is usual."""
    rows, values = list(paces), list(paces.values())
    usual = float(np.median(values)) if values else 0.0
    found = []
    for k, size in outliers(values):
        i, text = rows[k], recordings.texts[rows[k]]
        what = f"{values[k]:.3f} s a character, usual are {usual:.3f}: {text[:60]!r}"
        found.append(Fault("outlier", recordings.places[i], what, size, str(recordings.files[i])))
    return found


def _leaks(recordings: Recordings) -> list[Fault]:
    """Speakers of the training who are in other parts too."""
    of = dict[str, set[str]]()
    for speaker, split in zip(recordings.speakers, recordings.splits, strict=True):
        if speaker and split:
            of.setdefault(speaker, set()).add(split)
    return [
        Fault("leak", "", f"the speaker {name!r} is in {' and '.join(sorted(parts))}: tests say nothing of new voices")
        for name, parts in sorted(of.items())
        if "train" in parts and len(parts) > 1
    ]


def suspicious(trained: TrainedRecognizer, recordings: Recordings) -> Iterator[int | list[Fault]]:
    """Texts that a trained model, with CTC, finds less likely than what it hears, the worst first: how many have been
    listened to, now and then, then the faults. size: nats a symbol that the text is less likely.
    """
    if trained.model.ctc is None:
        raise ConfigError("texts are judged by a recogniser with CTC: --head ctc or hybrid")
    ear, found = trained.ear, list[Fault]()
    for at in range(0, len(recordings), _LISTENED):
        yield at
        some, frames = list[int](), []
        for i in range(at, min(at + _LISTENED, len(recordings))):
            try:
                frames.append(trained.frames_of(Path(str(recordings.files[i])))[1])
                some.append(i)
            except DataError:
                continue
        if not frames:
            continue
        listened = ear.listened(frames)
        for i, logs, located in zip(some, ear.spelled(listened), ear.located(listened), strict=True):
            heard = ear.heard_in(logs, located, Search())
            text = trained.spoken(recordings.texts[i])
            ids = trained.side.encode(text)[:-1].astype(np.int64)
            said, best = closed(logs, [ids, np.array(heard.symbols, np.int64)], BLANK)
            worse = float(best - said) / max(1, len(ids))
            if trained.text_of(heard.symbols) != text:
                heard_text = trained.text_of(heard.symbols)
                what = f"{min(worse, 999):.2f} nats a symbol less likely: said {text!r}, heard {heard_text!r}"
                found.append(Fault("suspicious", recordings.places[i], what, worse, str(recordings.files[i])))
    yield sorted(found, key=lambda fault: -fault.size)
