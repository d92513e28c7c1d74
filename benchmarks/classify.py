"""Text classifiers on IMDB and ChnSentiCorp, against fastText.

    python benchmarks/classify.py imdb --data DATA          # averages: accuracy on the test texts, CPU time, calibration
    python benchmarks/classify.py chinese --data DATA       # ChnSentiCorp, seeded 90/10 splits, average and recurrent
    python benchmarks/classify.py rnn --data DATA           # recurrent, vectors of the training texts; test texts once
    python benchmarks/classify.py transfer --data DATA      # upon a language model of the training texts; test texts once
    python benchmarks/classify.py neighbours --data DATA    # IMDB: names that neighbouring reviews share
    python benchmarks/classify.py noise --data DATA         # check classify: how many labels that were changed are found
    python benchmarks/classify.py small --data DATA         # 1,000 reviews: recurrent, vectors given against random ones
    python benchmarks/classify.py predict --data DATA       # texts answered a second, averages and recurrent ones

Needs fasttext-wheel 0.9.2 beside unrolled. Both read the same tokens (words in lower case, and punctuation marks), in turn
in one process, averages on one thread; time is CPU time. fastText: -wordNgrams 2 -dim 10 -epoch 10 -lr 0.3 -minCount 2,
lines shuffled; its time is that of train_supervised, which reads a file of tokens; ours is from the texts as they are to
the trained and calibrated model, a tenth of the texts held out for that.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import timing
import unrolled
from unrolled.config import resolve
from unrolled.data.labelled import Columns, Labelled, read_labelled
from unrolled.features.bags import TextFeatures
from unrolled.features.texts import padded_rows
from unrolled.models.classifier import Classifier, ClassifierConfig
from unrolled.options.classify import ClassifyOptions
from unrolled.run.classify import classify_options, train_classifier
from unrolled.tasks.classifier import TrainedClassifier
from unrolled.tasks.classify import AverageTraining, Split
from unrolled.tasks.label_noise import Checked, check_labels
from unrolled.tasks.reading import without_tags

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


def recurrent(examples: Labelled, folder: Path, vectors: Path | None, **flags: Any) -> tuple[TrainedClassifier, Any]:
    """The trained recurrent classifier, and what was said at its end: itself and the average on the validation texts."""
    given = {} if vectors is None else {"vectors": str(vectors)}
    options = classify_options(preset="rnn", flags=given | flags)
    *_, done = train_classifier(options, examples, folder)
    return TrainedClassifier.load(folder), done


def vectors_of(examples: Labelled, folder: Path, reader: str = "words-and-marks") -> Path:
    """Word vectors learned from the texts alone, 10 epochs."""
    texts = unrolled.lines(without_tags([text.replace("\n", " ") for text in examples.texts]), "training texts")
    unrolled.train("word-vectors", [texts], folder, options={"tokens": reader, "epochs": 10})
    return folder


#: The reviews of a film stand together in the files: the last ones are held out, and words that few films share left out.
FILMS = {"strip_tags": True, "hold_out": "last", "min_count": 20}


def run_rnn(data: Path, folder: Path, minutes: float) -> None:
    train, test = imdb(data, "train"), imdb(data, "test")
    start = time.perf_counter()
    vectors = vectors_of(train, folder / "vectors")
    print(f"vectors: {time.perf_counter() - start:.0f} s", flush=True)
    classifier, done = recurrent(train, folder / "run", vectors, **FILMS, minutes=minutes)
    print(f"all: {time.perf_counter() - start:.0f} s; validation: {done.beside}", flush=True)
    show_test(classifier, test)


def show_test(classifier: TrainedClassifier, test: Labelled) -> None:
    """Print how good it is on the test texts, read once."""
    found = classifier.evaluate(test)
    print(f"test: {found['accuracy']:.4f}, without those seen in training {found['without_seen']['accuracy']:.4f}")
    print(f"calibration error {found['calibration_error']:.4f}", flush=True)


def run_neighbours(data: Path) -> None:
    """How many reviews have a rare name in common with one that stands so far away in the file: reviews of one film do."""
    train = imdb(data, "train")
    names = [set(re.findall(r"[A-Z][a-z]{4,}", text)) for text in train.texts]
    texts = Counter(name for of in names for name in of)
    rare = [{name for name in of if 2 <= texts[name] <= 30} for of in names]
    for distance in (1, 2, 5, 10, 50, 500):
        shared = [bool(rare[i] & rare[i + distance]) for i in range(12_000)]
        print(f"{distance} lines away: {100 * statistics.mean(shared):.1f} % share a name that 2 to 30 reviews have")


#: The language model that is tuned: words in lower case, chosen on validation texts, see docs/results.md.
ENCODER = {
    "tokens": "words",
    "vocabulary_size": 30_000,
    "softmax": "sampled",
    "embedding_size": 256,
    "hidden_size": 512,
    "dropout_input": 0.25,
    "dropout_output": 0.25,
    "dropout_word": 0.05,
    "window": 70,
    "batch_size": 64,
    "valid_fraction": 0.01,
    "evaluations": 8,
    "precision": "bfloat16",
}
#: How it is tuned.
TUNING = {"strip_tags": True, "hold_out": "last", "precision": "bfloat16"}


def run_transfer(data: Path, folder: Path, minutes: float) -> None:
    """`minutes` for the language model."""
    train, test = imdb(data, "train"), imdb(data, "test")
    start = time.perf_counter()
    texts = unrolled.lines(without_tags([text.replace("\n", " ").lower() for text in train.texts]), "training texts")
    encoder = folder / "encoder"
    unrolled.train("language-model", [texts], encoder, preset="word", options=ENCODER | {"minutes": minutes})
    print(f"language model: {time.perf_counter() - start:.0f} s, {unrolled.load(encoder).metrics}", flush=True)
    options = classify_options(preset="transfer", flags={"encoder": str(encoder)} | TUNING)
    *_, done = train_classifier(options, train, folder / "tuned")
    print(f"all: {time.perf_counter() - start:.0f} s; validation: {done.beside}", flush=True)
    tuned = TrainedClassifier.load(folder / "tuned")
    print(f"weights of network and average: {tuned.network.weights}")
    alone = TrainedClassifier(tuned.network.network, tuned.labels, seen=tuned.seen)
    for name, one in (("network alone", alone), ("both", tuned)):
        print(f"{name}: ", end="")
        show_test(one, test)


def run_noise(data: Path) -> None:
    """5 % of the labels of IMDB's training texts and of ChnSentiCorp changed."""
    path = data / "text-classification" / "chnsenticorp" / "ChnSentiCorp_htl_all.csv"
    for name, examples in (
        ("IMDB", imdb(data, "train")),
        ("ChnSentiCorp", read_labelled([path], Columns("review", "label"))),
    ):
        names = sorted({label for (label,) in examples.labels})
        wrong = np.random.default_rng(1).random(len(examples)) < 0.05
        for i in np.flatnonzero(wrong):
            examples.labels[i] = (names[1 - names.index(examples.labels[i][0])],)
        start = time.perf_counter()
        *_, found = check_labels(resolve(ClassifyOptions, flags=FLAGS), examples)
        assert isinstance(found, Checked)
        place = {where: bool(w) for where, w in zip(examples.places, wrong, strict=True)}
        hits = np.array([place[doubt.place] for doubt in found.doubts])
        print(
            f"{name}: {wrong.sum()} of {len(examples)} labels changed; {len(hits)} in doubt, {hits.sum()} of them changed "
            f"({100 * hits.sum() / wrong.sum():.0f} % of all changed); of the worst 500, {hits[:500].sum()}; answered as "
            f"labelled {100 * found.accuracy:.1f} %; {time.perf_counter() - start:.0f} s",
            flush=True,
        )


