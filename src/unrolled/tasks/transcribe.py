"""Speech recognition as a task of the training loop: recordings and their texts -> frames and ids -> model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.audio import audio_facts
from unrolled.data.recordings import FRAMES, Recordings
from unrolled.errors import ConfigError, DataError
from unrolled.features.augment import Augment
from unrolled.features.fingerprints import fingerprints, held_out
from unrolled.features.pair_codec import Side
from unrolled.features.sound import FrontEnd, Normal
from unrolled.features.spoken_rows import Sounds, SpokenBatch, SpokenRows, read_frames, spoken_batch
from unrolled.features.texts import Grouping
from unrolled.features.transcripts import Spoken
from unrolled.features.unknown import UnknownRate
from unrolled.layers.ctc import frames_needed
from unrolled.metrics.speech import character_errors, word_errors
from unrolled.models.recognizer import Recognizer, RecognizerConfig, built
from unrolled.options.batches import take_batch
from unrolled.options.transcribe import LARGEST, RecordingOptions, TranscribeOptions
from unrolled.tasks.hearing import Search
from unrolled.tasks.recognizer import TrainedRecognizer
from unrolled.types import Criterion, Stage

__all__ = ["Known", "TranscribeFacts", "TranscribeTask", "parted"]

#: Names of tokenizers where they differ from those of the options.
_TOKENIZERS = {"word": "whitespace"}
#: Frames that are looked at to find mean and deviation, and frames of recordings that are validated together.
_MEASURED, _TOGETHER = 200_000, 8000
#: Part of the texts that may be too long for the steps of the sound before a smaller reduction is taken.
_TOO_FAST = 0.005
#: Of the way from one symbol to the next, how far a decoder goes by itself.
_LAGS = 2 / 3
#: Recordings whose headers say at what rate to listen.
_LOOKED_AT = 200
_HIGHEST_HZ = 16_000


class TranscribeFacts(NamedTuple):
    """What was found. missing: recordings that are not there; unread: that cannot be read; empty: without a text; long: too
    long; impossible: whose text has more symbols than the sound has steps.
    """

    train: int
    valid: int
    train_seconds: float
    valid_seconds: float
    speakers: int
    symbols: int
    rate_hz: int
    reduction: int
    missing: int
    unread: int
    empty: int
    long: int
    impossible: int


@dataclass(frozen=True)
class Known:
    """What a training that has begun cannot find otherwise than it did."""

    side: Side
    front: FrontEnd
    normal: Normal
    reduction: int
    pace: float


def parted(
    recordings: Recordings, valid: Recordings | None, options: RecordingOptions, seed: int
) -> tuple[Recordings, Recordings]:
    """Recordings to learn from and to choose by, drawn by their names, or by the names of their speakers."""
    if valid is not None:
        return recordings, valid
    by_speaker = options.hold_out == "speakers"
    if by_speaker and not all(recordings.speakers):
        raise ConfigError("--hold-out speakers: the table has no column 'speaker', or not everywhere a name in it")
    names = (
        recordings.speakers
        if by_speaker
        else [
            f"{i if isinstance(file, np.ndarray) else file.name} {text}"
            for i, (file, text) in enumerate(zip(recordings.files, recordings.texts, strict=True))
        ]
    )
    keys, index = np.unique(fingerprints(names), return_inverse=True)
    held = held_out(keys, options.valid_fraction, seed)[index]
    if held.all() or not held.any():
        raise DataError("there are too few recordings to hold some out for validation. Give more, or --valid FILE.")
    train = recordings.part(np.flatnonzero(~held))
    train.missing, train.empty = recordings.missing, recordings.empty
    return train, recordings.part(np.flatnonzero(held))


class TranscribeTask:
    """Implements `types.Task` for speech recognition."""

    def __init__(
        self, options: TranscribeOptions, parts: tuple[Recordings, Recordings], known: Known | None = None
    ) -> None:
        data = options.data
        self.options, self.spoken, self.problems = options, Spoken(data.lower, data.marks), list[str]()
        by_loss, select = Criterion("valid_loss"), options.search.select
        self.criteria = (by_loss,) if select == "loss" else (Criterion(f"valid_{select}"), by_loss)
        self.front = known.front if known else _front(options, parts[0])
        train, valid = (self._readable(part, data.longest) for part in parts)
        if not len(train.recordings) or not len(valid.recordings):
            raise DataError("\n".join(["none of the recordings can be learned from:", *self.problems[:10]]))
        texts = [self.spoken(text) for text in train.recordings.texts]
        tokens = _TOKENIZERS.get(data.tokens, data.tokens)
        self.side = known.side if known else Side.fit(texts, tokens, data.vocabulary_size, data.min_count)
        encoded = [self.side.encode(text) for text in texts]
        needed = np.array([frames_needed(row[:-1]) for row in encoded])
        frames = (train.seconds * 1000 / self.front.hop_ms).astype(np.int64)
        self.reduction = known.reduction if known else _reduction(options, frames, needed)
        fits = -(-frames // self.reduction) >= needed
        if not fits.any():
            raise DataError(
                "every text has more symbols than its recording has steps: lower --reduction, or use --tokens bpe"
            )
        fitting = np.flatnonzero(fits).tolist()
        symbols = sum(len(encoded[i]) for i in fitting)
        self.pace = known.pace if known else _pace(options, float(frames[fits].sum()) / self.reduction / symbols)
        self.train, self.valid = train.recordings.part(fitting), valid.recordings
        self._sounds, self._held = train.sounds.part(fitting), valid.sounds
        self.normal = known.normal if known else self._measured()
        begin, heard = self.side.vocabulary.begin, frames[fits].clip(1)
        self.options = take_batch(options, examples=len(heard), tokens=int(heard.sum()), largest=LARGEST)
        training = self.options.training
        self.rows = SpokenRows(
            self._sounds,
            [row for row, fit in zip(encoded, fits, strict=True) if fit],
            Grouping(heard, training.batch_tokens, training.seed),
            normal=self.normal,
            augment=Augment(**options.augment.model_dump()),
            begin=begin,
        )
        held = (valid.seconds * 1000 / self.front.hop_ms).astype(np.int64).clip(1)
        self._groups = Grouping(held, _TOGETHER, 0)
        self.facts = TranscribeFacts(
            train=len(self.train),
            valid=len(self.valid),
            train_seconds=float(train.seconds[fits].sum()),
            valid_seconds=float(valid.seconds.sum()),
            speakers=len({*self.train.speakers} - {""}),
            symbols=len(self.side.vocabulary),
            rate_hz=self.front.rate_hz,
            reduction=self.reduction,
            missing=sum(len(part.missing) for part in parts),
            unread=len(self.problems),
            empty=sum(part.empty for part in parts) + train.empty + valid.empty,
            long=train.long + valid.long,
            impossible=int((~fits).sum()),
        )
        held_rows = (self.side.encode(self.spoken(text)) for text in self.valid.texts)
        self.unknown = UnknownRate.of_sentences(encoded, held_rows, self.side.tokenizer.unit)
        self.longest = float(train.seconds[fits].max())
        self.missing = [name for part in parts for name in part.missing]
        self.sources = ["recordings"]

    def _readable(self, recordings: Recordings, longest: float) -> _Readable:
        """Those that can be read and are not too long; what is wrong with others goes to `problems`."""
        sounds, seconds, kept, long, empty = Sounds(recordings.files, self.front), list[float](), list[int](), 0, 0
        for i in range(len(recordings)):
            if not self.spoken(recordings.texts[i]):
                empty += 1
                continue
            try:
                found = sounds.seconds(i)
                if found > longest:
                    long += 1
                    continue
                if found <= 0:
                    raise DataError(f"{recordings.files[i]}: holds no sound: 0 samples.")
                sounds.check(i)
            except DataError as error:
                self.problems.append(str(error))
                continue
            seconds.append(found)
            kept.append(i)
        return _Readable(recordings.part(kept), sounds.part(kept), np.array(seconds), long, empty)

    def _measured(self) -> Normal:
        """Mean and deviation of frames, of enough recordings to know them."""
        data, random = self.options.data, np.random.default_rng(self.options.training.seed)
        own_mean = data.own_mean and not self.options.model.streaming
        frames, n = list[Tensor](), 0
        for i in random.permutation(len(self.train)).tolist():
            frames += self._sounds.frames([i])
            n += len(frames[-1])
            if n > _MEASURED:
                break
        return Normal.of(frames, own_mean=own_mean)

    def build(self) -> Recognizer:
        """A fresh model of the configured size. A decoder alone starts from nothing, so that it has to look."""
        sizes = self.options.model.model_dump(exclude={"streaming", "reduction", "pace"})
        sizes["bridge"] = "zero" if self.options.model.head == "attention" else "tanh"
        given = {"n_target": len(self.side.vocabulary), "n_features": self.front.n_features}
        both = not self.options.model.streaming
        return built(RecognizerConfig(**sizes, **given, reduction=self.reduction, pace=self.pace, bidirectional=both))

    def stages(self, model: nn.Module) -> list[Stage]:
        """All parameters learn alike."""
        return [Stage(list(model.parameters()))]

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass."""
        return len(self.rows)

    def batch(self, epoch: int, k: int) -> SpokenBatch:
        """Batch k of an epoch."""
        return self.rows.batch(epoch, k)

    def trained(self, model: nn.Module) -> TrainedRecognizer:
        """The model with what it needs to listen and to write."""
        assert isinstance(model, Recognizer)
        width, longest = self.options.search.beam, self.longest
        return TrainedRecognizer(model, self.side, self.front, self.normal, self.spoken, width=width, longest=longest)

    def _frames(self, which: list[int]) -> list[Tensor]:
        """Normal frames of validation recordings."""
        return [self.normal(x) for x in self._held.frames(which)]

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, Any]:
        """Loss in nats a symbol and errors of greedy transcripts on the validation recordings."""
        assert isinstance(model, Recognizer)
        model.eval()
        trained, total, n = self.trained(model), 0.0, 0
        said, heard = list[str](), list[str]()
        for k in range(len(self._groups)):
            which = self._groups.group(0, k).tolist()
            frames, texts = self._frames(which), [self.spoken(self.valid.texts[i]) for i in which]
            found = model.loss(spoken_batch(frames, [self.side.encode(text) for text in texts], self.side.vocabulary.begin))
            total, n = total + float(found.loss), n + found.n_tokens
            said += texts
            heard += [self.side.decode(one.symbols) for one in trained.ear.heard(frames, Search(1))]
        loss, words, characters = total / n, word_errors(said, heard).value, character_errors(said, heard).value
        return {"valid_loss": loss, "valid_wer": words, "valid_cer": characters}

    def preview(self, model: nn.Module) -> str:
        """What is heard in the first validation recording."""
        (found,) = self.trained(model).ear.heard(self._frames([0]), Search(1))
        return self.side.decode(found.symbols)

    def save(self, model: nn.Module, folder: Path, metrics: dict[str, Any]) -> None:
        """Write the model folder."""
        found = self.trained(model)
        found.metrics = {key: value for key, value in metrics.items() if value is not None} | self.unknown.to_metrics()
        data = {"sources": self.sources, **self.facts._asdict()}
        found.save(folder, {"data": data, "options": self.options.model_dump(exclude_none=True)})


