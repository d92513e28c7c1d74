"""What a user may say about any training."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import Field

from unrolled.conditions import UNSET, Condition, when
from unrolled.config import AUTO, Auto, Section

__all__ = ["DEFAULT_EPOCHS", "DEFAULT_MINUTES", "OF_TRAINING", "Limits", "TrainingOptions", "describe_limits"]

#: Limits of a training run where neither the user nor a preset gives one.
DEFAULT_MINUTES, DEFAULT_EPOCHS = 20.0, 60.0


class Limits(Protocol):
    """Options that end a training run; None: no such limit."""

    @property
    def minutes(self) -> float | None: ...
    @property
    def epochs(self) -> float | None: ...
    @property
    def max_steps(self) -> int | None: ...


def describe_limits(limits: Limits) -> str:
    """Say in words what ends a training run: '2 minutes', 'up to 10 minutes or 30 epochs'."""
    values = ((limits.minutes, "minute"), (limits.epochs, "epoch"), (limits.max_steps, "step"))
    parts = [f"{value:,.12g} {unit}{'' if value == 1 else 's'}" for value, unit in values if value is not None]
    return f"up to {' or '.join(parts)}" if len(parts) > 1 else "".join(parts)


class TrainingOptions(Section):
    """Length, optimisation and checks of a training."""

    minutes: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Time to train for, from the first step to the last validation. Switches off the default epochs.",
    )
    epochs: float | None = Field(
        None, gt=0, le=1e9, description="Passes over the training data, exactly. Switches off the default minutes."
    )
    max_steps: int | None = Field(
        None,
        ge=1,
        le=10**12,
        description="Updates to make, exactly (an averaged classifier: 500 texts each). Switches off other default limits.",
    )
    batch_size: Annotated[int, Field(ge=1, le=100_000)] | Auto = Field(
        32,
        description="Columns (or sentences of one window each) trained side by side; auto: small enough for 50 updates per "
        "epoch.",
    )
    window: Annotated[int, Field(ge=1, le=1_000_000)] | Auto = Field(
        128,
        description="Time steps through which gradients flow back. Texts and sentences are read whole: there a batch has "
        "batch size times window tokens.",
    )
    accumulate: int = Field(1, ge=1, le=100_000, description="Batches whose gradients make one step.")
    optimiser: Literal["adamw", "sgd"] = Field("adamw", description="How weights move.")
    learning_rate: float = Field(3e-3, gt=0, le=100, description="Peak of the learning rate.")
    warmup_steps: int = Field(100, ge=0, le=10**9, description="Steps over which the learning rate rises to its peak.")
    schedule: Literal["linear", "cosine", "constant", "plateau"] = Field(
        "linear", description="How the learning rate falls: to zero at the end, never, or when validation stagnates."
    )
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="What a stagnation multiplies the learning rate by.")
    plateau_patience: int = Field(2, ge=1, le=10**9, description="Validations without a better one that are a stagnation.")
    average_after: int = Field(
        0,
        ge=0,
        le=10**9,
        description="Average the weights once validation is worse than the best of those this many before (NT-ASGD: 5, "
        "with sgd, constant, rate 30, clip .25); 0: never.",
    )
    average_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Validate and keep an exponential mean of the weights: this part of it stays at each step (.999 is "
        "the mean of about 1,000 steps); 0: the weights themselves.",
    )
    weight_decay: float = Field(0.01, ge=0, le=100, description="Decay of matrices.")
    clip: float = Field(1.0, gt=0, le=1e9, description="Largest norm of the gradient.")
    evaluations: int = Field(25, ge=1, le=100_000, description="Validations during training, evenly spread.")
    patience: int = Field(8, ge=1, le=10**9, description="Stop after this many validations without a better one.")
    seed: int = Field(1, ge=0, lt=2**63, description="Seed of all random numbers.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Arithmetic of the network.")
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where the network is; cuda is written with care and untried."
    )
    deterministic: bool = Field(False, description="Refuse operations whose result may differ between two runs.")
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads for arithmetic; 0: the fastest by a short measurement, or OMP_NUM_THREADS where that is set.",
    )

    def batch_shape(self) -> tuple[int, int]:
        """Return batch size and window, whose product is the tokens per batch. ValueError while one of them is "auto"."""
        if self.batch_size == AUTO or self.window == AUTO:
            raise ValueError("batch size and window are not derived yet: call take_batch")
        return self.batch_size, self.window

    @property
    def batch_tokens(self) -> int:
        """Tokens per batch of whole texts or sentences."""
        batch_size, window = self.batch_shape()
        return batch_size * window


#: When options have an effect: see `config.Section.conditions`.
OF_TRAINING: dict[str, Condition] = {
    "plateau_factor": when("schedule", "plateau"),
    "plateau_patience": when("schedule", "plateau"),
    "average_after": when("average_decay", UNSET),
}
