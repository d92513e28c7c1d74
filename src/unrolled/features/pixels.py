"""Images as an encoder takes them: one size, numbers around 0. The same in training, prediction and service.

prepare = Preparation(size=224, mean=(127, 127, 127), deviation=(128, 128, 128))
x = prepare.scaled(prepare.square(read_image("photo.jpg")))      # (3, 224, 224)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unrolled.data.images import read_image
from unrolled.errors import DataError, unknown_name

__all__ = ["FITS", "Preparation", "shifted"]

FITS = ("stretch", "crop", "pad")


@dataclass(frozen=True)
class Preparation:
    """size: pixels of a side; fit: how a rectangle becomes a square: stretched, its middle cropped, or padded with grey;
    mean, deviation: of each colour, from 0 to 255.
    """

    size: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    fit: Literal["stretch", "crop", "pad"] = "stretch"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise unknown_name("fit", self.fit, FITS)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(config: dict[str, Any]) -> Preparation:
        mean, deviation = tuple(config["mean"]), tuple(config["deviation"])
        return Preparation(int(config["size"]), mean, deviation, config["fit"])

    def key(self) -> str:
        """What changes when images are prepared otherwise."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def read(self, image: Path | np.ndarray) -> np.ndarray:
        """`square` of a file, or of pixels."""
        return self.square(image if isinstance(image, np.ndarray) else read_image(image, self.size))

    def square(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (height, width, 3) -> uint8 (size, size, 3)."""
        from PIL import Image

        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise DataError(f"pixels are uint8 (height, width, 3), got {pixels.dtype} {pixels.shape}.")
        (height, width), size = pixels.shape[:2], self.size
        if (height, width) == (size, size):
            return pixels
        image = Image.fromarray(pixels)
        if self.fit == "crop":
            side = min(height, width)
            left, top = (width - side) // 2, (height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        inner = size, size
        if self.fit == "pad":
            scale = size / max(height, width)
            inner = max(1, round(scale * width)), max(1, round(scale * height))
        image = image.resize(inner, Image.Resampling.BICUBIC, reducing_gap=3)
        if inner == (size, size):
            return np.array(image)
        canvas = Image.new("RGB", (size, size), tuple(round(m) for m in self.mean))
        canvas.paste(image, ((size - inner[0]) // 2, (size - inner[1]) // 2))
        return np.array(canvas)

    def scaled(self, squares: np.ndarray) -> Tensor:
        """uint8 (..., size, size, 3) -> float32 (..., 3, size, size)."""
        x = (torch.from_numpy(squares).float() - torch.tensor(self.mean)) / torch.tensor(self.deviation)
        return x.movedim(-1, -3)


def shifted(squares: np.ndarray, random: np.random.Generator, most: float, *, mirror: bool) -> np.ndarray:
    """uint8 (B, size, size, 3), each moved by up to `most` of a side, its border repeated, and perhaps mirrored."""
    size = squares.shape[1]
    reach, found = round(most * size), np.empty_like(squares)
    for i, square in enumerate(squares):
        down, right = random.integers(-reach, reach + 1, 2)
        rows, columns = (np.clip(np.arange(size) + move, 0, size - 1) for move in (down, right))
        columns = columns[::-1] if mirror and random.random() < 0.5 else columns
        found[i] = square[rows[:, None], columns]
    return found
