"""What a user may say about any training."""

from __future__ import annotations

from pydantic import Field

from unrolled.config import Section

__all__ = ["TrainingOptions"]


class TrainingOptions(Section):
    """Length, optimisation and checks of a training."""

    minutes: float = Field(
        20, gt=0, le=1e6, description="Time to train for; becomes a number of steps once the speed is known."
    )
    epochs: float = Field(60, gt=0, le=1e9, description="Stop after this many passes over the data, if time is left.")
    batch_size: int = Field(
        32, ge=1, le=100_000, description="Columns (or sentences of one window each) trained side by side."
    )
    window: int = Field(128, ge=1, le=1_000_000, description="Time steps through which gradients flow back.")
    learning_rate: float = Field(3e-3, gt=0, le=100, description="Peak of the learning rate.")
    warmup_steps: int = Field(100, ge=0, le=10**9, description="Steps over which the learning rate rises to its peak.")
    weight_decay: float = Field(0.01, ge=0, le=100, description="AdamW's decay of matrices.")
    clip: float = Field(1.0, gt=0, le=1e9, description="Largest norm of the gradient.")
    evaluations: int = Field(25, ge=1, le=100_000, description="Validations during training, evenly spread.")
    patience: int = Field(8, ge=1, le=10**9, description="Stop after this many validations without a better one.")
    seed: int = Field(1, ge=0, lt=2**63, description="Seed of all random numbers.")
    threads: int = Field(
        0, ge=0, le=256, description="Threads for arithmetic; 0 takes what torch takes: all cores, or OMP_NUM_THREADS."
    )
