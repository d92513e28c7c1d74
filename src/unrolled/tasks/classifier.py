"""A trained text classifier: `predict`, `evaluate`, `explain`, `save`. Made by `unrolled.load`.

classifier = unrolled.load("runs/sentiment")
classifier.predict("Not bad at all.").label                 # 'pos', or None where it abstains
classifier.predict(["Not bad.", "Awful."])                  # a list of two predictions
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, overload

import numpy as np

from unrolled.data.labelled import Columns, Labelled, read_labelled
from unrolled.errors import ConfigError, FolderError
from unrolled.features.fingerprints import fingerprints, read_seen
from unrolled.features.labels import LabelSet, check_known
from unrolled.folders import header, open_model, prepare_model, write_bytes, write_json, write_text
from unrolled.metrics.classification import (
    calibration_error,
    confusion,
    f1_scores,
    log_loss,
    macro_f1,
    mean_distance,
    reliability,
)
from unrolled.tasks.averages import AverageNetwork
from unrolled.tasks.blended import BlendedNetwork
from unrolled.tasks.card import classifier_card
from unrolled.tasks.inputs import TEXTS, evaluation_paths, iter_inputs, map_inputs
from unrolled.tasks.recurrent_network import RecurrentNetwork

__all__ = ["NAME", "NETWORKS", "Decision", "Network", "Prediction", "TrainedClassifier"]

NAME = "classify"


class Network(Protocol):
    """What turns texts into logits: a model and all it needs to read text."""

    reading: Any

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """z (n, K)."""
        ...

    def explain(self, text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The tokens of a text (T), what each adds to the logits (T, K), and what is there without any (K,)."""
        ...

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what is needed to load it again; returns what belongs into config.json."""
        ...


#: The kinds of networks by name; each has a static method `load(folder, config)`.
NETWORKS: dict[str, Any] = {"average": AverageNetwork, "rnn": RecurrentNetwork, "blended": BlendedNetwork}


@dataclass(frozen=True)
class Decision:
    """What becomes of logits. temperature: what they are divided by; shift (K,): what is added then, so that a text without
    evidence has the prior; thresholds: of each label where there can be many, else one, below which nothing is answered.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] = field(default=())
    shift: tuple[float, ...] = field(default=())

    def calibrated(self, z: np.ndarray) -> np.ndarray:
        """Logits (n, K) -> calibrated logits (n, K), float64."""
        return z.astype(np.float64) / self.temperature + (np.array(self.shift) if self.shift else 0.0)


class Prediction(NamedTuple):
    """label: the answer, None where it abstains; labels: all of them where there can be many; probability of each label."""

    text: str
    label: str | None
    labels: tuple[str, ...]
    probabilities: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """One JSON line of `predict`."""
        rounded = {name: round(p, 6) for name, p in self.probabilities.items()}
        return {"text": self.text, "label": self.label, "labels": list(self.labels), "probabilities": rounded}


