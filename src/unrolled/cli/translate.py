"""`train translate`, and what `evaluate` and `predict` print of translators."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.effects import Rule
from unrolled.cli.flags import ConfigFile, Out, Overwrite, PrintConfig, Quiet, Settings, with_options
from unrolled.cli.guard import guarded
from unrolled.cli.progress import Progress, left_out, say, what_next, why_ended
from unrolled.cli.speaker import Speaker, needed, scored_answer, search_options, search_rules
from unrolled.config import read_toml, to_toml
from unrolled.options.training import describe_limits
from unrolled.options.translate import PRESETS, TranslateOptions

__all__ = ["SPEAKER", "follow_translator", "run_translator", "translate"]


@guarded
@with_options(TranslateOptions, PRESETS)
def translate(
    files: Annotated[
        list[str], typer.Argument(help="A source file and a target file, aligned by line; or one .tsv or .jsonl of both.")
    ],
    out: Out,
    valid: Annotated[
        tuple[str, str] | None, typer.Option(help="Pairs to validate on: a source file and a target file.")
    ] = None,
    valid_pairs: Annotated[str | None, typer.Option(help="Pairs to validate on: one .tsv or .jsonl of both.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the best validation as JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Learn to translate from pairs of sentences.

    Examples:

    unrolled train translate train.de train.en --valid val.de val.en --out runs/de-en

    unrolled train translate pairs.tsv --attention none --out runs/plain
    """
    from unrolled.run.translate import translate_options

    file = read_toml(config) if config else None
    options = translate_options(file=file, flags=given, settings=settings or ())
    if print_config:
        print(to_toml(options), end="")
        return
    held = list(valid) if valid else [valid_pairs] if valid_pairs else None
    run_translator(options, files, out, valid=held, overwrite=overwrite, quiet=quiet, as_json=as_json)