class _Readable(NamedTuple):
    recordings: Recordings
    sounds: Sounds
    seconds: np.ndarray
    long: int
    empty: int


def _front(options: TranscribeOptions, recordings: Recordings) -> FrontEnd:
    """How to listen: as the options say, at the rate that most recordings have."""
    data = options.data
    first = recordings.files[0]
    if isinstance(first, Path) and first.suffix.lower() in FRAMES:
        return FrontEnd("given", n_mels=read_frames(first).shape[1])
    rate = data.rate_hz or _usual_rate(recordings)
    n_mels = data.n_mels or (40 if rate <= 8000 else 80)
    return FrontEnd(data.kind, rate, n_mels, min(data.n_cepstra, n_mels), data.deltas)


def _usual_rate(recordings: Recordings) -> int:
    """The rate of most of the first recordings, at most 16,000 samples a second."""
    rates = Counter[int]()
    for file in recordings.files[:_LOOKED_AT]:
        if isinstance(file, Path):
            try:
                rates[audio_facts(file).rate_hz] += 1
            except DataError:
                continue
    return min(_HIGHEST_HZ, rates.most_common(1)[0][0]) if rates else _HIGHEST_HZ


def _pace(options: TranscribeOptions, spoken: float) -> float:
    """As the options say, or so that a decoder moves on a little slower than is spoken, in steps a symbol. Beside CTC it
    looks anywhere: it finds its way, and made to move on it learns to jump to the end, where all is summed up.
    """
    if options.model.pace is None:
        return 0.0 if options.model.head == "hybrid" else max(1.0, _LAGS * spoken)
    return options.model.pace


def _reduction(options: TranscribeOptions, frames: np.ndarray, needed: np.ndarray) -> int:
    """As the options say, or the largest of 4, 2 and 1 with which nearly all texts fit; sped up, too."""
    if options.model.reduction is not None:
        return options.model.reduction
    fastest = frames / (1 + options.augment.speed)
    return next((r for r in (4, 2) if np.mean(-(-fastest // r) < needed) <= _TOO_FAST), 1)
