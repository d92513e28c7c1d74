"""Promised and measured seconds of trainings with --minutes, idle or beside busy processes.

python benchmarks/budget.py --minutes 2 --busy --data DIR [--tasks classify,tag]

DIR holds for each task a file `TASK.args`: the arguments of `unrolled train TASK`, without --out and --minutes;
paths in it are relative to DIR.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

TASKS = ("language-model", "word-vectors", "classify", "tag", "translate", "caption", "transcribe")


def measure(task: str, data: Path, minutes: float) -> str:
    """Train once; one line: promised and measured seconds, and what ended the run."""
    arguments = shlex.split((data / f"{task}.args").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "unrolled", "train", task, *arguments, "--out", str(out)]
        done = subprocess.run([*command, "--minutes", str(minutes)], cwd=data, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{task:<16}failed: {done.stderr.strip().splitlines()[-1:]}"
        row = json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    ends = [line for line in done.stderr.splitlines() if line.startswith(("training ended", "stopped", "done"))]
    promised, measured, why = 60 * minutes, row["seconds"], " / ".join(ends)
    return f"{task:<16}{promised:8.1f} s{measured:10.1f} s{100 * measured / promised:8.1f} %  {why}"


def main() -> None:
    """Read the options and print a line per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--busy", action="store_true", help="start two busy processes beside")
    args = parser.parse_args()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * args.busy)]
    try:
        for task in args.tasks.split(","):
            if (args.data / f"{task}.args").exists():
                print(measure(task, args.data, args.minutes), flush=True)
            else:
                print(f"{task:<16}no {task}.args in {args.data}", flush=True)
    finally:
        for process in busy:
            process.kill()


if __name__ == "__main__":
    main()
