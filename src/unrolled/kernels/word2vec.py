"""Word2vec (Mikolov et al. 2013, arXiv:1301.3781 and 1310.4546) over a stretch of text, in place, on one thread.

Skip-gram:  each word in the window of a centre word is an input, scored against the centre word's targets.
CBOW:       the mean of the window is the one input.

The targets of a centre word and what is right of each:

    negative sampling      the word itself: yes; words drawn from the noise: no. One draw serves the whole window
    hierarchical softmax   the inner nodes on the way to the word in a Huffman tree: left or right
    full softmax           all words: the probability of each against 1 or 0

For the binary ones, with s = +1 for yes and -1 for no, the loss of input x and target y is -log q, q = sigmoid(s x.y),
and both move by rate * s (1 - q) times the other. Threads may run at once on the same tables: each reads what others write
(Hogwild, Recht et al. 2011). A word that the noise has drawn twice counts once in the loss; windows end where a stretch
does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.window import CELLS, INPUTS, TARGETS, WIDTH, add_row, learn, moves, prefetch, scores, table

__all__ = ["BOUNDARY", "Desk", "Objective", "Rule", "new_desk", "train_stretch"]

#: Stands between two sentences in the stream of ids.
BOUNDARY = -1
#: Losses are multiplied as probabilities, and become a logarithm after this many blocks.
_FLUSH = 24
#: A product that would fall below it becomes a logarithm before.
_TINY = 1e-300
#: Numbers in a cache line.
_LINE = 16
#: Inner nodes that are passed so often that they stay in the cache.
_NEAR_ROOT = 256


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
    where the rows of a step lie; signs, rates: of each target; product: of probabilities, see `_loss`; mean (2 rows).

    What belongs to targets is there twice: those of the next word are chosen, and asked for from memory, one word ahead.
    """

    random: np.ndarray
    kept: np.ndarray
    x_rows: np.ndarray
    y_rows: np.ndarray
    signs: np.ndarray
    rates: np.ndarray
    product: np.ndarray
    mean: np.ndarray


def new_desk(seed: int, length: int, targets: int, columns: int) -> Desk:
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
    )


@kernel
def _draw(random):  # type: ignore[no-untyped-def]
    """64 random bits (splitmix64, Steele et al. 2014)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def _below(bits, n):  # type: ignore[no-untyped-def]
    """A number below n from the upper half of random bits."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@kernel
def _keep_some(ids, keep, kept, random):  # type: ignore[no-untyped-def]
    """Drop words at random, the frequent ones mostly: keep (V,) of 2^32. Returns how many ids are in `kept`, and how many
    words there were.
    """
    n, words = 0, 0
    for word in ids:
        if word != BOUNDARY:
            words += 1
            if (_draw(random) >> np.uint64(32)) > np.uint64(keep[word]):
                continue
        kept[n] = word
        n += 1
    return n, words


@kernel
def _ask_for(table, row, columns):  # type: ignore[no-untyped-def]
    for k in range(0, columns, _LINE):
        prefetch(table, row + k)


@kernel
def _draw_targets(word, first, rate, negatives, noise, columns, y, random, y_rows, rates):  # type: ignore[no-untyped-def]
    """From place `first` on the word's row, then those of words from the noise, other than the word; the rate of what is
    drawn twice is twice the rate. Returns how many rows.
    """
    n = first + 1
    y_rows[first], rates[first] = word * columns, rate
    _ask_for(y, y_rows[first], columns)
    for _ in range(negatives):
        bits = _draw(random)
        found = _below(bits, len(noise))
        entry = noise[found]
        if (bits & np.uint64(0xFFFFFFFF)) >= (entry >> np.uint64(32)):
            found = np.int64(entry & np.uint64(0xFFFFFFFF))
        if found == word:
            continue
        row, t = found * columns, first + 1
        while t < n and y_rows[t] != row:
            t += 1
        if t < n:
            rates[t] += rate
            continue
        y_rows[n], rates[n] = row, rate
        _ask_for(y, row, columns)
        n += 1
    return n - first


