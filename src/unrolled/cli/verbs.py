"""`evaluate`, `predict` and `explain`: the verbs that every task has; what a folder holds decides what they do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli import caption, classify, language_model, tag, transcribe, translate, word_vectors
from unrolled.cli.flags import AsJson, Folder, Model
from unrolled.cli.progress import say
from unrolled.cli.speaker import Speaker
from unrolled.errors import ConfigError, PartialFailure, UnrolledError
from unrolled.folders import check_new

__all__ = ["evaluate", "explain", "predict"]

#: By the class of what was loaded: names, so that nothing is imported before it is used.
_SPEAKERS = {
    "TrainedLanguageModel": language_model.SPEAKER,
    "Vectors": word_vectors.SPEAKER,
    "TrainedWordVectors": word_vectors.SPEAKER,
    "TrainedClassifier": classify.SPEAKER,
    "TrainedTagger": tag.SPEAKER,
    "TrainedTranslator": translate.SPEAKER,
    "TrainedCaptioner": caption.SPEAKER,
    "TrainedRecognizer": transcribe.SPEAKER,
}

Beam = Annotated[
    int | None, typer.Option(min=1, help="Translators, captioners, recognisers: hypotheses side by side; 1: greedy.")
]
Ensemble = Annotated[
    list[str] | None,
    typer.Option(help="Translators: another run that translates along, by the mean of probabilities; may be repeated."),
]
LanguageModel = Annotated[
    str | None,
    typer.Option(help="Recognisers: a language model that helps: a run, of characters or words, or an .arpa file."),
]
HotWords = Annotated[Path | None, typer.Option(help="Recognisers: a file of words and phrases to listen for, a line each.")]
Phrases = Annotated[Path | None, typer.Option(help="Recognisers: a file of the only phrases there are, a line each.")]
Shortlist = Annotated[
    int | None,
    typer.Option(
        min=1, help="Translators: write only so many likely symbols for each of the source; faster, a little worse."
    ),
]
_SEARCH = (
    "Translators, captioners: of the search, norm, alpha, reward, coverage, min_length, max_length, no_repeat; "
    "recognisers: lm_weight, reward, hotword_weight"
)
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Classifiers: answer only from this probability on; unset: as chosen at training."),
]


def evaluate(
    model: Model,
    files: Annotated[
        list[str],
        typer.Argument(help="Texts: files, .gz files, folders, or -. Labelled texts and tests of word vectors: files."),
    ],
    encoding: Annotated[str, typer.Option(help="Encoding of the files.")] = "utf-8",
    batch_size: Annotated[int, typer.Option(min=1, help="Texts read side by side; changes no result.")] = 16,
    adapt: Annotated[
        str | None, typer.Option(help="Learn from each text while reading it: cache (words) or dynamic (all tokens).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            help="key=value. Of --adapt, cache: window, sharpness, weight; dynamic: tokens, rate, pull. " + _SEARCH + ".",
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

    trained = load(model)
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
    speaker = _speaker(trained)
    speaker.check("evaluate", given)
    check_new(out, overwrite=overwrite)
    speaker.evaluate(trained, files, given)


def predict(
    model: Folder,
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, or files of images or sound; without any, the lines of standard input."),
    ] = None,
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
        typer.Option("-s", help=f"key=value. {_SEARCH}; of --sample, temperature, top_k, top_p, min_p, seed."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a model says of given texts, one line each: log-probability (nats), perplexity and surprisal of every token; of
    a classifier the label and its probability; of a tagger the label of every word, or the text with capitals and marks;
    of a translator the translation; of a captioner what an image shows; of a recogniser what a recording says.

    Examples:

    unrolled predict runs/books < lines.txt

    unrolled predict runs/sentiment "not bad at all" --json
    """
    from unrolled.tasks import load

    trained = load(model)
    speaker, given = _speaker(trained), {"threshold": threshold, "beam": beam, "n_best": n_best}
    given |= {"require": require, "prefix": prefix, "replace_unknown": replace_unknown, "ensemble": ensemble}
    given |= {"sample": sample, "settings": settings, "rounded": rounded, "shortlist": shortlist}
    given |= {"language_model": language_model, "hotwords": hotwords, "phrases": phrases}
    given |= {"format": format, "timestamps": timestamps, "stream": stream}
    if speaker.predict is None or speaker.answer is None:
        raise ConfigError(f"{model}: {speaker.kind} say nothing of texts. What it is: unrolled info {model}")
    speaker.check("predict", given)
    interactive, bad, number = not texts and sys.stdin.isatty(), dict[int, str](), 0
    found = speaker.predict(trained, texts if texts else () if stream else _lines(bad), given, interactive)
    for number, answer in enumerate(found, start=1):
        if isinstance(answer, UnrolledError):
            bad[number] = str(answer)
        print(speaker.answer(answer, bad.get(number), as_json=as_json), flush=interactive or stream)
    if bad:
        raise PartialFailure("\n".join([*list(bad.values())[:10], f"{len(bad)} of {number} inputs could not be read."]))


def explain(
    model: Model,
    text: Annotated[
        str | None, typer.Argument(help="The text, or the file of an image or a recording; none for word vectors.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="HTML page or .png picture to write; without it, JSON is printed.")
    ] = None,
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
    settings: Annotated[list[str] | None, typer.Option("-s", help=f"key=value. {_SEARCH}.")] = None,
    words: Annotated[int | None, typer.Option(min=1, help="Words on the map of word vectors; 1000 if not given.")] = None,
) -> None:
    """Show what happens inside while the model reads a text, or why a text gets its label; where each word of a caption
    looked; of word vectors, a map.

    Examples:

    unrolled explain runs/books "It was the best" --out why.html

    unrolled explain runs/sentiment "not bad at all" --out why.html

    unrolled explain runs/vec --out map.html
    """
    from unrolled.folders import write_text
    from unrolled.pictures.page import page
    from unrolled.tasks import load

    check_new(out, overwrite=overwrite)
    trained = load(model)
    speaker, given = _speaker(trained), {"words": words, "reference": reference, "exact": exact}
    given |= {"beam": beam, "ensemble": ensemble, "settings": settings}
    given |= {"language_model": language_model, "hotwords": hotwords, "phrases": phrases}
    speaker.check("explain", given)
    title, found = speaker.explain(trained, Path(model).name, text, given)
    if found.get("cut"):
        shown = found.get("shown") or f"{len(found['tokens'])} tokens"
        say(f"only the first {shown} are explained")
    if out is None:
        print(json.dumps(found, ensure_ascii=False))
        return
    if out.suffix.lower() == ".png":
        from unrolled.errors import MissingExtra

        try:
            from unrolled.pictures.png import explanation
        except ImportError:
            raise MissingExtra("matplotlib", "plots", "Writing PNG pictures") from None
        explanation(found, out)
    else:
        write_text(out, page(title, found))
    say(f"wrote {out}")


def _speaker(trained: Any) -> Speaker:
    """What the verbs do with what was loaded."""
    return _SPEAKERS[type(trained).__name__]


def _lines(bad: dict[int, str]) -> Iterator[str]:
    """Lines of standard input; one that is not UTF-8 is noted in `bad` by its number and read as empty."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            yield raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            bad[number] = f"<standard input>, line {number}: not utf-8 at byte {error.start} of the line."
            yield ""
