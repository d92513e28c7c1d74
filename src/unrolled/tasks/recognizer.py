"""A trained speech recogniser: `transcripts`, `evaluate`, `explain`, `save`. Made by `unrolled.load`.

recognizer = unrolled.load("runs/speech")
found = recognizer.transcribe("talk.mp3")
found.text                                           # 'good morning everybody'
found.words[0]                                       # Word(text='good', begin=0.31, end=0.62, confidence=0.98)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from unrolled.data.audio import read_audio
from unrolled.data.recordings import FRAMES, Recordings
from unrolled.decoding.alignment import align
from unrolled.decoding.beam import beam_search
from unrolled.decoding.ctc import Spelled, greedy, prefix_search
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.pair_codec import Side
from unrolled.features.sound import FrontEnd, Normal
from unrolled.features.spoken_rows import padded_frames, read_frames
from unrolled.features.transcripts import Spoken
from unrolled.folders import header, open_model, prepare_model, write_json, write_text
from unrolled.metrics.speech import character_errors, confusions, word_errors
from unrolled.models.decoder_engine import DecoderEngine
from unrolled.models.recognizer import BLANK, AttentionRecognizer, Recognizer, RecognizerConfig, built
from unrolled.tasks.card import recognizer_card
from unrolled.training.weights import load_weights, save_weights
from unrolled.types import Stepper

__all__ = ["NAME", "Heard", "Sound", "TrainedRecognizer", "Transcript", "Word"]

NAME = "transcribe"
#: Recordings listened to together. Changes no result.
_TOGETHER = 16
#: Symbols of a text for each step that is heard, at most.
_FASTEST = 1.0

#: A file, or samples at the rate of the model.
Sound = str | Path | np.ndarray


class Word(NamedTuple):
    """A word, when it begins and ends in seconds, and how sure the model is of it, 0 to 1."""

    text: str
    begin: float
    end: float
    confidence: float


class Transcript(NamedTuple):
    """What is said in a recording of so many seconds; its words; log_probability: of the text, in nats; others: the next
    likely texts with theirs.
    """

    file: str
    text: str
    words: tuple[Word, ...]
    log_probability: float
    seconds: float
    others: tuple[tuple[str, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One JSON line of `predict`."""
        words = [
            {"word": w.text, "start": round(w.begin, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
            for w in self.words
        ]
        found: dict[str, Any] = {"file": self.file, "text": self.text, "words": words}
        found |= {"log_probability": round(self.log_probability, 6), "seconds": round(self.seconds, 3)}
        others = [{"text": text, "log_probability": round(p, 6)} for text, p in self.others]
        return found | ({"others": others} if others else {})


class Heard(NamedTuple):
    """A text for a piece of sound: ids without the end, its log P, when each symbol begins and ends, in steps, and how sure
    it is; attention (U, T): where the decoder looked at each symbol, if there is one.
    """

    symbols: list[int]
    log_probability: float
    times: list[tuple[float, float, float]]
    others: list[tuple[list[int], float]]
    attention: np.ndarray | None = None


class TrainedRecognizer:
    """front, normal: how sound becomes what the model reads; side: how texts become ids; spoken: how texts are spelled;
    width: of the search, unless something else is said.
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
        metrics: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.side, self.front, self.normal, self.spoken = model, side, front, normal, spoken
        self.width, self.metrics = width, metrics or {}

    @staticmethod
    def load(path: str | Path) -> TrainedRecognizer:
        """Open a model folder or a run folder. FolderError if it is damaged or of another kind."""
        folder, config = open_model(path, NAME, "a speech recogniser")
        try:
            front, normal = FrontEnd(**config["front"]), Normal(**config["normal"])
            spoken, width = Spoken(**config["spoken"]), int(config["search"]["width"])
            model = built(RecognizerConfig(**config["model"]))
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise FolderError(f"{folder}: config.json does not describe a speech recogniser ({error}).") from None
        side = Side.load(folder, "text")
        if (len(side.vocabulary), front.n_features) != (model.config.n_target, model.config.n_features):
            raise FolderError(f"{folder}: vocabulary or frames are not those of config.json. Copy the folder again.")
        load_weights(model, folder / "model.safetensors")
        return TrainedRecognizer(model.eval(), side, front, normal, spoken, width=width, metrics=config.get("metrics"))

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = prepare_model(folder)
        config = header(NAME) | {"model": self.model.config.to_json(), "front": self.front.to_json()}
        config |= {"normal": self.normal.to_json(), "spoken": self.spoken.to_json(), "search": {"width": self.width}}
        config |= {"metrics": self.metrics} | (extra or {})
        save_weights(self.model, folder / "model.safetensors")
        self.side.save(folder, "text")
        write_json(folder / "metrics.json", self.metrics)
        write_text(folder / "README.md", recognizer_card(config))
        write_json(folder / "config.json", config)

    @property
    def step_seconds(self) -> float:
        """From one step of what is heard to the next."""
        return self.front.hop_ms / 1000 * self.model.config.reduction

    def transcribe(self, sound: Sound, width: int | None = None) -> Transcript:
        """What is said in a recording, a file or samples (N,). DataError if it cannot be read."""
        (found,) = self.transcripts([sound], width)
        if isinstance(found, DataError):
            raise found
        return found

    def transcripts(
        self, sounds: Iterable[Sound], width: int | None = None, *, n_best: int = 1, batch_size: int = _TOGETHER
    ) -> Iterator[Transcript | DataError]:
        """What is said in each recording, with `n_best` - 1 others; the error of each that cannot be read."""
        remaining = iter(sounds)
        while group := list(islice(remaining, batch_size)):
            read = [self._read(sound) for sound in group]
            good = [one for one in read if isinstance(one, Tensor)]
            heard = iter(self.heard(good, width, n_best=n_best) if good else ())
            for sound, frames in zip(group, read, strict=True):
                yield frames if isinstance(frames, DataError) else self.told(sound, frames, next(heard))

    def _read(self, sound: Sound) -> Tensor | DataError:
        """Normal frames (T, F)."""
        try:
            return self.frames_of(sound)[1]
        except DataError as error:
            return error

    def frames_of(self, sound: Sound) -> tuple[Tensor, Tensor]:
        """Frames (T, F), and normal frames. DataError if the recording cannot be read."""
        if isinstance(sound, np.ndarray):
            frames = self.front.frames([sound])[0]
        elif Path(sound).suffix.lower() in FRAMES:
            frames = read_frames(Path(sound), self.front.n_features)
        else:
            frames = self.front.frames([read_audio(sound, self.front.rate_hz)])[0]
        return frames, self.normal(frames)

    @torch.no_grad()
    def spelled(self, frames: Sequence[Tensor]) -> list[np.ndarray]:
        """Log-probabilities (T', V) of the symbols, the blank among them, of normal frames (T, F); of models with CTC."""
        self.model.eval()
        logits, steps = self.model.spelled(*padded_frames(frames))
        logs = logits.float().log_softmax(2).cpu().numpy()
        return [np.ascontiguousarray(logs[:n, b]) for b, n in enumerate(steps.tolist())]

    @cached_property
    def stepper(self) -> Stepper:
        """What is searched with, of models with attention: the decoder's engine, where it has one."""
        assert isinstance(self.model, AttentionRecognizer)
        return cast(Stepper, DecoderEngine(self.model) if DecoderEngine.serves(self.model) else self.model)

    def heard(self, frames: Sequence[Tensor], width: int | None = None, *, n_best: int = 1) -> list[Heard]:
        """The best text for each piece of normal frames (T, F)."""
        width = max(width or self.width, n_best)
        if isinstance(self.model, AttentionRecognizer):
            return self._by_attention(frames, width, n_best)
        return [self._by_ctc(logs, width, n_best) for logs in self.spelled(frames)]

    def _by_ctc(self, logs: np.ndarray, width: int, n_best: int) -> Heard:
        logs = self._allowed(logs)
        found: list[Spelled] = [greedy(logs, BLANK)] if width == 1 else prefix_search(logs, width, BLANK, n_best=n_best)
        best, *others = found
        aligned = align(logs, np.array(best.symbols, np.int64), BLANK)
        times = zip(aligned.begins.tolist(), aligned.ends.tolist(), aligned.confidences.tolist(), strict=True)
        return Heard(
            best.symbols, aligned.log_probability, list(times), [(one.symbols, one.log_probability) for one in others]
        )

    def _allowed(self, logs: np.ndarray) -> np.ndarray:
        """Without the unknown symbol, which is never written."""
        logs[:, self.side.vocabulary.unknown] = -np.inf
        return logs

    @torch.no_grad()
    def _by_attention(self, frames: Sequence[Tensor], width: int, n_best: int) -> list[Heard]:
        self.model.eval()
        source, vocabulary = padded_frames(frames), self.side.vocabulary
        longest = max(1, int(_FASTEST * max(map(len, frames)) / self.model.config.reduction))
        options = BeamOptions(width=width, n_best=n_best, norm="gnmt", max_length=longest)
        begin = torch.full((len(frames),), vocabulary.begin)
        found = beam_search(self.stepper, source, begin, options, end=vocabulary.end, forbidden=[vocabulary.unknown])
        heard = []
        for one in found:
            best, *others = one.hypotheses
            told = [([k for k in h.symbols if k != vocabulary.end], h.log_probability) for h in (best, *others)]
            assert best.attention is not None
            centres = best.attention @ np.arange(best.attention.shape[1])
            times = [(c, c + 1, float(np.exp(p))) for c, p in zip(centres.tolist(), best.token_scores, strict=True)]
            heard.append(Heard(*told[0], times[: len(told[0][0])], told[1:], best.attention))
        return heard

    def told(self, sound: Sound, frames: Tensor, heard: Heard) -> Transcript:
        """What was heard as a transcript."""
        name = "samples" if isinstance(sound, np.ndarray) else str(sound)
        words, seconds = self.words(heard), len(frames) * self.front.hop_ms / 1000
        others = {
            text: p for symbols, p in reversed(heard.others) if (text := self._text(symbols)) != self._text(heard.symbols)
        }
        listed = tuple(sorted(others.items(), key=lambda one: -one[1]))
        return Transcript(name, self._text(heard.symbols), words, heard.log_probability, seconds, listed)

    def _text(self, symbols: Sequence[int]) -> str:
        """The text of ids; one blank between words, though the model may have heard two."""
        return " ".join(self.side.decode(symbols).split())

    def words(self, heard: Heard) -> tuple[Word, ...]:
        """The words of a text with their times: a word has the times of its first and last symbol."""
        symbols, step = self.side.vocabulary.decode(heard.symbols), self.step_seconds
        text, of = self.side.join(symbols).split(), list[int]()
        for i, symbol in enumerate(symbols):
            of.append(-1 if symbol.isspace() else len(self.side.join(symbols[: i + 1]).split()) - 1)
        found = []
        for n, word in enumerate(text):
            own = [heard.times[i] for i, which in enumerate(of) if which == n]
            begin, end = own[0][0] * step, own[-1][1] * step
            found.append(Word(word, begin, end, float(np.exp(np.mean([np.log(max(c, 1e-9)) for _, _, c in own])))))
        return tuple(found)

    def evaluate(self, recordings: Recordings, width: int | None = None) -> tuple[dict[str, Any], list[Transcript]]:
        """Word and character error rates with intervals, by speaker, and what was taken for what; recordings that cannot be
        read are named and left out.
        """
        if not len(recordings):
            raise ConfigError("there are no recordings to evaluate on")
        word_errors(["a"], ["a"])  # before the long work: is jiwer there?
        made = list(self.transcripts(recordings.files, width))
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

    def explain(self, sound: Sound, width: int | None = None) -> dict[str, Any]:
        """The sound, the symbol of each step, where each symbol of the text stands, and what else was found."""
        from unrolled.tasks.explain_recognizer import explain_sound

        return explain_sound(self, sound, width)
