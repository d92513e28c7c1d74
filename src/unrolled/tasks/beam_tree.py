"""The tree of a beam search as a block for `pictures.page`, and log-probabilities added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unrolled.decoding.beam import Node

__all__ = ["added", "beam_tree"]

#: Of each step of the beam, so many of what was pruned are drawn.
_PRUNED = 5


def beam_tree(tree: list[list[Node]], name: Callable[[int], str], paths: dict[str, list[int]]) -> dict[str, Any]:
    """The beam as a block: of each step all that lived or ended, the likeliest that were pruned, and the paths named.
    name: what a symbol is called.
    """
    steps = list[list[dict[str, Any]]]()
    on, place = dict.fromkeys(paths, -1), {-1: -1}
    for t, nodes in enumerate(tree):
        marked: dict[int, list[str]] = {}
        for way, path in paths.items():
            hits = [i for i, n in enumerate(nodes) if t < len(path) and (n.parent, n.symbol) == (on[way], path[t])]
            on[way] = hits[0] if hits else len(nodes)
            if hits:
                marked.setdefault(hits[0], []).append(way)
        pruned = [i for i, node in enumerate(nodes) if node.fate == "pruned"]
        left_out = set(pruned[_PRUNED:]) - set(marked)
        kept = [i for i in range(len(nodes)) if i not in left_out]
        steps.append(
            [
                {
                    "parent": place[nodes[i].parent],
                    "token": name(nodes[i].symbol),
                    "log_probability": round(nodes[i].log_probability, 4),
                    "fate": nodes[i].fate,
                    "paths": marked.get(i, []),
                }
                for i in kept
            ]
        )
        place = {i: k for k, i in enumerate(kept)}
    note = (
        "Step by step, likeliest first. Framed: ended. Grey: pruned. Strong: what was returned; underlined: the reference."
    )
    return {"kind": "tree", "title": "The beam", "note": note, "steps": steps}


def added(scores: Sequence[float]) -> list[list[float]]:
    """The points of a line: after each symbol the sum so far."""
    total, points = 0.0, [[0.0, 0.0]]
    for i, score in enumerate(scores, start=1):
        total += score
        points.append([float(i), round(total, 5)])
    return points
