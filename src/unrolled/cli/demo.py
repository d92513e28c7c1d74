"""`unrolled demo`: a first result without data and without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.caption import run_captioner
from unrolled.cli.classify import run_classifier
from unrolled.cli.progress import say
from unrolled.cli.tag import run_tagger
from unrolled.cli.train import run_training
from unrolled.cli.transcribe import run_recognizer
from unrolled.cli.translate import run_translator
from unrolled.cli.word_vectors import run_word_vectors
from unrolled.config import LIMITS
from unrolled.errors import ConfigError, nearest

__all__ = ["demo"]


def demo(
    task: Annotated[
        str, typer.Argument(help="Which: language-model, word-vectors, classify, tag, translate, caption or transcribe.")
    ] = "language-model",
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default a new one below runs/.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time to train for, instead of the demo's own length.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps to make, instead of the demo's own number.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; unset: chosen by a short measurement.")] = None,
) -> None:
    """Train a small model on text that Python ships, or on what is made here: let it write, find words that are alike,
    sort texts, put back capitals and punctuation, read dates, say what is drawn, or write down what is sung. A minute or
    two on an idle machine; a demo makes a fixed number of steps, so that it reaches the same figure on any machine.

    Example: unrolled demo
    """
    if task not in _DEMOS:
        raise ConfigError(f"there is no demo '{task}'; there is: {', '.join(_DEMOS)}.{nearest(task, _DEMOS)}")
    name = "demo" if task == "language-model" else f"demo-{task}"
    values = {"minutes": minutes, "max_steps": max_steps, "threads": threads}
    _DEMOS[task](out or _free(Path("runs") / name), {key: value for key, value in values.items() if value is not None})


def _length(given: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, with the length of the demo where none was."""
    return given if given.keys() & set(LIMITS) else default | given


def _judge(reached: float, wanted: float, lesson: str = "") -> None:
    """Say what the figure teaches; a model below the figure has hardly learned, and teaches nothing."""
    if reached >= wanted:
        say(lesson)
    else:
        say(
            f"warning: this model has hardly learned: {reached:g} where the demo's own length reaches {wanted:g} or more. "
            "Fix: leave --minutes and --max-steps out, or give more."
        )


def _language_model(folder: Path, given: dict[str, Any]) -> None:
    from unrolled.data.samples import english
    from unrolled.run.language_model import language_model_options
    from unrolled.tasks import load

    options = language_model_options(preset="tiny", flags=given)
    say("Training a small network, character by character, on the manual inside Python's help().")
    say("Below each validation stands what it writes at that moment.\n")
    run_training(options, [english()], folder)
    say("\nA longer sample:\n")
    print(load(folder).sample("The ", length=400, temperature=0.7, seed=1)[0])
    say(
        f"""
What to do next:

  unrolled sample {folder} --prompt "The value of" --temperature 0.6
  unrolled explain {folder} "The value of the" --out why.html
  unrolled train language-model YOUR-TEXT.txt --out runs/mine        # a text file of your own
"""
    )


def _word_vectors(folder: Path, given: dict[str, Any]) -> None:
    from unrolled.data.samples import english
    from unrolled.run.word_vectors import word_vectors_options
    from unrolled.tasks import load

    options = word_vectors_options(flags=_length(given, {"epochs": 40}) | {"min_count": 5, "vector_size": 50})
    say("Learning vectors from the manual inside Python's help(): words are alike that stand among the same words.\n")
    run_word_vectors(options, [english()], folder)
    vectors = load(folder)
    say("\nNearest words, with their cosines:\n")
    for word in ("left", "true", "break", "mutable", "key"):
        print(f"{word:<10}" + "  ".join(f"{near.word} {near.cosine:.2f}" for near in vectors.neighbors(word, 6)))
    say(
        f"""
What to do next:

  unrolled neighbors {folder} uppercase digits loop
  unrolled export {folder} vectors.txt --format glove
  unrolled train word-vectors YOUR-TEXT.txt --out runs/mine          # a text of your own: millions of words are best
"""
    )


