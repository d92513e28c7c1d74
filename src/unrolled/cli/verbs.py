"""`evaluate`, `predict` and `explain`: the verbs that every task has; what a folder holds decides what they do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli import classify, language_model, tag, translate
from unrolled.cli.flags import AsJson, Folder, Model
from unrolled.cli.progress import say
from unrolled.cli.word_vectors import evaluate_vectors
from unrolled.errors import ConfigError, PartialFailure
from unrolled.folders import check_new

__all__ = ["evaluate", "explain", "predict"]

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
            help="Setting of --adapt as key=value. cache: window, sharpness, weight; dynamic: tokens, rate, pull.",
        ),
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option(min=1, help="Analogies: only the most frequent words take part (30000 is usual).")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Classifiers: column of the text; unset: as at training.")] = None,
    label: Annotated[str | None, typer.Option(help="Classifiers: column of the label; unset: as at training.")] = None,
    threshold: Threshold = None,
    out: Annotated[Path | None, typer.Option(help="Classifiers, taggers: HTML page with the figures to write.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """How good a model is: perplexity of texts; word pairs and analogies of word vectors; accuracy, F1 by label, confusion
    and calibration of classifiers; accuracy and F1, of whole entities too, of taggers.

    Examples:

    unrolled evaluate runs/books held-out.txt --json

    unrolled evaluate runs/vec wordsim353.tsv questions-words.txt

    unrolled evaluate runs/sentiment test.csv --out test.html
    """
    from unrolled.data.text import read_documents
    from unrolled.tasks import load
    from unrolled.tasks.adaptive import adapter
    from unrolled.tasks.classifier import TrainedClassifier
    from unrolled.tasks.tagger import TrainedTagger
    from unrolled.tasks.translator import TrainedTranslator
    from unrolled.tasks.vectors import Vectors

    trained = load(model)
    if isinstance(trained, TrainedClassifier):
        _refuse("a classifier", {"--adapt": adapt, "-s": settings, "--vocabulary": vocabulary})
        check_new(out, overwrite=overwrite)
        classify.evaluate_classifier(
            trained, files, encoding, text=text, label=label, threshold=threshold, out=out, as_json=as_json
        )
        return
    if isinstance(trained, TrainedTagger):
        flags = {"--adapt": adapt, "-s": settings, "--vocabulary": vocabulary, "--text": text, "--label": label}
        _refuse("a tagger", flags | {"--threshold": threshold})
        check_new(out, overwrite=overwrite)
        tag.evaluate_tagger(trained, files, encoding, out=out, as_json=as_json)
        return
    if isinstance(trained, TrainedTranslator):
        flags = {"--adapt": adapt, "-s": settings, "--vocabulary": vocabulary, "--text": text, "--label": label}
        _refuse("a translator", flags | {"--threshold": threshold, "--out": out})
        translate.evaluate_translator(trained, files, encoding, as_json=as_json)
        return
    what = "word vectors" if isinstance(trained, Vectors) else "a language model"
    _refuse(what, {"--text": text, "--label": label, "--threshold": threshold, "--out": out})
    if isinstance(trained, Vectors):
        _refuse(what, {"--adapt": adapt, "-s": settings})
        evaluate_vectors(trained, files, encoding, most=vocabulary, as_json=as_json)
        return
    _refuse(what, {"--vocabulary": vocabulary})
    found = trained.evaluate(read_documents(files, encoding), batch_size, adapter(adapt, settings or ()))
    if as_json:
        print(json.dumps(found))
    else:
        language_model.show_perplexity(found, adapt)


def predict(
    model: Folder,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, the lines of standard input.")] = None,
    threshold: Threshold = None,
    beam: Annotated[int | None, typer.Option(min=1, help="Translators: hypotheses side by side; 1: greedy.")] = None,
    n_best: Annotated[int | None, typer.Option(min=1, help="Translators: so many translations, with scores.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a model says of given texts, one line each: log-probability (nats), perplexity and surprisal of every token; of
    a classifier the label and its probability; of a tagger the label of every word, or the text with capitals and marks;
    of a translator the translation.

    Examples:

    unrolled predict runs/books < lines.txt

    unrolled predict runs/sentiment "not bad at all" --json
    """
    from unrolled.tasks import load
    from unrolled.tasks.classifier import TrainedClassifier
    from unrolled.tasks.tagger import TrainedTagger
    from unrolled.tasks.translator import TrainedTranslator

    trained: Any = load(model)
    interactive = not texts and sys.stdin.isatty()
    bad: dict[int, str] = {}
    lines = texts if texts else _lines(bad)
    if isinstance(trained, TrainedTranslator):
        _refuse("a translator", {"--threshold": threshold})
        options = translate.searching(trained, beam, n_best)
        found, shown = trained.translations(lines, options, batch_size=1 if interactive else 64), translate.answer
        return _print_answers(found, shown, bad, as_json=as_json, flush=interactive)
    _refuse("such a model", {"--beam": beam, "--n-best": n_best})
    if isinstance(trained, TrainedClassifier):
        found, shown = trained.predictions(lines, threshold, batch_size=1 if interactive else 1024), classify.answer
    elif isinstance(trained, TrainedTagger):
        _refuse("a tagger", {"--threshold": threshold})
        found, shown = trained.predictions(lines, batch_size=1 if interactive else 256), tag.answer
    else:
        _refuse("a language model", {"--threshold": threshold})
        trained = language_model.as_language_model(trained, model)
        found, shown = trained.scores(lines, batch_size=1 if interactive else 16), language_model.answer
    _print_answers(found, shown, bad, as_json=as_json, flush=interactive)


