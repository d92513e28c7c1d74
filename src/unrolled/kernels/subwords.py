"""Word2vec with sub-words (Bojanowski et al. 2017, arXiv:1607.04606) over a stretch of text, in place, on one thread.

    the vector of a word     the mean of its parts: a row of its own, and one for each of its character n-grams
    to move it               all its parts move as it does

Skip-gram:  the vector of the centre word is the one input, the words of its window are the targets.
CBOW:       the mean of the vectors of the window is the one input, the centre word the target.

An input is put together once for a window and handed back once, whatever it met there: parts cost more than targets. So
skip-gram goes the other way than in `word2vec.py`, from the centre; the pairs it learns are the same. One draw of noise
serves the window and counts for each of its words.
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.stretch import (
    BOUNDARY,
    FLUSH,
    ask_for,
    below,
    draw,
    draw_noise,
    draw_targets,
    find_path,
    keep_some,
    learn_all,
    loss_of,
    window_of,
)
from unrolled.kernels.window import CELLS, WIDTH, add_row

__all__ = ["train_parts"]


@kernel
def _put_together(kept, start, end, centre, starts, parts, table, columns, mean):  # type: ignore[no-untyped-def]
    """The mean of the vectors of the words start..end around the centre, into the first and the second row of `mean`."""
    n = end - start - (start <= centre < end)
    for k in range(2 * columns):
        mean[k] = 0
    for j in range(start, end):
        if j != centre:
            first, last = starts[kept[j]], starts[kept[j] + 1]
            share = np.float32(1.0 / (n * (last - first)))
            for p in range(first, last):
                add_row(mean, 0, table, np.int64(parts[p]) * columns, columns // WIDTH, share)
    add_row(mean, columns, mean, 0, columns // WIDTH, np.float32(1))


@kernel
def _hand_back(kept, start, end, centre, starts, parts, table, columns, mean, share):  # type: ignore[no-untyped-def]
    """What the mean has moved by, times the share, moves each part of each of the words."""
    add_row(mean, 0, mean, columns, columns // WIDTH, np.float32(-1))
    for j in range(start, end):
        if j != centre:
            for p in range(starts[kept[j]], starts[kept[j] + 1]):
                add_row(table, np.int64(parts[p]) * columns, mean, 0, columns // WIDTH, np.float32(share))


@kernel
def _window_targets(kept, start, end, centre, rate, objective, columns, outputs, desk):  # type: ignore[no-untyped-def]
    """The words of a window, each once, and behind them one draw of noise, which counts for each of them. Returns how many
    words and how many rows there are.
    """
    n = 0
    for j in range(start, end):
        if j != centre:
            row, t = np.int64(kept[j]) * columns, 0
            while t < n and desk.y_rows[t] != row:
                t += 1
            if t == n:
                desk.y_rows[n], desk.rates[n], desk.signs[n] = row, 0, 1
                n += 1
            desk.rates[t] += rate
    pairs = np.float32(rate * (end - start - 1))
    n_targets = draw_noise(
        0, n, pairs, objective.negatives, objective.noise, columns, outputs, desk.random, desk.y_rows, desk.rates
    )
    desk.signs[n:n_targets] = -1
    return n, n_targets


@kernel
def _word_targets(word, rate, objective, columns, outputs, desk):  # type: ignore[no-untyped-def]
    """The targets of one word. Returns how many rows."""
    negatives, noise, paths, nodes, turns, _, _ = objective
    if not negatives:
        return find_path(word, 0, rate, paths, nodes, turns, columns, outputs, desk.y_rows, desk.signs, desk.rates)
    n = draw_targets(word, 0, rate, negatives, noise, columns, outputs, desk.random, desk.y_rows, desk.rates)
    desk.signs[0] = 1
    desk.signs[1:n] = -1
    return n


@kernel
def _learn_input(first, n_targets, columns, outputs, desk, product):  # type: ignore[no-untyped-def]
    """One step of the one input, `desk.mean`, for targets from place `first` on. Returns how many blocks it took."""
    return learn_all(
        1,
        first,
        n_targets,
        desk.mean,
        desk.x_rows,
        outputs,
        desk.y_rows,
        columns // WIDTH,
        desk.signs,
        desk.rates,
        product,
    )


@kernel
def train_parts(ids, keep, starts, parts, table, outputs, columns, rule, objective, rates, desk):  # type: ignore[no-untyped-def]
    """Like `train_stretch`, for words whose vectors are means of rows of a table.

    starts (V + 1,), parts: the rows of word w are parts[starts[w] : starts[w + 1]]. Returns words read, pairs trained, and
    the loss summed over them, in nats.
    """
    cbow, divided, window, left, shared = rule
    kept, whole = desk.kept, shared and not cbow and objective.negatives > 0
    product, of_noise = desk.product[:CELLS], desk.product[CELLS:]
    n, words = keep_some(ids, keep, kept, desk.random)
    loss, trained, blocks = 0.0, 0, 0
    start_rate, slope = rates[0], (rates[1] - rates[0]) / max(1, n)
    desk.x_rows[0] = 0
    for i in range(n):
        if i + 1 < n and kept[i + 1] != BOUNDARY and not cbow:
            for p in range(starts[kept[i + 1]], starts[kept[i + 1] + 1]):
                ask_for(table, np.int64(parts[p]) * columns, columns)
        if kept[i] == BOUNDARY:
            continue
        rate, reach = np.float32(start_rate + slope * i), 1 + below(draw(desk.random), window)
        start, end = window_of(kept, n, i, 0 if left and not cbow else reach, 0 if left and cbow else reach)
        if end - start < 2:
            continue
        first, last, centre = (start, end, i) if cbow else (i, i + 1, -1)
        right, n_targets = 0, 0
        if whole:
            right, n_targets = _window_targets(kept, start, end, i, rate, objective, columns, outputs, desk)
        _put_together(kept, first, last, centre, starts, parts, table, columns, desk.mean)
        if whole:
            blocks += _learn_input(0, right, columns, outputs, desk, product)
            _learn_input(right, n_targets - right, columns, outputs, desk, of_noise)
            loss += (end - start - 1) * loss_of(of_noise)
            trained += end - start - 1
        else:
            for j in range(i if cbow else start, i + 1 if cbow else end):
                if cbow or j != i:
                    n_targets = _word_targets(np.int64(kept[j]), rate, objective, columns, outputs, desk)
                    blocks += _learn_input(0, n_targets, columns, outputs, desk, product)
                    trained += 1
        share = 1.0 / (end - start - 1) if cbow and divided else 1.0
        _hand_back(kept, first, last, centre, starts, parts, table, columns, desk.mean, share)
        if blocks >= FLUSH:
            loss += loss_of(product)
            blocks = 0
    return words, trained, loss + loss_of(product)
