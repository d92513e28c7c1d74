"""What every form of word2vec does with a stretch of text: words are dropped, a window is found, targets are chosen and
learned, the loss is summed. `word2vec.py` and `subwords.py` are made of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.window import CELLS, INPUTS, TARGETS, WIDTH, learn, prefetch, table

__all__ = [
    "BOUNDARY",
    "FLUSH",
    "NEAR_ROOT",
    "Desk",
    "Objective",
    "Rule",
    "ask_for",
    "below",
    "bring_together",
    "copy_rows",
    "draw",
    "draw_targets",
    "find_path",
    "keep_some",
    "lay_out",
    "learn_all",
    "loss_of",
    "new_desk",
    "window_of",
]

#: Stands between two sentences in the stream of ids.
BOUNDARY = -1
#: Losses are multiplied as probabilities, and become a logarithm after this many blocks.
FLUSH = 24
#: A product that would fall below it becomes a logarithm before.
_TINY = 1e-300
#: Numbers in a cache line.
_LINE = 16
#: Inner nodes that are passed so often that they stay in the cache; with several threads each has copies of them.
NEAR_ROOT = 256
#: Words after which the copies are brought together.
_APART = 1024


class Rule(NamedTuple):
    """How a window becomes inputs.

    cbow: its mean is the one input; divided: each word of a mean gets its share of the gradient, and not all of it (as
    word2vec has it); window: most words on each side, each window's size is drawn; left: words to the
    left alone; shared: one draw of noise serves all inputs of a window, and four of them learn at once.
    """

    cbow: bool
    divided: bool
    window: int
    left: bool
    shared: bool


class Objective(NamedTuple):
    """What the targets of a word are.

    negatives, noise (V,): draws, and an alias table, see `noise.py`; paths (V + 1,), nodes, turns: where each word's way
    through the tree begins, its inner nodes and the turn at each, see `huffman.py`, if there are no negatives. full: all
    words, and none of these; bias: the column of the outputs that is added to each score, -1 for none.
    """

    negatives: int
    noise: np.ndarray
    paths: np.ndarray
    nodes: np.ndarray
    turns: np.ndarray
    full: bool
    bias: int


class Desk(NamedTuple):
    """What one thread works with. random (1,): its state; kept: the ids of a stretch that were not dropped; x_rows, y_rows:
    where the rows of a step lie; signs, rates: of each target; product: of probabilities, see `loss_of`; mean (2 rows).

    What belongs to targets is there twice: those of the next word are chosen, and asked for from memory, one word ahead.
    own (3,): first of the rows of outputs where this thread's copies of the tree's upper nodes lie, how many they are (0
    for one thread), and how many threads; before: those rows as they were when they were last brought together.
    """

    random: np.ndarray
    kept: np.ndarray
    x_rows: np.ndarray
    y_rows: np.ndarray
    signs: np.ndarray
    rates: np.ndarray
    product: np.ndarray
    mean: np.ndarray
    own: np.ndarray
    before: np.ndarray


def new_desk(seed: int, length: int, targets: int, columns: int, own: tuple[int, int, int] = (0, 0, 1)) -> Desk:
    """For stretches of at most `length` ids, at most so many targets of a word, rows of so many columns."""
    return Desk(
        np.array([seed], np.uint64),
        np.zeros(length, np.int32),
        np.zeros(INPUTS, np.int64),
        np.zeros(2 * targets, np.int64),
        np.zeros(2 * targets + WIDTH, np.float32),
        np.zeros(2 * targets + WIDTH, np.float32),
        np.ones(CELLS, np.float64),
        table(2, columns).reshape(-1),
        np.array(own, np.int64),
        table(own[1], columns).reshape(-1),
    )


@kernel
def window_of(kept, n, i, before, after):  # type: ignore[no-untyped-def]
    """First and last place of the window of word i, with at most so many words on each side, within its sentence."""
    start, end = i, i + 1
    while start > 0 and i - start < before and kept[start - 1] != BOUNDARY:
        start -= 1
    while end < n and end - i <= after and kept[end] != BOUNDARY:
        end += 1
    return start, end


@kernel
def draw(random):  # type: ignore[no-untyped-def]
    """64 random bits (splitmix64, Steele et al. 2014)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def below(bits, n):  # type: ignore[no-untyped-def]
    """A number below n from the upper half of random bits."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@kernel
def keep_some(ids, keep, kept, random):  # type: ignore[no-untyped-def]
    """Drop words at random, the frequent ones mostly: keep (V,) of 2^32. Returns how many ids are in `kept`, and how many
    words there were.
    """
    n, words = 0, 0
    for word in ids:
        if word != BOUNDARY:
            words += 1
            if (draw(random) >> np.uint64(32)) > np.uint64(keep[word]):
                continue
        kept[n] = word
        n += 1
    return n, words


@kernel
def lay_out(y_rows, signs, full, columns, half):  # type: ignore[no-untyped-def]
    """What stays the same: the rows of all words, or the signs of a word and of noise."""
    for t in range(len(y_rows)):
        if full:
            y_rows[t] = t * columns
        else:
            signs[t] = 1 if t % half == 0 else -1


@kernel
def ask_for(table, row, columns):  # type: ignore[no-untyped-def]
    """Ask the memory for a row that is soon needed."""
    for k in range(0, columns, _LINE):
        prefetch(table, row + k)


@kernel
def draw_targets(word, first, rate, negatives, noise, columns, y, random, y_rows, rates):  # type: ignore[no-untyped-def]
    """From place `first` on the word's row, then those of other words from the noise; the rate of what is drawn twice is
    twice the rate. Returns how many rows.
    """
    n = first + 1
    y_rows[first], rates[first] = word * columns, rate
    ask_for(y, y_rows[first], columns)
    for _ in range(negatives):
        bits = draw(random)
        found = below(bits, len(noise))
        entry = noise[found]
        if (bits & np.uint64(0xFFFFFFFF)) >= (entry >> np.uint64(32)):
            found = np.int64(entry & np.uint64(0xFFFFFFFF))
        row, t = found * columns, first
        while t < n and y_rows[t] != row:
            t += 1
        if t == n:
            y_rows[n], rates[n] = row, rate
            ask_for(y, row, columns)
            n += 1
        elif t > first:
            rates[t] += rate
    return n - first


@kernel
def find_path(word, first, rate, paths, nodes, turns, columns, y, y_rows, signs, rates, own):  # type: ignore[no-untyped-def]
    """From place `first` on the rows of the inner nodes on the way to a word, and the turn at each. Returns how many."""
    start = paths[word]
    n = paths[word + 1] - start
    for t in range(n):
        node = np.int64(nodes[start + t])
        row = node if node >= own[1] else own[0] + node
        y_rows[first + t], signs[first + t], rates[first + t] = row * columns, turns[start + t], rate
        if node >= NEAR_ROOT:
            ask_for(y, node * columns, columns)
    return n


@kernel
def copy_rows(outputs, columns, own, before):  # type: ignore[no-untyped-def]
    """Take this thread's copies of rows anew."""
    for k in range(own[1] * columns):
        outputs[own[0] * columns + k] = before[k] = outputs[k]