def _classify(folder: Path, given: dict[str, Any]) -> None:
    from unrolled.data.samples import help_pages
    from unrolled.run.classify import classify_options
    from unrolled.tasks import load

    say("Learning which page of Python's help() a paragraph stands on: classes, debugging, statements or strings.\n")
    run_classifier(classify_options(flags=given), help_pages(), folder)
    asked = (
        "The method is called when the instance is about to be destroyed.",
        "Replacement fields are surrounded by curly braces.",
        "Sets a breakpoint at the given line of the file.",
        "The suite of the else clause is executed when no exception was raised.",
    )
    say("\nSentences that are not among them:\n")
    for found in load(folder).predict(asked):
        print(f"{found.label:<12}{max(found.probabilities.values()):.2f}  {found.text}")
    say(
        f"""
What to do next:

  unrolled predict {folder} "Return a copy of the string" --json
  unrolled explain {folder} "Return a copy of the string" --out why.html
  unrolled train classify YOUR-TEXTS.csv --text COLUMN --label COLUMN --out runs/mine
"""
    )


def _tag(folder: Path, given: dict[str, Any]) -> None:
    from unrolled.data.samples import english
    from unrolled.run.tag import tag_options
    from unrolled.tasks import load

    say("Learning to put back the capitals and marks that were taken out of the manual inside Python's help().")
    say("First a network that reads forward only, then one that reads from both ends.\n")
    right = []
    for name, both in (("forward", False), ("both", True)):
        flags = {"restore": True, "bidirectional": both, "batch_size": 16, "window": 64, "evaluations": 3, "patience": 9}
        flags |= _length(given, {"max_steps": 300})
        run_tagger(tag_options(flags=flags), [english()], folder / name)
        right.append(100 * load(folder / name).metrics["valid_accuracy"])
        say()
    say(f"Forward {right[0]:.2f} %, from both ends {right[1]:.2f} % of the labels right.")
    _judge(right[1], 80, "Marks depend on what follows." if right[1] > right[0] else "")
    asked = (
        "this method is called when the object is about to be destroyed if it returns none the default value is used",
        "for example if a class defines a method named len it can be used by python to find its length",
    )
    for text, found in zip(asked, load(folder / "both").predict(asked), strict=True):
        print(f"{text}\n  -> {found.restored}\n")
    say(
        f"""What to do next:

  echo "{asked[0]}" | unrolled predict {folder / "both"}
  unrolled explain {folder / "both"} "if it returns none an error is raised" --out why.html
  unrolled train tag YOUR-TEXT.txt --restore --out runs/mine         # or labelled words: sentences.conll
"""
    )


def _translate(folder: Path, given: dict[str, Any]) -> None:
    from unrolled.data.samples import dates
    from unrolled.run.translate import translate_options
    from unrolled.tasks import load

    say("Learning to read dates as people write them: an encoder, a decoder, and attention between them.\n")
    flags = {"tokens": "char", "embedding_size": 64, "encoder_size": 64, "decoder_size": 128, "attention_size": 64}
    flags |= {"batch_size": 64, "window": 20, "learning_rate": 4e-3, "evaluations": 6, "patience": 9}
    flags |= _length(given, {"max_steps": 1200})
    flags |= {f"dropout_{kind}": 0.0 for kind in ("input", "output", "word")}
    run_translator(translate_options(flags=flags), dates(20_000), folder, valid=dates(500, seed=1))
    fresh = dates(1000, seed=2)
    made = load(folder).translate(fresh.sources)
    for one in made[:6]:
        print(f"{one.source:<32}{one.text}")
    right = sum(one.text == target for one, target in zip(made, fresh.targets, strict=True))
    say(f"\n{right} of 1,000 dates that it has not seen are right.")
    _judge(right, 950)
    say(
        f"""
What to do next:

  unrolled predict {folder} "Saturday, 9th of May 1998" --json
  unrolled train translate train.de train.en --out runs/mine         # two files of your own, aligned by line
"""
    )


