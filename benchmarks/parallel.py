"""Two processes against one: the difference of the weights after 50 steps, in float32.

    python benchmarks/parallel.py --data DATA --out build/parallel

Seven columns are four and three in two processes; the state is carried; dropout is off, because each process draws its
own. The difference is |a - b| / |a| of all weights together.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    text = args.data / "language-model" / "tinyshakespeare" / "input.txt"
    window, columns, steps = 64, 7, 50
    epochs = steps * window * columns / (text.stat().st_size * 0.9)
    settings = {"batch_size": columns, "window": window, "epochs": epochs, "threads": 1, "minutes": 60, "evaluations": 1}
    flags = ["--preset=tiny", *(f"-s{key}={value}" for key, value in settings.items()), "-q"]
    weights = {}
    for size in (1, 2):
        out = args.out / str(size)
        shutil.rmtree(out, ignore_errors=True)
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"] if size > 1 else []
        command = [
            sys.executable,
            *launcher,
            "-m",
            "unrolled",
            "train",
            "language-model",
            str(text),
            "--out",
            str(out),
            *flags,
        ]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found = load_file(out / "last" / "model.safetensors")
        weights[size] = torch.cat([found[name].flatten().double() for name in sorted(found)])
        last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    difference = float((weights[1] - weights[2]).norm() / weights[1].norm())
    print(json.dumps({"steps": last["step"], "relative_difference": difference}))


if __name__ == "__main__":
    main()
