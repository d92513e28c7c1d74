"""`train caption`, and what `evaluate`, `predict` and `explain` print of captioners."""

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
from unrolled.options.caption import PRESETS, CaptionOptions
from unrolled.options.training import describe_limits

__all__ = ["SPEAKER", "caption", "follow_captioner", "run_captioner"]


@guarded
@with_options(CaptionOptions, PRESETS)
def caption(
    files: Annotated[
        list[str],
        typer.Argument(help="Captions: .tsv or .csv (file, caption[, split]), .jsonl, COCO .json, Flickr8k tokens."),
    ],
    out: Out,
    valid: Annotated[list[str] | None, typer.Option(help="Choose the best model by these captions.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    overwrite: Overwrite = False,
    print_config: PrintConfig = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the best validation as JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Learn to caption images.

    Examples:

    unrolled train caption captions.tsv --images photos/ --train-split train --valid-split dev --out runs/captions

    unrolled train caption captions.tsv --images photos/ --attention none --out runs/plain
    """
    from unrolled.run.caption import caption_options

    file = read_toml(config) if config else None
    options = caption_options(file=file, flags=given, settings=settings or ())
    if print_config:
        print(to_toml(options), end="")
        return
    run_captioner(options, files, out, valid=valid or None, overwrite=overwrite, quiet=quiet, as_json=as_json)


def run_captioner(
    options: CaptionOptions,
    captions: Any,
    out: Path,
    *,
    valid: Any = None,
    overwrite: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Train, showing progress. Raises KeyboardInterrupt at the end if Ctrl-C was pressed."""
    from unrolled.run.caption import train_captioner

    events = train_captioner(options, captions, out, valid=valid, overwrite=overwrite)
    follow_captioner(events, out, quiet=quiet, as_json=as_json)


def follow_captioner(events: Iterator[Any], out: Path, *, quiet: bool = False, as_json: bool = False) -> None:
    """Show the events of a training, and print its best validation if `as_json`."""
    from unrolled.run.caption import Seeing

    with Progress(quiet=quiet) as progress:

        def other(event: Any) -> None:
            if isinstance(event, Seeing):
                progress.show(f"looking at images, once: {event.done:,} of {event.total:,}")
            else:
                progress.say(_facts(event))
                progress.warn(event)

        finished = progress.follow(events, other)
        best = finished.best
        counted = f", CIDEr-D {best['valid_cider_d']:.3f}" if "valid_cider_d" in best else ""
        progress.say(
            f"{why_ended(finished.reason)}. Best model: step {best['step']}, validation loss {best['valid_loss']:.4f} "
            f"nats a symbol{counted}"
        )
        progress.say(what_next(out, f"unrolled predict {out} photo.jpg", resumable=finished.reason == "interrupted"))
    if finished.reason == "interrupted":
        raise KeyboardInterrupt
    if as_json:
        print(json.dumps(best))


def _facts(task: Any) -> str:
    """What was found in the files."""
    facts = task.facts
    lines = [
        f"{facts.train:,} images with {facts.captions:,} captions to train on, {facts.valid:,} images to validate on; "
        f"{facts.symbols:,} symbols; {describe_limits(task.options.training)}"
    ]
    counted = (
        (facts.missing, "captioned images are not there and were left out"),
        (facts.unread, "images cannot be read and were left out:"),
        (facts.empty, "captions are empty and were left out"),
        (facts.long, "captions are longer than --longest and were left out"),
        (facts.bare, "images of the folder have no caption and were left out"),
    )
    absent = [f"not there: {path}" for path in task.missing[:10]]
    return "\n".join([*lines, *left_out(counted), *absent, *task.problems[:10]])


def _evaluate(trained: Any, files: Sequence[str], given: dict[str, Any]) -> None:
    """Print BLEU, ROUGE-L and CIDEr-D on captioned images."""
    from unrolled.data.captions import read_captions

    captioned = read_captions(files, given["images"], split=given["split"], encoding=given["encoding"])
    found, _ = trained.evaluate(captioned, search_options(trained, given)[0], batch_size=given["batch_size"] or 32)
    for problem in found["unread"][:10]:
        say(problem)
    if given["as_json"]:
        print(json.dumps(found, ensure_ascii=False))
        return
    counted = ((len(found["missing"]), "not there"), (len(found["unread"]), "not readable"))
    missing = "".join(f"  ({n} {what}, left out)" for n, what in counted if n)
    print(f"{'images':<24}{found['images']}{missing}")
    print(f"{'captions by people':<24}{found['captions']}")
    for n in range(1, 5):
        print(f"{f'bleu-{n}':<24}{found[f'bleu_{n}']:.2f}" + (f"  ({found['bleu_signature']})" if n == 4 else ""))
    print(f"{'rouge-l':<24}{found['rouge_l']:.2f}")
    print(f"{'cider-d':<24}{found['cider_d']:.4f}")
    print(f"{'different captions':<24}{found['different']}")
    print(f"{'not proved best':<24}{found['not_proved_optimal']}")


def _predict(trained: Any, images: Iterable[str], given: dict[str, Any], batch_size: int | None) -> Iterable[Any]:
    return trained.captions(images, search_options(trained, given)[0], batch_size or 32)


def _explain(trained: Any, name: str, image: str | None, given: dict[str, Any]) -> tuple[str, Any]:
    image = needed(image, "an image: unrolled explain RUN photo.jpg")
    return f"What {name} sees in {Path(image).name}", trained.explain(image, search_options(trained, given)[0])


def _read(_: Any, column: str | None) -> Any:
    """Read paths of images, a line or a row each."""
    from unrolled.data.inputs import read_paths

    names = [column] if column else ["file", "image", "filename", "file_name", "path"]
    return lambda name, encoding: read_paths(name, names, encoding)


def _rules(trained: Any, verb: str, given: Mapping[str, Any]) -> list[Rule]:
    return search_rules(trained, verb, given)


_FLAGS = {"beam", "n_best", "settings", "images", "split"}
SPEAKER = Speaker(
    "a captioner",
    frozenset(_FLAGS),
    _evaluate,
    _explain,
    _predict,
    scored_answer,
    media="an image",
    read=_read,
    rules=_rules,
)
