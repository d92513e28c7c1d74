"""The training of a text classifier: labelled texts -> split, features -> model -> probabilities that mean something.

training = AverageTraining(options, Split(options, examples), threads=2)
for epoch in training.train():
    ...
training.trained().save("sentiment")
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from unrolled.config import take_auto
from unrolled.data.labelled import Columns, Labelled
from unrolled.errors import ConfigError, DataError
from unrolled.features.bags import Bags, TextFeatures, inverse_frequency
from unrolled.features.fingerprints import contradictory, fingerprints, mixed
from unrolled.features.labels import LabelSet, check_known
from unrolled.features.scripts import AutomaticTokens
from unrolled.features.unknown import UnknownRate
from unrolled.metrics.bootstrap import intervals
from unrolled.metrics.classification import (
    confidence_for_precision,
    log_loss,
    most_frequent_share,
    temperature_for,
    threshold_for_f1,
    threshold_for_precision,
)
from unrolled.models.average import AverageClassifier, AverageConfig, Sums
from unrolled.options.classify import ClassifyOptions, LabelledDataOptions
from unrolled.options.training import TrainingOptions
from unrolled.tasks.averages import AverageNetwork
from unrolled.tasks.blended import BlendedNetwork
from unrolled.tasks.classifier import Decision, Network, TrainedClassifier
from unrolled.tasks.reading import Reading, without_tags
from unrolled.tasks.transfer import Transferred, fill_rows, given_vectors
from unrolled.training.hogwild import at_once
from unrolled.training.plan import validations_passed
from unrolled.training.timed import TimedEpochs

__all__ = [
    "AverageTraining",
    "Epoch",
    "Facts",
    "Split",
    "blended",
    "calibrated",
    "columns_of",
    "compared",
    "hold_out",
    "validated",
]

#: Shares of the recurrent network that are tried when it is blended with the average.
_BLENDS = 21
#: Texts learned from in one call of a kernel.
_STRETCH = 500
#: Limits of the average beside a recurrent network: its own.
_NO_LIMITS = TrainingOptions()
#: Texts read in all epochs together, and the least and the most epochs for it.
_READ, _LEAST, _MOST = 100_000, 10, 100


#: What `--tokens auto` takes.
_TOKENS = AutomaticTokens(
    "words-and-marks", han="chinese-words", han_without="words-and-marks", unspaced="graphemes-and-marks"
)


class Facts(NamedTuple):
    """What was found in the examples. contradictory: texts that stand there with different labels; overlap: validation
    texts that stand among the training texts too; unknown_labels: those of validation texts that training lacks.
    """

    train: int
    valid: int
    empty: int
    contradictory: int
    overlap: int
    labels: dict[str, int]
    unknown_labels: dict[str, int]


class Epoch(NamedTuple):
    """A pass over the training texts, or the run, has ended. row: what is written to metrics.jsonl; last: the run has."""

    row: dict[str, Any]
    last: bool
    progress: float


class Split:
    """Labelled examples, those to learn from and those to choose by; the same for every network that is trained on them.

    weights (n,) float32: how much each training example counts, 1 in the mean; prior (K,): logits of a text that nothing is
    known of; seen: fingerprints of the training texts.
    """

    def __init__(self, options: ClassifyOptions, examples: Labelled, valid: Labelled | None = None) -> None:
        data = options.data
        self.options = options
        self.labels = LabelSet.learned(examples, data.labels, data.order)
        keys = fingerprints(examples.texts)
        if valid is None:
            order = mixed(keys, options.training.seed) if data.hold_out == "drawn" else np.arange(len(keys))[::-1]
            train, held = hold_out(examples, order, data.valid_fraction)
            self.train, self.valid = examples.part(train), examples.part(held)
            train_keys, valid_keys = keys[train], keys[held]
        else:
            self.train, self.valid = examples, valid
            train_keys, valid_keys = keys, fingerprints(valid.texts)
        self.seen = train_keys
        overlap = int(np.isin(valid_keys, train_keys).sum())
        _, unknown = self.labels.given(self.valid.labels)
        check_known(unknown, sum(map(len, self.valid.labels)), self.labels.names, "the validation texts")
        counts = Counter(label for labels in examples.labels for label in labels)
        different = contradictory(keys, map(frozenset, examples.labels))
        self.facts = Facts(
            len(self.train), len(self.valid), examples.empty, different, overlap, dict(counts), dict(unknown)
        )
        self.options = take_auto(options, {"tokens": _TOKENS.choose(self.train.texts)})
        self.weights = _weights(self.train, balanced=data.class_weights == "balanced")
        self.prior = self.labels.prior(self.train.labels, self.weights)
        #: How often the most frequent labels of the training texts are right in validation.
        self.most_frequent = most_frequent_share(*(map(frozenset, part.labels) for part in (self.train, self.valid)))
        #: The names of the files, and where things stood in them.
        self.sources, self.columns = ["examples"], columns_of(data)

    def described(self) -> dict[str, Any]:
        """What config.json says of data and options."""
        data = {"sources": self.sources, **self.facts._asdict()}
        return {"data": data, "options": self.options.model_dump(exclude_none=True)}

    def read(self, longest: int) -> tuple[Reading, Bags]:
        """What is known of the training texts, words and n-grams of up to `longest` words, and the texts as such."""
        data, texts = self.options.data, self.train.texts
        features, bags = TextFeatures.learned(
            without_tags(texts) if data.strip_tags else texts,
            data.tokens,
            min_count=data.min_count,
            most=data.vocabulary_size,
            longest=longest,
        )
        return Reading(features, data.strip_tags), bags


class AverageTraining:
    """The training of the averaged classifier: iterate over `train()`, then take `trained()`."""

    def __init__(self, options: ClassifyOptions, split: Split, *, threads: int = 1) -> None:
        self.options, self.split, self.threads = options, split, threads
        self.reading, self.bags = split.read(options.average.ngrams)
        self.transferred: Transferred | None = None
        self.network = AverageNetwork(self._model(), self.reading)
        self.valid_bags = self.reading.encode(split.valid.texts)
        self.unknown = UnknownRate(self.bags.unknown_share, self.valid_bags.unknown_share, "words")
        self.rows: list[dict[str, Any]] = []
        default = min(_MOST, max(_LEAST, _READ // len(split.train)))
        limits = options.training if options.model.network == "average" else _NO_LIMITS
        if options.average.average_epochs is not None and limits.epochs is None:
            limits = limits.model_copy(update={"epochs": options.average.average_epochs})
        self.timed = TimedEpochs(limits, len(split.train) / _STRETCH, default)
        self._best: tuple[tuple[float, float], dict[str, Any]] | None = None

    def _model(self) -> AverageClassifier:
        """A fresh model, its words' vectors given where there are some."""
        options, features, labels = self.options.average, self.reading.features, self.split.labels
        vectors = given_vectors(self.options.transfer)
        torch.manual_seed(self.options.training.seed)
        config = AverageConfig(
            len(features),
            labels.n_outputs,
            options.vector_size if vectors is None else vectors.size,
            options.rest * float(np.median(np.diff(self.bags.starts))),
            labels.independent,
        )
        model = AverageClassifier(config, weighted=options.weighting == "idf")
        model.bias.copy_(torch.from_numpy(self.split.prior))
        if options.weighting == "idf":
            model.importance.copy_(torch.from_numpy(inverse_frequency(self.bags, len(features))))
        if vectors is not None:
            self.transferred = fill_rows(model.vectors[:, : vectors.size], features.words, vectors)
        return model

    def train(self) -> Iterator[Epoch]:
        """Train, yielding what each epoch came to, or a hundred of very many. Closing the iterator stops; what has been
        learned stays, with a time limit and without class weights the most accurate in validation (then: of least loss).
        """
        training, timed = self.options.training, self.timed
        rate = self.options.average.average_rate
        targets = (*self.split.labels.targets(self.split.train.labels), self.split.weights)
        timed.begin()
        validated_at = 0.0
        try:
            for epoch in itertools.count():
                random = np.random.default_rng([training.seed, epoch])
                order = random.permutation(len(self.split.train))
                states = random.integers(1 << 63, size=(self.threads, 1)).astype(np.uint64)
                shards = np.array_split(order, self.threads)
                jobs = [self._steps(epoch, shard, state, targets) for shard, state in zip(shards, states, strict=True)]
                loss = weight = n_texts = 0.0
                with closing(at_once(jobs, in_turn=training.deterministic)) as steps:
                    for texts, sums in steps:
                        loss, weight, n_texts = loss + sums.loss, weight + sums.weight, n_texts + texts
                        timed.passed(epoch + min(1.0, n_texts / len(order)))
                        if not math.isfinite(loss):
                            raise ConfigError(f"the loss became {loss}. Take a --average-rate below {rate:g}.")
                end, seconds = min(epoch + 1, timed.end), timed.seconds
                ended, progress = epoch + 1 >= timed.end, timed.plan.progress(end)
                if not ended and validations_passed(progress, _MOST) == validations_passed(validated_at, _MOST):
                    continue
                validated_at = progress
                row = {"epoch": round(end, 4) if end % 1 else int(end), "train_loss": loss / max(weight, 1e-12)}
                row |= validated(self.split, self.valid_logits())
                self._note_best(row)
                timed.validated(timed.seconds - seconds)
                self.rows.append(row | {"seconds": timed.seconds} | timed.corrections())
                yield Epoch(self.rows[-1], ended, progress)
                if ended:
                    return
        finally:
            if self._best is not None:
                self.network.model.load_state_dict(self._best[1])

    def _note_best(self, row: dict[str, Any]) -> None:
        """Copy the model if it is the best so far. A number of epochs is exact; accuracy ignores class weights."""
        chosen = self.timed.budget.timed and self.options.data.class_weights == "none"
        score, state = (row["valid_accuracy"], -row["valid_loss"]), self.network.model.state_dict()
        if chosen and (self._best is None or score > self._best[0]):
            self._best = score, {name: values.clone() for name, values in state.items()}

    def _steps(self, epoch: int, shard: np.ndarray, state: np.ndarray, targets: Any) -> Iterator[tuple[int, Sums]]:
        """Train on the texts of one thread in this epoch; how many texts, and what came of them, each time."""
        options, at = self.options.average, 0

        def rate(part: float) -> float:
            return options.average_rate * (1 - self.timed.plan.progress(epoch + part))

        while at < len(shard):
            end = min(at + _STRETCH, len(shard), math.ceil(len(shard) * min(1.0, self.timed.end - epoch)))
            if at >= end:
                return
            yield (
                end - at,
                self.network.model.step(
                    self.bags,
                    targets,
                    shard[at:end],
                    rates=(rate(at / len(shard)), rate(end / len(shard))),
                    dropout=options.dropout,
                    frozen=self.options.transfer.freeze_vectors,
                    random=state,
                ),
            )
            at = end

    def valid_logits(self) -> np.ndarray:
        """z (n, K) of the validation texts."""
        return self.network.model.logits(self.valid_bags)

    def trained(self) -> TrainedClassifier:
        """The classifier, calibrated on the validation texts."""
        found = calibrated(self.network, self.split, self.options, self.valid_logits())
        found.metrics |= self.unknown.to_metrics()
        return found


