"""Quality of the language model presets on real text, each against its Kneser-Ney peer on the same split.

    python benchmarks/language_model.py shakespeare --data DATA --out build/lm     # characters, preset char
    python benchmarks/language_model.py words       --data DATA --out build/lm     # 0.9 M words, preset word, whitespace
    python benchmarks/language_model.py chinese     --data DATA --out build/lm     # Journey to the West, no option set

Splits, made here and written below --out as plain files:

    shakespeare   first 90 % to train on, all of it (options were chosen with its last tenth held out), last 10 % to test
    chinese       first 90 % to train on (its last tenth selects the model), last 10 % to test
    words         chunks of about 2,500 words of the classic books, shuffled with a seed: 0.93 M / 74 k / 82 k words;
                  lower case, no punctuation, digits N, the 9,998 most frequent words of the training part, rest <unk>

The test part is read once, after training. Options after -- go to `unrolled train`, for example: -- --minutes 60
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

WORD = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+")


def cut_last_tenth(source: Path, out: Path) -> dict[str, Path]:
    text = source.read_text(encoding="utf-8")
    at = int(len(text) * 0.9)
    files = {"train": out / "train.txt", "test": out / "test.txt"}
    files["train"].write_text(text[:at], encoding="utf-8")
    files["test"].write_text(text[at:], encoding="utf-8")
    return files


def sentences(chunk: list[str]) -> Iterator[list[str]]:
    for paragraph in chunk:
        for sentence in re.split(r"(?<=[.!?])[\"')]*\s+", paragraph):
            words = ["N" if word.isdigit() else word for word in WORD.findall(sentence.lower())]
            if words:
                yield words


def cut_books(source: Path, out: Path) -> dict[str, Path]:
    books = [b for b in gzip.decompress(source.read_bytes()).decode().split("\n\n") if len(b) > 20_000]
    chunks: list[list[str]] = []
    for book in books:
        current: list[str] = []
        size = 0
        for paragraph in book.split("\n"):
            current.append(paragraph)
            size += len(paragraph.split())
            if size >= 2500:
                chunks.append(current)
                current, size = [], 0
    random.Random(1).shuffle(chunks)
    parts: dict[str, list[list[str]]] = {}
    for name, wanted in (("train", 929_000), ("valid", 73_000), ("test", 82_000)):
        parts[name], taken = [], 0
        while taken < wanted:
            for words in sentences(chunks.pop()):
                parts[name].append(words)
                taken += len(words) + 1
    counts = Counter(word for words in parts["train"] for word in words)
    known = {word for word, _ in counts.most_common(9_998)}
    files = {}
    for name, lines in parts.items():
        files[name] = out / f"{name}.txt"
        text = "".join(f" {' '.join(w if w in known else '<unk>' for w in words)} \n" for words in lines)
        files[name].write_text(text)
    return files


SETTINGS = {
    "shakespeare": (
        "tinyshakespeare/input.txt",
        cut_last_tenth,
        ["--preset", "char", "--valid-fraction", "0"],
        ["--tokens", "char"],
    ),
    "chinese": ("journey-to-the-west/input.txt", cut_last_tenth, [], ["--tokens", "char"]),
    "words": ("classic-books/train.txt.gz", cut_books, ["--preset", "word", "--tokens", "whitespace"], []),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=list(SETTINGS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    own, extra = sys.argv[1:], []
    if "--" in own:
        own, extra = own[: own.index("--")], own[own.index("--") + 1 :]
    args = parser.parse_args(own)
    source, cut, flags, peer_flags = SETTINGS[args.setting]
    out = args.out / args.setting
    out.mkdir(parents=True, exist_ok=True)
    files = cut(args.data / "language-model" / source, out)
    run = out / "run"
    unrolled = [sys.executable, "-m", "unrolled"]
    valid = ["--valid", str(files["valid"])] if "valid" in files else []
    train = [*unrolled, "train", "language-model", str(files["train"]), *valid, "--out", str(run), "--overwrite", *flags]
    subprocess.run([*train, *extra], check=True)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    test = [*unrolled, "evaluate", str(run), str(files["test"]), "--json"]
    found = json.loads(subprocess.run(test, check=True, capture_output=True, text=True).stdout)
    peer = Path(__file__).with_name("kneser_ney.py")
    command = [sys.executable, str(peer), "--train", str(files["train"]), "--test", str(files["test"]), *peer_flags]
    kneser_ney = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    report = {
        "setting": args.setting,
        "minutes": round(rows[-1]["seconds"] / 60, 1),
        "epochs": rows[-1]["epoch"],
        "best_valid_loss": min((row["valid_loss"] for row in rows if "valid_loss" in row), default=None),
        "test_loss": found["loss"],
        "test_perplexity": found["perplexity"],
        "test_bits_per_character": found["bits_per_character"],
        "test_tokens": found["tokens"],
        "unknown_rate": found["unknown_rate"],
        "kneser_ney_5_test_perplexity": kneser_ney["perplexity"],
        "kneser_ney_tokens": kneser_ney["tokens"],
        "better_by": 1 - found["perplexity"] / kneser_ney["perplexity"],
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
