"""Word vectors against gensim and fastText: speed, quality, reading of text and of files.

    python benchmarks/word_vectors.py speed   --data DATA [--threads 2]     # words a second, four objectives
    python benchmarks/word_vectors.py quality --data DATA [--threads 2]     # five seeds: WordSim-353 and analogies
    python benchmarks/word_vectors.py files   --data DATA                   # vocabulary scan; GloVe text; 1 GB binary
    python benchmarks/word_vectors.py scaling --data DATA                   # ours: two threads over one
    python benchmarks/word_vectors.py sizes   --data DATA                   # skip-gram and CBOW on 1 and 11 million words
    python benchmarks/word_vectors.py processes --data DATA                 # tables averaged over 2, 4 and 8 processes
    python benchmarks/word_vectors.py fasttext --data DATA                  # skip-gram with and without sub-words
    python benchmarks/word_vectors.py index   --data DATA                   # neighbours among 50,000 words of GloVe
    python benchmarks/word_vectors.py open    --data DATA                   # a model folder of 4 GB

Needs gensim 4.4 beside unrolled; `fasttext` needs fasttext-wheel 0.9.2, `index` voyager. The text is classic-books, split
at blanks, a paragraph a line; gensim reads it with `corpus_file`, its fastest way. 100 dimensions, window 5, 5 negatives,
sub-sampling at 1e-3, words seen 5 times or more. The two take turns in one process; one thread is timed by CPU time,
several by the wall; the vocabulary scan is timed apart.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import timing
import unrolled
from unrolled.data.text import read_documents
from unrolled.data.vector_files import read_vectors, write_vectors
from unrolled.data.word_tests import read_word_test
from unrolled.features.numbering import Spool
from unrolled.features.words import READERS, choose, read_words, rows_of
from unrolled.run.word_vectors import word_vectors_options
from unrolled.tasks.vectors import Vectors
from unrolled.tasks.word_vectors import Epoch, WordVectorsTask

SETTINGS = {
    "skip-gram, negative sampling": ({"sg": 1, "negative": 5}, {}),
    "skip-gram, hierarchical softmax": ({"sg": 1, "hs": 1, "negative": 0}, {"objective": "hierarchical-softmax"}),
    "CBOW, negative sampling": ({"sg": 0, "negative": 5}, {"architecture": "cbow", "cbow_gradient": "word2vec"}),
    "CBOW, hierarchical softmax": (
        {"sg": 0, "hs": 1, "negative": 0},
        {"architecture": "cbow", "objective": "hierarchical-softmax", "cbow_gradient": "word2vec"},
    ),
}
#: gensim has no divided gradient; with it our default learning rate is another.
DIVIDED = {
    "CBOW, negative sampling, divided": {"architecture": "cbow"},
    "CBOW, hierarchical softmax, divided": {"architecture": "cbow", "objective": "hierarchical-softmax"},
}


def chosen(args: argparse.Namespace) -> list[tuple[str, tuple[dict[str, Any], dict[str, Any]]]]:
    return [(name, both) for name, both in SETTINGS.items() if args.only in name]


def clock(threads: int) -> Callable[[], float]:
    return time.process_time if threads == 1 else time.perf_counter


def corpus(data: Path, folder: Path, words: int | None = None) -> Path:
    """The text between blanks, a paragraph a line; of it the first so many words."""
    text = gzip.decompress((data / "language-model" / "classic-books" / "train.txt.gz").read_bytes()).decode()
    lines, left = [], words or 10**12
    for line in (line.split() for line in text.split("\n")):
        if line and left > 0:
            lines.append(" ".join(line[:left]))
            left -= len(line)
    path = folder / f"text-{words or 'all'}.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rate(ours: dict[str, Any]) -> float:
    """gensim's learning rate: what ours is when it is not given."""
    return 0.05 if ours.get("architecture") == "cbow" else 0.025


def gensim_model(path: Path, theirs: dict[str, Any], alpha: float, threads: int, epochs: int, seed: int) -> Any:
    from gensim.models import Word2Vec

    model = Word2Vec(
        vector_size=100, window=5, min_count=5, sample=1e-3, alpha=alpha, min_alpha=alpha / 250, workers=threads,
        epochs=epochs, seed=seed, **theirs,
    )  # fmt: skip
    model.build_vocab(corpus_file=str(path))
    return model


def gensim_train(model: Any, path: Path, epochs: int) -> int:
    """Train; the words read."""
    totals = {"total_words": model.corpus_total_words, "total_examples": model.corpus_count}
    return int(model.train(corpus_file=str(path), epochs=epochs, **totals)[1])


