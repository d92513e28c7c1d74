"""Translators on Multi30k: quality, attention or none by sentence length, beam sizes and norms.

    python benchmarks/translate.py quality --data DATA --pair de-en    # as `train translate` with no options but files
    python benchmarks/translate.py attention --data DATA               # with and without, same size, by length
    python benchmarks/translate.py attention RUN --data DATA           # RUN, trained before, and without
    python benchmarks/translate.py beams RUN --data DATA --pair de-en  # BLEU of widths 1 to 30, with a norm and none
    python benchmarks/translate.py ways RUN --data DATA --pair de-en   # --rounded and --shortlist: speed and BLEU

Needs sacrebleu. Words as sacrebleu finds them, case kept, one reference. test_2016_flickr is read once by each of them;
what is chosen is chosen on the validation pairs. Settings: -s key=value, as of `train translate`.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import timing
import unrolled
from unrolled.data.pairs import Pairs, read_pairs
from unrolled.features.tokenizers import words_in
from unrolled.metrics.translation import corpus_scores
from unrolled.run.translate import train_translator, translate_options
from unrolled.training.loop import Evaluated, Finished

#: Bounds of the numbers of words of a source.
LENGTHS = (0, 8, 11, 14, 18, 1000)


def files(data: Path, part: str, pair: str) -> list[Path]:
    return [data / "translation" / "multi30k" / f"{part}.{side}" for side in pair.split("-")]


def trained(data: Path, pair: str, folder: Path, settings: list[str]) -> Any:
    """A translator trained on the training pairs, chosen on the validation pairs."""
    start, options = time.perf_counter(), translate_options(settings=settings)
    for event in train_translator(options, files(data, "train", pair), folder, valid=files(data, "val", pair)):
        if isinstance(event, Evaluated):
            row = event.row
            print(
                f"  epoch {row['epoch']}, {row['seconds']:.0f} s: {row.get('train_loss')}, {row['valid_loss']:.4f}",
                flush=True,
            )
        if isinstance(event, Finished):
            print(f"  {event.reason} after {time.perf_counter() - start:.0f} s; best {event.best}", flush=True)
    return unrolled.load(folder)


def report(model: Any, pairs: Pairs, name: str) -> list[str]:
    """Print BLEU of the translations; return them."""
    start = time.perf_counter()
    made = model.translate(pairs.sources)
    seconds, texts = time.perf_counter() - start, [one.text for one in made]
    scores = corpus_scores(texts, pairs.targets)
    sizes, proved = sum(p.numel() for p in model.model.parameters()), sum(one.optimal for one in made)
    print(
        f"{name}: BLEU {scores['bleu']:.2f} ({scores['bleu_signature']}), chrF {scores['chrf']:.2f}; beam "
        f"{model.search.width}; {sizes:,} parameters; {len(pairs) / seconds:.0f} sentences/s; {proved} proved",
        flush=True,
    )
    return texts


def interval(texts: list[str], targets: list[str], resamples: int = 200) -> tuple[float, float]:
    """95 % bootstrap interval of BLEU."""
    rng, found = np.random.default_rng(1), []
    for _ in range(resamples):
        which = rng.integers(len(texts), size=len(texts)).tolist()
        found.append(corpus_scores([texts[i] for i in which], [targets[i] for i in which])["bleu"])
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)


def run_attention(data: Path, pair: str, folder: Path, settings: list[str], run: Path | None) -> None:
    test = read_pairs(files(data, "test_2016_flickr", pair))
    lengths = np.array([len(words_in(source)) for source in test.sources])
    texts = {}
    for kind in ("additive", "none"):
        given = run is not None and kind != "none"
        model = unrolled.load(run) if given else trained(data, pair, folder / kind, [*settings, f"attention={kind}"])
        texts[kind] = report(model, test, f"{pair}, attention {kind}")
    print("| words of the source | pairs | attention, BLEU (95 %) | none, BLEU (95 %) |\n|---|---|---|---|")
    for low, high in itertools.pairwise(LENGTHS):
        which = np.flatnonzero((lengths >= low) & (lengths < high)).tolist()
        targets, cells = [test.targets[i] for i in which], []
        for kind in texts:
            chosen = [texts[kind][i] for i in which]
            ends = interval(chosen, targets)
            cells.append(f"{corpus_scores(chosen, targets)['bleu']:.1f} ({ends[0]:.1f} to {ends[1]:.1f})")
        print(f"| {low} to {high - 1} | {len(which)} | {' | '.join(cells)} |", flush=True)


def run_beams(data: Path, pair: str, run: Path, part: str) -> None:
    model, pairs = unrolled.load(run), read_pairs(files(data, part, pair))
    print("| beam | no norm | average | gnmt |\n|---|---|---|---|")
    for width in (1, 3, 5, 10, 30):
        cells = []
        for norm in ("none", "average", "gnmt"):
            made = model.translate(pairs.sources, replace(model.search, width=width, norm=norm))
            cells.append(f"{corpus_scores([one.text for one in made], pairs.targets)['bleu']:.2f}")
        print(f"| {width} | {' | '.join(cells)} |", flush=True)


def run_ways(data: Path, pair: str, run: Path, part: str, rounds: int = 5) -> None:
    """What each way to be faster gives, and costs; one after another by turns."""
    model, pairs = unrolled.load(run), read_pairs(files(data, part, pair))
    ways = {"as it is": {}, "--rounded": {"rounded": True}} | {f"--shortlist {n}": {"listed": n} for n in (10, 20, 50)}
    models = {name: model.joined_by([], **way) for name, way in ways.items()}
    made = {name: one.translate(pairs.sources) for name, one in models.items()}
    speeds: dict[tuple[str, int], list[float]] = {(name, size): [] for name in models for size in (1, 64)}
    for _ in range(rounds):
        for name, size in speeds:
            some = pairs.sources[:128] if size == 1 else pairs.sources[:512]
            start = time.perf_counter()
            for _ in models[name].translations(some, batch_size=size):
                pass
            speeds[name, size].append(len(some) / (time.perf_counter() - start))
    print("| way | BLEU | the same texts, % | one by one, sentences/s | 64 together |\n|---|---|---|---|---|")
    for name, found in made.items():
        texts = [one.text for one in found]
        same = 100 * statistics.mean(a == b.text for a, b in zip(texts, made["as it is"], strict=True))
        rates = " | ".join(f"{statistics.median(speeds[name, size]):.0f}" for size in (1, 64))
        print(f"| {name} | {corpus_scores(texts, pairs.targets)['bleu']:.2f} | {same:.1f} | {rates} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "attention", "beams", "ways"])
    parser.add_argument("run", type=Path, nargs="?", help="a run folder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pair", default="de-en")
    parser.add_argument("--part", default="val", help="beams, ways: val or test_2016_flickr")
    parser.add_argument("--out", type=Path, help="folder to train in; a temporary one if not given")
    parser.add_argument("-s", dest="settings", action="append", default=[], help="a setting of train translate, key=value")
    args = parser.parse_args()
    print(f"{timing.machine()}; {args.pair}; settings {args.settings}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = args.out or Path(name)
        match args.what:
            case "quality":
                model = trained(args.data, args.pair, folder / "run", args.settings)
                report(model, read_pairs(files(args.data, "val", args.pair)), "validation")
                report(model, read_pairs(files(args.data, "test_2016_flickr", args.pair)), "test_2016_flickr")
            case "attention":
                run_attention(args.data, args.pair, folder, args.settings, args.run)
            case "beams":
                run_beams(args.data, args.pair, args.run, args.part)
            case "ways":
                run_ways(args.data, args.pair, args.run, args.part)


if __name__ == "__main__":
    main()