class TrainedClassifier:
    """A network, its labels, and what was chosen on validation. seen: fingerprints of the texts it was made from; columns:
    where text and label stood in the files.
    """

    def __init__(
        self,
        network: Network,
        labels: LabelSet,
        decision: Decision | None = None,
        metrics: dict[str, Any] | None = None,
        seen: np.ndarray | None = None,
        columns: Columns | None = None,
    ) -> None:
        self.network, self.labels, self.metrics = network, labels, metrics or {}
        self.decision, self.columns = decision or Decision(), columns or Columns()
        self.seen = np.zeros(0, np.uint64) if seen is None else np.sort(seen)

    @staticmethod
    def load(path: str | Path) -> TrainedClassifier:
        """Open a model folder or a run folder. FolderError if it is damaged or of another kind."""
        folder, config = open_model(path, NAME, "a text classifier")
        try:
            labels = LabelSet(tuple(config["labels"]["names"]), config["labels"]["kind"])
            stored = config["decision"]
            decision = Decision(stored["temperature"], tuple(stored["thresholds"]), tuple(stored.get("shift", ())))
            network = NETWORKS[config["network"]].load(folder, config)
            columns = Columns(**config["columns"])
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise FolderError(f"{folder}: config.json does not describe a text classifier ({error}).") from None
        seen = read_seen(folder)
        return TrainedClassifier(network, labels, decision, config.get("metrics"), seen, columns)

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = prepare_model(folder)
        kind = next(name for name, made in NETWORKS.items() if isinstance(self.network, made))
        config = header(NAME)
        config |= {"network": kind, "labels": self.labels.to_json(), "metrics": self.metrics}
        config |= {"columns": self.columns._asdict()}
        config |= {"decision": {name: value for name, value in asdict(self.decision).items() if value != ()}}
        config["decision"].setdefault("thresholds", [])
        config |= self.network.save(folder) | (extra or {})
        write_bytes(folder / "seen.bin", self.seen.tobytes())
        write_json(folder / "metrics.json", self.metrics)
        write_text(folder / "README.md", classifier_card(config))
        write_json(folder / "config.json", config)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """P (n, C) of each label, calibrated: the columns are `labels.names`."""
        return self.calibrated(self.network.logits(texts))

    def calibrated(self, z: np.ndarray) -> np.ndarray:
        """P (n, C) for logits z (n, K) of the network."""
        return self.labels.probabilities(self.decision.calibrated(z))

    @overload
    def predict(self, texts: str, threshold: float | None = None, *, batch_size: int = 1024) -> Prediction: ...
    @overload
    def predict(
        self, texts: Iterable[str], threshold: float | None = None, *, batch_size: int = 1024
    ) -> list[Prediction]: ...
    def predict(self, texts: Any, threshold: float | None = None, *, batch_size: int = 1024) -> Any:
        """Return the label of a text and the probability of every label; of an iterable of texts, a list of these.

        threshold: instead of what was chosen at training. With one label: below it, nothing is answered.
        batch_size: texts computed at once; changes no result. Raises TypeError for what is neither text nor texts.
        """
        columns = (self.columns.text,)
        return map_inputs(TEXTS, texts, lambda some: self.predictions(some, threshold, batch_size), columns)

    def predictions(
        self, texts: Iterable[str], threshold: float | None = None, batch_size: int = 1024
    ) -> Iterator[Prediction]:
        """`predict`, one after another as they are known, `batch_size` texts at once."""
        remaining = iter_inputs(TEXTS, texts)
        while group := list(islice(remaining, batch_size)):
            p = self.probabilities(group)
            for text, row, answer in zip(group, p, self.decide(p, threshold), strict=True):
                found = tuple(self.labels.names[i] for i in sorted(answer, key=lambda i, p=row: -p[i]))
                named = dict(zip(self.labels.names, row.tolist(), strict=True))
                yield Prediction(text, found[0] if found else None, found, named)

    def decide(self, p: np.ndarray, threshold: float | None = None) -> list[list[int]]:
        """The answers, places of labels, for probabilities (n, C): may be none."""
        given = self.decision.thresholds if threshold is None else (threshold,)
        if self.labels.kind == "many":
            reached = p >= np.array(given or (0.5,))
            return [np.flatnonzero(row).tolist() for row in reached]
        best = p.argmax(1)
        least = given[0] if given else 0.0
        return [[int(i)] if row[i] >= least else [] for i, row in zip(best, p, strict=True)]

    def evaluate(
        self,
        examples: Any,
        threshold: float | None = None,
        p: np.ndarray | None = None,
        *,
        batch_size: int | None = None,
    ) -> dict[str, Any]:
        """Accuracy, F1, confusion and calibration on labelled texts; how many of them stood in the training texts.

        examples: `Labelled` texts, or one or several paths of files that hold them in the columns of training.
        p: the probabilities (n, C) of the texts, if they are there already. batch_size: texts computed at once.
        """
        if not isinstance(examples, Labelled):
            paths = evaluation_paths(examples, NAME)
            examples = read_labelled(paths, self.columns._replace(weight=None))
            self.check_labels(examples, ", ".join(map(str, paths)))
        if not len(examples):
            raise ConfigError("there are no examples to evaluate on")
        if p is None:
            size = batch_size or len(examples)
            groups = (examples.texts[at : at + size] for at in range(0, len(examples), size))
            p = np.concatenate([self.probabilities(group) for group in groups])
        given, unknown = self.labels.given(examples.labels)
        again = np.isin(fingerprints(examples.texts), self.seen)
        found: dict[str, Any] = {"examples": len(examples), "empty": examples.empty, "seen_in_training": int(again.sum())}
        found["unknown_labels"] = dict(unknown.most_common())
        found |= self.judged(given, p, threshold)
        if again.any() and not again.all():
            without = self.judged(given[~again], p[~again], threshold)
            keys = ("accuracy", "exact", "macro_f1", "micro_f1", "log_loss", "calibration_error")
            found["without_seen"] = {key: without[key] for key in keys if key in without}
        return found

    def check_labels(self, examples: Labelled, name: str) -> None:
        """DataError where the model knows none of the labels of the examples; name: of their files."""
        _, unknown = self.labels.given(examples.labels)
        check_known(unknown, sum(map(len, examples.labels)), self.labels.names, name)

    def judged(self, given: np.ndarray, p: np.ndarray, threshold: float | None = None) -> dict[str, Any]:
        """How good probabilities p (n, C) are for right answers as `LabelSet.given` has them."""
        judge = self._judge_many if self.labels.kind == "many" else self._judge
        return judge(given, p, threshold)

    def _judge(self, given: np.ndarray, p: np.ndarray, threshold: float | None) -> dict[str, Any]:
        """One label an example. Labels that are not known are wrong answers; they have no probability and no F1."""
        answer, best = p.argmax(1), p.max(1)
        right = answer == given
        known = given >= 0
        one_hot = np.eye(len(self.labels), dtype=np.int64)
        classes = f1_scores(one_hot[given[known]], one_hot[answer[known]])
        bins = reliability(best, right)
        found: dict[str, Any] = {"accuracy": float(right.mean()), "accuracy_interval": _interval(right)}
        answered = np.array([len(row) > 0 for row in self.decide(p, threshold)])
        if not answered.all():
            precision = float(right[answered].mean()) if answered.any() else None
            found["answered"] = {"part": float(answered.mean()), "accuracy": precision}
        if self.labels.kind == "ordered":
            found["mean_distance"] = mean_distance(given[known], answer[known]) if known.any() else None
        return found | {
            "macro_f1": macro_f1(classes),
            "log_loss": log_loss(given[known], p[known]) if known.any() else None,
            "calibration_error": calibration_error(bins),
            "classes": dict(zip(self.labels.names, classes, strict=True)),
            "confusion": confusion(given[known], answer[known], len(self.labels)).tolist(),
            "reliability": [list(b) for b in bins],
        }

    def _judge_many(self, given: np.ndarray, p: np.ndarray, threshold: float | None) -> dict[str, Any]:
        """Any number of labels an example; calibration over all pairs of example and label."""
        answer = np.zeros_like(given)
        for row, places in zip(answer, self.decide(p, threshold), strict=True):
            row[places] = 1
        classes = f1_scores(given, answer)
        (micro,) = f1_scores(given.reshape(-1, 1), answer.reshape(-1, 1))
        exact = (given == answer).all(1)
        bins = reliability(p.ravel(), given.ravel().astype(bool))
        return {
            "exact": float(exact.mean()),
            "micro_f1": micro["f1"],
            "macro_f1": macro_f1(classes),
            "log_loss": log_loss(given, p),
            "calibration_error": calibration_error(bins),
            "classes": dict(zip(self.labels.names, classes, strict=True)),
            "reliability": [list(b) for b in bins],
        }

    def explain(self, text: str | Iterable[str]) -> Any:
        """What each token adds to the score of each label, and how the probabilities turn as the text unfolds.

        An iterable of texts gives a list.
        """
        from unrolled.tasks.explain_classifier import explain_text

        return map_inputs(TEXTS, text, lambda some: (explain_text(self, one) for one in some), (self.columns.text,))


def _interval(right: np.ndarray) -> list[float]:
    """The 95 % interval of an accuracy (Wilson 1927)."""
    n, p, z = len(right), float(right.mean()), 1.959964
    middle, half = p + z * z / (2 * n), z * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    return [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)]
