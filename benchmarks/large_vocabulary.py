"""Time to a given perplexity with the full, the adaptive and the sampled softmax, 50,000 words.

    python benchmarks/large_vocabulary.py --data DATA --out build/large --minutes 10

Three trainings on the classic books (`--tokens words`, 50,000 words), the same network, one thread, the same number of
minutes each, one after the other on a machine that does nothing else. Perplexities are exact for all three. The peak
of the resident memory is printed too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    books = gzip.decompress((args.data / "language-model" / "classic-books" / "train.txt.gz").read_bytes()).decode()
    middle = books.index("\n", len(books) // 2)
    (args.out / "valid.txt").write_text(books[middle : middle + 100_000])
    (args.out / "train.txt").write_text(books[:middle] + books[middle + 100_000 :])
    report: dict[str, Any] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    for softmax in ("full", "adaptive", "sampled"):
        run = args.out / softmax
        shutil.rmtree(run, ignore_errors=True)
        files = [str(args.out / "train.txt"), "--valid", str(args.out / "valid.txt"), "--out", str(run)]
        size = ["--tokens=words", "--vocabulary-size=50000", "-s", "min_count=1", "--preset=word"]
        rest = ["-s", "dropout_output=0.1", "-s", "dropout_input=0.1", "-s", "evaluations=30", "-s", "schedule=constant"]
        rest += [
            "-s",
            f"minutes={args.minutes}",
            "-s",
            "threads=1",
            "-s",
            f"softmax={softmax}",
            "-s",
            "learning_rate=0.001",
        ]
        command = [sys.executable, "-m", "unrolled", "train", "language-model", *files, *size, *rest, "-q"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        curves[softmax] = [(row["seconds"], row["valid_perplexity"]) for row in rows]
        report[softmax] = {
            "tokens_per_second": rows[-1]["tokens_per_second"],
            "perplexity_at_the_end": round(min(p for _, p in curves[softmax]), 1),
            "peak_gb_so_far": round(max(before, peak) / 1e6, 2),
        }
    for goal in (1000, 700, 500, 400, 350, 300, 250):
        report[f"seconds to perplexity {goal}"] = {
            softmax: next((round(seconds) for seconds, p in curve if p <= goal), None) for softmax, curve in curves.items()
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
