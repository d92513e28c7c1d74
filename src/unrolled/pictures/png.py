"""PNG pictures, where matplotlib is installed."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from unrolled.folders import write_bytes
from unrolled.metric_names import named
from unrolled.pictures.metrics import LOSSES, split_by_scale

__all__ = ["curves", "explanation"]

#: Photos beside each other.
_PHOTOS = 6


def curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the metrics that the task is about, then the losses, over steps or epochs. rows: lines of metrics.jsonl."""
    x = "step" if "step" in rows[-1] else "epoch"
    groups = [*split_by_scale(rows), [key for key in LOSSES if any(row.get(key) is not None for row in rows)]]
    figure = Figure(figsize=(8, 2.6 * len(groups) + 0.6))
    for (axes,), keys in zip(figure.subplots(len(groups), 1, squeeze=False), groups, strict=True):
        for key in keys:
            points = [(row[x], row[key]) for row in rows if row.get(key) is not None]
            axes.plot(*zip(*points, strict=True), marker=".", label=named(key))
        axes.set_xlabel(x)
        if keys:
            axes.legend()
    figure.tight_layout()
    _save(figure, path, dpi=100)


def explanation(found: dict[str, Any], path: Path) -> None:
    """Draw the blocks of an explanation under each other."""
    blocks = [block for block in found["blocks"] if block["kind"] in _DRAW]
    figure = Figure(figsize=(max(8, 0.22 * len(found.get("tokens", ()))), 3.4 * len(blocks)))
    for block, (axes,) in zip(blocks, figure.subplots(len(blocks), 1, squeeze=False), strict=True):
        axes.set_title(block["title"], fontsize=10)
        _DRAW[block["kind"]](block, axes)
    figure.tight_layout()
    _save(figure, path, dpi=110)


def _save(figure: Figure, path: Path, *, dpi: int) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, dpi=dpi, format="png")
    write_bytes(path, picture.getvalue())


def _tokens(block: dict[str, Any], axes: Any) -> None:
    axes.bar(range(len(block["values"])), block["values"])
    _label(axes, block["tokens"])
    axes.set_ylabel("bits")


def _heat(block: dict[str, Any], axes: Any) -> None:
    low, high = block["range"]
    axes.imshow(block["values"], aspect="auto", cmap="RdBu_r", vmin=low, vmax=high)
    _label(axes, block["columns"])
    rows = [str(name).replace("$", r"\$") for name in block["rows"]]
    if len(rows) <= 60:
        axes.set_yticks(range(len(rows)), rows, fontsize=10 if len(rows) <= 8 else 7 if len(rows) <= 20 else 3.5)


def _lines(block: dict[str, Any], axes: Any) -> None:
    for series in block["series"]:
        axes.plot(*zip(*series["points"], strict=True), marker=".", label=series["name"])
    if block.get("log"):
        axes.set_yscale("log")
    axes.set_xlabel(block["x"])
    if len(block["series"]) > 1:
        axes.legend()


def _label(axes: Any, tokens: list[str]) -> None:
    axes.set_xticks(
        range(len(tokens)), [repr(token)[1:-1].replace("$", r"\$") for token in tokens], rotation=60, fontsize=7
    )


def _map(block: dict[str, Any], axes: Any) -> None:
    axes.figure.set_size_inches(14, 11)
    axes.axis("off")
    for word, (x, y) in zip(block["words"][:600], block["places"], strict=False):
        axes.text(x, y, word.replace("$", r"\$"), fontsize=6, ha="center", va="center")
    axes.set_xlim(-1.05, 1.05)
    axes.set_ylim(-1.05, 1.05)


def _tree(block: dict[str, Any], axes: Any) -> None:
    """The steps of the paths that count and two more: the search may have gone on long to prove that nothing is better."""
    axes.axis("off")
    last = max((t for t, nodes in enumerate(block["steps"]) if any(node["paths"] for node in nodes)), default=0)
    steps = block["steps"][: last + 3]
    left = len(block["steps"]) - len(steps)
    if left:
        axes.set_title(f"{axes.get_title()}; {left} more steps are not shown", fontsize=10)
    for t, nodes in enumerate(steps):
        for i, node in enumerate(nodes):
            best, pruned = "best" in node["paths"], node["fate"] == "pruned"
            ink = "tab:red" if best else "tab:blue" if node["paths"] else "0.7" if pruned else "0.3"
            start = node["parent"] if t else 0
            axes.plot([t - 0.35, t - 0.05], [start, i], color=ink, linewidth=1.5 if node["paths"] else 0.4)
            frame = {"edgecolor": ink, "facecolor": "none", "pad": 1.5} if node["fate"] == "ended" else None
            word = repr(node["token"])[1:-1].replace("$", r"\$")
            axes.text(t, i, word, fontsize=6, color=ink, va="center", weight="bold" if best else "normal", bbox=frame)
    axes.set_xlim(-0.5, len(steps))
    axes.invert_yaxis()
    width, height = axes.figure.get_size_inches()
    axes.figure.set_size_inches(max(width, 0.7 * len(steps)), height)


def _raster(block: dict[str, Any], axes: Any) -> None:
    """Rows of values over time, and words where they are heard."""
    low, high = block["range"]
    values, step = np.array(block["values"]), block["step"]
    extent = (0, values.shape[1] * step, len(values) - 0.5, -0.5)
    axes.imshow(values, aspect="auto", cmap="Reds", vmin=low, vmax=high, extent=extent, interpolation="nearest")
    names = [name.replace("$", r"\$") for name in block["rows"]]
    axes.set_yticks(range(len(names)), names, fontsize=8 if len(names) <= 24 else 5)
    axes.set_xlabel("seconds")
    for span in block["spans"]:
        axes.axvspan(span["begin"], span["end"], ymin=0.9, color="tab:blue", alpha=0.35, linewidth=0)
        middle, word = (span["begin"] + span["end"]) / 2, span["text"].replace("$", r"\$")
        axes.text(middle, 0.95, word, transform=axes.get_xaxis_transform(), ha="center", va="center", fontsize=8)


def _photo(block: dict[str, Any], axes: Any) -> None:
    """The image, and once more for each word with the regions it did not look at in the dark."""
    axes.axis("off")
    data = base64.b64decode(block["image"].partition(",")[2])
    image, side = imread(io.BytesIO(data), format="jpg") / 255, block["side"]
    size = len(image)
    rows = math.ceil((1 + len(block["words"])) / _PHOTOS)
    for i, word in enumerate(["the image", *block["words"]]):
        x, y = i % _PHOTOS * 1.1, i // _PHOTOS * 1.25
        shown = image
        if i:
            looked = np.reshape(block["values"][i - 1], (side, side))
            at = np.arange(size) * side // size
            shown = image * np.minimum(0.2 + 0.8 * looked / looked.max(), 1)[at[:, None], at][..., None]
        axes.imshow(shown, extent=(x, x + 1, y + 1, y))
        axes.text(x + 0.5, y + 1.12, word.replace("$", r"\$"), ha="center", va="center", fontsize=9)
    axes.set_xlim(0, _PHOTOS * 1.1)
    axes.set_ylim(rows * 1.25, 0)
    width, height = axes.figure.get_size_inches()
    axes.figure.set_size_inches(max(width, 11), height + 1.9 * (rows - 1))


_DRAW = {"tokens": _tokens, "heat": _heat, "lines": _lines, "map": _map, "tree": _tree, "photo": _photo, "raster": _raster}