@kernel
def _find_path(word, first, rate, paths, nodes, turns, columns, y, y_rows, signs, rates):  # type: ignore[no-untyped-def]
    """From place `first` on the rows of the inner nodes on the way to a word, and the turn at each. Returns how many."""
    start = paths[word]
    n = paths[word + 1] - start
    for t in range(n):
        node = np.int64(nodes[start + t])
        y_rows[first + t], signs[first + t], rates[first + t] = node * columns, turns[start + t], rate
        if node >= _NEAR_ROOT:
            _ask_for(y, node * columns, columns)
    return n


@kernel
def _learn_all(n_inputs, first, n_targets, x, x_rows, y, y_rows, vectors, signs, rates, product):  # type: ignore[no-untyped-def]
    """One step for all targets, shared out evenly among as few blocks as will do."""
    blocks = (n_targets + TARGETS[n_inputs] - 1) // TARGETS[n_inputs]
    t = first
    for left in range(blocks, 0, -1):
        some = (first + n_targets - t + left - 1) // left
        learn(n_inputs, some, x, x_rows, y, y_rows, t, vectors, signs, t, rates, t, product, 0)
        t += some
    return blocks


@kernel
def _loss(product):  # type: ignore[no-untyped-def]
    """Minus the logarithm of the product of all probabilities so far; they begin anew."""
    loss, p = 0.0, 1.0
    for cell in range(CELLS):
        if p * product[cell] < _TINY:
            loss -= np.log(p)
            p = 1.0
        p *= product[cell]
        product[cell] = 1
    return loss - np.log(p)


@kernel
def _learn_softmax(word, n_words, x, x_rows, y, columns, rate, y_rows, f):  # type: ignore[no-untyped-def]
    """One step of the full softmax, for one input and all words as targets; f: room for their scores. Returns the loss."""
    vectors, most = columns // WIDTH, TARGETS[1]
    for t in range(0, n_words, most):
        scores(1, min(most, n_words - t), x, x_rows, y, y_rows, t, vectors, f, t)
    largest, total = f[word], 0.0
    for t in range(n_words):
        largest = max(largest, f[t])
    right = f[word] - largest
    for t in range(n_words):
        f[t] = np.exp(f[t] - largest)
        total += f[t]
    for t in range(n_words):
        f[t] *= np.float32(-rate / total)
    f[word] += rate
    for t in range(0, n_words, most):
        moves(1, min(most, n_words - t), x, x_rows, y, y_rows, t, vectors, f, t)
    return np.log(total) - right


