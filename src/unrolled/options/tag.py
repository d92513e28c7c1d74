"""What a user may say about a tagger, which gives every word a label."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from unrolled.conditions import SET, UNSET, Above, Condition, Not, conditions, when
from unrolled.config import Section
from unrolled.options.training import OF_TRAINING, TrainingOptions
from unrolled.options.transfer import OF_VECTORS, WordVectorOptions

__all__ = [
    "FIXED",
    "LARGEST",
    "PRESETS",
    "TagOptions",
    "TagSelectionOptions",
    "TagVectorOptions",
    "TaggedDataOptions",
    "TaggerOptions",
]


class TaggedDataOptions(Section):
    """Where words and labels stand."""

    restore: bool = Field(
        False, description="The files are plain text: learn to put back capitals and punctuation, which are taken out."
    )
    word_column: int | None = Field(
        None, description="Column of the word, from 1, or from the end: -1 is the last; unset: 1, of .conllu files 2."
    )
    tag_column: int | None = Field(None, description="Column of the label; unset: the last, of .conllu files 4.")
    encoding: str = Field("utf-8", description="Encoding of the files.")
    valid_fraction: float = Field(
        0.1, gt=0, lt=0.9, description="Part of the sentences held out for validation where --valid is not given."
    )
    split: Literal["words", "whitespace"] = Field(
        "words", description="How text to be labelled is split: words and marks apart, or at blanks alone."
    )
    min_count: int = Field(2, ge=1, le=10**9, description="Rarer words are known by their letters alone.")
    vocabulary_size: int | None = Field(None, ge=1, description="Most words known; unset: all.")


class TaggerOptions(Section):
    """The network."""

    cell: str = Field("lstm", description="The recurrent cell: lstm, gru, gru-before, mingru, rnn, rnn-relu.")
    embedding_size: int = Field(100, ge=1, le=65_536, description="Size of a word's vector; that of --vectors if given.")
    letter_size: int = Field(25, ge=1, le=65_536, description="Size of a letter's vector.")
    spelling_size: int = Field(
        25, ge=0, le=65_536, description="Units, a direction, that read a word's letters; 0: letters are not read."
    )
    hidden_size: int = Field(128, ge=1, le=65_536, description="Units of a layer and direction.")
    n_layers: int = Field(1, ge=1, le=100, description="Layers stacked on each other.")
    bidirectional: bool = Field(True, description="Read from both ends, so that a label can depend on what follows.")
    dropout_input: float = Field(0.3, ge=0, lt=1, description="Locked dropout on words as vectors.")
    dropout_between: float = Field(0.3, ge=0, lt=1, description="Locked dropout between layers.")
    dropout_output: float = Field(0.3, ge=0, lt=1, description="Locked dropout on the last layer.")
    dropout_word: float = Field(0.05, ge=0, lt=1, description="Dropout of whole words of the vocabulary.")
    dropout_weight: float = Field(0.0, ge=0, lt=1, description="Dropout of recurrent weights.")


class TagVectorOptions(WordVectorOptions):
    """What was learned elsewhere."""

    vector_words: int = Field(
        50_000,
        ge=0,
        le=10_000_000,
        description="First words of --vectors that are known though they do not occur in training; 0: none.",
        json_schema_extra={"unrecorded": 0},
    )


class TagSelectionOptions(Section):
    """How the best model is selected."""

    select: Literal["auto", "entity-f1", "accuracy", "loss"] = Field(
        "auto",
        description="What the best model is selected by; auto: F1 of entities if the labels mark entities, else accuracy.",
        json_schema_extra={"unrecorded": "loss"},
    )


class TagOptions(Section):
    """All options of the task, by section."""

    data: TaggedDataOptions = TaggedDataOptions()
    model: TaggerOptions = TaggerOptions()
    transfer: TagVectorOptions = TagVectorOptions()
    selection: TagSelectionOptions = TagSelectionOptions()
    training: TrainingOptions = TrainingOptions()

    conditions: ClassVar[dict[str, Condition]] = conditions(
        OF_TRAINING,
        OF_VECTORS,
        {
            "word_column": when("restore", False),
            "tag_column": when("restore", False),
            "split": when("restore", False),
            "valid_fraction": when("valid", False),
            "embedding_size": when("vectors", UNSET),
            "vector_words": when("vectors", SET),
            "letter_size": when("spelling_size", SET),
            "dropout_between": when("n_layers", Above(1)),
            "dropout_weight": when("cell", Not("mingru")),
        },
    )


#: What a training that has begun cannot change.
FIXED = (
    frozenset(TaggedDataOptions.model_fields)
    | {name for name in TaggerOptions.model_fields if not name.startswith("dropout")}
    | set(TagVectorOptions.model_fields)
    | {"batch_size", "window", "accumulate", "optimiser"}
)

#: Batch size and window of the largest derived batch: 1,024 words.
LARGEST = (16, 64)

#: Flat settings by name; chosen on validation data, see docs/results.md.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "batch_size": "auto",
        "window": "auto",
        "epochs": 30,
        "minutes": 10,
        "learning_rate": 4e-3,
        "evaluations": 20,
        "patience": 6,
    },
}