def validated(split: Split, z: np.ndarray) -> dict[str, float]:
    """Loss in nats a text, and accuracy, of logits (n, K) of the validation texts."""
    p = split.labels.probabilities(z)
    given, _ = split.labels.given(split.valid.labels)
    return {"valid_loss": log_loss(given, p), "valid_accuracy": float(_right(given, p).mean())}


def _right(given: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Whether each answer (n,) is right, all labels of it, for right answers as `LabelSet.given` has them."""
    return (p.argmax(1) == given) if given.ndim == 1 else ((p >= 0.5) == given).all(1)


def calibrated(network: Network, split: Split, options: ClassifyOptions, z: np.ndarray) -> TrainedClassifier:
    """The classifier: probabilities calibrated, thresholds chosen on the validation texts, whose logits are z (n, K)."""
    labels = split.labels
    given, _ = labels.given(split.valid.labels)
    scale = partial(_scaled, split, network.logits([""])[0].astype(np.float64))
    temperature = temperature_for(given, lambda t: labels.probabilities(scale(t).calibrated(z)))
    decision = scale(temperature)
    p = labels.probabilities(decision.calibrated(z))
    decision = replace(decision, thresholds=_thresholds(options, given, p))
    found = TrainedClassifier(network, labels, decision, seen=split.seen, columns=split.columns)
    held = found.judged(given, p)
    found.metrics = {f"valid_{key}": value for key, value in held.items() if isinstance(value, float)}
    found.metrics |= {"temperature": temperature}
    return found


def _scaled(split: Split, nothing: np.ndarray, temperature: float) -> Decision:
    """The evidence of a text, its logits minus those (K,) of a text without any, divided by T, is added to the prior."""
    return Decision(temperature, shift=tuple((split.prior - nothing / temperature).tolist()))


def blended(
    network: Network, average: AverageNetwork, z: tuple[np.ndarray, np.ndarray], split: Split, options: ClassifyOptions
) -> TrainedClassifier:
    """The classifier of both, their scores weighed so that the validation texts are answered with the least loss.

    z: what each says of the validation texts, (n, K).
    """
    given, _ = split.labels.given(split.valid.labels)

    def temperature(scores: np.ndarray) -> float:
        return temperature_for(given, partial(split.labels.probabilities, scores))

    def least(blend: BlendedNetwork) -> float:
        mixed = blend.mixed(*z)
        return log_loss(given, split.labels.probabilities(mixed, temperature(mixed)))

    first, second = (1 / temperature(scores) for scores in z)
    parts = np.linspace(0, 1, _BLENDS).tolist()
    best = min((BlendedNetwork(network, average, (part * first, (1 - part) * second)) for part in parts), key=least)
    return calibrated(best, split, options, best.mixed(*z))


def compared(average: np.ndarray, other: np.ndarray, split: Split) -> dict[str, Any]:
    """The share of right answers of both on the validation texts, their probabilities (n, C) given, and of their difference
    the interval in which 95 of 100 resamples lie.
    """
    given, _ = split.labels.given(split.valid.labels)
    right = [_right(given, p) for p in (average, other)]
    costs = np.array(right, np.float64)
    found = intervals(costs, np.ones_like(costs))
    gain = found[0][1]
    return {
        "average": found[0][0].value,
        "network": found[1][1].value,
        "gain": gain.value,
        "interval": [gain.low, gain.high],
    }


def _thresholds(options: ClassifyOptions, given: np.ndarray, p: np.ndarray) -> tuple[float, ...]:
    """What --target asks for; a precision that cannot be reached means that nothing is answered."""
    decision, many = options.decision, given.ndim == 2
    if decision.target == "none":
        return ()
    if decision.target == "f1":
        return tuple(threshold_for_f1(truth, column) for truth, column in zip(given.T, p.T, strict=True))
    if many:
        found = [threshold_for_precision(t, column, decision.reach) for t, column in zip(given.T, p.T, strict=True)]
    else:
        found = [confidence_for_precision(p.argmax(1) == given, p.max(1), decision.reach)]
    return tuple(2.0 if threshold is None else threshold for threshold in found)


def _weights(examples: Labelled, *, balanced: bool) -> np.ndarray:
    """How much each example counts (n,) float32, 1 in the mean."""
    weights, names = np.array(examples.weights, np.float32), examples.labels
    if balanced:
        counts = Counter(label for labels in names for label in labels)
        share = [max((1 / counts[label] for label in labels), default=1 / len(names)) for labels in names]
        weights *= np.array(share, np.float32)
    if not weights.sum() > 0:
        raise DataError("the weights of all training examples are zero: there is nothing to learn from.")
    return weights / weights.mean()


def columns_of(data: LabelledDataOptions) -> Columns:
    """Where text, label and weight stand in the files."""
    return Columns(data.text, data.label, data.weight, data.separator if data.labels == "many" else None)


def hold_out(examples: Labelled, order: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Places of the training and of the validation examples: of each label's the part that is first in `order` (n,). Those
    of equal order, as equal texts have when they are ordered by fingerprints, are on one side.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, labels in enumerate(examples.labels):
        groups.setdefault(labels, []).append(i)
    held: list[np.ndarray] = []
    for group in map(np.array, groups.values()):
        ranks = np.argsort(order[group], kind="stable")
        n = min(len(group) - 1, max(round(len(group) * fraction), int(len(group) > 1)))
        if n:
            held.append(group[order[group] <= order[group[ranks[n - 1]]]])
    chosen = np.zeros(len(examples), bool)
    for part in held:
        chosen[part] = True
    if not chosen.any() or chosen.all():
        raise DataError("there are too few examples to hold some out for validation. Give more, or --valid FILE.")
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
