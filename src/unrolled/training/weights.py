"""Weights in safetensors files: a tied weight once, under its first name; sizes checked before anything is taken over."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from unrolled.errors import FolderError
from unrolled.folders import write_bytes

__all__ = ["fill", "load_weights", "save_weights", "unique_tensors"]


def save_weights(model: nn.Module, path: Path) -> None:
    """Write all parameters and buffers of the model."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in unique_tensors(model).items()}
    write_bytes(path, safetensors.torch.save(tensors))


def unique_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, a tied one only under its first."""
    first = {id(tensor): name for name, tensor in reversed(model.state_dict(keep_vars=True).items())}
    return {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if first[id(tensor)] == name}


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill the model from a file that `save_weights` wrote; FolderError names the first thing that does not fit."""
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except FileNotFoundError:
        raise FolderError(f"{path}: is missing; the model folder is not whole. Copy it again.") from None
    except (OSError, SafetensorError) as error:
        raise FolderError(f"{path}: is damaged ({error}). Copy the model folder again.") from None
    fill(model, tensors, path)


def fill(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Take over tensors that `unique_tensors` named; FolderError names the first thing that does not fit the model."""
    wanted = model.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        if name not in wanted:
            raise FolderError(f"{path}: has a tensor '{name}' that config.json does not ask for.")
        if wanted[name].shape != tensor.shape:
            raise FolderError(
                f"{path}: '{name}' has shape {tuple(tensor.shape)}, config.json asks for {tuple(wanted[name].shape)}."
            )
        if not bool(tensor.isfinite().all()):
            raise FolderError(f"{path}: the tensor '{name}' holds values that are no numbers; the model is unusable.")
    given = {id(wanted[name]) for name in tensors}
    missing = [name for name, tensor in wanted.items() if id(tensor) not in given]
    if missing:
        raise FolderError(f"{path}: the tensor '{missing[0]}' is missing.")
    model.load_state_dict(tensors, strict=False)
