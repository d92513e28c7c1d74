"""`train transcribe`, and what `evaluate`, `predict` and `explain` print of speech recognisers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from unrolled.cli.effects import Rule
from unrolled.cli.flags import ConfigFile, Out, Overwrite, PrintConfig, Quiet, Settings, with_options
from unrolled.cli.guard import guarded
from unrolled.cli.progress import Progress, count, left_out, say, what_next, why_ended
from unrolled.cli.speaker import Speaker, needed
from unrolled.config import read_toml, to_toml
from unrolled.errors import unknown_name
from unrolled.options.training import describe_limits
from unrolled.options.transcribe import PRESETS, TranscribeOptions

__all__ = ["SPEAKER", "follow_recognizer", "run_recognizer", "transcribe"]


@guarded
@with_options(TranscribeOptions, PRESETS)
def transcribe(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Recordings: .tsv, .csv, .jsonl (file, text[, speaker, split]), or a folder with texts beside."
        ),
    ],
    out: Out,
    valid: Annotated[list[str] | None, typer.Option(help="Choose the best model by these recordings.")] = None,
    preset: Annotated[str | None, typer.Option(help="ctc, attention or hybrid; ctc if not given.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the best validation as JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Learn to write down what is said.

    Examples:

    unrolled train transcribe clips.tsv --audio flac/ --out runs/speech

    unrolled train transcribe clips.tsv --audio flac/ --preset hybrid --out runs/hybrid
    """
    from unrolled.run.transcribe import transcribe_options

    file = read_toml(config) if config else None
    options = transcribe_options(preset=preset, file=file, flags=given, settings=settings or ())
    if print_config:
        print(to_toml(options), end="")
        return
    run_recognizer(options, files, out, valid=valid or None, overwrite=overwrite, quiet=quiet, as_json=as_json)


