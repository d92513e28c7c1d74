"""Where a model is trained."""

from __future__ import annotations

import os

import torch
from torch import nn

from unrolled.errors import ConfigError
from unrolled.options.training import TrainingOptions

__all__ = ["device_of"]


def device_of(options: TrainingOptions) -> torch.device:
    """The device of the options, of several GPUs this process's own. ConfigError if it, or its bfloat16, is not there."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("torch finds no CUDA device here. Use -s device=cpu")
    device = (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if options.device == "cuda" else torch.device("cpu")
    )
    if options.precision == "bfloat16":
        try:  # where a processor has none, torch's LSTM fails, and its products are slow
            with torch.autocast(device.type, torch.bfloat16):
                nn.LSTM(2, 2, device=device)(torch.zeros(1, 1, 2, device=device))
        except RuntimeError:
            raise ConfigError("this processor has no bfloat16 arithmetic. Use -s precision=float32") from None
    return device