def _caption(folder: Path, given: dict[str, Any]) -> None:
    from unrolled.data.scenes import save_scenes, scenes
    from unrolled.run.caption import caption_options
    from unrolled.tasks import load

    say("Learning to see and to say what it sees, both from nothing: drawn scenes of two shapes (about a minute).\n")
    flags = {"encoder": "small", "embedding_size": 64, "memory_size": 128, "decoder_size": 128, "attention_size": 64}
    flags |= {"learning_rate": 3e-3, "evaluations": 8, "min_count": 1, "mirror": False, "batch_size": 32, "patience": 9}
    flags |= _length(given, {"max_steps": 1000})
    flags |= {
        "dropout_features": 0.0,
        "dropout_input": 0.0,
        "dropout_word": 0.0,
        "dropout_output": 0.0,
        "smoothing": 0.0,
        "average_decay": 0.99,
        "select": "loss",
    }
    run_captioner(caption_options(flags=flags), scenes(8000, seed=1), folder, valid=scenes(300, seed=2))
    fresh = scenes(1000, seed=3)
    made = [one.text for one in load(folder).captions(fresh.images)]
    for text, (wanted,) in list(zip(made, fresh.captions, strict=True))[:6]:
        print(f"{text:<44}{'' if text == wanted else f'(it is {wanted})'}".rstrip())
    right = sum(text == wanted for text, (wanted,) in zip(made, fresh.captions, strict=True))
    say(f"\n{right} of 1,000 scenes that it has not seen have exactly the right caption.")
    _judge(right, 900)
    drawn = save_scenes(scenes(3, seed=4), folder / "scenes")
    say(
        f"""
What to do next:

  unrolled predict {folder} {drawn[0]} {drawn[1]} --json
  unrolled explain {folder} {drawn[2]} --out why.html
  unrolled train caption captions.tsv --images PHOTOS --out runs/mine  # photos of your own: file, caption
"""
    )


def _transcribe(folder: Path, given: dict[str, Any]) -> None:
    from unrolled.data.tones import RATE_HZ, save_tones, tones
    from unrolled.run.transcribe import transcribe_options
    from unrolled.tasks import load

    say("Learning to write down what is sung: do re mi, by many voices, without word times (about a minute).\n")
    flags = {"encoder_size": 64, "encoder_layers": 1, "learning_rate": 5e-3, "evaluations": 6, "patience": 9}
    flags |= {"warp": 0.0, "speed": 0.0, "average_decay": 0.98, "select": "loss"}  # here pitch is what tells words apart
    flags |= _length(given, {"max_steps": 1200}) | {"rate_hz": RATE_HZ}
    run_recognizer(transcribe_options(flags=flags), tones(3000, seed=1), folder, valid=tones(200, seed=2))
    fresh = tones(500, seed=3)
    made = [one.text for one in load(folder).transcripts(fresh.files)]
    for text, wanted in list(zip(made, fresh.texts, strict=True))[:6]:
        print(f"{text:<24}{'' if text == wanted else f'(it is {wanted})'}".rstrip())
    right = sum(text == wanted for text, wanted in zip(made, fresh.texts, strict=True))
    say(f"\n{right} of 500 songs that it has not heard are written down without a mistake.")
    _judge(right, 450)
    files = save_tones(tones(3, seed=4), folder / "songs")
    say(
        f"""
What to do next:

  unrolled predict {folder} {files[0]} {files[1]} --json
  unrolled explain {folder} {files[2]} --out why.html
  unrolled train transcribe clips.tsv --audio FOLDER --out runs/mine  # recordings of your own: file, text
"""
    )


_DEMOS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "language-model": _language_model,
    "word-vectors": _word_vectors,
    "classify": _classify,
    "tag": _tag,
    "translate": _translate,
    "caption": _caption,
    "transcribe": _transcribe,
}


def _free(base: Path) -> Path:
    """`base`, or the first of base-2, base-3, ... that does not exist."""
    return next(
        path for i in range(1, 10_000) if not (path := base if i == 1 else base.with_name(f"{base.name}-{i}")).exists()
    )
