"""What a user may say about speech recognition, and the presets."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from unrolled.conditions import SET, UNSET, Above, Condition, conditions, when
from unrolled.config import Section
from unrolled.options.training import OF_TRAINING, TrainingOptions

__all__ = [
    "FIXED",
    "LARGEST",
    "PRESETS",
    "AugmentOptions",
    "RecognizerOptions",
    "RecordingOptions",
    "TranscribeOptions",
    "TranscriptSearchOptions",
]


class RecordingOptions(Section):
    """How recordings and texts are read."""

    audio: str | None = Field(None, description="Folder of the recordings; unset: that of the table.")
    train_split: str | None = Field(
        None, description="Learn from lines of this split; unset: from 'train' if the table has such, else from all."
    )
    valid_split: str | None = Field(
        None, description="Choose the best model by lines of this split; unset: 'valid' or 'dev' if the table has such."
    )
    hold_out: Literal["recordings", "speakers"] = Field(
        "recordings", description="What is held out for validation where nothing is given: recordings, or whole speakers."
    )
    valid_fraction: float = Field(0.1, gt=0, lt=0.9, description="Part of what is read that is held out.")
    tokens: Literal["char", "bpe", "unigram", "word"] = Field("char", description="What a symbol of a text is.")
    vocabulary_size: int | None = Field(None, ge=3, description="Most symbols; unset: the tokenizer's own limit.")
    min_count: int = Field(1, ge=1, description="Rarer symbols become unknown, and are never written.")
    lower: bool = Field(True, description="Texts in lower case.")
    marks: bool = Field(False, description="Keep punctuation in texts.")
    longest: float = Field(30, gt=0, le=3600, description="Seconds: longer recordings are not learned from.")
    encoding: str = Field("utf-8", description="Encoding of the texts.")
    kind: Literal["log-mel", "mfcc"] = Field("log-mel", description="What sound is made into.")
    rate_hz: int | None = Field(
        None, ge=1000, le=192_000, description="Samples a second; unset: those of the recordings, at most 16,000."
    )
    n_mels: int | None = Field(None, ge=4, le=512, description="Bands of frequency; unset: 40 up to 8 kHz, else 80.")
    n_cepstra: int = Field(13, ge=1, le=512, description="Numbers of mfcc.")
    deltas: bool = Field(False, description="How frames change beside what they are.")
    own_mean: bool = Field(
        True,
        description="Take each recording's mean away, which helps with new voices and rooms; else, and with --streaming, "
        "that of the training, which helps with single words of known ones.",
    )


class AugmentOptions(Section):
    """How recordings are made different for training."""

    speed: float = Field(0.1, ge=0, lt=0.9, description="Faster or slower by up to this part.")
    warp: float = Field(0.1, ge=0, lt=0.9, description="Frequencies stretched by up to this part.")
    noise: float = Field(0.5, ge=0, le=1, description="How often there is noise beneath.")
    snr_low: float = Field(10, ge=-40, le=120, description="Decibels that the voice is louder than noise, at least.")
    snr_high: float = Field(40, ge=-40, le=120, description="Decibels that the voice is louder than noise, at most.")
    edge_seconds: float = Field(0.3, ge=0, le=60, description="Noise before and behind it, at most.")
    nothing: float = Field(0.03, ge=0, le=1, description="Part of the rows that are noise alone, which says nothing.")
    frequency_masks: int = Field(2, ge=0, le=100, description="Bands of frequency left out.")
    frequency_part: float = Field(0.15, ge=0, le=1, description="How wide one is at most.")
    time_masks: int = Field(2, ge=0, le=1000, description="Stretches of time left out.")
    time_part: float = Field(0.05, ge=0, le=1, description="How long one is at most.")


class RecognizerOptions(Section):
    """The network."""

    head: Literal["ctc", "attention", "hybrid"] = Field(
        "ctc", description="A symbol or a blank at each step, a decoder that looks at all steps, or both."
    )
    streaming: bool = Field(False, description="Read forward only, so that sound can be read while it is coming.")
    cell: str = Field("gru", description="The recurrent cell: lstm, gru, gru-before, mingru, rnn, rnn-relu.")
    encoder_size: int = Field(256, ge=1, le=65_536, description="Units of an encoder layer and direction.")
    encoder_layers: int = Field(2, ge=1, le=100, description="Layers of the encoder.")
    front: Literal["stack", "convolution"] = Field("convolution", description="How frames become fewer steps.")
    reduction: int | None = Field(
        None, ge=1, le=64, description="Frames that become a step; unset: 4, or fewer where texts would not fit."
    )
    ctc_weight: float = Field(0.3, gt=0, lt=1, description="Hybrid: CTC's part of the loss, and of the search.")
    embedding_size: int = Field(64, ge=1, le=65_536, description="Decoder: size of a symbol's vector.")
    decoder_size: int = Field(256, ge=1, le=65_536, description="Units of a decoder layer.")
    decoder_layers: int = Field(1, ge=1, le=100, description="Layers of the decoder.")
    attention: Literal["additive", "dot", "general", "scaled-dot"] = Field(
        "additive", description="How the decoder compares itself with what is heard."
    )
    pace: float | None = Field(
        None,
        ge=0,
        description="Steps that the decoder moves on by itself at each symbol, at least 1; 0: it looks anywhere; unset: "
        "nearly as many as a symbol is spoken in, and 0 beside CTC.",
    )
    attention_size: int = Field(128, ge=1, le=65_536, description="Size of the small network of additive and scaled-dot.")
    dropout_between: float = Field(0.2, ge=0, lt=1, description="Locked dropout between layers.")
    dropout_heard: float = Field(0.2, ge=0, lt=1, description="Locked dropout on what is heard.")
    dropout_input: float = Field(0.1, ge=0, lt=1, description="Decoder: locked dropout on embedded symbols.")
    dropout_output: float = Field(0.2, ge=0, lt=1, description="Decoder: dropout in front of the softmax.")
    dropout_word: float = Field(0.0, ge=0, lt=1, description="Decoder: dropout of whole symbols of the vocabulary.")
    smoothing: float = Field(0.1, ge=0, lt=1, description="Decoder: part of a target's probability shared out among all.")


class TranscriptSearchOptions(Section):
    """How a text is searched for."""

    select: Literal["loss", "cer", "wer"] = Field(
        "cer", description="What the best model is chosen by: loss, or errors of greedy transcripts."
    )
    beam: int = Field(20, ge=1, le=10_000, description="Hypotheses side by side; 1: greedy.")


#: There is a decoder.
_DECODES = when("head", "attention", "hybrid")
_OF_DECODER = (
    *("embedding_size", "decoder_size", "decoder_layers", "attention", "attention_size", "pace"),
    *("dropout_input", "dropout_output", "dropout_word", "smoothing"),
)
#: Options of recordings that are sound, not frames computed elsewhere.
_OF_SOUND = (
    *("kind", "rate_hz", "n_mels", "n_cepstra", "deltas"),
    *("warp", "noise", "snr_low", "snr_high", "edge_seconds", "nothing"),
)


class TranscribeOptions(Section):
    """All options of the task, by section."""

    data: RecordingOptions = RecordingOptions()
    augment: AugmentOptions = AugmentOptions()
    model: RecognizerOptions = RecognizerOptions()
    search: TranscriptSearchOptions = TranscriptSearchOptions()
    training: TrainingOptions = TrainingOptions()

    conditions: ClassVar[dict[str, Condition]] = conditions(
        OF_TRAINING,
        {
            "hold_out": when("valid", False) & when("valid_split", UNSET),
            "valid_fraction": when("valid", False) & when("valid_split", UNSET),
            "n_cepstra": when("kind", "mfcc"),
            "own_mean": when("streaming", False),
            "snr_low": when("noise", SET) | when("edge_seconds", SET),
            "snr_high": when("noise", SET) | when("edge_seconds", SET),
            "speed": when("frames", False) | when("reduction", UNSET),
            "frequency_part": when("frequency_masks", SET),
            "time_part": when("time_masks", SET),
            "ctc_weight": when("head", "hybrid"),
            "attention_size": when("attention", "additive", "scaled-dot"),
            "dropout_between": when("encoder_layers", Above(1)) | _DECODES & when("decoder_layers", Above(1)),
        },
        also={_OF_DECODER: _DECODES, _OF_SOUND: when("frames", False)},
    )


#: What a training that has begun cannot change.
FIXED = (
    frozenset(RecordingOptions.model_fields)
    | {name for name in RecognizerOptions.model_fields if not name.startswith(("dropout", "smoothing"))}
    | {"batch_size", "window", "accumulate", "optimiser"}
)

#: Batch size and window of the largest derived batch: 1,600 frames.
LARGEST = (16, 100)

_COMMON: dict[str, Any] = {
    "batch_size": "auto",
    "window": "auto",
    "epochs": 60,
    "minutes": 20,
    "learning_rate": 4e-3,
    "average_decay": 0.998,
    "evaluations": 20,
    "patience": 8,
}
#: Flat settings by name.
PRESETS: dict[str, dict[str, Any]] = {
    "ctc": _COMMON,
    "attention": _COMMON | {"head": "attention", "patience": 20},  # until it knows where to look it only gets worse
    "hybrid": _COMMON | {"head": "hybrid"},
}
