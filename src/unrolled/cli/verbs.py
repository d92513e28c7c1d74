"""`evaluate`, `predict` and `explain`: the verbs that every task has; what a folder holds decides what they do."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.checks import check_helpers, check_report, verb_advice
from unrolled.cli.effects import file_rules, vector_file_rule
from unrolled.cli.flags import AsJson, Folder, Model, UnicodeErrors
from unrolled.cli.inputs import check_files, check_output, collect_inputs, one_line, set_threads, single_input
from unrolled.cli.progress import count, say
from unrolled.cli.verb_flags import (
    SEARCH,
    BatchSize,
    Beam,
    Column,
    Ensemble,
    HotWords,
    LanguageModel,
    Phrases,
    Shortlist,
    Threads,
    Threshold,
    check_flags,
    speaker_of,
)
from unrolled.errors import ConfigError, MissingExtra, PartialFailure, UnrolledError
from unrolled.folders import check_new, write_stream

__all__ = ["evaluate", "explain", "predict"]


def evaluate(
    context: typer.Context,
    model: Model,
    files: Annotated[
        list[str],
        typer.Argument(help="Texts: files, .gz files, folders, or -. Labelled texts and tests of word vectors: files."),
    ],
    encoding: Annotated[str, typer.Option(help="Encoding of the files.")] = "utf-8",
    batch_size: BatchSize = None,
    threads: Threads = None,
    adapt: Annotated[
        str | None, typer.Option(help="Learn from each text while reading it: cache (words) or dynamic (all tokens).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            help="key=value. Of --adapt, cache: window, sharpness, weight; dynamic: tokens, rate, pull. " + SEARCH + ".",
        ),
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option(min=1, help="Analogies: only the most frequent words take part (30000 is usual).")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Classifiers: column of the text; unset: as at training.")] = None,
    label: Annotated[str | None, typer.Option(help="Classifiers: column of the label; unset: as at training.")] = None,
    threshold: Threshold = None,
    beam: Beam = None,
    shortlist: Shortlist = None,
    ensemble: Ensemble = None,
    language_model: LanguageModel = None,
    hotwords: HotWords = None,
    phrases: Phrases = None,
    images: Annotated[
        Path | None, typer.Option(help="Captioners: folder of the images; unset: that of the captions.")
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Recognisers: folder of the recordings; unset: that of the table.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Captioners, recognisers: only lines of this split.")] = None,
    choose: Annotated[bool, typer.Option("--choose", help="Translators: BLEU for several beams and norms.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Classifiers, taggers, translators: HTML page with the figures to write.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    as_json: AsJson = False,
    unicode_errors: UnicodeErrors = "strict",
) -> None:
    """How good a model is: perplexity of texts; word pairs and analogies of word vectors; accuracy, F1 by label, confusion
    and calibration of classifiers; accuracy and F1, of whole entities too, of taggers; BLEU, chrF and errors of
    translators; BLEU, ROUGE-L and CIDEr-D of captioners; word and character error rates of speech recognisers.

    Examples:

    unrolled evaluate runs/books held-out.txt --json

    unrolled evaluate runs/vec wordsim353.tsv questions-words.txt

    unrolled evaluate runs/sentiment test.csv --out test.html
    """
    from unrolled.tasks import load

    check_helpers(ensemble, language_model, hotwords, phrases, {"--images": images, "--audio": audio})
    check_report(out, files, overwrite=overwrite)
    set_threads(threads)
    trained = load(model, errors=unicode_errors)
    given = {
        "encoding": encoding,
        "batch_size": batch_size,
        "adapt": adapt,
        "settings": settings,
        "vocabulary": vocabulary,
        "text": text,
        "label": label,
        "threshold": threshold,
        "beam": beam,
        "shortlist": shortlist,
        "ensemble": ensemble,
        "choose": choose,
        "language_model": language_model,
        "hotwords": hotwords,
        "phrases": phrases,
        "images": images,
        "audio": audio,
        "split": split,
        "out": out,
        "overwrite": overwrite,
        "as_json": as_json,
    }
    check_flags(context, trained, given, [*file_rules(files, out, "text", "label"), vector_file_rule(model)])
    speaker_of(trained).evaluate(trained, files, given)


def predict(
    context: typer.Context,
    model: Folder,
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, or files of images or sound; - or none: the lines of standard input."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="File of inputs: .txt with one per line, or a table (.csv, .tsv, .jsonl); may be repeated; -: standard "
            "input. Of images or recordings: paths, relative to the file.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the answers, one line per input; nothing is printed.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    text: Column = None,
    encoding: Annotated[str, typer.Option(help="Encoding of the files of --input.")] = "utf-8",
    batch_size: BatchSize = None,
    threads: Threads = None,
    threshold: Threshold = None,
    beam: Beam = None,
    n_best: Annotated[
        int | None, typer.Option(min=1, help="Translators, captioners, recognisers: so many answers, with scores.")
    ] = None,
    require: Annotated[
        list[str] | None, typer.Option(help="Translators: a word or phrase each translation has; may be repeated.")
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="Translators: what each translation begins with.")] = None,
    replace_unknown: Annotated[
        bool, typer.Option("--replace-unknown", help="Translators: unknown words become those of the source looked at.")
    ] = False,
    rounded: Annotated[
        bool, typer.Option("--rounded", help="Translators: keep the output matrix in bytes; a little faster.")
    ] = False,
    shortlist: Shortlist = None,
    ensemble: Ensemble = None,
    language_model: LanguageModel = None,
    hotwords: HotWords = None,
    phrases: Phrases = None,
    format: Annotated[str | None, typer.Option(help="Recognisers: txt, srt, vtt or json.")] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Recognisers: a line a word: begin, end, confidence, word.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Recognisers: listen to standard input, 16-bit samples or WAV, while it comes.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Translators: so many translations, drawn by chance, in place of the best.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("-s", help=f"key=value. {SEARCH}; of --sample, temperature, top_k, top_p, min_p, seed."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a model's answer for each input: of a classifier the label and its probability; of a tagger the label of every
    word, or the text with capitals and punctuation; of a translator the translation; of a captioner the caption; of a
    speech recognizer the transcript; of a language model log-probability (nats), perplexity and surprisal of every token.

    Examples:

    unrolled predict runs/books < lines.txt

    unrolled predict runs/sentiment "I loved every minute of it." --json

    unrolled predict runs/sentiment --input reviews.csv --out answers.jsonl --json
    """
    from unrolled.tasks import load

    names, arguments = inputs or [], texts or []
    check_files(names, arguments, stream=stream)
    check_output(out, [*names, *arguments])
    check_new(out, overwrite=overwrite)
    check_helpers(ensemble, language_model, hotwords, phrases)
    set_threads(threads)
    trained = load(model)
    speaker, given = speaker_of(trained), {"threshold": threshold, "beam": beam, "n_best": n_best}
    given |= {"require": require, "prefix": prefix, "replace_unknown": replace_unknown, "ensemble": ensemble}
    given |= {"sample": sample, "settings": settings, "rounded": rounded, "shortlist": shortlist}
    given |= {"language_model": language_model, "hotwords": hotwords, "phrases": phrases}
    given |= {"format": format, "timestamps": timestamps, "stream": stream, "as_json": as_json}
    if speaker.predict is None or speaker.answer is None:
        raise ConfigError(f"{model}: holds {speaker.kind}, which answer no texts.{verb_advice(trained, model)}")
    check_flags(context, trained, given, file_rules(names, out, "text"))
    reads_stdin = "-" in names or "-" in arguments or not (names or arguments)
    interactive, bad = reads_stdin and sys.stdin.isatty(), dict[int, str]()
    given_inputs: Any = arguments if stream else collect_inputs(trained, speaker, arguments, names, text, encoding, bad)
    answers = speaker.predict(trained, given_inputs, given, 1 if interactive else batch_size)
    as_is = out is None or (format in ("srt", "vtt") and not as_json)
    written = _written(answers, partial(speaker.answer, as_json=as_json), bad, as_is=as_is)
    total = itertools.count()
    if out is None:
        for line in written:
            next(total)
            print(line, flush=interactive or stream)
    else:
        write_stream(out, (f"{line}\n".encode("utf-8", "backslashreplace") for line in written if next(total) >= 0))
    answered = next(total)
    if out is not None:
        say(f"wrote {count(answered, 'answer')} to {out}")
    if bad:
        raise PartialFailure("\n".join([*list(bad.values())[:10], f"{len(bad)} of {answered} inputs could not be read."]))


