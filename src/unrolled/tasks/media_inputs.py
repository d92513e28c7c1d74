"""Images and recordings that are passed from Python, as what models read: pixels, and samples at a sampling rate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.data.audio import Resampler
from unrolled.errors import DataError
from unrolled.tasks.inputs import is_array

__all__ = ["Image", "Recording", "input_name", "to_pixels", "to_samples"]

#: A path, the content of a file (bytes or an open file), a PIL image, or an array (height, width[, 3]).
Image = Any
#: A path, the content of a file, samples (N,), or (samples, rate in Hz).
Recording = Any

#: What integer samples are divided by to lie in -1..1, after `_OFFSETS` has been subtracted.
_SCALES = {"int16": 32_768.0, "int32": 2_147_483_648.0, "uint8": 128.0, "int8": 128.0}
_OFFSETS = {"uint8": 128.0}


def input_name(value: Any, otherwise: str) -> str:
    """What results and messages call an input: its path, or `otherwise` where it has none."""
    return os.fspath(value) if isinstance(value, (str, os.PathLike)) else otherwise


def _as_file(value: Any) -> Any:
    """A path or the content of a file, as the readers of `unrolled.data` take it."""
    if isinstance(value, os.PathLike):
        return Path(value)
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def to_pixels(image: Image) -> Any:
    """An array as uint8 (height, width, 3); a path, the content of a file or a PIL image as it is.

    Floats from 0 to 1, or to 255 where one is larger; uint16 from 0 to 65535. DataError for other shapes or values.
    """
    if not is_array(image):
        return _as_file(image)
    pixels = _as_numpy(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not pixels.size or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        turned = pixels.ndim == 3 and pixels.shape[0] in (1, 3)
        fix = (
            " Fix: move the colors last, image.transpose(1, 2, 0) in numpy or permute(1, 2, 0) in torch." if turned else ""
        )
        raise DataError(f"pixels: got an array of shape {pixels.shape}, expected (height, width[, 3]).{fix}")
    pixels = _as_bytes(pixels)
    return np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Values of any number type as uint8 from 0 to 255."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint16:
        return (pixels.astype(np.float32) * np.float32(255 / 65_535)).round().astype(np.uint8)
    if pixels.dtype.kind not in "iuf":
        raise DataError(f"pixels: got numbers of type {pixels.dtype}, expected uint8, uint16 or floats.")
    low, high = float(pixels.min()), float(pixels.max())
    if not 0 <= low <= high <= 255:  # also NaN
        raise DataError(f"pixels: got values from {low:g} to {high:g}, expected 0 to 255, or floats from 0 to 1.")
    scale = 255.0 if pixels.dtype.kind == "f" and high <= 1 else 1.0
    return (pixels * scale).round().astype(np.uint8)


def to_samples(recording: Recording, rate_hz: int) -> Any:
    """Samples, or (samples, rate in Hz), as float32 (N,) at `rate_hz`; a path or the content of a file as it is.

    Samples without a rate are at `rate_hz` already. Integers are divided by their largest value. DataError for other
    shapes, rates or values.
    """
    given_hz: Any = rate_hz
    if isinstance(recording, tuple):
        recording, given_hz = recording
        if not is_array(recording) or not recording.ndim:
            raise DataError("recording: got (rate, samples), expected (samples, rate in Hz).")
    if not is_array(recording):
        return _as_file(recording)
    samples = _as_numpy(recording)
    if samples.ndim != 1:
        raise DataError(
            f"samples: got an array of shape {samples.shape}, expected (N,). Fix: average the channels of one recording, "
            "or pass several recordings as a list of arrays."
        )
    samples = _as_floats(samples)
    from_hz = _rate(given_hz)
    return samples if from_hz == rate_hz or not len(samples) else Resampler(from_hz, rate_hz).feed(samples, last=True)


def _as_floats(samples: np.ndarray) -> np.ndarray:
    kind = samples.dtype.name
    if kind in _SCALES:
        return (samples.astype(np.float32) - np.float32(_OFFSETS.get(kind, 0))) / np.float32(_SCALES[kind])
    if samples.dtype.kind != "f":
        raise DataError(f"samples: got numbers of type {kind}, expected floats from -1 to 1, int16 or int32.")
    if not np.isfinite(samples).all():
        raise DataError("samples: are not all numbers (NaN or infinite).")
    return samples.astype(np.float32, copy=False)


def _rate(rate: Any) -> Any:
    """A sampling rate in Hz that Resampler takes. DataError for what is none."""
    try:
        value = float(rate)
    except (TypeError, ValueError):
        value = 0.0
    if isinstance(rate, (bool, str, bytes)) or not 1 <= value <= 10_000_000:
        raise DataError(f"recording: got the rate {rate!r}, expected (samples, rate in Hz), such as (samples, 16000).")
    return int(value) if value.is_integer() else value


def _as_numpy(array: Any) -> np.ndarray:
    """An array or tensor as numpy's."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        return (array.float() if array.dtype in (torch.bfloat16, torch.float16) else array).numpy()
    return array if isinstance(array, np.ndarray) else np.from_dlpack(array)
