"""The tagger as a task of the training loop: sentences of words with labels -> split, words, letters -> model."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from unrolled.config import take_auto
from unrolled.data.tagged import Tagged, TaggedColumns
from unrolled.errors import DataError
from unrolled.features.fingerprints import contradictory, fingerprints, held_out
from unrolled.features.forms import WordForms
from unrolled.features.labels import LabelSet, check_known
from unrolled.features.tagged_rows import TaggedBatch, TaggedRows
from unrolled.features.unknown import UnknownRate
from unrolled.metrics.classification import log_loss, most_frequent_share, temperature_for
from unrolled.metrics.tagging import entities, marks_entities
from unrolled.models.tagger import Tagger, TaggerConfig
from unrolled.options.batches import take_batch
from unrolled.options.tag import LARGEST, TagOptions
from unrolled.tasks.tagger import TaggerReading, TrainedTagger
from unrolled.tasks.transfer import Transferred, fill_rows, given_vectors
from unrolled.types import Criterion, Stage

__all__ = ["TagFacts", "TagTask"]

_MOST_LABELS = 2000


class TagFacts(NamedTuple):
    """What was found in the files. contradictory: sentences that stand there with different labels; overlap: validation
    sentences that stand among the training sentences; cut: sentences so long that they were cut;
    unknown_labels: those of validation words that training lacks, with their counts.
    """

    train: int
    valid: int
    train_words: int
    valid_words: int
    contradictory: int
    overlap: int
    cut: int
    labels: dict[str, int]
    unknown_labels: dict[str, int]


class TagTask:
    """Implements `types.Task` for taggers. usual: how often the most frequent label of each word would be right.

    known: a tagger whose training goes on; its words, letters and labels are those of the network.
    """

    def __init__(
        self, options: TagOptions, examples: Tagged, valid: Tagged | None = None, known: TrainedTagger | None = None
    ) -> None:
        data = options.data
        keys = _keys(examples)
        counts = Counter(label for labels in examples.labels for label in labels)
        self.labels = known.labels if known else LabelSet(_labels(counts), "one")
        parts = _split(examples, keys, valid, data.valid_fraction, options.training.seed)
        (self.train, self.seen), (self.valid, valid_keys) = parts
        self.vectors = given_vectors(options.transfer)
        forms = known.reading.forms if known else self._forms(options)
        self.reading = TaggerReading(forms, data.restore, data.split)
        words = sum(map(len, self.train.words))
        options = take_batch(options, examples=len(self.train), tokens=words, largest=LARGEST)
        encoded, held = (forms.encode(part.words) for part in (self.train, self.valid))
        self.unknown = UnknownRate(forms.unknown_share(encoded), forms.unknown_share(held), "letters")
        self.rows = TaggedRows(
            encoded,
            self._places(self.train),
            tokens=options.training.batch_tokens,
            seed=options.training.seed,
        )
        self.options = take_auto(options, {"select": "entity-f1" if _has_entities(self.valid, self.labels) else "accuracy"})
        loss = Criterion("valid_loss")
        chosen = {"entity-f1": "valid_entity_f1", "accuracy": "valid_accuracy"}.get(self.options.selection.select)
        self.criteria = (Criterion(chosen, maximize=True), loss) if chosen else (loss,)
        self.given = self._places(self.valid)
        unknown = Counter(label for labels in self.valid.labels for label in labels if label not in self.labels.names)
        check_known(unknown, len(self.given), self.labels.names, "the validation sentences")
        self.facts = TagFacts(
            len(self.train),
            len(self.valid),
            len(self.rows.labels),
            len(self.given),
            contradictory(keys, map(tuple, examples.labels)),
            int(np.isin(valid_keys, self.seen).sum()),
            examples.cut,
            dict(counts),
            dict(unknown),
        )
        self.sources = ["examples"]
        self.usual = _usual(self.train, self.valid)
        #: How often the most frequent label of the training words is right in validation.
        labels = (chain.from_iterable(part.labels) for part in (self.train, self.valid))
        self.most_frequent = most_frequent_share(*labels)
        self.transferred: Transferred | None = None
        self._held = np.zeros((len(self.given), len(self.labels)), np.float32)

    def _forms(self, options: TagOptions) -> WordForms:
        """The words and letters of the training sentences, and the first words that have vectors of their own."""
        forms = WordForms.learned(self.train.words, options.data.min_count, options.data.vocabulary_size)
        if self.vectors is None:
            return forms
        known = set(forms.words)
        return replace(forms, given=[word for word in self._written(options) if word not in known])

    def _written(self, options: TagOptions) -> dict[str, str]:
        """The first words that have vectors, by what they are looked up as: in lower case, in normal form C."""
        found: dict[str, str] = {}
        for word in self.vectors.words[: options.transfer.vector_words] if self.vectors else ():
            key = unicodedata.normalize("NFC", word).lower()
            if key not in found or word == key:
                found[key] = word
        return found

    def _places(self, examples: Tagged) -> np.ndarray:
        """The labels of all words, as numbers; -1 for a label that training does not have."""
        place = {label: i for i, label in enumerate(self.labels.names)}
        return np.array([place.get(label, -1) for labels in examples.labels for label in labels], np.int64)

    def build(self) -> Tagger:
        """A fresh model of the configured size, its embedding given where there are vectors."""
        sizes, forms, vectors = self.options.model.model_dump(), self.reading.forms, self.vectors
        if vectors is not None:
            sizes["embedding_size"] = vectors.size
        sizes["n_given"] = len(forms.given)
        model = Tagger(TaggerConfig(len(forms.words), len(forms.letters), len(self.labels), **sizes))
        if vectors is not None:
            written = self._written(self.options)
            words, given = ([written.get(word, word) for word in words] for words in (forms.words, forms.given))
            self.transferred = fill_rows(model.embedding.weight, words, vectors)
            if model.given is not None:
                fill_rows(model.given, given, vectors)
        model.embedding.weight.requires_grad_(not self.options.transfer.freeze_vectors)
        return model

    def stages(self, model: nn.Module) -> list[Stage]:
        """All parameters learn alike."""
        return [Stage(list(model.parameters()))]

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass."""
        return len(self.rows)

    def batch(self, epoch: int, k: int) -> TaggedBatch:
        """Batch k of an epoch."""
        return self.rows.batch(epoch, k)

    def trained(self, model: nn.Module) -> TrainedTagger:
        """The model with what it needs to read text."""
        assert isinstance(model, Tagger)
        data = self.options.data
        columns = TaggedColumns(data.word_column, data.tag_column)
        return TrainedTagger(model, self.reading, self.labels, seen=self.seen, columns=columns)

    def evaluate(self, model: nn.Module) -> dict[str, Any]:
        """Loss a word, accuracy, and F1 of entities, on the validation sentences, whose logits are kept for `save`."""
        trained = self.trained(model)
        self._held = trained.logits(self.valid.words)
        p = self.labels.probabilities(self._held)
        found = trained.judged(self.valid, self.given, p)
        entity = {"valid_entity_f1": found["entity_f1"]} if "entity_f1" in found else {}
        return {"valid_loss": log_loss(self.given, p), "valid_accuracy": found["accuracy"]} | entity

    def preview(self, model: nn.Module) -> str:
        """The first validation sentence with its labels."""
        (found,) = self.trained(model).predict([self.valid.words[0][:20]])
        return found.restored or " ".join(f"{word}/{label}" for word, label in zip(found.words, found.labels, strict=True))

    def save(self, model: nn.Module, folder: Path, metrics: dict[str, Any]) -> None:
        """Write the model folder; calibrated on the validation sentences as they were read last."""
        found = self.trained(model)
        found.temperature = temperature_for(self.given, lambda t: self.labels.probabilities(self._held, t))
        held = found.judged(self.valid, self.given, self.labels.probabilities(self._held, found.temperature))
        found.metrics = {f"valid_{key}": value for key, value in held.items() if isinstance(value, float)}
        found.metrics |= {"temperature": found.temperature, "valid_accuracy_usual_label": self.usual}
        found.metrics |= {key: value for key, value in metrics.items() if value is not None} | self.unknown.to_metrics()
        data = {"sources": self.sources, **self.facts._asdict()}
        found.save(folder, {"data": data, "options": self.options.model_dump(exclude_none=True)})


