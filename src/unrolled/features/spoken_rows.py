"""Recordings and their texts in batches of similar lengths. Batch k of epoch e is a pure function of (seed, e, k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unrolled.data.audio import audio_facts, read_audio
from unrolled.data.recordings import FRAMES
from unrolled.errors import DataError
from unrolled.features.augment import Augment, noise
from unrolled.features.pair_rows import next_symbols
from unrolled.features.sound import FrontEnd, Normal
from unrolled.features.texts import Grouping

__all__ = ["Sounds", "SpokenBatch", "SpokenRows", "padded_frames", "read_frames", "spoken_batch"]

#: Bytes of samples that are kept in memory, as 16 bits each; those of further recordings are read again in each epoch.
_KEPT = 2 << 30
#: How loud noise is that says nothing, in decibels below full scale.
_NOTHING_DB = (-70.0, -10.0)


@dataclass(frozen=True)
class SpokenBatch:
    """frames (B, T, F) of lengths (B,), zero behind a row's end; labels (N,) of all rows, one behind the other, of lengths
    label_lengths (B,); inputs and targets (B, U) as those of `PairBatch`.
    """

    frames: Tensor
    lengths: Tensor
    labels: Tensor
    label_lengths: Tensor
    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> SpokenBatch:
        """The batch on a device; itself if it is there."""
        if self.frames.device == device:
            return self
        return SpokenBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def shard(self, rank: int, size: int) -> SpokenBatch:
        """Recordings rank, rank + size, ...: what one of `size` processes reads; may be none."""
        labels = self.labels.split(self.label_lengths.tolist())[rank::size]
        rest = (t[rank::size] for t in (self.label_lengths, self.inputs, self.targets))
        return SpokenBatch(self.frames[rank::size], self.lengths[rank::size], torch.cat([self.labels[:0], *labels]), *rest)


def spoken_batch(frames: Sequence[Tensor], texts: Sequence[np.ndarray], begin: int) -> SpokenBatch:
    """Normal frames (T, F) and ids of texts, the end last."""
    labels = torch.from_numpy(np.concatenate([text[:-1] for text in texts]).astype(np.int64))
    label_lengths = torch.tensor([len(text) - 1 for text in texts])
    return SpokenBatch(*padded_frames(frames), labels, label_lengths, *next_symbols(texts, begin))


def padded_frames(frames: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Frames (T, F) each -> (B, T, F), zero behind a row's end, and lengths (B,)."""
    return pad_sequence(list(frames), batch_first=True), torch.tensor([len(x) for x in frames])


def read_frames(path: Path, n_features: int | None = None) -> Tensor:
    """Frames (T, F) of a .npy or .npz file. DataError for what holds something else."""
    try:
        found = np.load(path, allow_pickle=False)
        array = found if isinstance(found, np.ndarray) else found[found.files[0]]
    except (OSError, ValueError, EOFError, IndexError, KeyError) as error:
        raise DataError(f"{path}: is no file of frames ({error}).") from None
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise DataError(f"{path}: frames are numbers (T, F), got shape {array.shape} of {array.dtype}.")
    if n_features is not None and array.shape[1] != n_features:
        raise DataError(f"{path}: has {array.shape[1]} numbers a frame, the others have {n_features}.")
    if not np.isfinite(array).all():
        raise DataError(f"{path}: holds frames that are no numbers (NaN or infinite).")
    return torch.from_numpy(array.astype(np.float32))


class Sounds:
    """Recordings as they are read, again and again: files, or samples at the rate of `front`."""

    def __init__(self, files: Sequence[Path | np.ndarray], front: FrontEnd) -> None:
        self.files, self.front = files, front
        self._kept: dict[int, np.ndarray] = {}
        self._room = _KEPT

    def part(self, rows: Sequence[int]) -> Sounds:
        """Some of the recordings, with what is kept of them."""
        found = Sounds([self.files[i] for i in rows], self.front)
        found._kept = {k: self._kept[i] for k, i in enumerate(rows) if i in self._kept}
        found._room = _KEPT - sum(whole.nbytes for whole in found._kept.values())
        return found

    def check(self, i: int) -> None:
        """DataError if recording i, of the right kind, cannot be read to its end. It is kept; without room, not read."""
        if self._room > 0 and self.front.kind != "given":
            self.samples(i)

    def seconds(self, i: int) -> float:
        """How long recording i is, by its header. DataError if it cannot be read, or is of another kind than the others."""
        file = self.files[i]
        if isinstance(file, np.ndarray):
            return len(file) / self.front.rate_hz
        self.front.check_kind(file)
        if file.suffix.lower() in FRAMES:
            if self.front.kind != "given":
                raise DataError(f"{file}: holds frames, the first recording is sound. Train on one kind.")
            return len(read_frames(file, self.front.n_mels)) * self.front.hop_ms / 1000
        return audio_facts(file).seconds

    def samples(self, i: int) -> np.ndarray:
        """Float32 (N,); of files as 16 bits have it, kept or read again. DataError if it cannot be read."""
        file = self.files[i]
        if isinstance(file, np.ndarray):
            return file
        whole = self._kept.get(i)
        if whole is None:
            whole = np.clip(np.round(read_audio(file, self.front.rate_hz) * 32768), -32768, 32767).astype(np.int16)
            if whole.nbytes <= self._room:
                self._room -= whole.nbytes
                self._kept[i] = whole
        return whole.astype(np.float32) / 32768

    def frames(self, which: Sequence[int]) -> list[Tensor]:
        """Frames (T, F) of some recordings, not yet normal."""
        if self.front.kind == "given":
            return [read_frames(Path(str(self.files[i])), self.front.n_mels) for i in which]
        return self.front.frames([self.samples(i) for i in which])

    def changed(self, which: Sequence[int], augment: Augment, random: np.random.Generator) -> list[Tensor]:
        """`frames` of recordings made different; frames that were made elsewhere stay as they are."""
        if self.front.kind == "given":
            return self.frames(which)
        changed = [augment.sound(self.samples(i), self.front.rate_hz, random) for i in which]
        return self.front.frames(changed, augment.warps(len(changed), random))


class SpokenRows:
    """Recordings and the ids of their texts, the end last, in batches: the groups of their numbers of frames."""

    def __init__(
        self,
        sounds: Sounds,
        texts: Sequence[np.ndarray],
        groups: Grouping,
        *,
        normal: Normal,
        augment: Augment,
        begin: int,
    ) -> None:
        self.sounds, self.texts, self.groups, self.normal, self.augment = sounds, texts, groups, normal, augment
        self.begin = begin

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.groups)

    def batch(self, epoch: int, k: int) -> SpokenBatch:
        """Batch k of the epoch: recordings of similar length."""
        which = self.groups.group(epoch, k).tolist()
        random = np.random.default_rng([self.groups.seed, epoch, k])
        texts = [self.texts[i] for i in which]
        found = self.sounds.changed(which, self.augment, random)
        if self.sounds.front.kind != "given":
            for _ in range(random.binomial(len(which), self.augment.nothing)):
                found.append(self._nothing(random, max(map(len, found))))
                texts.append(texts[0][-1:])
        return spoken_batch([self.augment.masked(self.normal(x), random) for x in found], texts, self.begin)

    def _nothing(self, random: np.random.Generator, longest: int) -> Tensor:
        """Frames of noise alone, as soft as a silent room or as loud as a voice."""
        front = self.sounds.front
        n = front.window + front.hop * int(random.integers(longest // 4, longest))
        level = 10 ** (random.uniform(*_NOTHING_DB) / 20)
        return front.frames([(level * noise(n, random)).astype(np.float32)])[0]
