"""`train word-vectors`, `neighbors`, `analogy`, `export`, and what `evaluate` prints of word vectors."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.effects import Rule, given_flags, refuse_idle, vector_file_rule
from unrolled.cli.flags import (
    AsJson,
    ConfigFile,
    Files,
    Model,
    Out,
    Overwrite,
    PrintConfig,
    Quiet,
    Settings,
    UnicodeErrors,
    with_options,
)
from unrolled.cli.guard import guarded
from unrolled.cli.progress import Line, count, remaining, say, say_tables
from unrolled.cli.speaker import Speaker
from unrolled.config import read_toml, to_toml
from unrolled.errors import ConfigError, DataError, FolderError, PartialFailure, unknown_name
from unrolled.folders import check_new
from unrolled.options.training import describe_limits
from unrolled.options.word_vectors import PRESETS, WordVectorsOptions

__all__ = ["SPEAKER", "analogy", "export", "index", "neighbors", "run_word_vectors", "word_vectors"]


@guarded
@with_options(WordVectorsOptions, PRESETS)
def word_vectors(
    files: Files,
    out: Out,
    probe: Annotated[
        list[str] | None,
        typer.Option(help="A test made after each epoch: word pairs or analogies. The best by the first one are kept."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Learn on from the vectors of this run: new text, new words. It is not touched."),
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the last epoch's figures as JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Learn a vector for each word from text (word2vec).

    Examples:

    unrolled train word-vectors corpus.txt.gz --out runs/vec

    unrolled train word-vectors more.txt --from runs/vec --out runs/vec2

    unrolled train word-vectors news/ --architecture cbow --vector-size 300 --probe wordsim353.tsv --out runs/vec
    """
    from unrolled.run.word_vectors import word_vectors_options

    before = _trained(start) if start else None
    file = read_toml(config) if config else None
    options = word_vectors_options(file=file, flags=given, settings=settings or (), start=before)
    if print_config:
        print(to_toml(options), end="")
        return
    if not quiet:
        say_tables(files)
    run_word_vectors(
        options, files, out, probes=probe or (), start=before, overwrite=overwrite, quiet=quiet, as_json=as_json
    )


