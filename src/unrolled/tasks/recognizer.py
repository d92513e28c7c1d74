"""A trained speech recogniser: `transcripts`, `evaluate`, `explain`, `save`. Made by `unrolled.load`.

recognizer = unrolled.load("runs/speech")
found = recognizer.transcribe("talk.mp3")
found.text                                           # 'good morning everybody'
found.words[0]                                       # Word(text='good', begin=0.31, end=0.62, confidence=0.98)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from unrolled.data.audio import audio_pieces, read_audio
from unrolled.data.recordings import FRAMES, Recordings, read_recordings
from unrolled.decoding.alignment import to_sound
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.pair_codec import Side
from unrolled.features.segments import segments
from unrolled.features.sound import FrontEnd, Normal
from unrolled.features.spoken_rows import read_frames
from unrolled.features.transcripts import Spoken
from unrolled.folders import header, open_model, prepare_model, write_json, write_text
from unrolled.metrics.speech import character_errors, confusions, word_errors
from unrolled.models.recognizer import Recognizer, RecognizerConfig, built
from unrolled.tasks.card import recognizer_card
from unrolled.tasks.hearing import Ear, Heard, Search
from unrolled.tasks.inputs import RECORDINGS, evaluation_paths, iter_inputs, map_inputs
from unrolled.tasks.media_inputs import Recording, input_name, to_samples
from unrolled.tasks.streaming import Stream
from unrolled.tasks.transcript import Alternative, Transcript, Word, joined, later
from unrolled.training.weights import load_weights, save_weights

__all__ = ["NAME", "TrainedRecognizer"]

NAME = "transcribe"
#: Recordings listened to together. Changes no result.
_TOGETHER = 16
#: Seconds of the pieces that long recordings are cut into, and of what is heard around each, at most.
_LONGEST, _AROUND = 20.0, 1.0


class _Piece(NamedTuple):
    """Normal frames (T, F) of a part of a recording: see `features.segments.Segment`; or why it cannot be read."""

    recording: int
    name: str
    frames: Tensor | None
    begin: float
    own: tuple[float, float]
    last: bool
    error: DataError | None = None


class TrainedRecognizer:
    """front, normal: how sound becomes what the model reads; side: how texts become ids; spoken: how texts are spelled;
    width: of the search, unless something else is said; longest: seconds of the longest recording learned from.
    """

    def __init__(
        self,
        model: Recognizer,
        side: Side,
        front: FrontEnd,
        normal: Normal,
        spoken: Spoken,
        *,
        width: int = 20,
        longest: float = _LONGEST,
    ) -> None:
        self.model, self.side, self.front, self.normal, self.spoken = model, side, front, normal, spoken
        self.ear = Ear(model, side, spoken, width)
        self.longest, self.metrics = longest, dict[str, Any]()

    @staticmethod
    def load(path: str | Path) -> TrainedRecognizer:
        """Open a model folder or a run folder. FolderError if it is damaged or of another kind."""
        folder, config = open_model(path, NAME, "a speech recogniser")
        try:
            front, normal = FrontEnd(**config["front"]), Normal(**config["normal"])
            spoken, width = Spoken(**config["spoken"]), int(config["search"]["width"])
            longest = float(config["longest"])
            model = built(RecognizerConfig(**config["model"]))
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise FolderError(f"{folder}: config.json does not describe a speech recogniser ({error}).") from None
        side = Side.load(folder, "text")
        if (len(side.vocabulary), front.n_features) != (model.config.n_target, model.config.n_features):
            raise FolderError(f"{folder}: vocabulary or frames are not those of config.json. Copy the folder again.")
        load_weights(model, folder / "model.safetensors")
        found = TrainedRecognizer(model.eval(), side, front, normal, spoken, width=width, longest=longest)
        found.metrics = config.get("metrics") or {}
        return found

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = prepare_model(folder)
        config = header(NAME) | {"model": self.model.config.to_json(), "front": self.front.to_json()}
        config |= {"normal": self.normal.to_json(), "spoken": self.spoken.to_json(), "search": {"width": self.ear.width}}
        config |= {"longest": self.longest, "metrics": self.metrics} | (extra or {})
        save_weights(self.model, folder / "model.safetensors")
        self.side.save(folder, "text")
        write_json(folder / "metrics.json", self.metrics)
        write_text(folder / "README.md", recognizer_card(config))
        write_json(folder / "config.json", config)

    @property
    def step_seconds(self) -> float:
        """From one step of what is heard to the next."""
        return self.front.hop_ms / 1000 * self.model.config.reduction

    @property
    def piece_seconds(self) -> float:
        """Of sound that is heard at once: CTC reads on and on, a decoder with attention knows what it has learned from."""
        return max(_LONGEST, self.longest) if self.model.config.head == "ctc" else self.longest

    def transcribe(self, sound: Recording, search: Search | None = None, *, batch_size: int = _TOGETHER) -> Any:
        """Return the `Transcript` of a recording; of an iterable of recordings, a list of these.

        sound: a path, bytes of a file, samples (N,) at the model's rate, or (samples, rate in Hz). batch_size: pieces of
        recordings computed at once. Raises TypeError for what is neither recording nor recordings, DataError for the first
        recording that cannot be read.
        """
        return map_inputs(RECORDINGS, sound, lambda some: self.transcripts(some, search, batch_size))

    def transcripts(
        self, sounds: Iterable[Recording], search: Search | None = None, batch_size: int = _TOGETHER
    ) -> Iterator[Transcript | DataError]:
        """What is said in each recording; the error of each that cannot be read. One that is heard in one piece also has
        `search.n_best` - 1 others: pieces of a long one are joined by their times, of the best of each.
        """
        waiting, done = list[_Piece](), dict[int, list[tuple[_Piece, Heard]]]()
        for piece in self._pieces(iter_inputs(RECORDINGS, sounds)):
            waiting.append(piece)
            if len(waiting) == batch_size:
                yield from self._finished(waiting, done, search)
                waiting = []
        yield from self._finished(waiting, done, search)

    def _pieces(self, sounds: Iterator[Recording]) -> Iterator[_Piece]:
        """The pieces of each recording, or the error instead of those that cannot be read."""
        for i, sound in enumerate(sounds):
            name = input_name(sound, "samples")
            try:
                for frames, begin, own, last in self._cut(sound):
                    yield _Piece(i, name, frames, begin, own, last)
            except DataError as error:
                yield _Piece(i, name, None, 0.0, (0.0, 0.0), True, error)

    def _cut(self, sound: Recording) -> Iterator[tuple[Tensor, float, tuple[float, float], bool]]:
        """Normal frames of each piece of a recording, where it begins, its own part, and whether it is the last."""
        sound = to_samples(sound, self.front.rate_hz)
        if isinstance(sound, (str, Path)) and Path(sound).suffix.lower() in FRAMES:
            frames = self.frames_of(sound)[1]
            yield frames, 0.0, (0.0, len(frames) * self.front.hop_ms / 1000), True
            return
        if isinstance(sound, np.ndarray):
            if not len(sound):
                raise DataError("samples: there are none")
            self._check_sound("samples")
            pieces = iter([sound])
        else:
            self._check_sound(sound)
            pieces = audio_pieces(sound, self.front.rate_hz)
        longest = self.piece_seconds
        for found in segments(pieces, self.front.rate_hz, longest, min(_AROUND, longest / 4)):
            yield self.normal(self.front.frames([found.samples])[0]), found.begin, found.own, found.last

    def _finished(
        self, pieces: list[_Piece], done: dict[int, list[tuple[_Piece, Heard]]], search: Search | None
    ) -> Iterator[Transcript | DataError]:
        """Listen to pieces: the transcripts of recordings that end with them. done: what is heard of those that go on."""
        frames = [piece.frames for piece in pieces if piece.frames is not None]
        heard = iter(self.ear.heard(frames, search) if frames else ())
        for piece in pieces:
            if piece.frames is None:
                done.pop(piece.recording, None)
                assert piece.error is not None
                yield piece.error
                continue
            done.setdefault(piece.recording, []).append((piece, next(heard)))
            if piece.last:
                yield self._joined(done.pop(piece.recording))

    def _joined(self, parts: list[tuple[_Piece, Heard]]) -> Transcript:
        """The pieces of a recording as one transcript."""
        name, seconds = parts[0][0].name, parts[-1][0].own[1]
        if len(parts) == 1:
            return self.told(name, parts[0][1], parts[0][0].frames, seconds)
        words = [[later(word, piece.begin) for word in self.words(heard, piece.frames)] for piece, heard in parts]
        found = joined(words, [piece.own[1] for piece, _ in parts[:-1]])
        total = sum(heard.log_probability for _, heard in parts)
        return Transcript(name, " ".join(word.text for word in found), tuple(found), total, seconds)

    def _check_sound(self, sound: Any) -> None:
        """DataError for sound where the model reads frames that were made elsewhere."""
        self.front.check_kind(Path(input_name(sound, "sound")))

    def frames_of(self, sound: Recording) -> tuple[Tensor, Tensor]:
        """Frames (T, F), and normal frames. DataError if the recording cannot be read."""
        sound = to_samples(sound, self.front.rate_hz)
        if isinstance(sound, np.ndarray):
            self._check_sound("samples")
            if not len(sound):
                raise DataError("samples: there are none")
            frames = self.front.frames([sound])[0]
        elif isinstance(sound, (str, Path)) and Path(sound).suffix.lower() in FRAMES:
            frames = read_frames(Path(sound), self.front.n_features)
        else:
            self._check_sound(sound)
            frames = self.front.frames([read_audio(sound, self.front.rate_hz)])[0]
        return frames, self.normal(frames)

    def told(self, name: str, heard: Heard, frames: Tensor | None, seconds: float) -> Transcript:
        """What was heard in a recording of one piece."""
        best, others = self.text_of(heard.symbols), dict[str, Alternative]()
        for symbols, p, score in heard.others:
            text = self.text_of(symbols)
            others.setdefault(text, Alternative(text, p, score))
        others.pop(best, None)
        words, several = self.words(heard, frames), tuple(others.values())
        return Transcript(name, best, words, heard.log_probability, seconds, several, heard.score if several else None)

    def text_of(self, symbols: Sequence[int]) -> str:
        """The text of ids; one blank between words, though the model may have heard two."""
        return " ".join(self.side.decode(symbols).split())

    def words(self, heard: Heard, frames: Tensor | None) -> tuple[Word, ...]:
        """The words of a text with their times: from the first to the last symbol, and on to where their sound ends, by
        the normal frames (T, F) they were heard in.
        """
        symbols, factor = self.side.vocabulary.decode(heard.symbols), self.model.config.reduction
        text, of = self.side.join(symbols).split(), list[int]()
        for i, symbol in enumerate(symbols):
            of.append(-1 if symbol.isspace() else len(self.side.join(symbols[: i + 1]).split()) - 1)
        own = [[heard.times[i] for i, which in enumerate(of) if which == n] for n in range(len(text))]
        spans = [(factor * times[0][0], factor * times[-1][1]) for times in own]
        if frames is not None and self.front.kind != "given":
            spans = to_sound(spans, self._loudness(frames))
        sure = [float(np.exp(np.mean([np.log(max(c, 1e-9)) for *_, c in times]))) for times in own]
        ms = self.front.hop_ms / 1000
        return tuple(Word(w, ms * b, ms * e, c) for w, (b, e), c in zip(text, spans, sure, strict=True))

    def _loudness(self, frames: Tensor) -> np.ndarray:
        """How loud normal frames (T, F) are, each: the mean of the mels, or the first of the cepstra, which is that."""
        return (frames[:, : self.front.n_mels].mean(1) if self.front.kind == "log-mel" else frames[:, 0]).numpy()

    def evaluate(
        self,
        recordings: Any,
        search: Search | None = None,
        *,
        audio: str | Path | None = None,
        split: str | None = None,
        batch_size: int = _TOGETHER,
    ) -> tuple[dict[str, Any], list[Transcript]]:
        """Word and character error rates with intervals, by speaker, and what was taken for what; recordings that cannot be
        read are named and left out.

        recordings: `Recordings`, or one or several paths of tables or folders; audio, split: of these tables, the folder of
        the recordings (by default their own) and the lines that are used. batch_size: pieces computed at once.
        """
        if not isinstance(recordings, Recordings):
            folder = None if audio is None else Path(audio)
            recordings = read_recordings(evaluation_paths(recordings, NAME), folder, split=split)
        if not len(recordings):
            raise ConfigError("there are no recordings to evaluate on")
        word_errors(["a"], ["a"])  # before the long work: is jiwer there?
        made = list(self.transcripts(recordings.files, search, batch_size))
        unread = [str(one) for one in made if isinstance(one, DataError)]
        kept = [i for i, one in enumerate(made) if isinstance(one, Transcript)]
        if not kept:
            raise DataError("\n".join(["none of the recordings can be read:", *unread[:10]]))
        good = [one for one in made if isinstance(one, Transcript)]
        said = [self.spoken(recordings.texts[i]) for i in kept]
        texts = [self.spoken(one.text) for one in good]
        words, characters = word_errors(said, texts), character_errors(said, texts)
        right = np.array([a == b for a, b in zip(said, texts, strict=True)])
        found: dict[str, Any] = {"recordings": len(good), "seconds": sum(one.seconds for one in good)}
        found |= {"unread": unread, "missing": recordings.missing, "empty": recordings.empty}
        for name, rate in (("wer", words), ("cer", characters)):
            found |= {name: rate.value, f"{name}_interval": [rate.interval.low, rate.interval.high]}
        found |= {"words": int(words.units.sum()), "exactly_right": float(right.mean())}
        speakers = np.array([recordings.speakers[i] for i in kept])
        found["speakers"] = {
            name: {
                "recordings": int((speakers == name).sum()),
                "wer": float(words.errors[speakers == name].sum() / max(1, words.units[speakers == name].sum())),
                "exactly_right": float(right[speakers == name].mean()),
            }
            for name in sorted(set(speakers.tolist()) - {""})
        }
        pairs = list(zip(said, texts, strict=True))
        found["confusions"] = [list(one) for one in confusions(pairs)]
        found["errors"] = [
            {"file": one.file, "said": a, "heard": b} for one, (a, b) in zip(good, pairs, strict=True) if a != b
        ]
        return found, good

    def stream(self, search: Search | None = None) -> Stream:
        """Listen while sound is coming. ConfigError for a model that cannot."""
        return Stream(self, search or Search())

    def explain(self, sound: Recording, search: Search | None = None) -> Any:
        """The sound, the symbol of each step, where each symbol of the text stands, and what else was found.

        An iterable of recordings gives a list.
        """
        from unrolled.tasks.explain_recognizer import explain_sound

        options = search or Search()
        return map_inputs(RECORDINGS, sound, lambda some: (explain_sound(self, one, options) for one in some))
