"""Promised and measured seconds of trainings with --minutes, idle or beside two busy processes.

python benchmarks/budget.py --data DIR --minutes 2 [--busy] [--tasks classify,tag]

DIR holds the public data sets of `TASKS` below. A run keeps its promise if it ends within 5 % of the time (--busy: plus one
validation), or says that it stopped early. The exit code is 1 if one does not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors import safe_open

#: By name: what follows `unrolled train`, {} standing for the folder of the data.
TASKS = {
    "language-model": "language-model {}/language-model/tinyshakespeare/input.txt",
    "word-vectors": "word-vectors {}/language-model/classic-books/train.txt.gz",
    "classify": "classify {}/text-classification/imdb/train.tsv.gz",
    "classify-rnn": "classify {}/text-classification/imdb/train.tsv.gz --preset rnn",
    "tag": "tag {}/tagging/wnut17/train.conll --valid {}/tagging/wnut17/dev.conll",
    "translate": "translate {0}/train.de {0}/train.en --valid {0}/val.de {0}/val.en",
    "caption": "caption {0}/captions.tsv --images {0}/images224 --train-split train --valid-split dev",
    "transcribe": "transcribe {0}/transcripts.tsv --audio {0}/flac --train-split train --valid-split test",
}
FOLDERS = {"translate": "translation/multi30k", "caption": "captioning/flickr8k", "transcribe": "speech/fsdd"}


def measure(task: str, data: Path, minutes: float, *, busy: bool) -> tuple[bool, str]:
    """Train once. Whether the time limit was kept, and a line of figures."""
    where = data / FOLDERS.get(task, "")
    arguments = [part.replace("{0}", str(where)).replace("{}", str(where)) for part in TASKS[task].split()]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "unrolled", "train", *arguments, "--out", str(out), "--minutes", str(minutes)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return False, f"{task:<16}FAILED: {' '.join(done.stderr.splitlines()[-1:])}"
        row = json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        validation = _validation(out)
    promised, measured = 60 * minutes, row["seconds"]
    starts = ("training ended", "stopped", "done")
    ends = [line.split(". ")[0] for line in done.stderr.splitlines() if line.startswith(starts)]
    early = measured < 0.95 * promised and any("no longer improves" in line for line in ends)
    kept = early or 0.95 * promised <= measured <= 1.05 * promised + (validation if busy else 0.0)
    return kept, (
        f"{task:<16}{promised:8.1f} s promised{measured:8.1f} s measured{100 * measured / promised:7.1f} %"
        f"{validation:7.1f} s a validation  {'kept' if kept else 'BROKEN'}  {' / '.join(ends)}"
    )


def _validation(out: Path) -> float:
    """Seconds of the last validation, from the checkpoint of a run; 0 for averages and word vectors, which have none."""
    file = out / "last" / "training.safetensors"
    if not file.exists():
        return 0.0
    with safe_open(file, "pt") as checkpoint:
        return json.loads(checkpoint.metadata()["run"])["budget"]["validation"]


def main() -> int:
    """Read the options and print a line per run. The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--tasks", default=",".join(TASKS), help=f"some of {', '.join(TASKS)}")
    parser.add_argument("--busy", action="store_true", help="start two busy processes beside")
    args = parser.parse_args()
    names = args.tasks.split(",")
    if unknown := set(names) - TASKS.keys():
        parser.error(f"--tasks: got {', '.join(sorted(unknown))}, expected some of {', '.join(TASKS)}")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * args.busy)]
    all_kept = True
    try:
        for task in names:
            kept, line = measure(task, args.data, args.minutes, busy=args.busy)
            all_kept = all_kept and kept
            print(line, flush=True)
    finally:
        for process in busy:
            process.kill()
    return 0 if all_kept else 1


if __name__ == "__main__":
    sys.exit(main())
