"""Batch sizes derived from the data: small enough for 50 updates per epoch, so that small data are learned from, too."""

from __future__ import annotations

from unrolled.config import AUTO, Options, take_auto

__all__ = ["take_batch"]

#: Updates per epoch that a derived batch size aims at, and the fewest examples per batch: 50 updates from 400 examples on.
_UPDATES, _FEWEST = 50, 8


def take_batch(options: Options, *, examples: int, tokens: int, largest: tuple[int, int]) -> Options:
    """Return the options with batch size and window in place of "auto".

    Args:
        options: Options with a section `training`.
        examples: Training examples.
        tokens: Their tokens (words, symbols or frames); for batches that are counted in examples the same number.
        largest: Batch size and window of the largest batch, which is taken where the data suffice.
    """
    training = options.training  # type: ignore[attr-defined]
    batch_size, window = training.batch_size, training.window
    if largest[1] == 1:  # batches are counted in examples, and the window has no effect
        counted = max(_FEWEST, examples // (_UPDATES * training.accumulate))
        return take_auto(options, {"batch_size": min(largest[0], counted), "window": 1})
    if batch_size == AUTO:
        most = largest[0] * (largest[1] if window == AUTO else window)
        fewest = _FEWEST * tokens / max(1, examples)  # tokens
        size = int(min(most, max(1, fewest, tokens / (_UPDATES * training.accumulate))))
        batch_size = -(-size // largest[1]) if window == AUTO else max(1, size // window)
        window = size // batch_size if window == AUTO else window
    elif window == AUTO:
        window = largest[1]
    return take_auto(options, {"batch_size": batch_size, "window": window})
