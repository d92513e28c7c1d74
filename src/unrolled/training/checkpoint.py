"""A training frozen between two steps: everything that decides what comes next, in one safetensors file.

    model.*        weights (a tied weight once) and buffers      state.*    the carried hidden state, all columns
    optimiser.i.*  moments of parameter i                        random.r   torch's random generator in rank r
    mean.i         averaged weights of parameter i               metadata   JSON: counters, best, the optimiser's groups

Tensors and JSON only: opening a checkpoint made by someone else runs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from unrolled.errors import FolderError
from unrolled.folders import write_bytes
from unrolled.training.weights import fill, unique_tensors
from unrolled.types import State, map_state, named_state, state_like, state_name, state_tensors

__all__ = ["FILE", "Checkpoint", "read_checkpoint", "write_checkpoint"]

FILE = "training.safetensors"


class Checkpoint(NamedTuple):
    """What is not filled in where it belongs. same_ranks: every process goes on with the random numbers it had."""

    record: dict[str, Any]
    state: State | None
    mean: list[Tensor]
    same_ranks: bool


def write_checkpoint(
    folder: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    *,
    states: Sequence[State | None],
    random: Sequence[Tensor],
    mean: Sequence[Tensor] = (),
    record: dict[str, Any],
) -> None:
    """Write FILE into the folder. states, random: of every rank; mean: averaged weights; record: JSON of the loop's."""
    moments = optimiser.state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in unique_tensors(model).items()}
    tensors |= {f"optimiser.{i}.{name}": t for i, entry in moments["state"].items() for name, t in entry.items()}
    tensors |= {f"random.{rank}": state for rank, state in enumerate(random)}
    tensors |= {f"mean.{i}": t for i, t in enumerate(mean)}
    state = _whole(states)
    if state is not None:
        tensors |= {f"state.{i}": t for i, t in enumerate(state_tensors(state))}
    extra = {"groups": moments["param_groups"], "state": None if state is None else state_name(state)}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = {"run": json.dumps(record | {"checkpoint": extra}), "sha256": _digest(plain)}
    write_bytes(folder / FILE, safetensors.torch.save(plain, described))


def read_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, rank: int = 0, size: int = 1
) -> Checkpoint:
    """Fill model, optimiser and torch's random generator; return the rest, of the state this rank's rows."""
    path = folder / FILE
    try:
        with safe_open(path, "pt") as file:
            record = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            if file.metadata()["sha256"] != _digest(tensors):
                raise ValueError("its checksum does not agree")
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
        state = None if extra["state"] is None else named_state(extra["state"], _numbered(parts["state"]))
        same_ranks = len(parts["random"]) == size
        if same_ranks:
            torch.set_rng_state(parts["random"][str(rank)])
    except FileNotFoundError:
        raise FolderError(f"{folder}: holds no {FILE}: there is nothing to resume from.") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FolderError(f"{path}: is damaged ({error}). Train anew, or continue from a copy of the folder.") from None
    own = None if state is None else map_state(lambda s: s[rank::size].contiguous(), state)
    return Checkpoint(record, own, _numbered(parts["mean"]), same_ranks)


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _numbered(tensors: dict[str, Tensor]) -> list[Tensor]:
    return [tensors[str(i)] for i in range(len(tensors))]


def _whole(states: Sequence[State | None]) -> State | None:
    """The state of all columns, of which rank r holds columns r, r + size, ..."""
    held = [state_tensors(state) for state in states if state is not None]
    if states[0] is None:
        return None
    wholes = []
    for parts in zip(*held, strict=True):
        whole = parts[0].new_empty((sum(map(len, parts)), *parts[0].shape[1:]))
        for rank, part in enumerate(parts):
            whole[rank :: len(parts)] = part
        wholes.append(whole)
    return state_like(states[0], wholes)
