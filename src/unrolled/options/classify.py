"""What a user may say about a text classifier, and the presets."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from unrolled.conditions import SET, UNSET, Above, Condition, Not, Shown, conditions, when
from unrolled.config import Section
from unrolled.options.training import OF_TRAINING, TrainingOptions
from unrolled.options.transfer import OF_VECTORS, WordVectorOptions

__all__ = [
    "FIXED",
    "LARGEST",
    "PRESETS",
    "AverageOptions",
    "ClassifyOptions",
    "DecisionOptions",
    "LabelledDataOptions",
    "ModelOptions",
    "RecurrentOptions",
    "TransferredOptions",
]


class LabelledDataOptions(Section):
    """Where text and label stand, and how text is read."""

    text: str = Field("text", description="Column (or JSON field) of the text.")
    label: str = Field("label", description="Column (or JSON field) of the label.")
    weight: str | None = Field(None, description="Column (or JSON field) that says how much an example counts.")
    labels: Literal["one", "many", "ordered"] = Field(
        "one", description="An example has one label; any number of them; or one of several in an order (see --order)."
    )
    separator: str = Field(",", min_length=1, description="What stands between labels, with --labels many.")
    order: str | None = Field(
        None, description="With --labels ordered: the labels, lowest first, commas between them; unset: by number."
    )
    encoding: str = Field("utf-8", description="Encoding of the files.")
    valid_fraction: float = Field(
        0.1, gt=0, lt=0.9, description="Part of each class held out for validation where --valid is not given."
    )
    hold_out: Literal["drawn", "last"] = Field(
        "drawn",
        description="Which those are. drawn: by chance; last: the last ones as they stand in the files, for texts whose "
        "neighbours belong together (reviews of one film), so that validation texts are as new as others will be.",
    )
    tokens: Literal[
        "auto",
        "words-and-marks",
        "words",
        "cased-words",
        "whitespace",
        "graphemes",
        "graphemes-and-marks",
        "chinese-words",
    ] = Field(
        "auto",
        description="What a word is: words in lower case and punctuation (a Han character is a word); as written; between "
        "blanks; a dictionary's. auto: words-and-marks, or by script chinese-words (extra zh) or graphemes-and-marks.",
    )
    strip_tags: bool = Field(False, description="Leave out what looks like a tag of HTML.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: examples of rare labels count more, so that all labels count the same."
    )
    min_count: int = Field(2, ge=1, le=10**9, description="Words and n-grams that occur less often are not known.")
    vocabulary_size: int | None = Field(None, ge=2, description="Most words known; unset: all.")


class ModelOptions(Section):
    """Which network."""

    network: Literal["average", "rnn"] = Field(
        "average",
        description="average: the mean of word vectors; rnn: recurrent, perhaps upon --encoder, the average beside it.",
    )
    blend: bool = Field(
        False,
        description="The recurrent network answers along with the average beside it, their scores weighed on the "
        "validation texts.",
    )


class AverageOptions(Section):
    """The averaged classifier."""

    ngrams: int = Field(2, ge=1, le=5, description="Words of the longest n-gram; 1: single words alone.")
    vector_size: int = Field(16, ge=1, le=4096, description="Numbers in a word's vector.")
    weighting: Literal["mean", "idf"] = Field(
        "mean", description="How much a word counts: all the same, or rare ones more (inverse document frequency)."
    )
    rest: float = Field(
        0.1,
        ge=0,
        le=1000,
        description="Words that say nothing, added to each text so that short ones are not answered with certainty: this "
        "part of the words and n-grams of a middling training text (the median). 0: the plain mean.",
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="Part of a text's words and n-grams left out at each reading.")
    average_epochs: int | None = Field(
        None, ge=1, le=100_000, description="Passes over the texts; unset: as many as read 100,000 texts, from 10 to 100."
    )
    average_rate: float = Field(1.0, gt=0, le=100, description="Learning rate at the beginning, falling to zero.")


class RecurrentOptions(Section):
    """The recurrent classifier."""

    cell: str = Field("lstm", description="The recurrent cell: lstm, gru, gru-before, mingru, rnn, rnn-relu.")
    embedding_size: int = Field(100, ge=1, le=65_536, description="Size of a word's vector; that of --vectors if given.")
    hidden_size: int = Field(128, ge=1, le=65_536, description="Units of a layer and direction.")
    n_layers: int = Field(1, ge=1, le=100, description="Layers stacked on each other.")
    bidirectional: bool = Field(True, description="Read from both ends.")
    pooling: Literal["last", "mean", "max", "attention", "concat"] = Field(
        "max", description="What of a text's states is decided by: the last, mean, largest, weighed; concat: first three."
    )
    dropout_input: float = Field(0.4, ge=0, lt=1, description="Locked dropout on embedded words.")
    dropout_between: float = Field(0.3, ge=0, lt=1, description="Locked dropout between layers.")
    dropout_output: float = Field(0.5, ge=0, lt=1, description="Dropout on what is decided by.")
    dropout_word: float = Field(0.3, ge=0, lt=1, description="Dropout of whole words of the vocabulary.")
    dropout_weight: float = Field(0.0, ge=0, lt=1, description="Dropout of recurrent weights.")
    adversarial: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Learn from texts whose vectors were moved, by this part of their length, to where the loss rises "
        "fastest; a step takes twice as long.",
    )


class DecisionOptions(Section):
    """What becomes of probabilities; chosen on the validation texts."""

    target: Literal["none", "precision", "f1"] = Field(
        "none",
        description="precision: answer only where at least --reach of the answers are right, else abstain; f1: with "
        "--labels many, the threshold of each label at which its F1 is highest.",
    )
    reach: float = Field(0.95, gt=0, lt=1, description="The precision that --target precision is to reach.")


class TransferredOptions(WordVectorOptions):
    """What was learned elsewhere."""

    encoder: str | None = Field(
        None,
        description="A run of train language-model whose embedding and layers the recurrent network begins with; its "
        "sizes and tokens are then those of the encoder.",
    )
    gradual_unfreezing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="What was transferred rests at first and is set free layer by layer, from the top, until this part of "
        "the training is done.",
    )
    layer_rate_decay: float = Field(
        1.0, ge=1, le=1000, description="How many times slower each layer transferred learns than the one above it."
    )


_RECURRENT = when(
    "network", Shown("rnn", "--preset rnn; an average has --vector-size, --ngrams, --average-epochs, --average-rate")
) & when("check", False)
#: Options of training that the average has, too.
_OF_ALL = {"minutes", "epochs", "max_steps", "seed", "device", "deterministic", "threads"}
_FROM_ENCODER = ("cell", "embedding_size", "hidden_size", "n_layers", "bidirectional")
#: There are layers that were transferred and learn.
_TRANSFERS = when("encoder", SET) | when("vectors", SET) & when("freeze_vectors", False)


class ClassifyOptions(Section):
    """All options of the task, by section."""

    data: LabelledDataOptions = LabelledDataOptions()
    model: ModelOptions = ModelOptions()
    average: AverageOptions = AverageOptions()
    recurrent: RecurrentOptions = RecurrentOptions()
    transfer: TransferredOptions = TransferredOptions()
    training: TrainingOptions = TrainingOptions()
    decision: DecisionOptions = DecisionOptions()

    conditions: ClassVar[dict[str, Condition]] = conditions(
        OF_TRAINING,
        OF_VECTORS,
        {
            "separator": when("labels", "many"),
            "order": when("labels", "ordered"),
            "valid_fraction": when("valid", False) & when("check", False),
            "hold_out": when("valid", False) & when("check", False),
            "network": when("check", False),
            "blend": _RECURRENT,
            "vector_size": when("vectors", UNSET),
            "embedding_size": when("vectors", UNSET),
            "dropout_between": when("n_layers", Above(1)) | when("encoder", SET),
            "dropout_weight": when("cell", Not("mingru")) | when("encoder", SET),
            "vectors": when("encoder", UNSET),
            "encoder": when("network", Shown("rnn", "--preset transfer")) & when("check", False),
            "gradual_unfreezing": _RECURRENT & _TRANSFERS,
            "layer_rate_decay": _RECURRENT & _TRANSFERS,
            "target": when("check", False),
            "reach": when("target", "precision") & when("check", False),
        },
        also={
            tuple(RecurrentOptions.model_fields): _RECURRENT,
            tuple(TrainingOptions.model_fields.keys() - _OF_ALL): _RECURRENT,
            _FROM_ENCODER: when("encoder", UNSET),
        },
    )


#: What a training that has begun cannot change.
FIXED = (
    frozenset(LabelledDataOptions.model_fields)
    | {name for name in RecurrentOptions.model_fields if not name.startswith("dropout")}
    | set(TransferredOptions.model_fields)
    | {"network", "batch_size", "window", "accumulate", "optimiser"}
)

#: Batch size and window of the largest derived batch: 8,192 words.
LARGEST = (32, 256)

#: Flat settings by name; chosen on validation data, see docs/results.md.
PRESETS: dict[str, dict[str, Any]] = {
    "average": {"network": "average"},
    "rnn": {
        "network": "rnn",
        "batch_size": "auto",
        "window": "auto",
        "adversarial": 0.004,
        "average_decay": 0.998,
        "epochs": 30,
        "minutes": 26,
        "learning_rate": 2e-3,
        "evaluations": 20,
        "patience": 8,
    },
    "transfer": {
        "network": "rnn",
        "blend": True,
        "pooling": "concat",
        "gradual_unfreezing": 0.3,
        "layer_rate_decay": 2.6,
        "dropout_input": 0.25,
        "dropout_word": 0.1,
        "dropout_output": 0.4,
        "adversarial": 0.004,
        "average_decay": 0.998,
        "batch_size": "auto",
        "window": "auto",
        "epochs": 6,
        "minutes": 42,
        "learning_rate": 2e-3,
        "evaluations": 14,
        "patience": 8,
    },
}
