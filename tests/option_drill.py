"""Change every option of every task, one at a time, train, and compare the run with one that has the default.

    python tests/option_drill.py [TASK ...]

It takes minutes and is no part of the suite. Printed are options that should have an effect and left model, metrics and
search as they were: each is a fault of `conditions`, or has an effect that so small a training run cannot show.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from unrolled.config import effective, flat, leaves
from unrolled.errors import UnrolledError
from unrolled.run import train

sys.path.insert(0, str(Path(__file__).parent))
from test_conditions import IDLE, TASKS, other

DATA = Path(__file__).with_name("version_0_1") / "data"
SOURCES = {
    "caption": ["captions.tsv"],
    "classify": ["reviews.csv"],
    "language-model": ["text.txt"],
    "tag": ["tags.conll"],
    "transcribe": ["clips.tsv"],
    "translate": ["pairs.tsv"],
    "word-vectors": ["text.txt"],
}
_LOOP = {"epochs": 2, "evaluations": 2, "threads": 1, "warmup_steps": 2}
SMALL: dict[str, dict[str, Any]] = {
    "caption": {"encoder": "small", "images": str(DATA / "scenes"), "embedding_size": 8, "decoder_size": 8}
    | {"memory_size": 8, "select": "loss", "min_count": 1},
    "classify": {"threads": 1},
    "language-model": {"hidden_size": 8, "embedding_size": 8, "batch_size": 4, "window": 20},
    "tag": {"hidden_size": 8, "embedding_size": 8},
    "transcribe": {"audio": str(DATA / "tones"), "encoder_size": 8, "batch_size": 8, "select": "loss"},
    "translate": {"encoder_size": 8, "decoder_size": 16, "embedding_size": 8, "select": "loss"},
    "word-vectors": {"epochs": 2, "vector_size": 8, "min_count": 1, "threads": 1, "subsample": 0.1},
}
#: Configurations, so that conditional options come to have their effect.
ALSO: dict[str, list[dict[str, Any]]] = {
    "caption": [
        {"attention": "none"},
        {"encoder": "alexnet", "attention": "none"},
        {"decoder_layers": 2, "looks": "after"},
    ],
    "classify": [
        {"network": "rnn", "hidden_size": 8, "embedding_size": 8, "n_layers": 2, "learning_rate": 0.01},
        {"labels": "many", "target": "precision"},
    ],
    "language-model": [{"n_layers": 2, "schedule": "plateau"}, {"input": "one-hot"}, {"softmax": "adaptive"}],
    "tag": [{"n_layers": 2}, {"cell": "mingru"}, {"restore": True}],
    "transcribe": [{"head": "attention"}, {"head": "hybrid", "encoder_layers": 1, "decoder_layers": 2}, {"kind": "mfcc"}],
    "translate": [{"attention": "none"}, {"encoder_layers": 2, "looks": "after", "input_feeding": True}],
    "word-vectors": [{"subwords": True}, {"architecture": "cbow"}, {"objective": "hierarchical-softmax"}, {"phrases": 1}],
}
#: Values with an effect that even a small training run shows.
VALUES = {
    "minutes": 1e-4,
    "learning_rate": 0.02,
    "vocabulary_size": 8,
    "min_count": 30,
    "longest": 3,
    "valid_fraction": 0.3,
    "seed": 5,
    "accumulate": 2,
    "subsample": 0.001,
    "clip": 0.01,
    "average_after": 1,
    "patience": 1,
    "rate_hz": 4000,
    "n_mels": 20,
    "layer_rate_decay": 2.0,
    "word_window": 2,
    "frequency_part": 0.9,
    "time_part": 0.9,
    "phrase_count": 2,
    "phrase_threshold": -0.9,
    "pace": 3.0,
    "max_ngram": 4,
    "min_ngram": 2,
    "buckets": 5,
}
#: Options whose effect is no other result: where things are, how fast, how strict.
ELSEWHERE = {"images", "audio", "encoding", "text", "label", "weight", "threads", "deterministic", "device", "train_split"}
ELSEWHERE |= {"valid_split", "vectors", "encoder", "encoder_weights", "precision", "exact", "word_column", "tag_column"}
_TIMES = {"seconds", "tokens_per_second", "preview"}


def digest(folder: Path) -> str:
    """A digest of all that a run says but for times and the options themselves."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.name in ("config.json", "metrics.jsonl"):
            for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
                row = {k: v for k, v in json.loads(line).items() if k not in _TIMES | {"options", "metrics", "data"}}
                found.update(json.dumps(row, sort_keys=True).encode())
        elif (path.is_file() and path.name in ("model.safetensors", "seen.bin")) or "vocabulary" in path.name:
            found.update(path.read_bytes())
    return found.hexdigest()


def result(task: str, settings: dict[str, Any]) -> str:
    """The digest of a run with these settings, or the error that it ends with."""
    folder = Path(tempfile.mkdtemp())
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            train(task, [DATA / name for name in SOURCES[task]], folder / "run", options=settings)
        return digest(folder / "run")
    except UnrolledError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(tasks: list[str]) -> None:
    """Print options without an effect that should have one."""
    for task in tasks:
        model, choose = TASKS[task]
        names, seen = [leaf.name for leaf in leaves(model)], set[str]()
        for also in [{}, *ALSO[task]]:
            settings = SMALL[task] | also
            if task != "word-vectors" and settings.get("network", "average" if task == "classify" else "") != "average":
                settings |= {name: value for name, value in _LOOP.items() if name not in settings}
            begun = result(task, settings)
            print(f"{task} {also}: {begun if 'Error' in begun else 'trained'}", flush=True)
            for name in names:
                if name in ELSEWHERE or name not in flat(effective(choose(flags=settings))) or name in seen:
                    continue
                value = VALUES.get(name, other(model, name))
                changed = result(task, settings | {name: value})
                if changed == begun:
                    print(f"  {name} = {value}: no effect", flush=True)
                else:
                    seen.add(name)
                    if "Error" in changed:
                        print(f"  {name} = {value}: {changed.splitlines()[0][:150]}", flush=True)
        print(f"  never tried: {sorted(set(names) - seen - ELSEWHERE)}; {len(IDLE)} combinations are refused by tests")


if __name__ == "__main__":
    main(sys.argv[1:] or list(TASKS))
