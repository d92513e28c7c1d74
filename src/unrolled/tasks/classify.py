"""The training of a text classifier: labelled texts -> split, features -> model -> probabilities that mean something.

task = ClassifyTask(options, examples, threads=2)
for epoch in task.train():
    ...
task.trained().save("sentiment")
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import torch

from unrolled.data.labelled import Columns, Labelled
from unrolled.errors import ConfigError, DataError
from unrolled.features.bags import TextFeatures, inverse_frequency
from unrolled.features.labels import LabelSet
from unrolled.metrics.classification import (
    confidence_for_precision,
    log_loss,
    temperature_for,
    threshold_for_f1,
    threshold_for_precision,
)
from unrolled.models.average import AverageClassifier, AverageConfig, Sums
from unrolled.options.classify import ClassifyOptions
from unrolled.tasks import load
from unrolled.tasks.averages import AverageNetwork, without_tags
from unrolled.tasks.classifier import Decision, TrainedClassifier, fingerprints
from unrolled.tasks.vectors import Vectors
from unrolled.training.hogwild import at_once

__all__ = ["ClassifyTask", "Epoch", "Facts", "hold_out"]

#: Texts learned from in one call of a kernel.
_STRETCH = 500
#: Texts read in all epochs together, and the least and the most epochs for it.
_READ, _LEAST, _MOST = 100_000, 10, 100


class Facts(NamedTuple):
    """What was found in the examples. contradictory: texts that stand there with different labels; overlap: validation
    texts that stand among the training texts too.
    """

    train: int
    valid: int
    empty: int
    contradictory: int
    overlap: int
    labels: dict[str, int]


class Epoch(NamedTuple):
    """A pass over the training texts has ended. row: what is written to metrics.jsonl."""

    row: dict[str, Any]


class ClassifyTask:
    """Examples read, split and numbered: iterate over `train()`, then take `trained()`."""

    def __init__(
        self, options: ClassifyOptions, examples: Labelled, valid: Labelled | None = None, *, threads: int = 1
    ) -> None:
        data = options.data
        separator = data.separator if data.labels == "many" else None
        #: Where things stand in the files.
        self.columns = Columns(data.text, data.label, data.weight, separator)
        self.options, self.threads = options, threads
        self.labels = LabelSet.learned(examples, data.labels, data.order)
        keys = fingerprints(examples.texts)
        if valid is None:
            train, held = hold_out(examples, keys, data.valid_fraction, options.training.seed)
        else:
            train, held = np.arange(len(examples)), np.zeros(0, np.int64)
        self.train_examples = examples.part(train)
        self.valid_examples = examples.part(held) if valid is None else _known(valid, self.labels)
        #: Fingerprints of all texts that the model has been chosen by.
        self.seen = np.concatenate([keys, fingerprints(valid.texts) if valid else keys[:0]])
        overlap = int(np.isin(fingerprints(self.valid_examples.texts), keys[train]).sum())
        counts = Counter(label for labels in examples.labels for label in labels)
        self.facts = Facts(
            len(train), len(self.valid_examples), examples.empty, _contradictory(keys, examples), overlap, dict(counts)
        )
        texts = self.train_examples.texts
        features, self.bags = TextFeatures.learned(
            without_tags(texts) if data.strip_tags else texts,
            data.tokens,
            min_count=data.min_count,
            most=data.vocabulary_size,
            longest=options.model.ngrams,
        )
        self.transferred = ""
        self.network = AverageNetwork(self._model(features), features, strip_tags=data.strip_tags)
        self.valid_bags = features.encode(self.network.prepared(self.valid_examples.texts))
        self.rows: list[dict[str, Any]] = []

    def _model(self, features: TextFeatures) -> AverageClassifier:
        """A fresh model, its words' vectors given where there are some."""
        options, given = self.options.model, self.options.transfer
        vectors = _vectors(given.vectors, given.freeze_vectors)
        size = options.vector_size if vectors is None else vectors.size
        torch.manual_seed(self.options.training.seed)
        rest = options.rest * len(self.bags.features) / len(self.bags.n_words)
        model = AverageClassifier(
            AverageConfig(len(features), self.labels.n_outputs, size, rest, self.labels.independent),
            weighted=options.weighting == "idf",
        )
        if options.weighting == "idf":
            model.importance.copy_(torch.from_numpy(inverse_frequency(self.bags, len(features))))
        if vectors is not None:
            found = 0
            for row, word in enumerate(features.words):
                form = vectors.form(word)
                if form is not None:
                    vector = torch.tensor(vectors[form], dtype=torch.float32)
                    model.vectors[row, :size] = vector / vector.norm().clamp(min=1e-12)
                    found += 1
            self.transferred = f"given vectors for {found:,} of {len(features.words):,} words, the others begin at random"
        return model

    @property
    def epochs(self) -> int:
        """Passes over the training texts."""
        return self.options.training.epochs or min(_MOST, max(_LEAST, _READ // len(self.train_examples)))

    def train(self) -> Iterator[Epoch]:
        """Train, yielding what each epoch came to. Closing the iterator stops; what has been learned stays."""
        began, training = time.perf_counter(), self.options.training
        targets = (*self.labels.targets(self.train_examples.labels), self._weights())
        for epoch in range(self.epochs):
            random = np.random.default_rng([training.seed, epoch])
            order = random.permutation(len(self.train_examples))
            states = random.integers(1 << 63, size=(self.threads, 1)).astype(np.uint64)
            shards = np.array_split(order, self.threads)
            jobs = [self._steps(epoch, shard, state, targets) for shard, state in zip(shards, states, strict=True)]
            loss = weight = 0.0
            with closing(at_once(jobs, in_turn=training.deterministic)) as steps:
                for sums in steps:
                    loss, weight = loss + sums.loss, weight + sums.weight
                    if not math.isfinite(loss):
                        raise ConfigError(
                            f"the loss became {loss}. Take a --learning-rate below {training.learning_rate:g}."
                        )
            row = {"epoch": epoch + 1, "train_loss": loss / weight} | self._validated()
            self.rows.append(row | {"seconds": time.perf_counter() - began})
            yield Epoch(self.rows[-1])

    def _steps(self, epoch: int, shard: np.ndarray, state: np.ndarray, targets: Any) -> Iterator[Sums]:
        """Train on the texts of one thread in this epoch."""
        training = self.options.training

        def rate(part: float) -> float:
            return training.learning_rate * (1 - (epoch + part) / self.epochs)

        for at in range(0, len(shard), _STRETCH):
            end = min(at + _STRETCH, len(shard))
            yield self.network.model.step(
                self.bags,
                targets,
                shard[at:end],
                rates=(rate(at / len(shard)), rate(end / len(shard))),
                dropout=self.options.model.dropout,
                frozen=self.options.transfer.freeze_vectors,
                random=state,
            )

    def _weights(self) -> np.ndarray:
        """How much each training text counts (n,) float32, 1 in the mean."""
        weights = np.array(self.train_examples.weights, np.float32)
        if self.options.training.class_weights == "balanced":
            names = self.train_examples.labels
            counts = Counter(label for labels in names for label in labels)
            share = [max((1 / counts[label] for label in labels), default=1 / len(names)) for labels in names]
            weights *= np.array(share, np.float32)
        if not weights.sum() > 0:
            raise DataError("the weights of all training examples are zero: there is nothing to learn from.")
        return weights / weights.mean()

    def _validated(self) -> dict[str, float]:
        p = self.labels.probabilities(self.network.model.logits(self.valid_bags))
        given, _ = self.labels.given(self.valid_examples.labels)
        right = (p.argmax(1) == given) if given.ndim == 1 else ((p >= 0.5) == given).all(1)
        return {"valid_loss": log_loss(given, p), "valid_accuracy": float(right.mean())}

    def trained(self) -> TrainedClassifier:
        """The classifier, its probabilities calibrated and its thresholds chosen on the validation texts."""
        z = self.network.model.logits(self.valid_bags)
        given, _ = self.labels.given(self.valid_examples.labels)
        temperature = temperature_for(lambda t: log_loss(given, self.labels.probabilities(z, t)))
        p = self.labels.probabilities(z, temperature)
        decision = Decision(temperature, self._thresholds(given, p))
        found = TrainedClassifier(self.network, self.labels, decision, seen=self.seen, columns=self.columns)
        held = found.evaluate(self.valid_examples)
        found.metrics = {f"valid_{key}": value for key, value in held.items() if isinstance(value, float)}
        found.metrics |= {"temperature": temperature}
        return found

    def _thresholds(self, given: np.ndarray, p: np.ndarray) -> tuple[float, ...]:
        """What --target asks for; a precision that cannot be reached means that nothing is answered."""
        decision, many = self.options.decision, given.ndim == 2
        if decision.target == "none":
            return ()
        if decision.target == "f1":
            if not many:
                raise ConfigError("--target f1 is for --labels many; with one label an answer there is the likeliest label")
            return tuple(threshold_for_f1(truth, column) for truth, column in zip(given.T, p.T, strict=True))
        if many:
            found = [threshold_for_precision(t, column, decision.reach) for t, column in zip(given.T, p.T, strict=True)]
        else:
            found = [confidence_for_precision(p.argmax(1) == given, p.max(1), decision.reach)]
        return tuple(2.0 if threshold is None else threshold for threshold in found)


def hold_out(examples: Labelled, keys: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the training and of the validation examples: a part of each label's, drawn by the texts' fingerprints, so
    that equal texts with equal labels are on one side.
    """
    mixed = (keys ^ np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, labels in enumerate(examples.labels):
        groups.setdefault(labels, []).append(i)
    held: list[np.ndarray] = []
    for group in map(np.array, groups.values()):
        ranks = np.argsort(mixed[group], kind="stable")
        n = min(len(group) - 1, max(round(len(group) * fraction), int(len(group) > 1)))
        if n:
            held.append(group[mixed[group] <= mixed[group[ranks[n - 1]]]])
    chosen = np.zeros(len(examples), bool)
    for part in held:
        chosen[part] = True
    if not chosen.any() or chosen.all():
        raise DataError("there are too few examples to hold some out for validation. Give more, or --valid FILE.")
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _known(valid: Labelled, labels: LabelSet) -> Labelled:
    """Validation examples; DataError for a label that the training examples do not have."""
    _, unknown = labels.given(valid.labels)
    if unknown:
        name = next(iter(unknown))
        where = next(place for place, given in zip(valid.places, valid.labels, strict=True) if name in given)
        raise DataError(f"{where}: the label {name!r} does not occur in training. Labels there: {', '.join(labels.names)}")
    return valid


def _contradictory(keys: np.ndarray, examples: Labelled) -> int:
    """Texts that stand there more than once, not always with the same labels."""
    labels: dict[int, set[frozenset[str]]] = {}
    for key, given in zip(keys.tolist(), examples.labels, strict=True):
        labels.setdefault(key, set()).add(frozenset(given))
    return sum(len(different) > 1 for different in labels.values())


def _vectors(path: str | None, frozen: bool) -> Vectors | None:
    """Word vectors to begin with."""
    if path is None:
        if frozen:
            raise ConfigError("--freeze-vectors needs --vectors: vectors drawn at random are not worth keeping")
        return None
    found = load(path)
    if not isinstance(found, Vectors):
        raise ConfigError(f"--vectors {path}: is a model, but not of word vectors")
    return found
