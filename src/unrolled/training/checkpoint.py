"""A training frozen between two steps: everything that decides what comes next, in one safetensors file.

    model.*        weights (a tied weight once) and buffers      state.*   the carried hidden state
    optimiser.i.*  moments of parameter i                        random    torch's random generator
    metadata       JSON: counters, best validation, the optimiser's groups

Tensors and JSON only: opening a checkpoint made by someone else runs nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unrolled.errors import FolderError
from unrolled.folders import write_bytes
from unrolled.training.weights import fill, unique_tensors
from unrolled.types import State, named_state, state_name, state_tensors

__all__ = ["FILE", "read_checkpoint", "write_checkpoint"]

FILE = "training.safetensors"


def write_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, *, state: State | None, record: dict[str, Any]
) -> None:
    """Write FILE into the folder; `record` is whatever JSON the loop wants back."""
    moments = optimiser.state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in unique_tensors(model).items()}
    tensors |= {f"optimiser.{i}.{name}": t for i, entry in moments["state"].items() for name, t in entry.items()}
    tensors["random"] = torch.get_rng_state()
    if state is not None:
        tensors |= {f"state.{i}": t for i, t in enumerate(state_tensors(state))}
    extra = {"groups": moments["param_groups"], "state": None if state is None else state_name(state)}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(folder / FILE, safetensors.torch.save(plain, {"run": json.dumps(record | {"checkpoint": extra})}))


def read_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[State | None, dict[str, Any]]:
    """Fill model, optimiser and torch's random generator; return the carried state and the record."""
    path = folder / FILE
    try:
        with safe_open(path, "pt") as file:
            record = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        extra = record.pop("checkpoint")
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = tensor
        moments: dict[int, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in parts["optimiser"].items():
            i, _, rest = name.partition(".")
            moments[int(i)][rest] = tensor
        fill(model, parts["model"], path)
        optimiser.load_state_dict({"state": dict(moments), "param_groups": extra["groups"]})
        state = (
            None if extra["state"] is None else named_state(extra["state"], [t for _, t in sorted(parts["state"].items())])
        )
        torch.set_rng_state(parts["random"][""])
    except FileNotFoundError:
        raise FolderError(f"{folder}: holds no {FILE}: there is nothing to resume from.") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FolderError(f"{path}: is damaged ({error}). Train anew, or continue from a copy of the folder.") from None
    return state, record
