"""What a user may say about a language model, and the presets."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from unrolled.conditions import SET, Above, Condition, Not, conditions, when
from unrolled.config import Section
from unrolled.options.training import OF_TRAINING, TrainingOptions

__all__ = [
    "FIXED",
    "LARGE_ALPHABET",
    "PRESETS",
    "DataOptions",
    "LanguageModelOptions",
    "ModelOptions",
    "TransferOptions",
    "preset_for",
]


class DataOptions(Section):
    """How the text is read."""

    tokens: str = Field(
        "char",
        description="What a symbol is: char, graphemes, words, whitespace, bpe, unigram, chinese-words. Han: char.",
    )
    vocabulary_size: int | None = Field(None, ge=3, description="Most symbols kept; unset takes the tokenizer's own limit.")
    min_count: int | None = Field(None, ge=1, description="Rarer symbols become unknown; unset takes the tokenizer's own.")
    sentences: bool = Field(False, description="Every line is a text of its own, with an end symbol; else one stream.")
    encoding: str = Field("utf-8", description="Encoding of the files.")
    valid_fraction: float = Field(
        0.1,
        ge=0,
        lt=0.9,
        description="Part held out at the end, at most 1,000,000 characters, where --valid is not given; 0: train on all, "
        "validate nothing, keep the last model.",
    )


class ModelOptions(Section):
    """The network."""

    cell: str = Field("lstm", description="The recurrent cell: lstm, gru, gru-before, mingru, rnn, rnn-relu.")
    embedding_size: int = Field(256, ge=1, le=65_536, description="Size of a symbol's vector.")
    hidden_size: int = Field(256, ge=1, le=65_536, description="Units of a layer.")
    n_layers: int = Field(1, ge=1, le=100, description="Layers stacked on each other.")
    input: Literal["embedded", "one-hot"] = Field("embedded", description="How symbols enter the network.")
    tied: bool = Field(True, description="The output matrix is the embedding (where there is one).")
    learned_state: bool = Field(False, description="Train the initial state instead of starting from zero.")
    dropout_input: float = Field(0.0, ge=0, lt=1, description="Locked dropout on embedded symbols.")
    dropout_between: float = Field(0.0, ge=0, lt=1, description="Locked dropout between layers.")
    dropout_output: float = Field(0.0, ge=0, lt=1, description="Locked dropout on the last layer.")
    dropout_word: float = Field(0.0, ge=0, lt=1, description="Dropout of whole symbols of the vocabulary.")
    dropout_weight: float = Field(0.0, ge=0, lt=1, description="Dropout of recurrent weights.")
    softmax: Literal["full", "adaptive", "sampled"] = Field(
        "full", description="Output layer; for 30,000 symbols and more, adaptive and sampled train faster."
    )
    penalty_activation: float = Field(0.0, ge=0, le=1e6, description="Regularises large activations (AR of AWD-LSTM: 2).")
    penalty_change: float = Field(0.0, ge=0, le=1e6, description="Regularises change between steps (TAR of AWD-LSTM: 1).")


class TransferOptions(Section):
    """What was learned elsewhere."""

    vectors: str | None = Field(
        None,
        description="Word vectors that the embedding begins with: a run of train word-vectors, or a file of any format.",
    )
    freeze_vectors: bool = Field(False, description="Do not train the embedding; needs --no-tied.")
    unicode_errors: Literal["strict", "replace", "ignore"] = Field(
        "strict",
        description="What to do with words in a file of vectors that are not UTF-8: refuse, replace or drop bytes.",
    )


class LanguageModelOptions(Section):
    """All options of the task, by section."""

    data: DataOptions = DataOptions()
    model: ModelOptions = ModelOptions()
    transfer: TransferOptions = TransferOptions()
    training: TrainingOptions = TrainingOptions()

    conditions: ClassVar[dict[str, Condition]] = conditions(
        OF_TRAINING,
        {
            "valid_fraction": when("valid", False),
            "embedding_size": when("input", "embedded"),
            "tied": when("input", "embedded") & when("softmax", Not("adaptive")),
            "dropout_between": when("n_layers", Above(1)),
            "dropout_weight": when("cell", Not("mingru")),
            "vectors": when("input", "embedded"),
            "freeze_vectors": when("vectors", SET) & when("tied", False)
            | when("vectors", SET) & when("softmax", "adaptive"),
            "unicode_errors": when("vectors", SET),
            "patience": when("valid_fraction", SET) | when("valid", True),
        },
    )


#: What a training that has begun cannot change: what text becomes, the shape of the model and of its batches.
FIXED = (
    frozenset(DataOptions.model_fields)
    | {name for name in ModelOptions.model_fields if not name.startswith(("dropout", "penalty"))}
    | {"batch_size", "window", "accumulate", "optimiser", "vectors", "freeze_vectors", "unicode_errors"}
)

#: With more different characters than this, text is written in something like Chinese.
LARGE_ALPHABET = 1000

#: Flat settings by name; chosen on validation data, see docs/results.md.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "embedding_size": 64,
        "hidden_size": 192,
        "minutes": 1.2,
        "epochs": 60,
        "batch_size": 32,
        "window": 64,
        "learning_rate": 6e-3,
        "evaluations": 12,
    },
    "char": {
        "embedding_size": 128,
        "hidden_size": 400,
        "n_layers": 2,
        "dropout_input": 0.2,
        "dropout_between": 0.3,
        "dropout_output": 0.4,
        "dropout_word": 0.1,
        "minutes": 25,
        "epochs": 60,
        "window": 64,
        "learning_rate": 3e-3,
        "weight_decay": 0.1,
    },
    "han": {
        "embedding_size": 200,
        "hidden_size": 400,
        "dropout_input": 0.4,
        "dropout_between": 0.3,
        "dropout_output": 0.5,
        "dropout_word": 0.1,
        "minutes": 25,
        "epochs": 60,
        "window": 64,
        "learning_rate": 3e-3,
        "weight_decay": 0.05,
    },
    "word": {
        "embedding_size": 200,
        "hidden_size": 400,
        "dropout_input": 0.4,
        "dropout_between": 0.3,
        "dropout_output": 0.4,
        "dropout_word": 0.1,
        "minutes": 30,
        "epochs": 60,
        "window": 35,
        "learning_rate": 3e-3,
    },
}


def preset_for(tokens: str, alphabet: int) -> str:
    """The preset taken where none is named; `alphabet` is the number of different characters in the text."""
    if tokens != "char":
        return "word"
    return "char" if alphabet <= LARGE_ALPHABET else "han"
