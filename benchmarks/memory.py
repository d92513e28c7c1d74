"""Peak resident memory and speed of a training on a text that is larger than it may use, against the same in memory.

    python benchmarks/memory.py --data DATA --out build/memory                   # 2 GB: the classic books again and again
    python benchmarks/memory.py --data DATA --out build/memory --gigabytes 0.2 --tokens words

The long text is trained on twice: the first time its ids are made, the second time they are found in the cache. The short
one is the same books once, held in memory. All three train one network for the same number of steps; speed is tokens a
second from the middle of the run to its end.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def repeated(source: Path, target: Path, size: int) -> None:
    """Write `size` bytes of the books, each time with a line that tells the copies apart."""
    text = gzip.decompress(source.read_bytes())
    with target.open("wb") as file:
        copy = 0
        while file.tell() < size:
            file.write(f"Copy {copy}.\n".encode() + text)
            copy += 1


def watched(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run to the end; the peak of the memory that is the process's own, and of all that is resident, in GB."""
    started = time.perf_counter()
    own, resident = 0, 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
                own = max(own, int(status["RssAnon"].split()[0]))
                resident = max(resident, int(status["VmRSS"].split()[0]))
            except (OSError, KeyError, ValueError):
                pass
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    seconds = time.perf_counter() - started
    return {"peak_resident_gb": resident / 1e6, "peak_anonymous_gb": own / 1e6, "wall_seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--tokens", default="char")
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    books = args.data / "language-model" / "classic-books" / "train.txt.gz"
    texts = {"long": args.out / "long.txt", "short": args.out / "short.txt"}
    repeated(books, texts["long"], int(args.gigabytes * 1e9))
    repeated(books, texts["short"], 1)
    environment = os.environ | {"UNROLLED_CACHE": str(args.out / "cache")}
    shutil.rmtree(args.out / "cache", ignore_errors=True)
    report: dict[str, Any] = {"bytes": texts["long"].stat().st_size}
    batch, window = 32, 64
    for name, text in (("long, first", "long"), ("long, again", "long"), ("short", "short")):
        run = args.out / "run"
        shutil.rmtree(run, ignore_errors=True)
        command = [sys.executable, "-m", "unrolled", "train", "language-model", str(texts[text]), "--out", str(run), "-q"]
        size = texts[text].stat().st_size
        epochs = args.steps * batch * window / (size if args.tokens == "char" else size / 4.5)
        flags = {"epochs": epochs, "minutes": 600, "batch_size": batch, "window": window, "evaluations": 2, "threads": 1}
        flags |= {"vocabulary_size": 100} if args.tokens == "char" else {"vocabulary_size": 10_000}
        settings = [f"-s{key}={value}" for key, value in flags.items()]
        found = watched([*command, "--preset=char", f"--tokens={args.tokens}", *settings], environment)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        first, last = rows[1], rows[2]
        tokens = (last["step"] - first["step"]) * batch * window
        report[name] = found | {"tokens_per_second": round(tokens / (last["seconds"] - first["seconds"]), 1)}
    report["cache_bytes"] = sum(f.stat().st_size for f in (args.out / "cache").rglob("*") if f.is_file())
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