def _written(answers: Iterable[Any], answer: Callable[..., str], bad: dict[int, str], *, as_is: bool) -> Iterator[str]:
    """What is printed or written for each answer; errors are noted in `bad`. as_is: answers may have several lines."""
    for number, result in enumerate(answers, start=1):
        if isinstance(result, UnrolledError):
            bad[number] = str(result)
        line = answer(result, bad.get(number))
        yield line if as_is else one_line(line)


def explain(
    context: typer.Context,
    model: Model,
    text: Annotated[
        str | None, typer.Argument(help="The text, or the file of an image or a recording; none for word vectors.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write: .html, .png or .json; without it, JSON is printed.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--input", help="File with the one input: a text, or a path relative to it; -: standard input."),
    ] = None,
    column: Column = None,
    encoding: Annotated[str, typer.Option(help="Encoding of the file of --input.")] = "utf-8",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="As for predict; here there is one input, which is one batch.")
    ] = None,
    threads: Threads = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    reference: Annotated[
        str | None, typer.Option(help="Translators: a right translation; is it search or model that misses it?")
    ] = None,
    exact: Annotated[
        int | None, typer.Option(min=1, help="Translators: steps to spend on proving the model's own favourite.")
    ] = None,
    beam: Beam = None,
    ensemble: Ensemble = None,
    language_model: LanguageModel = None,
    hotwords: HotWords = None,
    phrases: Phrases = None,
    settings: Annotated[list[str] | None, typer.Option("-s", help=f"key=value. {SEARCH}.")] = None,
    words: Annotated[int | None, typer.Option(min=1, help="Words on the map of word vectors; 1000 if not given.")] = None,
) -> None:
    """Show what happens inside while the model reads a text, or why a text gets its label; where each word of a caption
    looked; of word vectors, a map.

    Examples:

    unrolled explain runs/books "It was the best" --out why.html

    unrolled explain runs/sentiment "I loved every minute of it." --out why.html

    unrolled explain runs/vec --out map.html
    """
    from unrolled.folders import write_text
    from unrolled.pictures.page import page
    from unrolled.tasks import load

    del batch_size  # there is one input
    check_files([file] if file else [], [text] if text else [])
    check_output(out, [name for name in (file, text) if name])
    _check_suffix(out)
    check_new(out, overwrite=overwrite)
    check_helpers(ensemble, language_model, hotwords, phrases)
    set_threads(threads)
    trained = load(model)
    speaker, given = speaker_of(trained), {"words": words, "reference": reference, "exact": exact}
    given |= {"beam": beam, "ensemble": ensemble, "settings": settings}
    given |= {"language_model": language_model, "hotwords": hotwords, "phrases": phrases}
    check_flags(context, trained, given, file_rules([file] if file else [], out, "column"))
    asked = single_input(trained, speaker, text, file, column, encoding) if speaker.predict is not None else text or file
    title, found = speaker.explain(trained, Path(model).name, asked, given)
    if found.get("cut"):
        shown = found.get("shown") or f"{len(found['tokens'])} tokens"
        say(f"only the first {shown} are explained")
    if out is None:
        print(json.dumps(found, ensure_ascii=False))
        return
    match out.suffix.lower():
        case ".png":
            _write_png(found, out)
        case ".json":
            write_text(out, json.dumps(found, ensure_ascii=False) + "\n")
        case _:
            write_text(out, page(title, found))
    say(f"wrote {out}")


def _check_suffix(out: Path | None) -> None:
    """Usage error for a file that explanations are not written to; MissingExtra for pictures without matplotlib."""
    if out is not None and out.suffix.lower() not in (".html", ".htm", ".png", ".json"):
        raise typer.BadParameter(f"--out {out}: got the suffix {out.suffix!r}, expected .html, .png or .json.")
    if out is not None and out.suffix.lower() == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "plots", "Writing PNG pictures")


def _write_png(found: Any, out: Path) -> None:
    from unrolled.pictures.png import explanation

    explanation(found, out)
