"""The recurrent classifier as a task of the training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from unrolled.errors import DataError
from unrolled.features.texts import TextRows, TextsBatch
from unrolled.features.unknown import UnknownRate
from unrolled.models.classifier import Classifier, ClassifierConfig
from unrolled.options.batches import take_batch
from unrolled.options.classify import LARGEST, ClassifyOptions
from unrolled.tasks.classifier import TrainedClassifier
from unrolled.tasks.classify import Split, calibrated, validated
from unrolled.tasks.reading import EncoderReading, Reading
from unrolled.tasks.recurrent_network import RecurrentNetwork
from unrolled.tasks.transfer import Transferred, encoder_at, encoder_sizes, fill_rows, given_vectors
from unrolled.types import Criterion, Stage

__all__ = ["RecurrentTask"]


class RecurrentTask:
    """Implements `types.Task` for recurrent classifiers. known: one whose training goes on; the network has its words."""

    criteria = (Criterion("valid_loss"),)

    def __init__(self, options: ClassifyOptions, split: Split, known: TrainedClassifier | None = None) -> None:
        self.split = split
        self.encoder = encoder_at(options.transfer.encoder) if options.transfer.encoder else None
        self.reading: Reading | EncoderReading
        if known is not None and known.labels != split.labels:
            names = ", ".join(known.labels.names)
            raise DataError(f"the training that goes on has other labels: {names}. Begin a new one.")
        if known is not None:
            self.reading = known.network.reading
            bags = self.reading.encode(split.train.texts)
        elif self.encoder:
            self.reading = EncoderReading(self.encoder.codec, options.data.strip_tags)
            bags = self.reading.encode(split.train.texts)
        else:
            self.reading, bags = split.read(longest=1)
        flat, starts = split.labels.targets(split.train.labels)
        targets = np.zeros((len(split.train), split.labels.n_outputs), np.float32)
        targets[np.repeat(np.arange(len(targets)), np.diff(starts)), flat] = 1
        self.options = take_batch(options, examples=len(split.train), tokens=len(bags.features), largest=LARGEST)
        training = self.options.training
        self.rows = TextRows(
            bags.features,
            bags.starts,
            targets,
            split.weights,
            tokens=training.batch_tokens,
            unknown=self.reading.n_symbols,
            seed=training.seed,
        )
        self.transferred: Transferred | None = None
        held = self.reading.encode(split.valid.texts)
        self.unknown = UnknownRate(bags.unknown_share, held.unknown_share, "words" if self.encoder is None else "tokens")
        self._valid = held.rows()
        self._held = np.zeros((len(split.valid), split.labels.n_outputs), np.float32)

    def build(self) -> Classifier:
        """A fresh model of the configured size, its embedding given where there are vectors, or upon the encoder."""
        labels, sizes = self.split.labels, self.options.recurrent.model_dump()
        if self.encoder is not None:
            sizes |= encoder_sizes(self.encoder)
        vectors = given_vectors(self.options.transfer)
        if vectors is not None:
            sizes["embedding_size"] = vectors.size
        model = Classifier(ClassifierConfig(self.reading.n_symbols, labels.n_outputs, labels.independent, **sizes))
        if self.encoder is not None:
            model.embedding.load_state_dict(self.encoder.model.embedding.state_dict())
            model.recurrent.load_state_dict(self.encoder.model.recurrent.state_dict())
        if vectors is not None and isinstance(self.reading, Reading):
            self.transferred = fill_rows(model.embedding.weight, self.reading.features.words, vectors)
        model.embedding.weight.requires_grad_(not self.options.transfer.freeze_vectors)
        return model

    def stages(self, model: nn.Module) -> list[Stage]:
        """What decides first, then what was transferred, from the top down."""
        assert isinstance(model, Classifier)
        parts, transfer = model.parts(), self.options.transfer
        if self.encoder is None:
            own = [p for part in parts[:-1] for p in part]
            parts = [own, parts[-1]] if transfer.vectors else [own + parts[-1]]
        last = max(1, len(parts) - 1)
        return [
            Stage(part, transfer.layer_rate_decay**-i, transfer.gradual_unfreezing * i / last)
            for i, part in enumerate(parts)
        ]

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass."""
        return len(self.rows)

    def batch(self, epoch: int, k: int) -> TextsBatch:
        """Batch k of an epoch."""
        return self.rows.batch(epoch, k)

    def _network(self, model: nn.Module) -> RecurrentNetwork:
        assert isinstance(model, Classifier)
        return RecurrentNetwork(model, self.reading, self.split.prior.astype(np.float32))

    def evaluate(self, model: nn.Module) -> dict[str, Any]:
        """Loss and accuracy on the validation texts, whose logits are kept for `save`."""
        self._held = self._network(model).read(self._valid)
        return dict(validated(self.split, self._held))

    def preview(self, model: nn.Module) -> str:
        """The answer to the first validation text."""
        text = self.split.valid.texts[0]
        p = self.split.labels.probabilities(self._network(model).logits([text]))[0]
        return f"{self.split.labels.names[int(p.argmax())]} {p.max():.2f}: {text[:60]}"

    def save(self, model: nn.Module, folder: Path, metrics: dict[str, Any]) -> None:
        """Write the model folder; calibrated on the validation texts as they were read last."""
        found = calibrated(self._network(model), self.split, self.options, self._held)
        found.metrics |= {key: value for key, value in metrics.items() if value is not None} | self.unknown.to_metrics()
        found.save(folder, self.described())

    def described(self) -> dict[str, Any]:
        """Data and options for config.json."""
        return self.split.described() | {"options": self.options.model_dump(exclude_none=True)}