def _print_answers(found: Any, shown: Any, bad: dict[int, str], *, as_json: bool, flush: bool) -> None:
    """A line, or lines, for each text, in order. PartialFailure at the end if some could not be read."""
    number = 0
    for number, answer in enumerate(found, start=1):
        print(shown(answer, bad.get(number), as_json=as_json), flush=flush)
    if bad:
        raise PartialFailure("\n".join([*list(bad.values())[:10], f"{len(bad)} of {number} lines could not be read."]))


def explain(
    model: Model,
    text: Annotated[str | None, typer.Argument(help="The text to read; none for word vectors.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="HTML page or .png picture to write; without it, JSON is printed.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it exists.")] = False,
    reference: Annotated[
        str | None, typer.Option(help="Translators: a right translation; is it search or model that misses it?")
    ] = None,
    words: Annotated[int | None, typer.Option(min=1, help="Words on the map of word vectors; 1000 if not given.")] = None,
) -> None:
    """Show what happens inside while the model reads a text, or why a text gets its label; of word vectors, a map.

    Examples:

    unrolled explain runs/books "It was the best" --out why.html

    unrolled explain runs/sentiment "not bad at all" --out why.html

    unrolled explain runs/vec --out map.html
    """
    from unrolled.folders import write_text
    from unrolled.pictures.page import page

    check_new(out, overwrite=overwrite)
    title, found = _explained(model, text, words, reference)
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


def _refuse(what: str, flags: dict[str, Any]) -> None:
    """ConfigError for flags that say nothing to such a model."""
    given = [flag for flag, value in flags.items() if value]
    if given:
        raise ConfigError(f"{', '.join(given)}: means nothing for {what}. See: unrolled evaluate --help")


def _explained(model: str, text: str | None, words: int | None, reference: str | None) -> tuple[str, dict[str, Any]]:
    """Title and explanation."""
    from unrolled.tasks import load
    from unrolled.tasks.classifier import TrainedClassifier
    from unrolled.tasks.explain_language_model import explain_text
    from unrolled.tasks.explain_word_vectors import explain_vectors
    from unrolled.tasks.tagger import TrainedTagger
    from unrolled.tasks.translator import TrainedTranslator
    from unrolled.tasks.vectors import Vectors

    trained = load(model)
    if not isinstance(trained, TrainedTranslator):
        _refuse("such a model", {"--reference": reference})
    if isinstance(trained, Vectors):
        if text is not None:
            raise ConfigError("word vectors are explained by a map, which takes no text. For one word: unrolled neighbors")
        return f"The words of {Path(model).name}", explain_vectors(trained, min(words or 1000, len(trained)))
    if text is None or words is not None:
        raise ConfigError('a model is explained on a text: unrolled explain RUN "some text"; --words is for word vectors')
    if isinstance(trained, TrainedClassifier):
        return f"Why {Path(model).name} answers: {text[:60]}", trained.explain(text)
    if isinstance(trained, TrainedTranslator):
        return f"How {Path(model).name} translates: {text[:60]}", trained.explain(text, reference)
    if isinstance(trained, TrainedTagger):
        found, title = trained.explain(text), f"How {Path(model).name} labels: {text[:60]}"
    else:
        found, title = explain_text(trained, text), f"How {Path(model).name} reads: {text[:60]}"
    if found["cut"]:
        say(f"only the first {len(found['tokens'])} tokens are explained")
    return title, found


def _lines(bad: dict[int, str]) -> Iterator[str]:
    """Lines of standard input; one that is not UTF-8 is noted in `bad` by its number and read as empty."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        try:
            yield raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            bad[number] = f"<standard input>, line {number}: not utf-8 at byte {error.start} of the line."
            yield ""
