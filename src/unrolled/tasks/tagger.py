"""A trained tagger: `predict`, `evaluate`, `explain`, `save`. Made by `unrolled.load`.

tagger = unrolled.load("runs/tags")
tagger.predict("Harry met Hermione.").labels                # ('B-PER', 'O', 'B-PER', 'O')
tagger.predict([["Harry", "met", "Hermione"]])[0].labels    # inside a list: words as they are
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch

from unrolled.data.restoring import restored, taken_apart
from unrolled.data.tagged import LONGEST, Tagged, TaggedColumns, read_restorable, read_tagged
from unrolled.data.text import Document
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.batching import bounds_of
from unrolled.features.fingerprints import fingerprints, read_seen
from unrolled.features.forms import WordForms
from unrolled.features.labels import LabelSet, check_known
from unrolled.features.tagged_rows import tagged_batch
from unrolled.features.tokenizers import words_in
from unrolled.folders import (
    header,
    open_model,
    prepare_model,
    read_json,
    write_bytes,
    write_json,
    write_text,
)
from unrolled.metrics.classification import calibration_error, confusion, macro_f1, reliability
from unrolled.metrics.tagging import entity_scores, label_scores, marks_entities
from unrolled.models.tagger import Tagger, TaggerConfig
from unrolled.tasks.card import tagger_card
from unrolled.tasks.inputs import TEXTS_OR_WORDS, evaluation_paths, iter_inputs, map_inputs
from unrolled.training.weights import load_weights, save_weights

__all__ = ["NAME", "TaggedText", "TaggerReading", "TrainedTagger"]

NAME = "tag"
#: Words read at once when texts are labelled; changes no result.
_WORDS = 8192


class TaggedText(NamedTuple):
    """The words of a text, the label of each and its probability; restored: the text with its capitals and marks, of a
    tagger that puts these back.
    """

    words: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    restored: str | None = None

    def to_json(self) -> dict[str, Any]:
        """One JSON line of `predict`."""
        tokens = [
            {"word": word, "label": label, "probability": round(p, 6)}
            for word, label, p in zip(self.words, self.labels, self.probabilities, strict=True)
        ]
        return {"tokens": tokens} | ({} if self.restored is None else {"restored": self.restored})


@dataclass(frozen=True)
class TaggerReading:
    """How a text becomes words, and what is known of them. restores: capitals and marks are taken out first.

    Words are those of the text as it was passed in; they are looked up by their normal form (`WordForms`).
    """

    forms: WordForms
    restores: bool = False
    split: str = "words"

    def words(self, text: str) -> list[str]:
        """The words of a text."""
        if self.restores:
            return taken_apart(text, self.forms.normalization)[0]
        if self.split == "whitespace":
            return text.split()
        return words_in(text, self.forms.normalization)


class TrainedTagger:
    """A tagger and all it needs to read text. temperature: what logits are divided by;
    seen: fingerprints of the sentences it was made from; columns: where word and label stood in the files.
    """

    def __init__(
        self,
        model: Tagger,
        reading: TaggerReading,
        labels: LabelSet,
        temperature: float = 1.0,
        metrics: dict[str, Any] | None = None,
        seen: np.ndarray | None = None,
        columns: TaggedColumns | None = None,
    ) -> None:
        self.model, self.reading, self.labels, self.temperature = model, reading, labels, temperature
        self.metrics, self.columns = metrics or {}, columns or TaggedColumns()
        self.seen = np.zeros(0, np.uint64) if seen is None else np.sort(seen)

    @staticmethod
    def load(path: str | Path) -> TrainedTagger:
        """Open a model folder or a run folder. FolderError if it is damaged or of another kind."""
        folder, config = open_model(path, NAME, "a tagger")
        try:
            sizes, reading = TaggerConfig(**config["model"]), config["reading"]
            labels, temperature = LabelSet(tuple(config["labels"]), "one"), float(config["temperature"])
            stored = read_json(folder / "vocabulary.json")
            words, letters, given = (list(stored.get(name, ())) for name in ("words", "letters", "given"))
            forms = WordForms(words, letters, reading.get("normalization", "none"), given)
            columns = TaggedColumns(**config["columns"])
            found = TaggerReading(forms, bool(reading["restores"]), str(reading["split"]))
            model = Tagger(sizes)
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise FolderError(f"{folder}: config.json does not describe a tagger ({error}).") from None
        n_given = len(forms.given)
        counts = (len(forms.words), n_given, len(forms.letters), len(labels))
        if counts != (sizes.n_words, sizes.n_given, sizes.n_letters, sizes.n_outputs):
            raise FolderError(f"{folder}: vocabulary or labels are not those of config.json. Copy the folder again.")
        load_weights(model, folder / "model.safetensors")
        seen = read_seen(folder)
        return TrainedTagger(model.eval(), found, labels, temperature, config.get("metrics"), seen, columns)

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = prepare_model(folder)
        reading = {"restores": self.reading.restores, "split": self.reading.split}
        if self.reading.forms.normalization != "none":
            reading["normalization"] = self.reading.forms.normalization
        config = header(NAME)
        config |= {"labels": list(self.labels.names), "temperature": self.temperature, "reading": reading}
        config |= {"columns": self.columns._asdict(), "model": self.model.config.to_json(), "metrics": self.metrics}
        config |= extra or {}
        save_weights(self.model, folder / "model.safetensors")
        forms = self.reading.forms
        given = {"given": list(forms.given)} if forms.given else {}
        write_json(folder / "vocabulary.json", {"words": forms.words, "letters": forms.letters} | given)
        write_bytes(folder / "seen.bin", self.seen.tobytes())
        write_json(folder / "metrics.json", self.metrics)
        write_text(folder / "README.md", tagger_card(config))
        write_json(folder / "config.json", config)

    @torch.no_grad()
    def logits(self, sentences: Sequence[Sequence[str]]) -> np.ndarray:
        """z (N, K) of all words of sentences, which are read with others of similar length; each has a word or more."""
        self.model.eval()
        forms = self.reading.forms.encode(sentences)
        lengths = np.diff(forms.starts)
        z = np.zeros((int(forms.starts[-1]), len(self.labels)), np.float32)
        order = np.argsort(lengths, kind="stable")
        for start, end in pairwise(bounds_of(lengths[order], _WORDS)):
            which = order[start:end]
            found = self.model(tagged_batch(forms, which).to(self.model.device)).transpose(0, 1).cpu().numpy()
            for i, row in zip(which, found, strict=True):
                z[forms.starts[i] : forms.starts[i + 1]] = row[: lengths[i]]
        return z

    def probabilities(self, sentences: Sequence[Sequence[str]]) -> np.ndarray:
        """P (N, K) of each label for all words, calibrated."""
        return self.labels.probabilities(self.logits(sentences), self.temperature)

    @overload
    def predict(self, texts: str, *, batch_size: int = 256) -> TaggedText: ...
    @overload
    def predict(self, texts: Iterable[str | Sequence[str]], *, batch_size: int = 256) -> list[TaggedText]: ...
    def predict(self, texts: Any, *, batch_size: int = 256) -> Any:
        """Return the label of each word of a text; of an iterable of texts or of lists of words, a list of these.

        batch_size: texts computed at once; changes no result. Raises TypeError for what is neither text nor texts.
        """
        return map_inputs(TEXTS_OR_WORDS, texts, lambda some: self.predictions(some, batch_size))

    def predictions(self, texts: Iterable[str | Sequence[str]], batch_size: int = 256) -> Iterator[TaggedText]:
        """`predict`, one after another as they are known, `batch_size` texts at once."""
        remaining = iter_inputs(TEXTS_OR_WORDS, texts)
        while group := list(islice(remaining, batch_size)):
            words = [self.reading.words(text) if isinstance(text, str) else list(text) for text in group]
            pieces = [row[at : at + LONGEST] for row in words for at in range(0, len(row), LONGEST)]
            p = self.probabilities(pieces) if pieces else np.zeros((0, len(self.labels)))
            best, at = p.argmax(1), 0
            for row in words:
                chosen = best[at : at + len(row)]
                sure = tuple(p[np.arange(at, at + len(row)), chosen].tolist())
                labels = tuple(self.labels.names[i] for i in chosen)
                text = restored(row, labels, self.reading.forms.normalization) if self.reading.restores else None
                yield TaggedText(tuple(row), labels, sure, text)
                at += len(row)

    def evaluate(self, examples: Any, *, batch_size: int | None = None) -> dict[str, Any]:
        """Accuracy and F1 by label; of whole entities if labels mark them; on words that training did not know.

        examples: `Tagged` sentences, one or several paths of files that hold them as those of training did, or
        documents of `unrolled.lines`. batch_size: sentences computed at once.
        """
        if not isinstance(examples, Tagged):
            sources = evaluation_paths(examples, NAME, Document)
            if self.reading.restores:
                examples = read_restorable(sources, normalization=self.reading.forms.normalization)
            else:
                examples = read_tagged(sources, self.columns)
            self.check_labels(examples, ", ".join(map(str, sources)))
        if not len(examples):
            raise ConfigError("there are no sentences to evaluate on")
        found: dict[str, Any] = {"sentences": len(examples), "tokens": sum(map(len, examples.words))}
        found["seen_in_training"] = int(np.isin(fingerprints(map(" ".join, examples.words)), self.seen).sum())
        place = {label: i for i, label in enumerate(self.labels.names)}
        given = np.array([place.get(label, -1) for labels in examples.labels for label in labels], np.int64)
        unknown = Counter(label for labels in examples.labels for label in labels if label not in place)
        found["unknown_labels"] = dict(unknown.most_common())
        size = batch_size or len(examples)
        groups = (examples.words[at : at + size] for at in range(0, len(examples), size))
        return found | self.judged(examples, given, np.concatenate([self.probabilities(group) for group in groups]))

    def judged(self, examples: Tagged, given: np.ndarray, p: np.ndarray) -> dict[str, Any]:
        """How good probabilities (N, K) are for the right labels (N,), -1 for one that training did not have: a mistake."""
        answer = p.argmax(1)
        right, known = answer == given, given >= 0
        forms = self.reading.forms.encode(examples.words)
        strange = (forms.rows >= len(self.reading.forms.words))[forms.numbers]
        table = confusion(given[known], answer[known], len(self.labels))
        scores = label_scores(table)
        found: dict[str, Any] = {"accuracy": float(right.mean())}
        found["accuracy_unknown_words"] = float(right[strange].mean()) if strange.any() else None
        if marks_entities(self.labels.names):
            ends = pairwise(forms.starts.tolist())
            answered = ([self.labels.names[i] for i in answer[start:end]] for start, end in ends)
            entities = entity_scores(examples.labels, answered)
            found |= {"entity_f1": entities["all"]["f1"], "entities": entities}
        bins = reliability(p.max(1), right)
        return found | {
            "macro_f1": macro_f1(scores),
            "calibration_error": calibration_error(bins),
            "classes": dict(zip(self.labels.names, scores, strict=True)),
            "confusion": table.tolist(),
            "reliability": [list(b) for b in bins],
        }

    def check_labels(self, examples: Tagged, name: str) -> None:
        """DataError where the model knows none of the labels of the examples; name: of their files."""
        given = [label for labels in examples.labels for label in labels]
        unknown = Counter(label for label in given if label not in self.labels.names)
        check_known(unknown, len(given), self.labels.names, name)

    def explain(self, text: str | Iterable[str | Sequence[str]]) -> Any:
        """The probability of each label at each word, and what each word adds to the label of each other.

        An iterable of texts, or of lists of words, gives a list.
        """
        return map_inputs(TEXTS_OR_WORDS, text, lambda some: map(self._explain, some))

    def _explain(self, text: str | Sequence[str]) -> dict[str, Any]:
        from unrolled.tasks.explain_tagger import explain_words

        words = self.reading.words(text) if isinstance(text, str) else list(text)
        if not words:
            raise DataError("the text to explain has no words")
        return explain_words(self, words)