@kernel
def _average(kept, start, end, centre, inputs, columns, mean, bias):  # type: ignore[no-untyped-def]
    """The mean of the vectors of the words start..end around the centre, into the first and the second row of `mean`, with
    1 in a column for the bias. Returns how many words there are.
    """
    n = end - start - 1
    for k in range(2 * columns):
        mean[k] = 0
    share = np.float32(1.0 / n)
    for j in range(start, end):
        if j != centre:
            add_row(mean, 0, inputs, np.int64(kept[j]) * columns, columns // WIDTH, share)
    if bias >= 0:
        mean[bias] = 1
    add_row(mean, columns, mean, 0, columns // WIDTH, np.float32(1))
    return n


@kernel
def _share_out(kept, start, end, centre, inputs, columns, mean, bias, share):  # type: ignore[no-untyped-def]
    """What the mean has moved by, times the share, moves each of the words."""
    add_row(mean, 0, mean, columns, columns // WIDTH, np.float32(-1))
    if bias >= 0:
        mean[bias] = 0
    for j in range(start, end):
        if j != centre:
            add_row(inputs, np.int64(kept[j]) * columns, mean, 0, columns // WIDTH, np.float32(share))


@kernel
def _lay_out(y_rows, signs, full, columns, half):  # type: ignore[no-untyped-def]
    """What stays the same: the rows of all words, or the signs of a word and of noise."""
    for t in range(len(y_rows)):
        if full:
            y_rows[t] = t * columns
        else:
            signs[t] = 1 if t % half == 0 else -1


@kernel
def _window(kept, n, i, reach, left):  # type: ignore[no-untyped-def]
    """First and last place of the window of word i, within its sentence."""
    start, end = i, i + 1
    while start > 0 and i - start < reach and kept[start - 1] != BOUNDARY:
        start -= 1
    while not left and end < n and end - i <= reach and kept[end] != BOUNDARY:
        end += 1
    return start, end


@kernel
def _takes(row, c, x_rows, most):  # type: ignore[no-untyped-def]
    """Whether a block of c inputs has room for this one: no row stands in a block twice."""
    for k in range(c):
        if x_rows[k] == row:
            return False
    return c < most and row >= 0


@kernel
def train_stretch(ids, keep, inputs, outputs, columns, rule, objective, rates, desk):  # type: ignore[no-untyped-def]
    """Train on ids (N,), with the learning rate going from rates[0] to rates[1].

    keep (V,): of 2^32, how often a word is kept; inputs, outputs: the tables, flat, rows of `columns` numbers. Returns
    words read, inputs trained, and the loss summed over them, in nats.
    """
    random, kept, x_rows, y_rows, signs, target_rates, product, mean = desk
    negatives, noise, paths, nodes, turns, full, bias = objective
    cbow, divided, window, left, shared = rule
    vectors, half, x = columns // WIDTH, len(y_rows) // 2, mean if cbow else inputs
    own, most = bool(negatives) and not (shared or cbow), INPUTS if shared and not full else 1
    _lay_out(y_rows, signs, full, columns, half)
    n, words = _keep_some(ids, keep, kept, random)
    loss, trained, blocks, n_targets, n_next = 0.0, 0, 0, 0, 0
    start_rate, slope = rates[0], (rates[1] - rates[0]) / max(1, n)
    for i in range(-1, n):
        first, following, n_targets = i % 2 * half, (i + 1) % 2 * half, n_next
        if i + 1 < n and kept[i + 1] != BOUNDARY and not full:
            after, soon = np.int64(kept[i + 1]), np.float32(start_rate + slope * (i + 1))
            if negatives:
                n_next = _draw_targets(
                    after, following, soon, negatives, noise, columns, outputs, random, y_rows, target_rates
                )
            else:
                n_next = _find_path(
                    after, following, soon, paths, nodes, turns, columns, outputs, y_rows, signs, target_rates
                )
        if i < 0 or kept[i] == BOUNDARY:
            continue
        word, rate = np.int64(kept[i]), np.float32(start_rate + slope * i)
        start, end = _window(kept, n, i, 1 + _below(_draw(random), window), left)
        c, together = 0, 0
        if cbow and end - start > 1:
            together, c, x_rows[0] = _average(kept, start, end, i, inputs, columns, mean, bias), 1, 0
        for j in range(end if cbow else start, end + 1):  # at `end` nothing is read: what is left is learned
            if j == i:
                continue
            row = np.int64(kept[j]) * columns if j < end else np.int64(-1)
            if c and not _takes(row, c, x_rows, most):
                if own:
                    n_targets = _draw_targets(
                        word, first, rate, negatives, noise, columns, outputs, random, y_rows, target_rates
                    )
                if full:
                    loss += _learn_softmax(word, len(keep), x, x_rows, outputs, columns, rate, y_rows, target_rates)
                else:
                    blocks += _learn_all(
                        c, first, n_targets, x, x_rows, outputs, y_rows, vectors, signs, target_rates, product
                    )
                trained += c
                c = 0
            if j < end:
                x_rows[c] = row
                c += 1
        if together:
            _share_out(kept, start, end, i, inputs, columns, mean, bias, 1.0 / together if divided else 1.0)
        if blocks >= _FLUSH:
            loss += _loss(product)
            blocks = 0
    return words, trained, loss + _loss(product)
