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

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.stretch import (
    BOUNDARY,
    FLUSH,
    below,
    bring_together,
    copy_rows,
    draw,
    draw_targets,
    find_path,
    keep_some,
    lay_out,
    learn_all,
    loss_of,
    window_of,
)
from unrolled.kernels.window import INPUTS, TARGETS, WIDTH, add_row, moves, scores

__all__ = ["train_stretch"]


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
    random, kept, x_rows, y_rows, signs, target_rates, product, mean, own, before = desk
    negatives, noise, paths, nodes, turns, full, bias = objective
    cbow, divided, window, left, shared = rule
    vectors, half, x = columns // WIDTH, len(y_rows) // 2, mean if cbow else inputs
    each, most = bool(negatives) and not (shared or cbow), INPUTS if shared and not full else 1
    copy_rows(outputs, columns, own, before)
    lay_out(y_rows, signs, full, columns, half)
    n, words = keep_some(ids, keep, kept, random)
    loss, trained, blocks, n_targets, n_next = 0.0, 0, 0, 0, 0
    start_rate, slope = rates[0], (rates[1] - rates[0]) / max(1, n)
    for i in range(-1, n):
        first, following, n_targets = i % 2 * half, (i + 1) % 2 * half, n_next
        if i + 1 < n and kept[i + 1] != BOUNDARY and not full:
            after, soon = np.int64(kept[i + 1]), np.float32(start_rate + slope * (i + 1))
            if negatives:
                n_next = draw_targets(
                    after, following, soon, negatives, noise, columns, outputs, random, y_rows, target_rates
                )
            else:
                n_next = find_path(
                    after, following, soon, paths, nodes, turns, columns, outputs, y_rows, signs, target_rates, own
                )
        if i < 0 or kept[i] == BOUNDARY:
            continue
        word, rate = np.int64(kept[i]), np.float32(start_rate + slope * i)
        reach = 1 + below(draw(random), window)
        start, end = window_of(kept, n, i, reach, 0 if left else reach)
        c, together = 0, 0
        if cbow and end - start > 1:
            together, c, x_rows[0] = _average(kept, start, end, i, inputs, columns, mean, bias), 1, 0
        for j in range(end if cbow else start, end + 1):  # at `end` nothing is read: what is left is learned
            if j == i:
                continue
            row = np.int64(kept[j]) * columns if j < end else np.int64(-1)
            if c and not _takes(row, c, x_rows, most):
                if each:
                    n_targets = draw_targets(
                        word, first, rate, negatives, noise, columns, outputs, random, y_rows, target_rates
                    )
                if full:
                    loss += _learn_softmax(word, len(keep), x, x_rows, outputs, columns, rate, y_rows, target_rates)
                else:
                    blocks += learn_all(
                        c, first, n_targets, x, x_rows, outputs, y_rows, vectors, signs, target_rates, product
                    )
                trained += c
                c = 0
            if j < end:
                x_rows[c] = row
                c += 1
        if together:
            _share_out(kept, start, end, i, inputs, columns, mean, bias, 1.0 / together if divided else 1.0)
        bring_together(i, outputs, columns, own, before)
        if blocks >= FLUSH:
            loss += loss_of(product)
            blocks = 0
    bring_together(0, outputs, columns, own, before)
    return words, trained, loss + loss_of(product)
