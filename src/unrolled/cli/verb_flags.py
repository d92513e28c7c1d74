"""Flags that `evaluate`, `predict` and `explain` share, and what these verbs do with each kind of model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli import caption, classify, language_model, tag, transcribe, translate, word_vectors
from unrolled.cli.effects import Rule, given_flags, refuse_foreign, refuse_idle
from unrolled.cli.speaker import Speaker

__all__ = [
    "SEARCH",
    "BatchSize",
    "Beam",
    "Column",
    "Ensemble",
    "HotWords",
    "LanguageModel",
    "Phrases",
    "Shortlist",
    "Threads",
    "Threshold",
    "check_flags",
    "speaker_of",
]

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
SEARCH = (
    "Translators, captioners: of the search, norm, alpha, reward, coverage, min_length, max_length, no_repeat; "
    "recognisers: lm_weight, reward, hotword_weight"
)
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Classifiers: answer only from this probability on; unset: as chosen at training."),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Inputs computed at once; changes speed and memory only. Unset: by the task.")
]
Column = Annotated[
    str | None, typer.Option("--text", help="Column of the inputs in tables (.csv, .tsv, .jsonl). Unset: as at training.")
]
Threads = Annotated[int | None, typer.Option(min=1, max=256, help="Threads for arithmetic. Unset: all cores.")]


def check_flags(context: typer.Context, trained: Any, given: Mapping[str, Any], also: Iterable[Rule] = ()) -> None:
    """UsageError for options on the command line that have no effect on this model; given: values, also: further rules."""
    named, speaker, verb = given_flags(context), speaker_of(trained), str(context.info_name)
    speakers = [(one.kind, one.flags) for one in dict.fromkeys(_SPEAKERS.values())]
    some = {name: flag for name, flag in named.items() if name in given}  # the others are for all models
    refuse_foreign(some, speaker.kind, speaker.flags, speakers, verb)
    refuse_idle(named, [*also, *speaker.rules(trained, verb, given)])


def speaker_of(trained: Any) -> Speaker:
    """What the verbs do with what was loaded."""
    return _SPEAKERS[type(trained).__name__]