def our_task(path: Path, ours: dict[str, Any], threads: int, epochs: int, seed: int, probes: Any = ()) -> WordVectorsTask:
    flags = {"tokens": "whitespace", "epochs": epochs, "seed": seed}
    return WordVectorsTask(word_vectors_options(flags=flags | ours), read_documents([path]), threads=threads, probes=probes)


def speed(args: argparse.Namespace, path: Path) -> None:
    now = clock(args.threads)
    print("| objective | gensim, words/s | ours, words/s | ours over gensim |\n|---|---|---|---|")
    for name, (theirs, ours) in chosen(args):
        ratios, speeds = [], []
        for _ in our_task(path, ours, 1, 1, 1).train():  # compiles, if it must
            break
        for seed in range(args.rounds):
            model, task = (
                gensim_model(path, theirs, rate(ours), args.threads, 1, seed + 1),
                our_task(path, ours, args.threads, 1, seed),
            )
            found: dict[str, float] = {}
            for who in ("gensim", "ours") if seed % 2 else ("ours", "gensim"):
                start = now()
                words = (
                    gensim_train(model, path, 1)
                    if who == "gensim"
                    else sum(isinstance(e, Epoch) for e in task.train()) * task.all_words
                )
                found[who] = words / (now() - start)
            ratios.append(found["ours"] / found["gensim"])
            speeds.append(found)
        middle = [statistics.median(s[who] for s in speeds) for who in ("gensim", "ours")]
        print(f"| {name} | {middle[0]:,.0f} | {middle[1]:,.0f} | {statistics.median(ratios):.2f} |", flush=True)


def scaling(args: argparse.Namespace, path: Path) -> None:
    print("| objective | one thread, words/s | two threads, words/s | two over one |\n|---|---|---|---|")
    for name, (_, ours) in chosen(args):
        speeds: dict[int, list[float]] = {1: [], 2: []}
        for seed in range(args.rounds):
            for threads in (1, 2) if seed % 2 else (2, 1):
                task = our_task(path, ours, threads, 1, seed)
                start = time.perf_counter()
                for _ in task.train():
                    pass
                speeds[threads].append(task.all_words / (time.perf_counter() - start))
        one, two = (statistics.median(speeds[threads]) for threads in (1, 2))
        ratio = statistics.median(b / a for a, b in zip(speeds[1], speeds[2], strict=True))
        print(f"| {name} | {one:,.0f} | {two:,.0f} | {ratio:.2f} |", flush=True)


def fasttext(args: argparse.Namespace, folder: Path) -> None:
    """An epoch is what two epochs take longer than one: fastText's call reads the vocabulary too."""
    import fasttext as peer
    from gensim.models import FastText

    path = corpus(args.data, folder, 1_000_000)
    print("| skip-gram, negative sampling | whose | words/s | ours over it |\n|---|---|---|---|")
    for name, ours in (("n-grams of 3 to 6", {"subwords": True}), ("whole words", {"subwords": False})):
        longest = 6 if ours["subwords"] else 0

        def theirs(epochs: int, longest: int = longest) -> float:
            start = time.process_time()
            peer.train_unsupervised(
                str(path), model="skipgram", dim=100, ws=5, neg=5, t=1e-3, minCount=5, lr=0.05, epoch=epochs, minn=3,
                maxn=longest, thread=1, verbose=0,
            )  # fmt: skip
            return time.process_time() - start

        def gensims(longest: int = longest) -> float:
            model = FastText(
                vector_size=100, window=5, min_count=5, sample=1e-3, alpha=0.05, workers=1, sg=1, negative=5, max_n=longest,
            )  # fmt: skip
            model.build_vocab(corpus_file=str(path))
            start = time.process_time()
            model.train(
                corpus_file=str(path), epochs=1, total_words=model.corpus_total_words, total_examples=model.corpus_count
            )
            return time.process_time() - start

        def own(ours: dict[str, Any] = ours) -> float:
            task = our_task(path, ours | {"learning_rate": 0.05}, 1, 1, 1)
            start = time.process_time()
            for _ in task.train():
                pass
            return time.process_time() - start

        own()
        spent: dict[str, list[float]] = {"fastText": [], "gensim": [], "ours": []}
        for _ in range(args.rounds):
            spent["fastText"].append(theirs(2) - theirs(1))
            spent["ours"].append(own())
            spent["gensim"].append(gensims())
        for who, seconds in spent.items():
            ratio = statistics.median(a / b for a, b in zip(seconds, spent["ours"], strict=True))
            print(f"| {name} | {who} | {1e6 / statistics.median(seconds):,.0f} | {ratio:.1f} |", flush=True)


