"""Restoring capitals and punctuation: a network that reads forward against one that reads from both ends.

    python benchmarks/tag.py --data DATA --rounds 3 --minutes 5

The first 2 million words of the books are learned from, the next 100,000 choose the best model, and the 100,000 after
those are read once. Both networks have the same units a direction, the same steps and the same time at most.

    python benchmarks/tag.py --data DATA --rounds 3 --minutes 5 --set wnut17

Entity F1 on the test sentences of WNUT17 or SNIPS instead, all options at their defaults, with vectors of GloVe.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import timing
import unrolled
from unrolled.data.tagged import Tagged, read_restorable, read_tagged
from unrolled.run.tag import tag_options, train_tagger

#: Stretches of 100 words to learn from, to choose by, and to test on.
TRAIN, VALID, TEST = 20_000, 1_000, 1_000


def books(data: Path) -> Tagged:
    path = data / "language-model" / "classic-books" / "train.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return read_restorable([unrolled.lines([file.read(14_000_000)], "books")])


def parts(found: dict[str, Any]) -> tuple[float, float]:
    """F1 of capitals, and of marks, over all labels that have one."""
    names = list(found["classes"])
    table = found["confusion"]

    def f1(has: Any) -> float:
        inside = [has(name) for name in names]
        both = sum(table[i][j] for i, a in enumerate(names) for j, b in enumerate(names) if has(a) and has(a) == has(b))
        given = sum(sum(row) for row, yes in zip(table, inside, strict=True) if yes)
        answered = sum(sum(row[j] for row in table) for j, yes in enumerate(inside) if yes)
        return 2 * both / (given + answered)

    return f1(lambda name: name.rstrip(".,;:!?") if name.startswith("X") else ""), f1(lambda name: name.lstrip("Xx"))


def entities(data: Path, name: str, rounds: int, minutes: float) -> None:
    """Print entity F1 of the default tagger on a data set's validation and test sentences, for each seed and the mean."""
    folder, scores = data / "tagging" / name, list[float]()
    held = next(path for path in (folder / "dev.conll", folder / "valid.conll") if path.exists())
    vectors = data / "word-vectors" / "glove.6B.50d.top50k.txt.gz"
    with tempfile.TemporaryDirectory() as out:
        for seed in range(1, rounds + 1):
            run = Path(out) / str(seed)
            options = tag_options(flags={"vectors": str(vectors), "seed": seed, "minutes": minutes})
            for _ in train_tagger(options, [folder / "train.conll"], run, valid=[held]):
                pass
            trained = unrolled.load(run)
            scores.append(100 * trained.evaluate(read_tagged([folder / "test.conll"]))["entity_f1"])
            print(f"seed {seed}: valid {100 * trained.metrics['valid_entity_f1']:.2f}, test {scores[-1]:.2f}", flush=True)
    print(f"{name}: entity F1 on test {statistics.mean(scores):.2f} of {rounds} seeds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--set", choices=["books", "wnut17", "snips"], default="books")
    args = parser.parse_args()
    print(f"{timing.machine()}; seeds {args.rounds}, {args.minutes:g} minutes at most", flush=True)
    if args.set != "books":
        entities(args.data, args.set, args.rounds, args.minutes)
        return
    text = books(args.data)
    train, rest = text.part(range(TRAIN)), range(TRAIN, TRAIN + VALID)
    valid, test = text.part(rest), text.part(range(rest.stop, rest.stop + TEST))
    rows: dict[str, list[tuple[float, ...]]] = {"forward": [], "both": []}
    with tempfile.TemporaryDirectory() as name:
        for seed in range(1, args.rounds + 1):
            for who in rows:
                flags = {
                    "restore": True,
                    "bidirectional": who == "both",
                    "seed": seed,
                    "minutes": args.minutes,
                    "epochs": 4,
                }
                start = time.perf_counter()
                for _ in train_tagger(tag_options(flags=flags), train, Path(name) / f"{who}-{seed}", valid=valid):
                    pass
                seconds = time.perf_counter() - start
                found = unrolled.load(Path(name) / f"{who}-{seed}").evaluate(test)
                rows[who].append((100 * found["accuracy"], *(100 * f for f in parts(found)), seconds))
                print(seed, who, *(f"{value:.2f}" for value in rows[who][-1]), flush=True)
    print("| reads | labels right, % | F1 of capitals | F1 of marks | seconds |\n|---|---|---|---|---|")
    for who, found in rows.items():
        columns = zip(*found, strict=True)
        shown = (f"{statistics.mean(c):.2f}" + (f" +- {statistics.stdev(c):.2f}" if len(c) > 1 else "") for c in columns)
        print(f"| {who} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
