"""Speech recognisers on spoken digits (FSDD) and on the prompts of a telephone exchange (Asterisk).

    python benchmarks/speech.py digits --data DATA                     # the official split, characters, no vocabulary given
    python benchmarks/speech.py speakers --data DATA                   # each speaker held out in turn, and an SVM beside it
    python benchmarks/speech.py strings --data DATA --preset ctc       # 3 to 7 digits joined: word errors and boundaries
    python benchmarks/speech.py prompts --data DATA                    # a learning curve, with and without a language model
    python benchmarks/speech.py speed RUN --data DATA                  # real-time factor, latency of a stream
    python benchmarks/speech.py noise RUN                              # silence and noise: is anything heard?

The best model is chosen by a part of the training recordings; a test part is read once. Needs the extra speech.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import timing
import unrolled
from unrolled.data.audio import read_audio, write_wav
from unrolled.data.recordings import Recordings, read_recordings
from unrolled.features.augment import noise
from unrolled.run.language_model import language_model_options, train_language_model
from unrolled.run.transcribe import train_recognizer, transcribe_options
from unrolled.tasks.fusion import Fusion, FusionOptions
from unrolled.tasks.hearing import Search
from unrolled.training.loop import Evaluated, Finished

RATE = 8000
#: Of each recording, when each word begins and ends.
Times = list[list[list[float]]]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def fsdd(data: Path, split: str | None = None) -> Recordings:
    folder = data / "speech" / "fsdd"
    return read_recordings([folder / "transcripts.tsv"], folder / "flac", split=split)


def trained(train: Recordings, folder: Path, args: argparse.Namespace, valid: Recordings | None = None) -> Any:
    """A recogniser trained on recordings."""
    options, start = transcribe_options(preset=args.preset, settings=args.settings), time.perf_counter()
    for event in train_recognizer(options, train, folder, valid=valid):
        if isinstance(event, Evaluated):
            row = event.row
            shown = ", ".join(f"{key[6:]} {row[key]:.4g}" for key in ("valid_loss", "valid_wer", "valid_cer"))
            print(f"  epoch {row['epoch']:.1f}, {row['seconds']:.0f} s: {row.get('train_loss')}; {shown}", flush=True)
        if isinstance(event, Finished):
            print(f"  {event.reason} after {time.perf_counter() - start:.0f} s; best {event.best}", flush=True)
    return unrolled.load(folder)


def shown(found: dict[str, Any]) -> str:
    low, high = found["wer_interval"]
    return (
        f"{found['recordings']} recordings: {100 * found['exactly_right']:.2f} % exactly right, word errors "
        f"{100 * found['wer']:.2f} % ({100 * low:.2f} to {100 * high:.2f}), character errors {100 * found['cer']:.2f} %"
    )


def run_digits(args: argparse.Namespace, folder: Path) -> None:
    model = trained(fsdd(args.data, "train"), folder / "run", args)
    found, _ = model.evaluate(fsdd(args.data, "test"))
    print(f"test: {shown(found)}\n{json.dumps(found['speakers'])}\n{found['confusions']}", flush=True)
    found, _ = model.evaluate(fsdd(args.data, "test"), Search(fusion=Fusion(phrases=DIGITS)))
    print(f"test, told the ten words: {shown(found)}", flush=True)


def run_speakers(args: argparse.Namespace, folder: Path) -> None:
    """Each speaker in turn is heard for the first time in the test."""
    every, rows = fsdd(args.data), []
    for speaker in args.only or sorted(set(every.speakers)):
        of = [name == speaker for name in every.speakers]
        train, test = (every.part(i for i, own in enumerate(of) if own == which) for which in (False, True))
        model = trained(train, folder / speaker, args)
        free, _ = model.evaluate(test)
        told, _ = model.evaluate(test, Search(fusion=Fusion(phrases=DIGITS)))
        rows.append((speaker, 100 * free["exactly_right"], 100 * told["exactly_right"], 100 * machine(train, test)))
        print(f"{speaker}: {shown(free)}; told the ten words {rows[-1][2]:.2f} %; machine {rows[-1][3]:.2f} %", flush=True)
    print("| speaker held out | free | told the ten words | SVM on the MFCC of eighths |\n|---|---|---|---|")
    for speaker, *right in rows:
        print(f"| {speaker} | " + " | ".join(f"{r:.1f}" for r in right) + " |")
    print("| mean | " + " | ".join(f"{statistics.mean(r):.1f}" for r in list(zip(*rows, strict=True))[1:]) + " |")


def machine(train: Recordings, test: Recordings) -> float:
    """The part of the test that a support vector machine on the cepstra of each eighth of a clip, their means, gets right;
    nan without scikit-learn.
    """
    try:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC
    except ImportError:
        return float("nan")
    from unrolled.features.sound import FrontEnd

    front = FrontEnd("mfcc", RATE, 26, 13)

    def described(some: Recordings) -> np.ndarray:
        frames = [front.frames([read_audio(str(file), RATE)])[0] for file in some.files]
        return torch.stack([torch.cat([part.mean(0) for part in x.tensor_split(8)]) for x in frames]).numpy()

    model = make_pipeline(StandardScaler(), SVC(C=10)).fit(described(train), train.texts)
    return float(model.score(described(test), test.texts))


def strings(
    clips: Recordings, n: int, folder: Path, seed: int, least: int = 3
) -> tuple[Recordings, list[list[list[float]]]]:
    """n recordings of `least` to 7 digits of one speaker each, clips joined with pauses of low noise; and when each word
    begins and ends.
    """
    random, found, times = np.random.default_rng(seed), Recordings(), []
    samples = [read_audio(str(file), RATE) for file in clips.files]
    of = {name: [i for i, other in enumerate(clips.speakers) if other == name] for name in sorted(set(clips.speakers))}
    folder.mkdir(parents=True)
    for k in range(n):
        chosen = random.choice(of[random.choice(list(of))], int(random.integers(least, 8)))
        parts, at, own = [], 0, []
        for i in [*chosen, -1]:
            pause = np.zeros(int(RATE * random.uniform(0.05, 0.4)))
            parts.append(pause)
            at += len(pause)
            if i >= 0:
                parts.append(samples[i])
                own.append([at / RATE, (at + len(samples[i])) / RATE])
                at += len(samples[i])
        joined = np.concatenate(parts)
        loud = float(np.sqrt(np.mean(np.square(joined))))
        joined = joined + loud * 10 ** (-random.uniform(30, 50) / 20) * noise(len(joined), random)
        write_wav(folder / f"{k}.wav", joined, RATE)
        found.add(folder / f"{k}.wav", " ".join(clips.texts[i] for i in chosen), clips.speakers[chosen[0]])
        times.append(own)
    return found, times


def run_strings(args: argparse.Namespace, folder: Path) -> None:
    """Learned from strings of train clips, one digit long and longer; tested on strings of test clips."""
    train, _ = strings(fsdd(args.data, "train"), 3000, folder / "train", seed=1, least=1)
    model = trained(train, folder / "run", args)
    test, times = strings(fsdd(args.data, "test"), 300, folder / "test", seed=2)
    found, made = model.evaluate(test)
    print(f"test strings, {args.preset or 'ctc'}: {shown(found)}\n{found['confusions']}", flush=True)
    off = boundaries(made, test.texts, times)
    within = ", ".join(f"{100 * np.mean(off <= ms / 1000):.1f} % within {ms} ms" for ms in (20, 50, 80, 120))
    print(
        f"boundaries of {len(off) // 2} words of strings heard right: median {1000 * np.median(off):.0f} ms off; {within}"
    )


def boundaries(made: Sequence[Any], said: Sequence[str], times: Times) -> np.ndarray:
    """By how many seconds each begin and end of a word is off, in recordings that are heard right."""
    off = []
    for found, text, own in zip(made, said, times, strict=True):
        if found.text == text:
            off += [abs(w.begin - b) for w, (b, _) in zip(found.words, own, strict=True)]
            off += [abs(w.end - e) for w, (_, e) in zip(found.words, own, strict=True)]
    return np.array(off)


def run_prompts(args: argparse.Namespace, folder: Path) -> None:
    """A fifth of the texts is the test. Of the rest a quarter, half and all are learned from; the language model too."""
    source = args.data / "speech" / "asterisk-en"
    every = read_recordings([source / "transcripts.tsv"], source / "flac")
    order = np.random.default_rng(0).permutation(len(set(every.texts)))
    rank = dict(zip(sorted(set(every.texts)), order.tolist(), strict=True))
    part = np.array([rank[text] / len(rank) for text in every.texts])
    test = every.part(np.flatnonzero(part < 0.2))
    print(
        "| train texts | minutes of speech | greedy WER / CER | beam 20 | beam 20 + language model |\n|---|---|---|---|---|"
    )
    for share in args.shares:
        train = every.part(np.flatnonzero((part >= 0.2) & (part < 0.2 + 0.8 * share)))
        model = trained(train, folder / f"speech-{share}", args)
        lines = [model.spoken(text) for text in train.texts]
        options = language_model_options(preset="tiny", flags={"sentences": True, "minutes": 2, "min_count": 1})
        for _ in train_language_model(options, [unrolled.lines(lines)], folder / f"lm-{share}"):
            pass
        held = [i for i in range(len(train)) if i % 10 == 0]
        best = min(
            (
                (model.evaluate(train.part(held), searching(model, folder / f"lm-{share}", w, r))[0]["wer"], w, r)
                for w in (0.2, 0.4, 0.7)
                for r in (0.0, 0.5, 1.0)
            ),
        )
        kinds = [Search(1), Search(20), searching(model, folder / f"lm-{share}", *best[1:])]
        found = [model.evaluate(test, search)[0] for search in kinds]
        minutes = sum(read_audio(str(file), RATE).size for file in train.files) / RATE / 60
        cells = " | ".join(f"{100 * one['wer']:.1f} / {100 * one['cer']:.1f}" for one in found)
        print(f"| {len(train)} | {minutes:.1f} | {cells} | weight {best[1]}, reward {best[2]}", flush=True)


def searching(model: Any, language_model: Path, weight: float, reward: float) -> Search:
    options = FusionOptions(lm_weight=weight, reward=reward)
    return Search(20, fusion=Fusion.of(model.side, language_model=language_model, options=options))


def run_speed(args: argparse.Namespace) -> None:
    """Seconds of work for a second of sound: files -> text, of 20-second pieces; medians of rounds."""
    model = unrolled.load(args.run)
    clips = fsdd(args.data, "test")
    samples = np.concatenate([read_audio(str(file), RATE) for file in clips.files])
    with tempfile.TemporaryDirectory() as folder:
        write_wav(Path(folder) / "long.wav", samples, RATE)
        for width in (1, 20):
            times = []
            for _ in range(6):
                start = time.process_time() if args.threads == 1 else time.perf_counter()
                model.transcribe(Path(folder) / "long.wav", Search(width))
                times.append((time.process_time() if args.threads == 1 else time.perf_counter()) - start)
            factor = statistics.median(times[1:]) / (len(samples) / RATE)
            print(f"beam {width}: real-time factor {factor:.5f} of {len(samples) / RATE:.0f} s of sound", flush=True)
    if not model.model.config.bidirectional:
        stream, size, times = model.stream(), model.front.rate_hz // 10, []
        for at in range(0, len(samples) - size, size):
            start = time.perf_counter()
            stream.feed(samples[at : at + size])
            times.append(time.perf_counter() - start)
        waits = model.front.window_ms + model.front.hop_ms * (model.model.listener.reduction.window - 1)
        middle, most = 1000 * statistics.median(times), 1000 * np.quantile(times, 0.95)
        print(f"stream: {middle:.2f} ms of work for each 100 ms (95 %: {most:.2f}); a step is heard after {waits:.0f} ms")


def run_noise(args: argparse.Namespace) -> None:
    model, random, heard = unrolled.load(args.run), np.random.default_rng(9), []
    rate = model.front.rate_hz
    kinds = {"silence": lambda n: np.zeros(n, np.float32)}
    kinds |= {f"noise at {db} dB": (lambda n, db=db: 10 ** (db / 20) * noise(n, random)) for db in (-60, -40, -20, -10)}
    for name, make in kinds.items():
        texts = [model.transcribe(make(int(rate * random.uniform(0.5, 5))).astype(np.float32)).text for _ in range(50)]
        heard.append(sum(map(bool, texts)))
        print(f"{name}: words in {heard[-1]} of 50 {sorted(set(texts) - {''})[:5]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["digits", "speakers", "strings", "prompts", "speed", "noise"])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--preset")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.25, 0.5, 1.0], help="prompts: of the train texts")
    parser.add_argument("--only", nargs="+", help="speakers: hold out these, not all in turn")
    parser.add_argument("--work", type=Path, help="folder to leave models in; without it they are thrown away")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("-s", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
        args.settings.append(f"threads={args.threads}")
    print(f"{timing.machine()}; torch {torch.__version__}; threads {torch.get_num_threads()}; {args.settings}", flush=True)
    alone = {"speed": run_speed, "noise": run_noise}
    if args.what in alone:
        alone[args.what](args)
        return
    runs = {"digits": run_digits, "speakers": run_speakers, "strings": run_strings, "prompts": run_prompts}
    with tempfile.TemporaryDirectory() as folder:
        runs[args.what](args, args.work or Path(folder))


if __name__ == "__main__":
    main()