def _has_entities(examples: Tagged, labels: LabelSet) -> bool:
    """Whether the labels mark entities, and the sentences have some."""
    return marks_entities(labels.names) and any(map(entities, examples.labels))


def _labels(counts: Counter[str]) -> tuple[str, ...]:
    if len(counts) < 2:
        raise DataError(f"all words have the label {next(iter(counts))!r}: there is nothing to tell apart.")
    if len(counts) > _MOST_LABELS:
        shown = ", ".join(list(counts)[:5])
        raise DataError(
            f"there are {len(counts):,} different labels ({shown}, ...), more than {_MOST_LABELS:,}. Do --word-column and "
            "--tag-column name the right columns?"
        )
    return tuple(sorted(counts))


def _keys(examples: Tagged) -> np.ndarray:
    """Fingerprints of sentences (n,)."""
    return fingerprints(map(" ".join, examples.words))


def _split(
    examples: Tagged, keys: np.ndarray, valid: Tagged | None, fraction: float, seed: int
) -> tuple[tuple[Tagged, np.ndarray], tuple[Tagged, np.ndarray]]:
    """Sentences to learn from and to choose by, and their fingerprints, by which they are drawn: equal ones together."""
    if valid is not None:
        return (examples, keys), (valid, _keys(valid))
    held = held_out(keys, fraction, seed)
    if held.all():
        raise DataError("there are too few sentences to hold some out for validation. Give more, or --valid FILE.")
    return (examples.part(np.flatnonzero(~held)), keys[~held]), (examples.part(np.flatnonzero(held)), keys[held])


def _usual(train: Tagged, valid: Tagged) -> float:
    """The part of the validation words whose label is the most frequent one that the word, or any word, has in training."""
    of: dict[str, Counter[str]] = {}
    every: Counter[str] = Counter()
    for words, labels in zip(train.words, train.labels, strict=True):
        every.update(labels)
        for word, label in zip(words, labels, strict=True):
            of.setdefault(word, Counter())[label] += 1
    most = {word: counts.most_common(1)[0][0] for word, counts in of.items()}
    otherwise = every.most_common(1)[0][0]
    right = [
        most.get(word, otherwise) == label
        for words, labels in zip(valid.words, valid.labels, strict=True)
        for word, label in zip(words, labels, strict=True)
    ]
    return float(np.mean(right))
