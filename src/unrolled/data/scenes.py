"""Drawn scenes with their captions: data for images that needs no file, and a task whose right answers are known.

found = scenes(100, seed=1)
found.captions[0]                                    # ['a red circle left of a blue square']
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.captions import Captioned
from unrolled.errors import MissingExtra

__all__ = ["COLOURS", "SHAPES", "save_scenes", "scenes"]

COLOURS = {
    "red": (214, 40, 40),
    "green": (42, 157, 64),
    "blue": (38, 84, 214),
    "yellow": (240, 200, 20),
    "purple": (134, 46, 166),
    "black": (25, 25, 25),
}
SHAPES = ("circle", "square", "triangle")


def scenes(n: int, seed: int, size: int = 64) -> Captioned:
    """Two shapes on paper, one left of or above the other: uint8 (size, size, 3) each, with the one caption that is right.

    MissingExtra without Pillow.
    """
    rng, found = random.Random(seed), Captioned()
    for _ in range(n):
        pixels, caption = _scene(rng, size)
        found.images.append(pixels)
        found.captions.append([caption])
    return found


def save_scenes(some: Captioned, folder: Path) -> list[Path]:
    """Write scenes as PNG files into a folder, which is made; their paths."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i + 1}.png" for i in range(len(some))]
    for path, pixels in zip(paths, some.images, strict=True):
        assert isinstance(pixels, np.ndarray)
        Image.fromarray(pixels).save(path)
    return paths


def _scene(rng: random.Random, size: int) -> tuple[np.ndarray, str]:
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise MissingExtra("pillow", "vision", "Drawing scenes") from None
    image = Image.new("RGB", (size, size), tuple(rng.randint(225, 255) for _ in range(3)))
    draw, names = ImageDraw.Draw(image), []
    beside = rng.random() < 0.5
    for first in (True, False):
        radius = rng.uniform(0.11, 0.19) * size
        along = rng.uniform(0.22, 0.3) if first else rng.uniform(0.7, 0.78)
        across = rng.uniform(0.36, 0.64)
        x, y = (along, across) if beside else (across, along)
        colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
        _draw(draw, shape, COLOURS[colour], x * size, y * size, radius)
        names.append(f"a {colour} {shape}")
    return np.array(image), f" {'left of' if beside else 'above'} ".join(names)


def _draw(draw: Any, shape: str, colour: tuple[int, int, int], x: float, y: float, radius: float) -> None:
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    else:
        draw.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill=colour)
