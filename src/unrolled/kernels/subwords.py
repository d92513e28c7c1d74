"""Word2vec with sub-words (Bojanowski et al. 2017, arXiv:1607.04606) over a stretch of text, in place, on one thread.

    the vector of a word     the mean of its parts: a row of its own, and one for each of its character n-grams
    to move it               all its parts move as it does

Skip-gram:  the vector of the centre word is the one input, the words of its window are the targets.
CBOW:       the mean of the vectors of the window is the one input, the centre word the target.

An input is put together once for a window and handed back once, whatever it met there: parts cost more than targets. So
skip-gram goes the other way than in `word2vec.py`, from the centre; the pairs it learns are the same. Each pair has noise
of its own: one draw for a window, which counts for all of its words, costs much quality here (docs/results.md).
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.stretch import (
    BOUNDARY,
    FLUSH,
    ask_for,
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
from unrolled.kernels.window import WIDTH, add_row

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
def train_parts(ids, keep, starts, parts, table, outputs, columns, rule, objective, rates, desk):  # type: ignore[no-untyped-def]
    """Like `train_stretch`, for words whose vectors are means of rows of a table.

    starts (V + 1,), parts: the rows of word w are parts[starts[w] : starts[w + 1]]. Returns words read, pairs trained, and
    the loss summed over them, in nats.
    """
    random, kept, x_rows, y_rows, signs, target_rates, product, mean, own, before = desk
    negatives, noise, paths, nodes, turns, _, _ = objective
    cbow, divided, window, left, _ = rule
    vectors, half = columns // WIDTH, len(y_rows) // 2
    copy_rows(outputs, columns, own, before)
    lay_out(y_rows, signs, False, columns, half)
    n, words = keep_some(ids, keep, kept, random)
    loss, trained, blocks = 0.0, 0, 0
    start_rate, slope = rates[0], (rates[1] - rates[0]) / max(1, n)
    x_rows[0] = 0
    for i in range(n):
        if i + 1 < n and kept[i + 1] != BOUNDARY and not cbow:
            for p in range(starts[kept[i + 1]], starts[kept[i + 1] + 1]):
                ask_for(table, np.int64(parts[p]) * columns, columns)
        if kept[i] == BOUNDARY:
            continue
        rate, reach = np.float32(start_rate + slope * i), 1 + below(draw(random), window)
        start, end = window_of(kept, n, i, 0 if left and not cbow else reach, 0 if left and cbow else reach)
        if end - start < 2:
            continue
        first, last, centre = (start, end, i) if cbow else (i, i + 1, -1)
        _put_together(kept, first, last, centre, starts, parts, table, columns, mean)
        now, n_targets = 0, 0
        target, behind = (i, i + 1) if cbow else (start, end)
        for j in range(target, behind + 1):  # targets are chosen one word ahead; at `behind` the last are learned
            if j == i and not cbow:
                continue
            following, n_next = half - now, 0
            if j < behind:
                word = np.int64(kept[j])
                if negatives:
                    n_next = draw_targets(
                        word, following, rate, negatives, noise, columns, outputs, random, y_rows, target_rates
                    )
                else:
                    n_next = find_path(
                        word, following, rate, paths, nodes, turns, columns, outputs, y_rows, signs, target_rates, own
                    )
            if n_targets:
                blocks += learn_all(1, now, n_targets, mean, x_rows, outputs, y_rows, vectors, signs, target_rates, product)
                trained += 1
            now, n_targets = following, n_next
        share = 1.0 / (end - start - 1) if cbow and divided else 1.0
        _hand_back(kept, first, last, centre, starts, parts, table, columns, mean, share)
        bring_together(i, outputs, columns, own, before)
        if blocks >= FLUSH:
            loss += loss_of(product)
            blocks = 0
    bring_together(0, outputs, columns, own, before)
    return words, trained, loss + loss_of(product)