def run_word_vectors(
    options: Any,
    files: Sequence[Any],
    out: Path,
    *,
    probes: Sequence[str] = (),
    start: Any = None,
    overwrite: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Train, showing progress. Raises KeyboardInterrupt at the end if Ctrl-C was pressed."""
    from unrolled.run.word_vectors import Done, train_word_vectors
    from unrolled.tasks.word_vectors import Epoch, Progress, WordVectorsTask
    from unrolled.training.parallel import speaks

    done, quiet = None, quiet or not speaks()
    with Line(quiet=quiet) as line:
        for event in train_word_vectors(options, files, out, probes=probes, start=start, overwrite=overwrite):
            match event:
                case WordVectorsTask():
                    line.say(
                        f"{event.all_words:,} words; {len(event.words):,} different ones are frequent enough for a vector; "
                        f"{_length(event)} on {event.threads} thread{'s' if event.threads > 1 else ''}"
                    )
                    if event.notice:
                        line.say(event.notice)
                    line.warn(event)
                case Progress():
                    line.show(
                        f"epoch {event.epoch:.2f}  loss {event.loss:.3f}  {event.words / event.seconds:,.0f} words/s  "
                        f"{remaining(event.left)}"
                    )
                case Epoch():
                    line.say(_epoch(event))
                case Done():
                    done = event
    assert done is not None
    if done.row and done.row["epoch"] < 1:
        line.say(f"warning: only {100 * done.row['epoch']:.0f} % of the text was read; give more --minutes")
    if start is not None:
        drift = done.drift
        most = ", ".join(word for word, _ in drift["moved_most"][:8])
        line.say(f"old words: mean cosine to where they were {drift['mean_cosine']:.3f}; moved most: {most}")
    line.say(
        f"{'done' if done.reason == 'budget' else 'stopped: ' + done.reason}.   Report: {out / 'report.html'}   "
        f"Next: unrolled neighbors {out} WORD"
    )
    if done.reason == "interrupted":
        raise KeyboardInterrupt
    if as_json and speaks():
        print(json.dumps(done.row))


def _length(task: Any) -> str:
    limits = task.options.training
    return describe_limits(limits) or count(task.timed.end, "epoch")


def _epoch(event: Any) -> str:
    row = event.row
    tests = "".join(
        f"  {name} {'-' if value is None else f'{value:.4f}'}"
        for name, value in row.items()
        if name not in ("epoch", "loss", "words", "seconds", "corrections")
    )
    best = "  (best)" if tests and event.best else ""
    return f"[{row['seconds']:6.1f} s] epoch {row['epoch']:.4g}  loss {row['loss']:.4f}{tests}{best}"


def neighbors(
    context: typer.Context,
    model: Model,
    words: Annotated[list[str] | None, typer.Argument(help="Words; without any, the lines of standard input.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Neighbours of each.")] = 10,
    index: Annotated[Path | None, typer.Option(help="Look them up in this index; see unrolled index.")] = None,
    as_json: AsJson = False,
    unicode_errors: UnicodeErrors = "strict",
) -> None:
    """The words whose vectors point most nearly the same way, and the cosine.

    Example: unrolled neighbors runs/vec king queen
    """
    refuse_idle(given_flags(context), [vector_file_rule(model)])
    vectors = _vectors(model, unicode_errors)
    asked = list(words) if words else [line.strip() for line in sys.stdin if line.strip()]
    known = [word for word in asked if vectors.query(word) in vectors]
    searched = vectors if index is None else _indexed(vectors, index)
    queries = [vectors.query(word) for word in known]
    found = dict(zip(known, searched.neighbors_of(queries, n), strict=True)) if known else {}
    for word in asked:
        near = found.get(word)
        if as_json:
            print(json.dumps({"word": word, "neighbors": near and [list(pair) for pair in near]}, ensure_ascii=False))
        elif near is not None:
            print(f"{word}\t" + "\t".join(f"{other} {cosine:.4f}" for other, cosine in near))
        else:
            print(f"{word}\t-")
    _complain(vectors, [word for word in asked if vectors.query(word) not in vectors], len(asked))


def _indexed(vectors: Any, path: Path) -> Any:
    from unrolled.tasks.neighbor_index import NeighborIndex

    return NeighborIndex(vectors, path)


def index(
    context: typer.Context,
    model: Model,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    unicode_errors: UnicodeErrors = "strict",
) -> None:
    """Make an index of neighbours for millions of words, and measure how many it finds (needs the extra ann).

    Example: unrolled index runs/vec --out vectors.voy
    """
    from unrolled.tasks.neighbor_index import make_index

    refuse_idle(given_flags(context), [vector_file_rule(model)])
    check_new(out, overwrite=overwrite, what="file")
    made = make_index(_vectors(model, unicode_errors), out)
    if as_json:
        print(json.dumps(made._asdict()))
        return
    say(
        f"wrote an index of {made.words:,} words to {out} in {made.seconds:.1f} s. It finds {100 * made.recall:.2f} % of "
        f"the ten nearest words, {made.per_second:,.0f} questions/s; exactly, {made.exact_per_second:,.0f}"
    )


def analogy(
    context: typer.Context,
    model: Model,
    a: Annotated[str, typer.Argument(help="As this word ...")],
    b: Annotated[str, typer.Argument(help="... is to this one,")],
    c: Annotated[str, typer.Argument(help="so is this one to what?")],
    n: Annotated[int, typer.Option("-n", min=1, help="Answers.")] = 10,
    as_json: AsJson = False,
    unicode_errors: UnicodeErrors = "strict",
) -> None:
    """What is to C as B is to A?

    Example: unrolled analogy runs/vec man king woman
    """
    refuse_idle(given_flags(context), [vector_file_rule(model)])
    for word, cosine in _vectors(model, unicode_errors).analogy(a, b, c, n):
        print(json.dumps({"word": word, "cosine": cosine}, ensure_ascii=False) if as_json else f"{word}\t{cosine:.4f}")


def export(
    context: typer.Context,
    model: Model,
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    kind: Annotated[
        str, typer.Option("--format", help="word2vec-bin, word2vec-text, glove, safetensors, tsv or fasttext-bin.")
    ] = "word2vec-bin",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    unicode_errors: UnicodeErrors = "strict",
) -> None:
    """Write word vectors to a file that other programs read.

    Example: unrolled export runs/vec --format glove vectors.txt
    """
    from unrolled.data.vector_files import FORMATS

    refuse_idle(given_flags(context), [vector_file_rule(model)])
    if kind not in FORMATS:
        raise unknown_name("format", kind, FORMATS)
    check_new(out, overwrite=overwrite, what="file")
    vectors = _vectors(model, unicode_errors)
    vectors.export(out, kind)
    say(f"wrote {len(vectors):,} vectors of {vectors.size} numbers to {out}, {FORMATS[kind]}")


def _trained(path: str) -> Any:
    from unrolled.tasks.trained_vectors import TrainedWordVectors

    if Path(path).is_file():
        raise ConfigError(
            f"{path}: a file holds no counts and no outputs to learn on from; --from takes a run or model folder"
        )
    if not Path(path).exists():
        raise FolderError(f"--from {path}: no such folder; it takes a run of unrolled train word-vectors.")
    return TrainedWordVectors.load(path)


def _vectors(path: str, errors: str) -> Any:
    from unrolled.tasks import load
    from unrolled.tasks.vectors import Vectors

    found = load(path, errors=errors)
    if not isinstance(found, Vectors):
        from unrolled.cli.checks import type_of, verb_advice

        raise ConfigError(f"{path}: holds {type_of(found)}, expected word vectors.{verb_advice(found, path)}")
    return found


def _complain(vectors: Any, unknown: Sequence[str], asked: int) -> None:
    """PartialFailure for words without a vector; DataError if there is none with one."""
    if unknown:
        kind = DataError if len(unknown) == asked else PartialFailure
        raise kind("\n".join(vectors.unknown(word) for word in unknown[:10]))


def _evaluate(vectors: Any, files: Sequence[str], given: dict[str, Any]) -> None:
    """Spearman's correlation for word pairs, accuracy for analogies, by category."""
    from unrolled.data.word_tests import read_word_test

    for test in [read_word_test(file, given["encoding"]) for file in files]:
        found = vectors.test(test, given["vocabulary"])
        if given["as_json"]:
            print(json.dumps(found, ensure_ascii=False))
        elif found["measure"] == "similarity":
            value = "-" if found["spearman"] is None else f"{found['spearman']:.4f}"
            used = found["pairs"] - found["without_vector"]
            print(f"{found['test']}\n{'Spearman':<32}{value}  ({used} of {found['pairs']} pairs have vectors)\n")
        else:
            print(found["test"])
            for name, row in [
                *found["categories"].items(),
                ("all", found | {"questions": found["asked"] + found["without_vector"]}),
            ]:
                value = "-" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f} %"
                print(f"{name:<32}{value:>8}  {row['right']} of {row['asked']} asked, {row['questions']} questions")
            print()


def _explain(vectors: Any, name: str, text: str | None, given: dict[str, Any]) -> tuple[str, Any]:
    from unrolled.tasks.explain_word_vectors import explain_vectors

    if text is not None:
        raise ConfigError("word vectors are explained by a map, which takes no text. For one word: unrolled neighbors")
    return f"The words of {name}", explain_vectors(vectors, min(given["words"] or 1000, len(vectors)))


def _rules(_: Any, verb: str, __: Mapping[str, Any]) -> list[Rule]:
    return [Rule(verb == "evaluate", "batch_size", "on word vectors: tests are computed at once")]


SPEAKER = Speaker("word vectors", frozenset({"vocabulary", "words"}), _evaluate, _explain, rules=_rules)