def run_small(data: Path, rounds: int, folder: Path, minutes: float) -> None:
    train, test = imdb(data, "train"), imdb(data, "test")
    vectors = vectors_of(train, folder / "vectors")
    asked = test.part(range(0, len(test), 10))
    found: dict[str, list[float]] = {"random": [], "given": []}
    for seed in range(1, rounds + 1):
        some = train.part(np.random.default_rng(seed).permutation(len(train))[:1000])
        for name, given in (("random", None), ("given", vectors)):
            flags = {"strip_tags": True, "seed": seed, "minutes": minutes, "epochs": 12}
            classifier, _ = recurrent(some, folder / f"{name}-{seed}", given, **flags)
            found[name].append(100 * classifier.evaluate(asked)["accuracy"])
        print({name: shown(values) for name, values in found.items()}, flush=True)


#: Chosen on validation texts of the fourth split. Needs jieba.
HOTELS = {"tokens": "chinese-words", "adversarial": 0.01, "epochs": 10, "blend": True}


def run_chinese(data: Path, rounds: int, folder: Path, minutes: float) -> None:
    path = data / "text-classification" / "chnsenticorp" / "ChnSentiCorp_htl_all.csv"
    examples = read_labelled([path], Columns("review", "label"))
    averages, networks, blends = [], [], []
    for seed in range(1, rounds + 1):
        order = np.random.default_rng(seed).permutation(len(examples))
        cut = len(examples) // 10
        train, test = examples.part(order[cut:]), examples.part(order[:cut])
        averages.append(100 * ours(train, seed=seed)[0].evaluate(test)["accuracy"])
        vectors = vectors_of(train, folder / f"vectors-{seed}", "chinese-words")
        both, _ = recurrent(train, folder / f"run-{seed}", vectors, **HOTELS, seed=seed, minutes=minutes)
        alone = TrainedClassifier(both.network.network, both.labels)
        networks.append(100 * alone.evaluate(test)["accuracy"])
        blends.append(100 * both.evaluate(test)["accuracy"])
        print(f"seed {seed}: average {averages[-1]:.2f}, recurrent {networks[-1]:.2f}, both {blends[-1]:.2f}", flush=True)
    found = {"average": averages, "recurrent": networks, "both": blends}
    print(f"ChnSentiCorp, {rounds} splits: {', '.join(f'{name} {shown(of)} %' for name, of in found.items())}")


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


