"""Prefix beam search for CTC: ours against fast-ctc-decode (Rust), pyctcdecode and a search in plain Python.

    python benchmarks/ctc_search.py
    python benchmarks/ctc_search.py --flat                             # frames in which the recogniser is never sure

500 frames of 29 symbols, beam 25, one thread; the same file of probabilities and the same rule for all: a symbol below .001
is not considered in a frame. Without a language model. A peer that is not installed is left out; pyctcdecode 0.5 asks for
numpy below 2 but runs with it (pip install --no-deps).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import partial

import numpy as np

import timing
from unrolled.decoding.ctc import prefix_search

FRAMES, WIDTH, LEAST = 500, 25, 1e-3
LETTERS = "abcdefghijklmnopqrstuvwxyz' "


def posteriors(*, flat: bool) -> np.ndarray:
    """Log-probabilities (T, K), blank first: letters that last two frames, some in doubt, blanks between; or noise."""
    rng = np.random.default_rng(0)
    n = len(LETTERS) + 1
    logits = rng.normal(size=(FRAMES, n)) * (1.5 if flat else 0.8)
    if not flat:
        for start in range(0, FRAMES, 5):
            letter, rival = rng.integers(1, n, 2)
            logits[start : start + 2, letter] += 9
            logits[start : start + 2, rival] += 9 * rng.random()
            logits[start + 2 : start + 5, 0] += 9
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def plain(logs: np.ndarray) -> str:
    """The same search, of dictionaries from texts to (log P with a blank at the end, with a symbol)."""
    beam: dict[str, tuple[float, float]] = {"": (0.0, -math.inf)}
    add, least = np.logaddexp, math.log(LEAST)
    for row in logs.tolist():
        some = [(LETTERS[k - 1], p) for k, p in enumerate(row) if k and p >= least]
        found: dict[str, tuple[float, float]] = {}
        for text, (blank, symbol) in beam.items():
            both = add(blank, symbol)
            a, b = found.get(text, (-math.inf, -math.inf))
            last = row[LETTERS.index(text[-1]) + 1] if text else -math.inf
            found[text] = add(a, both + row[0]), add(b, symbol + last)
            for letter, p in some:
                more = (blank if text[-1:] == letter else both) + p
                a, b = found.get(text + letter, (-math.inf, -math.inf))
                found[text + letter] = a, add(b, more)
        beam = dict(sorted(found.items(), key=lambda one: -add(*one[1]))[:WIDTH])
    return next(iter(beam))


def ours(logs: np.ndarray) -> str:
    return "".join(LETTERS[k - 1] for k in prefix_search(logs, WIDTH, least=LEAST)[0].symbols)


def peers(logs: np.ndarray) -> dict[str, Callable[[], str]]:
    found: dict[str, Callable[[], str]] = {"plain Python": partial(plain, logs)}
    try:
        rust = importlib.import_module("fast_ctc_decode")
        p = np.exp(logs).astype(np.float32)
        found["fast-ctc-decode"] = lambda: rust.beam_search(p, "_" + LETTERS, beam_size=WIDTH, beam_cut_threshold=LEAST)[0]
    except ImportError:
        print("fast-ctc-decode is not installed")
    try:
        decoder = importlib.import_module("pyctcdecode").build_ctcdecoder(["", *LETTERS])
        rule = {"beam_width": WIDTH, "token_min_logp": math.log(LEAST), "beam_prune_logp": -1e9}
        found["pyctcdecode"] = lambda: decoder.decode(logs, **rule)
    except ImportError:
        print("pyctcdecode is not installed")
    return found


def main() -> None:
    args = timing.arguments(__doc__, ("flat",))
    logs = posteriors(flat=args.flat).astype(np.float32)
    runs = {"ours": partial(ours, logs), **peers(logs)}
    texts = {name: run() for name, run in runs.items()}
    some = int((logs[:, 1:] >= math.log(LEAST)).sum()) / FRAMES
    print(f"{some:.1f} symbols a frame are considered")
    seconds = timing.take_turns(runs, args)
    print("| search | ms | over ours | the same text |\n|---|---|---|---|")
    for name in runs:
        same = "yes" if texts[name].strip() == texts["ours"].strip() else "no"
        over = timing.ratio(seconds, name, "ours")
        print(f"| {name} | {timing.milliseconds(seconds, name):.2f} | {over:.1f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
