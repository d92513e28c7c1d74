"""A training that is killed again and again ends as one that was never killed, bit for bit.

    python benchmarks/kills.py --data DATA --out build/kills            # about two minutes of training, 20 times SIGKILL

The moments of the kills are drawn from the length of the uninterrupted run, start-up included, so that some fall into
saves. With --processes 2 both trainings run in two processes under torchrun, and all of them are killed at once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=float, default=5, help="Passes over tinyshakespeare; 5 are about two minutes.")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    text = args.data / "language-model" / "tinyshakespeare" / "input.txt"
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={args.processes}"]
    start = [sys.executable, *(launcher if args.processes > 1 else []), "-m", "unrolled", "train"]
    options = [
        "--preset=tiny",
        f"--epochs={args.epochs}",
        "-s",
        "minutes=1000",
        "-s",
        "dropout_output=0.2",
        "-s",
        "threads=1",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(arguments: list[str], seconds: float | None = None) -> bool:
        """Whether it ended by itself; else it was killed, with all its children."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([*start, *arguments], env=environment, start_new_session=True, **quiet) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                subprocess.run(
                    ["pkill", "-9", "-f", arguments[-1]], check=False
                )  # torchrun's processes have groups of their own
                return False
            if process.returncode:
                raise SystemExit(f"ended with {process.returncode}: {' '.join(arguments)}")
            return True

    begun = time.perf_counter()
    run(["language-model", str(text), "--out", str(args.out / "whole"), *options])
    whole = time.perf_counter() - begun
    rng, kills, resumed = random.Random(args.seed), [], args.out / "killed"
    first = ["language-model", str(text), *options, "--overwrite", "--out", str(resumed)]
    while len(kills) < args.kills:
        seconds = rng.uniform(1, 2 * whole / args.kills + 4)
        if run(["--resume", str(resumed)] if (resumed / "run.json").exists() else first, seconds):
            break
        kills.append(round(seconds, 2))
    run(["--resume", str(resumed)])
    names = ("last/model.safetensors", "best/model.safetensors")
    same = {name: (resumed / name).read_bytes() == (args.out / "whole" / name).read_bytes() for name in names}
    losses = [
        [json.loads(line).get("valid_loss") for line in (args.out / r / "metrics.jsonl").open()]
        for r in ("whole", "killed")
    ]
    print(
        json.dumps({"seconds": round(whole, 1), "kills": kills, "identical": same, "same_losses": losses[0] == losses[1]})
    )
    sys.exit(not (all(same.values()) and losses[0] == losses[1]))


if __name__ == "__main__":
    main()
