"""Captioners on Flickr8k and on drawn scenes: quality, what people reach, AlexNet from nothing, images a second.

    python benchmarks/caption.py quality --data DATA                   # as `train caption` with no options but files
    python benchmarks/caption.py quality --data DATA -s attention=none # the notes' model: one vector starts the decoder
    python benchmarks/caption.py people --data DATA                    # one caption of a person against the other four
    python benchmarks/caption.py metrics --data DATA                   # the same beside pycocoevalcap, without Java
    python benchmarks/caption.py alexnet --minutes 45                  # learned from nothing on drawn scenes
    python benchmarks/caption.py speed RUN --data DATA                 # encoder and decoder apart, images a second

Flickr8k: the best model is chosen by a part of the 4,000 train photos; the 800 dev photos are read once. Needs the extra
vision.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import timing
import unrolled
from unrolled.data.captions import Captioned, read_captions
from unrolled.data.scenes import scenes
from unrolled.decoding.scoring import BeamOptions
from unrolled.metrics.captions import caption_scores, plain_words
from unrolled.run.caption import Seeing, caption_options, train_captioner
from unrolled.training.loop import Evaluated, Finished


def flickr(data: Path, split: str) -> Captioned:
    folder = data / "captioning" / "flickr8k"
    return read_captions([folder / "captions.tsv"], folder / "images224", split=split)


def trained(train: Captioned, folder: Path, settings: list[str], valid: Captioned | None = None) -> Any:
    """A captioner trained on images."""
    options, start, seeing = caption_options(settings=settings), time.perf_counter(), 0.0
    for event in train_captioner(options, train, folder, valid=valid):
        if isinstance(event, Seeing):
            seeing = time.perf_counter() - start
        if isinstance(event, Evaluated):
            row = event.row
            shown = ", ".join(f"{key[6:]} {row[key]:.4g}" for key in row if key.startswith("valid_"))
            print(f"  epoch {row['epoch']}, {row['seconds']:.0f} s: {row.get('train_loss')}; {shown}", flush=True)
        if isinstance(event, Finished):
            seconds = time.perf_counter() - start - seeing
            print(
                f"  images seen in {seeing:.0f} s; {event.reason} after {seconds:.0f} s more; best {event.best}", flush=True
            )
    return unrolled.load(folder)


def run_quality(data: Path, folder: Path, settings: list[str]) -> None:
    model, dev = trained(flickr(data, "train"), folder / "run", settings), flickr(data, "dev")
    sizes = sum(p.numel() for name, p in model.model.named_parameters() if not name.startswith("encoder."))
    start = time.perf_counter()
    found, _ = model.evaluate(dev)
    print(f"dev, beam {model.search.width}: {sizes:,} parameters beside the encoder; {time.perf_counter() - start:.0f} s")
    print({key: value for key, value in found.items() if key not in ("unread", "missing")}, flush=True)


def run_people(data: Path) -> None:
    dev = flickr(data, "dev")
    for k in range(5):
        one = caption_scores([some[k] for some in dev.captions], [some[:k] + some[k + 1 :] for some in dev.captions])
        print(f"caption {k + 1} against the others: {one}", flush=True)


def run_metrics(data: Path) -> None:
    """Ours and those of pycocoevalcap, from the same words: the tokenizer of the latter is written in Java."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    dev = flickr(data, "dev")
    made, wanted = [some[0] for some in dev.captions], [some[1:] for some in dev.captions]
    spaced = [[" ".join(plain_words(text)) for text in some] for some in wanted]
    references = dict(enumerate(spaced))
    found = {i: [" ".join(plain_words(text))] for i, text in enumerate(made)}
    start = time.perf_counter()
    ours = caption_scores(made, wanted)
    between = time.perf_counter()
    bleu, _ = Bleu(4).compute_score(references, found, verbose=0)
    theirs = {f"bleu_{n}": 100 * score for n, score in enumerate(bleu, start=1)}
    theirs |= {"rouge_l": 100 * float(Rouge().compute_score(references, found)[0])}
    theirs |= {"cider_d": float(Cider().compute_score(references, found)[0])}
    print(f"ours {between - start:.2f} s, theirs {time.perf_counter() - between:.2f} s")
    print("| metric | ours | pycocoevalcap |\n|---|---|---|")
    for name, score in theirs.items():
        print(f"| {name} | {ours[name]:.6f} | {score:.6f} |")


def run_alexnet(folder: Path, minutes: float, settings: list[str]) -> None:
    given = ["encoder=alexnet", "mirror=false", "min_count=1", "select=loss", f"minutes={minutes}", "batch_size=16"]
    given += [f"dropout_{where}=0" for where in ("features", "input", "word", "output")] + ["average_decay=0.99"]
    given += ["epochs=1000", "patience=100", "evaluations=20", "smoothing=0", "learning_rate=0.0005"]
    model = trained(scenes(20_000, seed=1), folder / "run", [*given, *settings], scenes(300, seed=2))
    fresh = scenes(1000, seed=3)
    made = [one.text for one in model.captions(fresh.images)]
    right = sum(text == wanted for text, (wanted,) in zip(made, fresh.captions, strict=True))
    print(f"{right} of 1,000 fresh scenes are captioned exactly", flush=True)


def run_speed(data: Path, run: Path, rounds: int = 5) -> None:
    """Medians of rounds, one kind after another by turns."""
    model, dev = unrolled.load(run), flickr(data, "dev").part(range(128))
    squares = np.stack([model.preparation.read(image) for image in dev.images])
    regions = model.seen(squares)
    kinds = [(what, size, width) for what in ("decoder", "whole") for size in (1, 32) for width in (1, 5)]
    kinds += [("encoder", size, 0) for size in (1, 32)] + [("reading files", 1, 0)]
    rates: dict[tuple[str, int, int], list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds + 1):
        for what, size, width in kinds:
            n, start = 32 if size == 1 else 128, time.perf_counter()
            for at in range(0, n, size):
                if what == "encoder":
                    model.seen(squares[at : at + size])
                elif what == "decoder":
                    model.searched(regions[at : at + size], BeamOptions(width))
                elif what == "whole":
                    list(model.captions(dev.images[at : at + size], BeamOptions(width), batch_size=size))
                else:
                    model.preparation.read(dev.images[at])
            rates[what, size, width].append(n / (time.perf_counter() - start))
    print("| what | batch | beam | images/s |\n|---|---|---|---|")
    for (what, size, width), found in rates.items():
        print(f"| {what} | {size} | {width or ''} | {statistics.median(found[1:]):.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "people", "metrics", "alexnet", "speed"])
    parser.add_argument("run", type=Path, nargs="?", help="a run folder, for speed")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--out", type=Path, help="folder to train in; a temporary one if not given")
    parser.add_argument("-s", dest="settings", action="append", default=[], help="a setting of train caption, key=value")
    args = parser.parse_args()
    print(f"{timing.machine()}; settings {args.settings}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = args.out or Path(name)
        match args.what:
            case "quality":
                run_quality(args.data, folder, args.settings)
            case "people":
                run_people(args.data)
            case "metrics":
                run_metrics(args.data)
            case "alexnet":
                run_alexnet(folder, args.minutes, args.settings)
            case "speed":
                run_speed(args.data, args.run)


if __name__ == "__main__":
    main()