@kernel
def bring_together(i, outputs, columns, own, before):  # type: ignore[no-untyped-def]
    """Now and then, at word i, add this thread's share of what its copies of rows have moved by to the rows, and copy them
    anew: all threads together move them by the mean.

    Else the cache lines of the root, which is learned at every word, would travel from core to core all the time.
    """
    if own[1] and i % _APART == 0:
        first, share = own[0] * columns, np.float32(1.0 / own[2])
        for k in range(own[1] * columns):
            outputs[k] += (outputs[first + k] - before[k]) * share
        copy_rows(outputs, columns, own, before)


@kernel
def learn_all(n_inputs, first, n_targets, x, x_rows, y, y_rows, vectors, signs, rates, product):  # type: ignore[no-untyped-def]
    """One step for all targets, shared out evenly among as few blocks as will do."""
    blocks = (n_targets + TARGETS[n_inputs] - 1) // TARGETS[n_inputs]
    t = first
    for left in range(blocks, 0, -1):
        some = (first + n_targets - t + left - 1) // left
        learn(n_inputs, some, x, x_rows, y, y_rows, t, vectors, signs, t, rates, t, product, 0)
        t += some
    return blocks


@kernel
def loss_of(product):  # type: ignore[no-untyped-def]
    """Minus the logarithm of the product of all probabilities so far; they begin anew."""
    loss, p = 0.0, 1.0
    for cell in range(CELLS):
        if p * product[cell] < _TINY:
            loss -= np.log(p)
            p = 1.0
        p *= product[cell]
        product[cell] = 1
    return loss - np.log(p)