def index(args: argparse.Namespace, folder: Path) -> None:
    from unrolled.tasks.neighbor_index import make_index

    vectors = Vectors.from_file(args.data / "word-vectors" / "glove.6B.50d.top50k.txt.gz")
    print("| words | recall of ten | seconds to make | questions/s | exactly |\n|---|---|---|---|---|")
    found = make_index(vectors, folder / "glove.voy")
    speeds = f"{found.per_second:,.0f} | {found.exact_per_second:,.0f}"
    print(f"| {found.words:,} | {found.recall:.4f} | {found.seconds:.1f} | {speeds} |")


def open_large(args: argparse.Namespace, folder: Path) -> None:
    """4 GB of vectors of 300 numbers, all zero, so that the disk need not hold them."""
    rows, size = 3_500_000, 300
    shapes = {"inputs": ("F32", [rows, size], 4), "outputs": ("F32", [1, size], 4), "counts": ("I64", [rows], 8)}
    header, at = {}, 0
    for name, (kind, shape, width) in shapes.items():
        end = at + width * int(np.prod(shape))
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        at = end
    small = our_task(corpus(args.data, folder, 10_000), {"vector_size": size}, 1, 1, 1).trained()
    small.save(folder / "large")
    (folder / "large" / "words.txt").write_text("".join(f"word{i}\n" for i in range(rows)))
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    with (folder / "large" / "model.safetensors").open("wb") as file:
        file.write(len(packed).to_bytes(8, "little") + packed)
        file.truncate(8 + len(packed) + at)
    print("| folder, GB | seconds to open | to the first word's vector | memory of its own, GB |\n|---|---|---|---|")
    for _ in range(args.rounds):
        before = own_memory()
        start = time.perf_counter()
        vectors = unrolled.load(folder / "large")
        opened = time.perf_counter() - start
        assert vectors["word3000000"].shape == (size,)
        looked_up = time.perf_counter() - start
        print(f"| {at / 1e9:.2f} | {opened:.2f} | {looked_up:.2f} | {own_memory() - before:.2f} |", flush=True)
        del vectors


