"""Image files as pixels: whatever their kind, colours and size, upright, in red, green and blue.

pixels = read_image("photo.jpg")                     # uint8 (height, width, 3)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.sources import ByteSource, read_bytes, source_name
from unrolled.errors import DataError, MissingExtra

__all__ = ["ImageSource", "decode_image", "image_bytes", "read_image"]

#: A file's name, the bytes of a file, a file object that is open for reading bytes, or a `PIL.Image.Image`.
ImageSource = Any

#: What is read. Others, such as EPS, would start other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
#: Most pixels that are decoded: three bytes each, and as much again on the way. JPEG files are decoded smaller where they
#: have more.
_MOST = 50_000_000
#: Where EXIF says how the camera was held.
_ORIENTATION = 0x0112
#: Most bytes of a file.
_LARGEST = 500_000_000


def read_image(
    source: ImageSource, side: int | None = None, most: int | None = None, name: str | None = None
) -> np.ndarray:
    """Read an image as pixels, uint8 (height, width, 3), upright, in red, green and blue.

    Args:
        source: a file's name, the bytes of a file, a file object that is open for reading bytes (read to its end), or an
            image that Pillow has opened.
        side: pixels that are wanted of the shorter side; a JPEG file may be decoded smaller, to at least those.
        most: pixels that are decoded at most.
        name: what errors call the image; the file's name by default.

    Raises:
        DataError: for what is no image, is damaged, cut off or too large.
    """
    if hasattr(source, "getexif"):  # a PIL.Image.Image, without an import of Pillow
        with _telling(name or "<image>"):
            return _colours(_upright(source))
    name = source_name(source) if name is None else name
    return decode_image(image_bytes(source, name), name, side, most)


def image_bytes(source: ByteSource, name: str | None = None) -> bytes:
    """Return the bytes of an image file. Raises DataError where it cannot be read, or is larger than any image."""
    name = source_name(source) if name is None else name
    if isinstance(source, str | Path):
        try:
            size = Path(source).stat().st_size
        except (OSError, ValueError) as error:
            raise DataError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
        if size > _LARGEST:
            raise DataError(f"{name}: has {size / 1e6:,.0f} MB: too large for an image.")
    return read_bytes(source, name)


def decode_image(data: bytes, name: str, side: int | None = None, most: int | None = None) -> np.ndarray:
    """`read_image` of the bytes of a file; `name` is for errors. most: pixels that are decoded."""
    most = _MOST if most is None else most
    if not data:
        raise DataError(f"{name}: is empty: no image.")
    with _telling(name):
        image = _opened(data)
        if side is not None and image.format == "JPEG":
            image.draft(None, (side, side))
        width, height = image.size
        if width * height > most:
            if image.format == "JPEG":
                image.draft(None, (1, 1))
                width, height = image.size
            if width * height > most:
                few = f"{most / 1e6:g} million"
                raise DataError(f"{name}: has {width:,} x {height:,} pixels; at most {few} are read. Make it smaller.")
        return _colours(_upright(image))


def _opened(data: bytes) -> Any:
    from PIL import Image
    from PIL.JpegImagePlugin import JpegImageFile

    if data[:2] == b"\xff\xd8":  # opened without a limit: it can be decoded smaller
        return JpegImageFile(BytesIO(data))
    return Image.open(BytesIO(data), formats=_FORMATS)


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """What Pillow says about a file as a DataError that names it."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtra("pillow", "vision", "Reading images") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        most = f"{_MOST / 1e6:.0f} million"
        raise DataError(f"{name}: has too many pixels; at most {most} are read. Make it smaller.") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{name}: is no image that can be read. Expected: JPEG, PNG, WebP, GIF, BMP or TIFF; "
            "others, such as HEIC and AVIF, have to be converted first."
        ) from error
    except Exception as error:  # decoders of damaged files raise anything
        raise DataError(f"{name}: is damaged or cut off ({error or type(error).__name__}).") from error


def _upright(image: Any) -> Any:
    """Turn an image as the camera was held."""
    from PIL import Image

    image.load()  # Pillow turns TIFF files by itself while it decodes them, and then drops the orientation
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # the tags may hold anything: the pixels are sound all the same
        return image
    turn = Image.Transpose
    turns = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE}
    turns |= {6: turn.ROTATE_270, 7: turn.TRANSVERSE, 8: turn.ROTATE_90}
    return image.transpose(turns[orientation]) if orientation in turns else image


def _colours(image: Any) -> np.ndarray:
    """Red, green and blue from 0 to 255; transparent pixels are white."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":  # 16 or 32 bits of grey, which `convert` would cut off
        grey = np.asarray(image, np.float32)
        highest = float(grey.max(initial=0))
        largest = 65535 if image.mode.startswith("I;16") or highest > 255 else 1 if highest <= 1 else 255
        scaled = np.clip(grey * np.float32(255 / largest), 0, 255).astype(np.uint8)
        if isinstance(image.info.get("transparency"), int):
            scaled[grey == image.info["transparency"]] = 255
        return np.repeat(scaled[..., None], 3, 2)
    if "A" in image.mode or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), with_alpha)
    return np.array(image.convert("RGB"))
