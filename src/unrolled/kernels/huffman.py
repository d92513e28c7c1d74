"""The tree of the hierarchical softmax (Morin and Bengio 2005): each word a leaf, frequent words near the root.

Huffman's tree (1952) joins, again and again, the two lightest of what is left; so a word's path is as long as its
frequency deserves, and the mean path as short as can be; of a leaf and an inner node alike the latter goes first, as in
word2vec. V words have V - 1 inner nodes, numbered from the root, 0, on.
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = ["huffman"]


def huffman(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (V,), V >= 2 -> paths (V + 1,), nodes, turns.

    The way from the root to word w goes through the inner nodes nodes[paths[w] : paths[w + 1]], and turns there to the
    heavier side (+1) or the lighter one (-1).
    """
    return _tree(counts, np.argsort(-counts, kind="stable"))


@kernel
def _tree(counts, order):  # type: ignore[no-untyped-def]
    """The paths of `huffman`; order: of the words by falling count."""
    n = len(counts)
    weight, parent, side = np.empty(2 * n - 1, np.int64), np.zeros(2 * n - 1, np.int64), np.ones(2 * n - 1, np.int8)
    weight[:n] = counts[order]
    leaf, inner = n - 1, n  # the lightest leaf and the lightest inner node that have no parent
    for new in range(n, 2 * n - 1):
        weight[new] = 0
        for lighter in range(2):
            if leaf >= 0 and (inner >= new or weight[leaf] < weight[inner]):
                taken, leaf = leaf, leaf - 1
            else:
                taken, inner = inner, inner + 1
            weight[new] += weight[taken]
            parent[taken] = new
            side[taken] = -1 if lighter == 0 else 1
    root = 2 * n - 2
    paths = np.zeros(n + 1, np.int64)
    for i in range(n):
        at, length = i, 0
        while at != root:
            at, length = parent[at], length + 1
        paths[order[i] + 1] = length
    for w in range(n):
        paths[w + 1] += paths[w]
    nodes, turns = np.empty(paths[n], np.int32), np.empty(paths[n], np.int8)
    for i in range(n):
        at, place = i, paths[order[i] + 1]
        while at != root:
            place -= 1
            nodes[place], turns[place] = root - parent[at], side[at]
            at = parent[at]
    return paths, nodes, turns
