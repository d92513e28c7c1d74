"""Text classifiers on IMDB and ChnSentiCorp, against fastText.

    python benchmarks/classify.py imdb --data DATA          # averages: accuracy on the test texts, CPU time, calibration
    python benchmarks/classify.py chinese --data DATA       # ChnSentiCorp, seeded 90/10 splits
    python benchmarks/classify.py predict --data DATA       # texts answered a second, together and one by one

Needs fasttext-wheel 0.9.2 beside unrolled. Both read the same tokens (words in lower case, and punctuation marks), in turn
in one process, on one thread; time is CPU time. fastText: -wordNgrams 2 -dim 10 -epoch 10 -lr 0.3 -minCount 2, lines
shuffled. Its time is that of train_supervised, which reads a file of tokens; ours is from the texts as they are to the
trained and calibrated model, a tenth of the texts held out for that.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import timing
from unrolled.config import resolve
from unrolled.data.labelled import Columns, Labelled, read_labelled
from unrolled.features.bags import TextFeatures
from unrolled.options.classify import ClassifyOptions
from unrolled.tasks.classifier import TrainedClassifier
from unrolled.tasks.classify import AverageTraining, Split

FLAGS = {"threads": 1}


def imdb(data: Path, part: str) -> Labelled:
    return read_labelled([data / "text-classification" / "imdb" / f"{part}.tsv.gz"])


def ours(examples: Labelled, **flags: Any) -> tuple[TrainedClassifier, float]:
    """The trained classifier and the CPU seconds it took."""
    start = time.process_time()
    options = resolve(ClassifyOptions, flags=FLAGS | flags)
    training = AverageTraining(options, Split(options, examples))
    for _ in training.train():
        pass
    return training.trained(), time.process_time() - start


def tokens(texts: Sequence[str], reader: TextFeatures) -> list[str]:
    return [" ".join(word.lower() for word, _ in reader.split(text)) for text in texts]


def fasttext_model(lines: list[str], labels: list[str], folder: Path, seed: int) -> tuple[Any, float]:
    import fasttext

    rows = [f"__label__{label} {line}\n" for line, label in zip(lines, labels, strict=True)]
    random.Random(seed).shuffle(rows)
    (folder / "train.txt").write_text("".join(rows), encoding="utf-8")
    start = time.process_time()
    model = fasttext.train_supervised(
        str(folder / "train.txt"), wordNgrams=2, dim=10, epoch=10, lr=0.3, minCount=2, thread=1, verbose=0, seed=seed
    )
    return model, time.process_time() - start


def answers(model: Any, lines: list[str]) -> list[str]:
    """fastText's answers; its Python front does not go with numpy 2, what is below it does."""
    return [model.f.predict(f"{line}\n", 1, 0.0, "strict")[0][1].removeprefix("__label__") for line in lines]


def shown(values: list[float]) -> str:
    spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def run_imdb(data: Path, rounds: int, folder: Path) -> None:
    train, test = imdb(data, "train"), imdb(data, "test")
    seen = set(train.texts)
    new = np.array([text not in seen for text in test.texts])
    reader = TextFeatures("words-and-marks", [], 1, np.zeros(0, np.uint64))
    lines, asked = tokens(train.texts, reader), tokens(test.texts, reader)
    labels = [label for (label,) in train.labels]
    right: dict[str, list[Any]] = {"fastText": [], "ours": []}
    seconds: dict[str, list[float]] = {"fastText": [], "ours": []}
    errors = []
    given = np.array([label for (label,) in test.labels])
    ours(train.part(range(0, len(train), 100)))  # compiles, if it must
    for seed in range(1, rounds + 1):
        for who in ("fastText", "ours") if seed % 2 else ("ours", "fastText"):
            if who == "ours":
                classifier, spent = ours(train, seed=seed)
                found = classifier.evaluate(test)
                errors.append(found["calibration_error"])
                p = classifier.probabilities(test.texts)
                answer = np.array(classifier.labels.names)[p.argmax(1)]
            else:
                model, spent = fasttext_model(lines, labels, folder, seed)
                answer = np.array(answers(model, asked))
            right[who].append(answer == given)
            seconds[who].append(spent)
    print("| whose | test, % | without the texts seen in training | CPU seconds |\n|---|---|---|---|")
    for who, found in right.items():
        whole, without = [100 * r.mean() for r in found], [100 * r[new].mean() for r in found]
        print(f"| {who} | {shown(whole)} | {shown(without)} | {statistics.median(seconds[who]):.1f} |")
    ratio = statistics.median(a / b for a, b in zip(seconds["ours"], seconds["fastText"], strict=True))
    print(f"CPU time, ours over fastText's: {ratio:.2f}; calibration error {shown([100 * e for e in errors])} x 0.01")


def run_chinese(data: Path, rounds: int) -> None:
    path = data / "text-classification" / "chnsenticorp" / "ChnSentiCorp_htl_all.csv"
    examples = read_labelled([path], Columns("review", "label"))
    found = []
    for seed in range(1, rounds + 1):
        order = np.random.default_rng(seed).permutation(len(examples))
        cut = len(examples) // 10
        classifier, _ = ours(examples.part(order[cut:]), seed=seed)
        found.append(100 * classifier.evaluate(examples.part(order[:cut]))["accuracy"])
    print(f"ChnSentiCorp, {rounds} splits, averages: {shown(found)} %")


def run_predict(data: Path, rounds: int, folder: Path) -> None:
    train, test = imdb(data, "train"), imdb(data, "test")
    reader = TextFeatures("words-and-marks", [], 1, np.zeros(0, np.uint64))
    model, _ = fasttext_model(tokens(train.texts, reader), [label for (label,) in train.labels], folder, 1)
    asked = tokens(test.texts, reader)
    classifier, _ = ours(train)
    print("| texts | fastText, texts/s (tokens given) | ours, texts/s (texts as they are) |\n|---|---|---|")
    for name, n in (("together", 25_000), ("one by one", 2_000)):
        rates: dict[str, list[float]] = {"fastText": [], "ours": []}
        for _ in range(rounds):
            start = time.process_time()
            answers(model, asked[:n])
            rates["fastText"].append(n / (time.process_time() - start))
            start = time.process_time()
            list(classifier.predictions(test.texts[:n], batch_size=1024 if n > 2000 else 1))
            rates["ours"].append(n / (time.process_time() - start))
        print(f"| {name} | " + " | ".join(f"{statistics.median(of):,.0f}" for of in rates.values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["imdb", "chinese", "predict"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"{timing.machine()}; one thread; rounds or seeds {args.rounds}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        match args.what:
            case "imdb":
                run_imdb(args.data, args.rounds, Path(name))
            case "chinese":
                run_chinese(args.data, args.rounds)
            case "predict":
                run_predict(args.data, args.rounds, Path(name))


if __name__ == "__main__":
    main()
