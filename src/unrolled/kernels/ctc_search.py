"""Prefix beam search over the probabilities of frames: twin of `unrolled.decoding.ctc`.

A prefix is a node of a tree: its symbol, its parent. In each frame it has two probabilities: that of all alignments that
end with a blank, and that of all that end with its symbol. With p(k) the probabilities of the frame:

    blank'(y)     = (blank(y) + symbol(y)) p(blank)
    symbol'(y)   += symbol(y) p(last of y)                                      the same sound goes on
    symbol'(y k) += blank(y) p(k) if k is the last of y, else (blank(y) + symbol(y)) p(k)

(one text may come from two: y as itself and as the shorter one with a symbol more; plain: `tests/references.py`)

Graves and Jaitly 2014; Hannun et al. 2014, arXiv:1408.2873. After each frame the likeliest prefixes stay, their
probabilities divided by the largest. Where no symbol is likely enough in a frame no prefix is made (blank skipping).
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel

__all__ = ["extend", "grown", "likely", "rest", "search", "stay"]

#: Rows of a tree: parent, symbol, first child, next sibling; the frame in which a node was seen last, its place there.
_PARENT, _SYMBOL, _CHILD, _SIBLING, _SEEN, _PLACE = range(6)


@kernel
def search(p, blank, width, least):  # type: ignore[no-untyped-def]
    """The `width` likeliest prefixes of p (T, K), best first: nodes, log P; and the tree: parent and symbol of each node.

    least: symbols that are less likely are not considered in a frame.
    """
    frames, n = p.shape
    tree = np.full((6, 1024), -1)
    beam, blanks, symbols = np.zeros(width, np.int64), np.zeros(width), np.zeros(width)
    room = width * (n + 1)
    nodes, new_blanks, new_symbols, totals = np.zeros(room, np.int64), np.zeros(room), np.zeros(room), np.zeros(room)
    some = np.zeros(n, np.int64)
    blanks[0], size, n_nodes, log_scale = 1.0, 1, 1, 0.0
    for t in range(frames):
        n_some = likely(p[t], blank, least, some)
        if n_some:
            tree = grown(tree, n_nodes + size * n_some)
            found, n_nodes = extend(
                p[t], t, blank, some[:n_some], tree, n_nodes, beam[:size], blanks, symbols, nodes, new_blanks, new_symbols
            )
            for j in range(found):
                totals[j] = new_blanks[j] + new_symbols[j]
            size = stay(totals[:found], width, nodes, new_blanks, new_symbols, beam, blanks, symbols)
        else:
            rest(p[t], blank, tree, beam[:size], blanks, symbols)
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
def likely(p, blank, least, some):  # type: ignore[no-untyped-def]
    """The symbols of a frame, p (K,), that are likely enough, into `some`; how many they are."""
    n = 0
    for k in range(len(p)):
        if k != blank and p[k] >= least:
            some[n] = k
            n += 1
    return n


@kernel
def grown(tree, n):  # type: ignore[no-untyped-def]
    """The tree, larger if it has no room for n nodes."""
    while n > tree.shape[1]:
        tree = np.concatenate((tree, np.full(tree.shape, -1)), 1)
    return tree


@kernel
def rest(p, blank, tree, beam, blanks, symbols):  # type: ignore[no-untyped-def]
    """A frame, p (K,), in which nothing new begins."""
    for i in range(len(beam)):
        last, both = tree[_SYMBOL, beam[i]], blanks[i] + symbols[i]
        symbols[i] = symbols[i] * p[last] if last >= 0 else 0.0
        blanks[i] = both * p[blank]


@kernel
def extend(p, t, blank, some, tree, n_nodes, beam, blanks, symbols, nodes, to_blanks, to_symbols):  # type: ignore[no-untyped-def]
    """Frame t, p (K,): every prefix of the beam goes on as it is, and with each of `some` symbols.

    Their nodes and probabilities go to `nodes`, `to_blanks`, `to_symbols`; returns how many they are, and the nodes of the
    tree.
    """
    found = 0
    for i in range(len(beam)):
        found = _arrived(beam[i], t, tree, nodes, to_blanks, to_symbols, found)
        at, both = tree[_PLACE, beam[i]], blanks[i] + symbols[i]
        last = tree[_SYMBOL, beam[i]]
        to_blanks[at] += both * p[blank]
        if last >= 0:
            to_symbols[at] += symbols[i] * p[last]
        for k in some:
            more = (blanks[i] if k == last else both) * p[k]
            if more > 0:
                node = _child(tree, beam[i], k, n_nodes)
                n_nodes += node == n_nodes
                found = _arrived(node, t, tree, nodes, to_blanks, to_symbols, found)
                to_symbols[tree[_PLACE, node]] += more
    return found, n_nodes


@kernel
def _child(tree, node, k, following):  # type: ignore[no-untyped-def]
    """The node of a prefix with one symbol more; it becomes the node `following` if there is none."""
    child = tree[_CHILD, node]
    while child >= 0:
        if tree[_SYMBOL, child] == k:
            return child
        child = tree[_SIBLING, child]
    tree[_PARENT, following], tree[_SYMBOL, following], tree[_SIBLING, following] = node, k, tree[_CHILD, node]
    tree[_CHILD, node] = following
    return following


@kernel
def _arrived(node, t, tree, nodes, blanks, symbols, found):  # type: ignore[no-untyped-def]
    """Give a node a place among those of frame t, if it has none; returns how many have one."""
    if tree[_SEEN, node] == t:
        return found
    tree[_SEEN, node], tree[_PLACE, node], nodes[found], blanks[found], symbols[found] = t, found, node, 0, 0
    return found + 1


@kernel
def stay(totals, width, nodes, blanks, symbols, to_nodes, to_blanks, to_symbols):  # type: ignore[no-untyped-def]
    """Take over the `width` with the largest totals (n,), each at least 0, of equals the first; returns how many."""
    n = len(totals)
    bound, equal = -1.0, n
    if n > width:
        largest = np.partition(totals, n - width)
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
