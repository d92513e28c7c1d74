"""Texts as bags of features: the averaged classifier of the notes, trained one text after another.

    h = sum of s E[f] / (r + sum of s)    over the features f of a text, s their importance (1, or idf), r: see below
    z = W h + b                           b, the log prior of the labels, is given and not learned
    P = softmax(z), or 1 / (1 + exp(-z)) where labels are independent

The gradient of a mean reaches each feature by its share, as in fastText (Joulin et al. 2017, arXiv:1607.01759). In
training each feature of a text is left out with a probability (word dropout of Iyyer et al. 2015, the deep averaging
network), which here is most of what is gained over fastText. The rest r stands for so many features that say nothing: a
mean over two words is no more certain than one over two hundred.

A step is made smaller where the loss bends strongly: rate / (1 + rate c), where c is half of the squared length of all that
z is made of, a bound of the curvature of -log P. So a large rate slows down and does not overshoot.
"""

from __future__ import annotations

import numpy as np

from unrolled.kernels._jit import kernel
from unrolled.kernels.stretch import draw

__all__ = ["ACROSS", "look_up", "n_gram_keys", "score_bags", "spread", "train_bags"]

#: Numbers of a vector come in blocks of this many: one wide register.
ACROSS = 16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel
def n_gram_keys(rows, starts, longest, keys, key_starts):  # type: ignore[no-untyped-def]
    """The hash of every n-gram, 2 <= n <= longest, of each text rows[starts[i]:starts[i + 1]].

    keys has room for (longest - 1) a row; those of text i come to lie at keys[key_starts[i]:key_starts[i + 1]].
    """
    found = 0
    for text in range(len(starts) - 1):
        key_starts[text] = found
        for i in range(starts[text], starts[text + 1]):
            mixed = np.uint64(rows[i]) + np.uint64(1)
            for j in range(i + 1, min(i + longest, starts[text + 1])):
                mixed = mixed * _GOLDEN + np.uint64(rows[j]) + np.uint64(1)
                keys[found] = mixed
                found += 1
    key_starts[len(starts) - 1] = found
    return found


@kernel
def _slot(key, slots):  # type: ignore[no-untyped-def]
    """Where the search for a key begins in a table of `slots`, a power of two (Knuth's multiplicative hashing)."""
    return np.int64(((key ^ (key >> np.uint64(32))) * _GOLDEN) >> np.uint64(32)) & (slots - 1)


@kernel
def spread(keys, table):  # type: ignore[no-untyped-def]
    """A hash table of different keys (K,): table holds -1, and has room for more than K, a power of two."""
    for i in range(len(keys)):
        at = _slot(keys[i], len(table))
        while table[at] >= 0:
            at = (at + 1) & (len(table) - 1)
        table[at] = i


@kernel
def look_up(asked, keys, table, places):  # type: ignore[no-untyped-def]
    """places (M,) = where each key asked for stands in keys, or -1, by the table of `spread`."""
    for i in range(len(asked)):
        at = _slot(asked[i], len(table))
        while table[at] >= 0 and keys[table[at]] != asked[i]:
            at = (at + 1) & (len(table) - 1)
        places[i] = table[at]


@kernel
def _probabilities(z, independent):  # type: ignore[no-untyped-def]
    """Logits (K,) -> probabilities, in place."""
    if independent:
        for k in range(len(z)):
            z[k] = 1 / (1 + np.exp(-z[k]))
        return
    most, total = z[0], np.float32(0)
    for k in range(1, len(z)):
        most = max(most, z[k])
    for k in range(len(z)):
        z[k] = np.exp(z[k] - most)
        total += z[k]
    for k in range(len(z)):
        z[k] /= total


@kernel
def _loss(z, wanted, independent):  # type: ignore[no-untyped-def]
    """-log P of what is wanted (K,) under the probabilities z, in nats."""
    total = 0.0
    for k in range(len(z)):
        if wanted[k] > 0:
            total -= np.log(max(np.float64(z[k]), 1e-30))
        elif independent:
            total -= np.log(max(1 - np.float64(z[k]), 1e-30))
    return total


