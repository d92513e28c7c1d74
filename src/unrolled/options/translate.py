"""What a user may say about translation, and the presets."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from unrolled.conditions import Above, Condition, Not, conditions, when
from unrolled.config import Section
from unrolled.options.training import OF_TRAINING, TrainingOptions

__all__ = ["FIXED", "LARGEST", "PRESETS", "PairOptions", "SearchOptions", "TranslateOptions", "TranslatorOptions"]


class PairOptions(Section):
    """How the sentences are read."""

    tokens: Literal["char", "graphemes", "words", "whitespace", "bpe", "unigram", "chinese-words"] = Field(
        "bpe", description="What a symbol is, on both sides."
    )
    vocabulary_size: int | None = Field(None, ge=3, description="Most symbols a side; unset: the tokenizer's own limit.")
    min_count: int | None = Field(None, ge=1, description="Rarer symbols become unknown; unset takes the tokenizer's own.")
    shared: bool = Field(False, description="One vocabulary and one embedding for both sides.")
    longest: int = Field(200, ge=1, le=100_000, description="Pairs with more symbols on a side are not learned from.")
    encoding: str = Field("utf-8", description="Encoding of the files.")
    valid_fraction: float = Field(
        0.05, gt=0, lt=0.9, description="Part of the pairs held out for validation where --valid is not given."
    )


class TranslatorOptions(Section):
    """The network."""

    cell: str = Field("gru", description="The recurrent cell: lstm, gru, gru-before, mingru, rnn, rnn-relu.")
    embedding_size: int = Field(256, ge=1, le=65_536, description="Size of a symbol's vector.")
    encoder_size: int = Field(256, ge=1, le=65_536, description="Units of an encoder layer and direction.")
    decoder_size: int = Field(512, ge=1, le=65_536, description="Units of a decoder layer.")
    encoder_layers: int = Field(1, ge=1, le=100, description="Layers of the encoder, which reads from both ends.")
    decoder_layers: int = Field(1, ge=1, le=100, description="Layers of the decoder.")
    attention: Literal["additive", "dot", "general", "scaled-dot", "none"] = Field(
        "additive", description="How the decoder looks at the source; none: it knows only the encoder's last state."
    )
    attention_size: int = Field(256, ge=1, le=65_536, description="Size of the small network of additive and scaled-dot.")
    looks: Literal["before", "after"] = Field(
        "before", description="When it looks. before: what it sees enters the step; after: only the choice of the symbol."
    )
    input_feeding: bool = Field(False, description="What was decided at a step enters the next one (with attention).")
    bridge: Literal["tanh", "linear", "zero"] = Field(
        "tanh", description="How the encoder's last state starts the decoder; zero: not at all."
    )
    dropout_input: float = Field(0.3, ge=0, lt=1, description="Locked dropout on embedded symbols.")
    dropout_between: float = Field(0.3, ge=0, lt=1, description="Locked dropout between layers.")
    dropout_output: float = Field(0.3, ge=0, lt=1, description="Dropout in front of the softmax.")
    dropout_word: float = Field(0.1, ge=0, lt=1, description="Dropout of whole symbols of the vocabularies.")
    smoothing: float = Field(0.1, ge=0, lt=1, description="Part of each target's probability shared out among all symbols.")


class SearchOptions(Section):
    """How a translation is searched for."""

    select: Literal["loss", "bleu"] = Field(
        "loss",
        description="What the best model is chosen, and the training stopped, by: loss, or BLEU of greedy translations.",
    )
    beam: int = Field(5, ge=1, le=10_000, description="Hypotheses side by side; 1: greedy.")
    norm: Literal["none", "average", "gnmt"] = Field("gnmt", description="What log-probabilities are divided by.")
    alpha: float = Field(1.0, ge=0, le=10, description="Power of the length in it.")
    reward: float = Field(0.0, ge=-100, le=100, description="Added to the log-probability for each symbol.")
    coverage: float = Field(0.0, ge=0, le=100, description="What source symbols cost that were never looked at.")


class TranslateOptions(Section):
    """All options of the task, by section."""

    data: PairOptions = PairOptions()
    model: TranslatorOptions = TranslatorOptions()
    search: SearchOptions = SearchOptions()
    training: TrainingOptions = TrainingOptions()

    conditions: ClassVar[dict[str, Condition]] = conditions(
        OF_TRAINING,
        {
            "valid_fraction": when("valid", False),
            "attention_size": when("attention", "additive", "scaled-dot"),
            "looks": when("attention", Not("none")),
            "input_feeding": when("attention", Not("none")),
            "dropout_between": when("encoder_layers", Above(1)) | when("decoder_layers", Above(1)),
            "alpha": when("norm", Not("none")),
            "coverage": when("attention", Not("none")),
        },
    )


#: What a training that has begun cannot change.
FIXED = (
    frozenset(PairOptions.model_fields)
    | {name for name in TranslatorOptions.model_fields if not name.startswith(("dropout", "smoothing"))}
    | {"batch_size", "window", "accumulate", "optimiser"}
)

#: Batch size and window of the largest derived batch: 1,280 symbols on the longer side.
LARGEST = (64, 20)

#: Flat settings by name.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "batch_size": "auto",
        "window": "auto",
        "epochs": 40,
        "minutes": 45,
        "learning_rate": 2e-3,
        "average_decay": 0.998,
        "evaluations": 30,
        "patience": 6,
    },
}