def run_recognizer(
    options: TranscribeOptions,
    recordings: Any,
    out: Path,
    *,
    valid: Any = None,
    overwrite: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Train, showing progress. Raises KeyboardInterrupt at the end if Ctrl-C was pressed."""
    from unrolled.run.transcribe import train_recognizer

    events = train_recognizer(options, recordings, out, valid=valid, overwrite=overwrite)
    follow_recognizer(events, out, quiet=quiet, as_json=as_json)


def follow_recognizer(events: Iterator[Any], out: Path, *, quiet: bool = False, as_json: bool = False) -> None:
    """Show the events of a training, and print its best validation if `as_json`."""
    with Progress(quiet=quiet) as progress:

        def show(task: Any) -> None:
            progress.say(_facts(task))
            progress.warn(task)

        finished = progress.follow(events, show)
        best = finished.best
        progress.say(
            f"{why_ended(finished.reason)}. Best model: step {best['step']}, word errors {100 * best['valid_wer']:.2f} %, "
            f"character errors {100 * best['valid_cer']:.2f} % on the validation recordings"
        )
        progress.say(what_next(out, f"unrolled predict {out} talk.wav", resumable=finished.reason == "interrupted"))
    if finished.reason == "interrupted":
        raise KeyboardInterrupt
    if as_json:
        print(json.dumps(best))


def _facts(task: Any) -> str:
    """What was found in the files."""
    facts = task.facts
    speakers = f" of {facts.speakers:,} speakers" if facts.speakers else ""
    lines = [
        f"{facts.train:,} recordings{speakers}, {facts.train_seconds / 60:.1f} minutes, to train on; {facts.valid:,}, "
        f"{facts.valid_seconds / 60:.1f} minutes, to validate on; {facts.symbols:,} symbols; {facts.rate_hz:,} Hz, "
        f"{facts.reduction} frames a step; {describe_limits(task.options.training)}"
    ]
    counted = (
        (facts.missing, "recordings are not there and were left out"),
        (facts.unread, "recordings cannot be read and were left out:"),
        (facts.empty, "recordings have no text and were left out"),
        (facts.long, "recordings are longer than --longest and were left out"),
        (facts.impossible, "recordings are too short for their texts and were left out"),
    )
    absent = [f"not there: {path}" for path in task.missing[:10]]
    return "\n".join([*lines, *left_out(counted), *absent, *task.problems[:10]])


def _evaluate(trained: Any, files: Sequence[str], given: dict[str, Any]) -> None:
    """Print word and character error rates, by speaker, and what was taken for what."""
    from unrolled.data.recordings import read_recordings

    recordings = read_recordings(files, given["audio"], split=given["split"], encoding=given["encoding"])
    found, _ = trained.evaluate(recordings, _search(trained, given), batch_size=given["batch_size"] or 16)
    for problem in found["unread"][:10]:
        say(problem)
    if given["as_json"]:
        print(json.dumps(found, ensure_ascii=False))
        return
    counted = (
        (len(found["missing"]), "not there"),
        (len(found["unread"]), "not readable"),
        (found["empty"], "without text"),
    )
    missing = "".join(f"  ({n} {what}, left out)" for n, what in counted if n)
    print(f"{'recordings':<24}{found['recordings']}{missing}")
    print(f"{'minutes':<24}{found['seconds'] / 60:.1f}")
    for key, name in (("wer", "word error rate"), ("cer", "character error rate")):
        low, high = found[f"{key}_interval"]
        print(f"{name:<24}{100 * found[key]:.2f} %  (95 %: {100 * low:.2f} to {100 * high:.2f})")
    print(f"{'exactly right':<24}{100 * found['exactly_right']:.2f} %")
    if found["speakers"]:
        print(f"\n{'speaker':<24}{'recordings':>10}{'WER':>10}{'right':>10}")
        for name, one in found["speakers"].items():
            print(f"{name:<24}{one['recordings']:>10}{100 * one['wer']:>8.2f} %{100 * one['exactly_right']:>8.2f} %")
    if found["confusions"]:
        print(f"\n{'said':<24}{'heard':<24}{'times':>6}")
        for said, heard, n in found["confusions"]:
            print(f"{said or '(nothing)':<24}{heard or '(nothing)':<24}{n:>6}")
    _show_errors(found["errors"], given["audio"], files)


def _show_errors(errors: Sequence[dict[str, str]], audio: Path | None, files: Sequence[str], shown: int = 5) -> None:
    """Print the first wrong transcripts, their files relative to the folder of the recordings; --json has all."""
    folders = [audio] if audio is not None else [Path(file) if Path(file).is_dir() else Path(file).parent for file in files]
    for error in errors[:shown]:
        file = Path(error["file"])
        name = next((file.relative_to(folder) for folder in folders if file.is_relative_to(folder)), file)
        print(f"\n{name}\n  said   {error['said']}\n  heard  {error['heard']}")
    if len(errors) > shown:
        print(f"\n{count(len(errors) - shown, 'more wrong transcript')}: all are in --json")


class _Shown(NamedTuple):
    """A transcript and how it is to be printed. several: others stand beside it; cue: the number of its first subtitle."""

    found: Any
    form: str
    times: bool
    several: bool
    cue: int = 1


def _search(trained: Any, given: dict[str, Any]) -> Any:
    """How to search: --beam, --n-best, and what helps."""
    from unrolled.config import typed_settings
    from unrolled.tasks.fusion import Fusion, FusionOptions
    from unrolled.tasks.hearing import Search

    kinds = {field.name: float for field in fields(FusionOptions)}
    options = FusionOptions(**typed_settings(given.get("settings") or (), kinds, "setting"))
    fusion = Fusion.of(
        trained.side,
        language_model=given.get("language_model"),
        hotwords=[trained.spoken(line) for line in _lines(given.get("hotwords"))],
        phrases=_lines(given.get("phrases")),
        options=options,
    )
    return Search(given["beam"], given.get("n_best") or 1, fusion)


def _lines(path: Path | None) -> list[str]:
    """The lines of a file that are not empty. DataError if there are none."""
    from unrolled.data.text import read_documents
    from unrolled.errors import DataError

    if path is None:
        return []
    (document,) = read_documents([str(path)], "utf-8")
    found = [line.strip() for line in document.text.splitlines() if line.strip()]
    if not found:
        raise DataError(f"{path}: holds no phrases: one a line is expected.")
    return found


def _predict(trained: Any, sounds: Iterable[str], given: dict[str, Any], batch_size: int | None) -> Iterator[Any]:
    from unrolled.errors import ConfigError, UnrolledError
    from unrolled.tasks.subtitles import cues

    search, form = _search(trained, given), given["format"] or "txt"
    if form not in ("txt", "srt", "vtt", "json"):
        raise unknown_name("format", form, ("txt", "srt", "vtt", "json"))
    shown = partial(_Shown, form=form, times=bool(given["timestamps"]), several=search.n_best > 1)
    if given["stream"]:
        cue = 1
        for one in _streamed(trained, search, list(sounds)):
            yield shown(one, cue=cue)
            cue += len(cues(one.words))
        return
    for n, one in enumerate(trained.transcripts(sounds, search, batch_size=batch_size or 16)):
        if n and form in ("srt", "vtt"):
            raise ConfigError(f"--format {form}: subtitles are those of one recording; ask for each on its own")
        yield one if isinstance(one, UnrolledError) else shown(one)


def _streamed(trained: Any, search: Any, sounds: list[str]) -> Iterator[Any]:
    """The utterances of standard input, each as soon as it has ended; on a terminal also what is heard meanwhile."""
    from unrolled.cli.progress import Line
    from unrolled.data.raw_audio import raw_pieces
    from unrolled.errors import ConfigError

    if sounds not in ([], ["-"]):
        raise ConfigError("--stream listens to standard input: unrolled predict RUN --stream -")
    stream, stopped = trained.stream(search), False
    with Line() as line:
        try:
            for samples in raw_pieces(sys.stdin.buffer, trained.front.rate_hz):
                yield from stream.feed(samples)
                line.show(stream.partial[-100:])
        except KeyboardInterrupt:  # the usual way to stop speaking: what has been heard is told
            stopped = True
        last = stream.finish()
    if last.text:
        yield last
    if stopped:
        raise KeyboardInterrupt


def _answer(shown: Any, problem: str | None, *, as_json: bool) -> str:
    """The text of one recording, and of the others that were asked for, with their scores; or its subtitles."""
    from unrolled.tasks.subtitles import srt, vtt

    if problem is not None:
        return json.dumps({"error": problem}, ensure_ascii=False) if as_json else "-"
    found, form, times, several, cue = shown
    if as_json or form == "json":
        return json.dumps(found.to_json(), ensure_ascii=False)
    if form != "txt":
        return srt(found.words, cue) if form == "srt" else vtt(found.words, cue)
    if times:
        return "\n".join(f"{w.begin:.2f}\t{w.end:.2f}\t{w.confidence:.3f}\t{w.text}" for w in found.words)
    if not several:
        return found.text
    return "\n".join(f"{score:.4f}\t{text}" for score, text in found.ranked())


def _explain(trained: Any, name: str, sound: str | None, given: dict[str, Any]) -> tuple[str, Any]:
    sound = needed(sound, "a recording: unrolled explain RUN clip.wav")
    return f"What {name} hears in {Path(sound).name}", trained.explain(sound, _search(trained, given))


def _read(_: Any, column: str | None) -> Any:
    """Read paths of recordings, a line or a row each."""
    from unrolled.data.inputs import read_paths

    names = [column] if column else ["file", "path", "audio", "audio_filepath", "filename", "wav_filename", "wav"]
    return lambda name, encoding: read_paths(name, names, encoding)


def _rules(_: Any, __: str, given: Mapping[str, Any]) -> list[Rule]:
    """What is printed in one form has no use for the marks of another; settings are of what helps the search."""
    form = "json" if given.get("as_json") else given.get("format") or "txt"
    titles, helped = form in ("srt", "vtt"), bool(given.get("language_model"))
    return [
        Rule(bool(given.get("as_json")), "format", "with --json"),
        Rule(form != "txt", "timestamps", f"with --{'json' if form == 'json' else f'format {form}'}, which has times"),
        Rule(titles or bool(given.get("timestamps")), "n_best", "where the words of one transcript are printed with times"),
        Rule(bool(given.get("stream")), "batch_size", "with --stream: one recording is heard"),
        Rule(bool(given.get("phrases")), "beam", "with --phrases: each of them is scored"),
        Rule(not helped, "-s lm_weight,-s reward", "without --language-model"),
        Rule(not given.get("hotwords"), "-s hotword_weight", "without --hotwords"),
    ]


_HELP = {"language_model", "hotwords", "phrases", "settings"}
_FLAGS = {"beam", "n_best", "audio", "split", "format", "timestamps", "stream"} | _HELP
SPEAKER = Speaker(
    "a speech recogniser",
    frozenset(_FLAGS),
    _evaluate,
    _explain,
    _predict,
    _answer,
    media="a recording",
    read=_read,
    rules=_rules,
)