def run_translator(
    options: TranslateOptions,
    pairs: Any,
    out: Path,
    *,
    valid: Any = None,
    overwrite: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Train, showing progress. Raises KeyboardInterrupt at the end if Ctrl-C was pressed."""
    from unrolled.run.translate import train_translator

    events = train_translator(options, pairs, out, valid=valid, overwrite=overwrite)
    follow_translator(events, out, quiet=quiet, as_json=as_json)


def follow_translator(events: Iterator[Any], out: Path, *, quiet: bool = False, as_json: bool = False) -> None:
    """Show the events of a training, and print its best validation if `as_json`."""
    with Progress(quiet=quiet) as progress:

        def show(task: Any) -> None:
            progress.say(_facts(task.facts, task.options.training))
            progress.warn(task)

        finished = progress.follow(events, show)
        why = why_ended(finished.reason)
        best = finished.best
        progress.say(f"{why}. Best model: step {best['step']}, validation loss {best['valid_loss']:.4f} nats a symbol")
        progress.say(what_next(out, f'unrolled predict {out} "a sentence"', resumable=finished.reason == "interrupted"))
    if finished.reason == "interrupted":
        raise KeyboardInterrupt
    if as_json:
        print(json.dumps(best))


def _facts(facts: Any, training: Any) -> str:
    """What was found in the files."""
    lines = [
        f"{facts.train:,} pairs to train on, {facts.valid:,} to validate on; {facts.source:,} source symbols, "
        f"{facts.target:,} target symbols; {describe_limits(training)}"
    ]
    counted = (
        (facts.empty, "pairs have an empty side and were left out"),
        (facts.long, "pairs are longer than --longest and were left out"),
        (facts.overlap, "of the validation pairs stand among the training pairs too"),
    )
    return "\n".join([*lines, *left_out(counted)])


def _search(trained: Any, given: dict[str, Any]) -> tuple[Any, Any]:
    """How to search, as at training but for what is given, and how to draw."""
    from dataclasses import fields

    from unrolled.decoding.sampling import SamplingOptions

    draw = {f.name: type(f.default) for f in fields(SamplingOptions)} if given.get("sample") else {}
    options, drawn = search_options(trained, given, draw)
    return options, SamplingOptions(**drawn)


def _joined(trained: Any, given: dict[str, Any]) -> Any:
    """The translator, with the others of an ensemble."""
    from unrolled.tasks import load

    others = [load(path) for path in given["ensemble"] or ()]
    return trained.joined_by(others, rounded=bool(given.get("rounded")), listed=given.get("shortlist") or 0)


def _evaluate(trained: Any, files: Sequence[str], given: dict[str, Any]) -> None:
    """Print BLEU, chrF and what goes wrong on pairs of sentences, and whose fault it is."""
    from unrolled.data.pairs import read_pairs
    from unrolled.folders import write_text
    from unrolled.pictures.page import page
    from unrolled.pictures.report import translated
    from unrolled.tasks.explain_translator import BLAMES
    from unrolled.tasks.search_errors import choices, evaluated

    pairs = read_pairs(files, given["encoding"])
    (options, _), trained = _search(trained, given), _joined(trained, given)
    if trained.swapped(pairs):
        say("the model finds the other direction far likelier: have source and target changed places?")
    found, rows = evaluated(trained, pairs, options, given["batch_size"] or 64)
    if given["choose"]:
        found["choices"] = [choice._asdict() for choice in choices(trained, pairs, options)]
    if given["out"] is not None:
        write_text(given["out"], page(f"On {', '.join(files)}", {"blocks": translated(found, rows, BLAMES)}))
        say(f"wrote {given['out']}")
    if given["as_json"]:
        print(json.dumps(found, ensure_ascii=False))
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    """Print what `evaluate` found."""
    from unrolled.tasks.explain_translator import BLAMES

    left_out = f"  ({found['empty_pairs']} with an empty side left out)" if found["empty_pairs"] else ""
    print(f"{'pairs':<24}{found['pairs']}{left_out}")
    for key in ("bleu", "chrf"):
        print(f"{key:<24}{found[key]:.2f}  ({found[f'{key}_signature']})")
    print(f"{'perplexity':<24}{found['perplexity']:.4f}  per target symbol")
    names = {"empty": "empty translations", "looping": "that repeat themselves", "not_proved_optimal": "not proved best"}
    for key, name in (names | {"in_parts": "translated in parts"}).items():
        print(f"{name:<24}{found[key]}")
    print(f"\n{'words of the source':<24}{'pairs':>8}{'bleu':>8}")
    for row in found["by_length"]:
        print(f"{'{} to {}'.format(*row['words']):<24}{row['pairs']:>8}{row['bleu']:>8.2f}")
    print()
    for name, what in BLAMES.items():
        print(f"{100 * found['blame'][name]:6.1f} %  {what}")
    print(f"of those not found {found['length_ratio']:.3f} symbols for each of the reference's")
    for row in found.get("choices", ()):
        norm = row["norm"] if row["norm"] == "none" else f"{row['norm']}^{row['alpha']:g}"
        print(f"beam {row['width']:<4}norm {norm:<14}{row['bleu']:8.2f} BLEU")


def _predict(trained: Any, texts: Iterable[str], given: dict[str, Any], batch_size: int | None) -> Iterable[Any]:
    from unrolled.tasks.translation import Wishes

    trained = _joined(trained, given)
    if given["sample"] is None:
        wishes = Wishes(given["prefix"] or "", given["require"] or (), given["replace_unknown"])
        return trained.translations(texts, _search(trained, given)[0], wishes, batch_size or 64)
    _, options = _search(trained, given)
    return (_first(trained.sampled(text, given["sample"], options)) for text in texts)


def _first(drawn: list[Any]) -> Any:
    """Several translations as one that has others."""
    return drawn[0]._replace(others=tuple(drawn[1:]))


def _explain(trained: Any, name: str, text: str | None, given: dict[str, Any]) -> tuple[str, Any]:
    text = needed(text)
    options, trained = _search(trained, given)[0], _joined(trained, given)
    trained.search = options
    return f"How {name} translates: {text[:60]}", trained.explain(text, given["reference"], given["exact"])


def _read(_: Any, column: str | None) -> Any:
    """Read the source sentences of a file: lines, or the source column of a table, by default the first."""
    from unrolled.data.inputs import read_inputs

    names = [column] if column else ["source", "src"]
    return lambda name, encoding: read_inputs(name, names, encoding, header=column is not None)


_FLAGS = {"beam", "n_best", "require", "prefix", "replace_unknown", "ensemble", "sample", "settings", "rounded"}
_FLAGS |= {"shortlist", "choose", "out", "reference", "exact"}
_SEARCHED = "prefix,require,replace_unknown,beam,n_best,batch_size," + ",".join(
    f"-s {name}" for name in ("norm", "alpha", "reward", "coverage", "min_length", "no_repeat")
)


def _rules(trained: Any, verb: str, given: Mapping[str, Any]) -> list[Rule]:
    """What is drawn is not searched for."""
    if given.get("sample"):
        return [Rule(True, _SEARCHED, "with --sample, which draws by chance")]
    drawn = "-s temperature,-s top_k,-s top_p,-s min_p,-s repetition_penalty,-s seed"
    where = "without --sample" if verb == "predict" else f"in {verb}: it is for unrolled predict --sample"
    return [Rule(True, drawn, where), *search_rules(trained, verb, given)]


SPEAKER = Speaker("a translator", frozenset(_FLAGS), _evaluate, _explain, _predict, scored_answer, read=_read, rules=_rules)