@kernel
def _mean(kept, n, importance, rest, vectors, h):  # type: ignore[no-untyped-def]
    """h (D,) = the weighted mean of n rows and the rest; returns what their sum was divided by, and the sum of the squares
    of their importance.
    """
    total, squares = np.float32(rest), np.float32(0)
    h[:] = 0
    for i in range(n):
        row = kept[i]
        s = importance[row] if len(importance) else np.float32(1)
        total += s
        squares += s * s
        for block in range(0, len(h), ACROSS):
            for d in range(ACROSS):
                h[block + d] += s * vectors[row, block + d]
    if total > 0:
        for d in range(len(h)):
            h[d] /= total
    return total, squares


@kernel
def _curvature(h, output, shares):  # type: ignore[no-untyped-def]
    """Half of 1 + |h|^2 + |W|^2 sum of squared shares of the features: output and vectors, and 1 for a bias."""
    length, weight = np.float32(1), np.float32(0)
    for d in range(len(h)):
        length += h[d] * h[d]
    for k in range(len(output)):
        for d in range(len(h)):
            weight += output[k, d] * output[k, d]
    return np.float32(0.5) * (length + weight * np.float32(shares))


@kernel
def train_bags(bags, order, tables, rates, rule, random):  # type: ignore[no-untyped-def]
    """One step of gradient descent for each text of `order`; returns the sums of their losses and of their weights.

    bags: features (N,), starts (n + 1,), labels (M,), label_starts (n + 1,), weights (n,) of the texts; tables:
    vectors (F, D), importance (F,) or none, output (K, D), bias (K,), which stays; rates: learning rate at the first and
    at the last; rule: rest, dropout, whether labels are independent, whether vectors stay; random (1,): the state of the
    generator.
    """
    features, starts, labels, label_starts, weights = bags
    vectors, importance, output, bias = tables
    rest, dropout, independent, frozen = rule
    n_labels, size = output.shape
    h, gradient = np.empty(size, np.float32), np.empty(size, np.float32)
    z, wanted = np.empty(n_labels, np.float32), np.zeros(n_labels, np.float32)
    kept = np.empty(16, np.int32)
    least = np.uint64(dropout * 4294967296.0)
    loss, counted = 0.0, 0.0
    for step in range(len(order)):
        text = order[step]
        rate = np.float32((rates[0] + (rates[1] - rates[0]) * step / len(order)) * weights[text])
        if len(kept) < starts[text + 1] - starts[text]:
            kept = np.empty(2 * (starts[text + 1] - starts[text]), np.int32)
        n = 0
        for i in range(starts[text], starts[text + 1]):
            if dropout == 0 or (draw(random) >> np.uint64(32)) >= least:
                kept[n] = features[i]
                n += 1
        total, squares = _mean(kept, n, importance, rest * (1 - dropout), vectors, h)
        for k in range(n_labels):
            z[k] = bias[k]
            for d in range(size):
                z[k] += output[k, d] * h[d]
        _probabilities(z, independent)
        for i in range(label_starts[text], label_starts[text + 1]):
            wanted[labels[i]] = 1
        loss += weights[text] * _loss(z, wanted, independent)
        counted += weights[text]
        gradient[:] = 0
        if rate > 0:
            rate /= 1 + rate * _curvature(h, output, 0.0 if frozen or total <= 0 else squares / (total * total))
        for k in range(n_labels):
            move = rate * (wanted[k] - z[k])
            for d in range(size):
                gradient[d] += move * output[k, d]
                output[k, d] += move * h[d]
        for i in range(label_starts[text], label_starts[text + 1]):
            wanted[labels[i]] = 0
        if frozen or total <= 0:
            continue
        for i in range(n):
            share = (importance[kept[i]] if len(importance) else np.float32(1)) / total
            for block in range(0, size, ACROSS):
                for d in range(ACROSS):
                    vectors[kept[i], block + d] += share * gradient[block + d]
    return loss, counted


@kernel
def score_bags(features, starts, scores, importance, rest, bias, z):  # type: ignore[no-untyped-def]
    """z (n, K): the logits of each text, from the scores (F, K) of each feature, E W^T; a text without features: bias."""
    for text in range(len(starts) - 1):
        total = rest
        for i in range(starts[text], starts[text + 1]):
            s = importance[features[i]] if len(importance) else np.float32(1)
            total += s
            for k in range(z.shape[1]):
                z[text, k] += s * scores[features[i], k]
        for k in range(z.shape[1]):
            z[text, k] = bias[k] + (z[text, k] / total if total > 0 else 0.0)
