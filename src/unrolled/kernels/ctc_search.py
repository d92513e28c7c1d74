"""Prefix beam search over the probabilities of frames: twin of `unrolled.decoding.ctc`.

A prefix is a node of a tree: its symbol, its parent. In each frame it has two probabilities: that of all alignments that
end with a blank, and that of all that end with its symbol. With p(k) the probabilities of the frame:

    blank'(y)     = (blank(y) + symbol(y)) p(blank)
    symbol'(y)    = symbol(y) p(last of y)                                      the same sound goes on
    symbol'(y k)  = blank(y) p(k) if k is the last of y, else (blank(y) + symbol(y)) p(k)

Graves and Jaitly 2014; Hannun et al. 2014, arXiv:1408.2873. After each frame the likeliest prefixes stay, their
probabilities divided by the largest.
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = ["search"]


@kernel
def search(p, blank, width, least):  # type: ignore[no-untyped-def]
    """The `width` likeliest prefixes of p (T, K), best first: nodes, log P; and the tree: parent and symbol of each node.

    least: symbols that are less likely are not considered in a frame.
    """
    frames, n = p.shape
    tree = np.full((4, 1024), -1)  # parent, symbol, first child, next sibling
    place, seen = np.zeros(1024, np.int64), np.full(1024, -1)
    beam, blanks, symbols = np.zeros(width, np.int64), np.zeros(width), np.zeros(width)
    room = width * (n + 1)
    nodes, new_blanks, new_symbols, totals = np.zeros(room, np.int64), np.zeros(room), np.zeros(room), np.zeros(room)
    some = np.zeros(n, np.int64)
    blanks[0], size, n_nodes, log_scale = 1.0, 1, 1, 0.0
    for t in range(frames):
        n_some = 0
        for k in range(n):
            if k != blank and p[t, k] >= least:
                some[n_some] = k
                n_some += 1
        while n_nodes + size * n_some > tree.shape[1]:
            tree = np.concatenate((tree, np.full(tree.shape, -1)), 1)
            place, seen = np.concatenate((place, place)), np.concatenate((seen, np.full(len(seen), -1)))
        found = 0
        for i in range(size):
            found = _arrived(beam[i], t, place, seen, nodes, new_blanks, new_symbols, found)
            at, both = place[beam[i]], blanks[i] + symbols[i]
            last = tree[1, beam[i]]
            new_blanks[at] += both * p[t, blank]
            if last >= 0:
                new_symbols[at] += symbols[i] * p[t, last]
            for j in range(n_some):
                k = some[j]
                more = (blanks[i] if k == last else both) * p[t, k]
                if more > 0:
                    node = _child(tree, beam[i], k, n_nodes)
                    n_nodes += node == n_nodes
                    found = _arrived(node, t, place, seen, nodes, new_blanks, new_symbols, found)
                    new_symbols[place[node]] += more
        for j in range(found):
            totals[j] = new_blanks[j] + new_symbols[j]
        size = _stay(totals, found, width, nodes, new_blanks, new_symbols, beam, blanks, symbols)
        most = 0.0
        for i in range(size):
            most = max(most, blanks[i] + symbols[i])
        if most == 0:
            return beam[:0], totals[:0], tree[:2, :n_nodes]
        log_scale += np.log(most)
        for i in range(size):
            blanks[i] /= most
            symbols[i] /= most
    order = np.argsort(-(blanks[:size] + symbols[:size]), kind="mergesort")
    return beam[order], np.log((blanks + symbols)[order]) + log_scale, tree[:2, :n_nodes]


@kernel
def _child(tree, node, k, following):  # type: ignore[no-untyped-def]
    """The node of a prefix with one symbol more; it becomes the node `following` if there is none."""
    child = tree[2, node]
    while child >= 0:
        if tree[1, child] == k:
            return child
        child = tree[3, child]
    tree[0, following], tree[1, following], tree[3, following] = node, k, tree[2, node]
    tree[2, node] = following
    return following


@kernel
def _arrived(node, t, place, seen, nodes, blanks, symbols, found):  # type: ignore[no-untyped-def]
    """Give a node a place among those of frame t, if it has none; returns how many have one."""
    if seen[node] == t:
        return found
    seen[node], place[node], nodes[found], blanks[found], symbols[found] = t, found, node, 0, 0
    return found + 1


@kernel
def _stay(totals, n, width, nodes, blanks, symbols, to_nodes, to_blanks, to_symbols):  # type: ignore[no-untyped-def]
    """Take over the `width` of n with the largest totals, of equals the first; returns how many."""
    bound, equal = -1.0, n
    if n > width:
        largest = np.partition(totals[:n], n - width)
        bound, equal = largest[n - width], 0
        for j in range(n - width, n):
            equal += largest[j] == bound
    size = 0
    for j in range(n):
        if totals[j] > bound or (totals[j] == bound and equal > 0):
            equal -= totals[j] == bound
            to_nodes[size], to_blanks[size], to_symbols[size] = nodes[j], blanks[j], symbols[j]
            size += 1
    return size