def own_memory() -> float:
    """GB of memory that this process alone holds."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e6


def tests(data: Path) -> list[Any]:
    return [read_word_test(data / "word-vectors" / name) for name in ("wordsim353.tsv", "questions-words.txt")]


def scores(vectors: Vectors, asked: list[Any]) -> tuple[float, float]:
    return 100 * vectors.test(asked[0])["spearman"], 100 * vectors.test(asked[1], most=30_000)["accuracy"]


def shown(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} +- {statistics.stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def quality(args: argparse.Namespace, path: Path, asked: list[Any]) -> None:
    print(
        "| objective | whose | WordSim-353, Spearman x 100 | analogies, 30,000 words, % | seconds |\n|---|---|---|---|---|"
    )
    alone = [(name, ({}, ours)) for name, ours in DIVIDED.items() if args.only in name]
    for name, (theirs, ours) in chosen(args) + alone:
        for who in ("gensim", "ours") if theirs and not args.ours else ("ours",):
            found, seconds = [], []
            for seed in range(1, args.rounds + 1):
                start = time.perf_counter()
                if who == "gensim":
                    model = gensim_model(path, theirs, rate(ours), args.threads, 5, seed)
                    gensim_train(model, path, 5)
                    vectors = Vectors(model.wv.index_to_key, model.wv.vectors)
                else:
                    task = our_task(path, ours, args.threads, 5, seed)
                    for _ in task.train():
                        pass
                    vectors = task.vectors()
                seconds.append(time.perf_counter() - start)
                found.append(scores(vectors, asked))
            columns = " | ".join(shown([row[i] for row in found]) for i in range(2))
            print(f"| {name} | {who} | {columns} | {statistics.median(seconds):.0f} |", flush=True)


def sizes(args: argparse.Namespace, folder: Path, asked: list[Any]) -> None:
    print("| words | architecture | WordSim-353, Spearman x 100 | analogies, 30,000 words, % |\n|---|---|---|---|")
    for words in (1_000_000, None):
        path = corpus(args.data, folder, words)
        options = {
            "skip-gram": {},
            "CBOW": {"architecture": "cbow"},
            "CBOW, gradient as word2vec": {"architecture": "cbow", "cbow_gradient": "word2vec"},
        }
        for architecture, ours in options.items():
            found = []
            for seed in range(1, args.rounds + 1):
                task = our_task(path, ours, args.threads, 5, seed)
                for _ in task.train():
                    pass
                found.append(scores(task.vectors(), asked))
            columns = " | ".join(shown([row[i] for row in found]) for i in range(2))
            print(f"| {words or 11_076_851:,} | {architecture} | {columns} |", flush=True)


def processes(args: argparse.Namespace, path: Path, folder: Path, asked: list[Any]) -> None:
    """Quality of tables that are averaged, a thread a process, at the rate of one process and at ours for several."""
    print("| processes | rate | words between averages | WordSim-353 | analogies | seconds |\n|---|---|---|---|---|---|")
    for size, rates in ((2, ("0.025", "")), (4, ("0.025", "")), (8, ("", "0.2"))):
        for given, words in [*((given, 2_000_000 // size) for given in rates), ("", 200_000 // size)]:
            found, seconds = [], []
            for seed in range(1, args.rounds + 1):
                out, start = folder / f"{size}-{given}-{words}-{seed}", time.perf_counter()
                command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size), "-m", "unrolled"]
                command += [
                    "train",
                    "word-vectors",
                    str(path),
                    "--tokens",
                    "whitespace",
                    "--threads",
                    "1",
                    "--out",
                    str(out),
                ]
                command += ["--seed", str(seed), "--average-words", str(words)]
                command += ["--learning-rate", given] if given else []
                subprocess.run(command, check=True, capture_output=True)
                seconds.append(time.perf_counter() - start)
                found.append(scores(unrolled.load(out), asked))
            columns = " | ".join(shown([row[i] for row in found]) for i in range(2))
            rate = given or f"{0.025 * min(size, 4)} (default)"
            print(f"| {size} | {rate} | {words:,} | {columns} | {statistics.median(seconds):.0f} |", flush=True)


def files(args: argparse.Namespace, path: Path, folder: Path) -> None:
    from gensim.models import KeyedVectors, Word2Vec

    def scan() -> None:
        words = read_words(read_documents([path]), READERS["whitespace"], Spool())
        kept = choose(words.counts, min_count=5)
        words.spelled(kept)
        words.ids(rows_of(kept, len(words)), Spool())

    random, rows = np.random.default_rng(0), 830_000
    large = folder / "large.bin"
    write_vectors(
        large, [f"word{i}" for i in range(rows)], random.normal(size=(rows, 300)).astype(np.float32), "word2vec-bin"
    )
    glove = args.data / "word-vectors" / "glove.6B.50d.top50k.txt.gz"
    contests = {
        "vocabulary scan (ours: encoding too), 11 M words": (
            lambda: Word2Vec(min_count=5).build_vocab(corpus_file=str(path)),
            scan,
        ),
        "GloVe text, gzipped, 50,000 x 50": (
            lambda: KeyedVectors.load_word2vec_format(glove, no_header=True),
            lambda: read_vectors(glove),
        ),
        f"word2vec binary, {rows:,} x 300, {large.stat().st_size / 1e9:.2f} GB": (
            lambda: KeyedVectors.load_word2vec_format(large, binary=True),
            lambda: read_vectors(large),
        ),
    }
    print("| what | gensim, s | ours, s | ours over gensim |\n|---|---|---|---|")
    for name, (theirs, ours) in contests.items():
        spent: dict[Callable[[], Any], list[float]] = {theirs: [], ours: []}
        ours()
        for n in range(args.rounds):
            for run in (theirs, ours) if n % 2 else (ours, theirs):
                start = time.perf_counter()
                run()
                spent[run].append(time.perf_counter() - start)
        a, b = (statistics.median(spent[run]) for run in (theirs, ours))
        ratio = statistics.median(x / y for x, y in zip(spent[theirs], spent[ours], strict=True))
        print(f"| {name} | {a:.2f} | {b:.2f} | {ratio:.2f} |", flush=True)
    print(f"largest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=["speed", "quality", "files", "scaling", "sizes", "processes", "fasttext", "index", "open"]
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="objectives whose name holds this, such as CBOW")
    parser.add_argument("--ours", action="store_true", help="quality: without gensim")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{timing.machine()}; threads {args.threads}; rounds or seeds {args.rounds}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = corpus(args.data, folder)
        match args.what:
            case "speed":
                speed(args, path)
            case "scaling":
                scaling(args, path)
            case "quality":
                quality(args, path, tests(args.data))
            case "sizes":
                sizes(args, folder, tests(args.data))
            case "processes":
                processes(args, path, folder, tests(args.data))
            case "fasttext":
                fasttext(args, folder)
            case "open":
                open_large(args, folder)
            case "index":
                index(args, folder)
            case "files":
                files(args, path, folder)


if __name__ == "__main__":
    main()