class Twin(nn.Module):
    """The same recurrent classifier written with torch.nn: packed sequences, max pooling."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        config = model.config
        table = model.embedding.weight.detach() * model.embedding.scale
        self.embedding = nn.Embedding.from_pretrained(torch.cat((table, table.new_zeros(1, table.shape[1]))))
        self.lstm = nn.LSTM(config.embedding_size, config.hidden_size, bidirectional=True)
        self.lstm.load_state_dict(model.recurrent.state_dict())
        self.output = model.output

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(ids.t()), lengths, enforce_sorted=False)
        a, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], padding_value=-torch.inf)
        return self.output(a.amax(0))


def run_recurrent_predict(data: Path, rounds: int) -> None:
    """Ids to logits, one thread: the network as it is built, and its twin in torch.nn, on the same batches in turn."""
    torch.set_num_threads(1)
    test = imdb(data, "test")
    reading, bags = Split(resolve(ClassifyOptions), test.part(range(0, len(test), 5))).read(longest=1)
    model = Classifier(ClassifierConfig(reading.n_symbols, 2)).eval()
    rows = np.split(bags.features, bags.starts[1:-1])
    order = np.argsort([len(row) for row in rows])
    batches = [padded_rows([rows[i] for i in order[at : at + 32]], reading.n_symbols) for at in range(0, len(rows), 32)]
    singles = [padded_rows([row], reading.n_symbols) for row in rows[:300]]
    twin = Twin(model).eval()
    print("| texts | torch.nn, texts/s | ours, texts/s | ratio |\n|---|---|---|---|")
    for name, groups in (("32 of similar length together", batches[::4]), ("one by one", singles)):
        rates: dict[str, list[float]] = {"torch.nn": [], "ours": []}
        with torch.no_grad():
            torch.testing.assert_close(twin(*groups[0]), model(*groups[0]), rtol=1e-3, atol=1e-4)
            for _ in range(rounds):
                for who, network in (("torch.nn", twin), ("ours", model)):
                    start = time.perf_counter()
                    for ids, lengths in groups:
                        network(ids, lengths)
                    rates[who].append(sum(len(lengths) for _, lengths in groups) / (time.perf_counter() - start))
        ratio = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
        print(f"| {name} | {' | '.join(f'{statistics.median(of):,.0f}' for of in rates.values())} | {ratio:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["imdb", "rnn", "transfer", "noise", "neighbours", "small", "chinese", "predict"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=26, help="time for a recurrent network, or a language model")
    args = parser.parse_args()
    print(f"{timing.machine()}; averages on one thread, recurrent on all; rounds or seeds {args.rounds}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        match args.what:
            case "imdb":
                run_imdb(args.data, args.rounds, Path(name))
            case "chinese":
                run_chinese(args.data, args.rounds, Path(name), args.minutes)
            case "rnn":
                run_rnn(args.data, Path(name), args.minutes)
            case "transfer":
                run_transfer(args.data, Path(name), args.minutes)
            case "neighbours":
                run_neighbours(args.data)
            case "noise":
                run_noise(args.data)
            case "small":
                run_small(args.data, args.rounds, Path(name), args.minutes)
            case "predict":
                run_predict(args.data, args.rounds, Path(name))
                run_recurrent_predict(args.data, args.rounds)


if __name__ == "__main__":
    main()
