"""Checks of what kernels are given: they read and write memory without looking, so an index out of range ends the process.

A kernel checks nothing. What comes from outside (an argument of a public function, a file, a folder) is checked once where
it enters; arrays that the package makes itself need no check. Who guarantees the bounds of each kernel:

| kernel | called by | what comes from outside, and who checks it |
|---|---|---|
| `ctc.add_losses` | `layers.ctc.ctc_loss` | lengths, labels, blank: `_checked` |
| `ctc.occupancy`, `ctc.log_likelihoods` | `decoding.alignment`, `decoding.ctc.closed` | texts, blank: `decoding.frames` |
| `ctc_search.extend`, `grown`, `likely`, `rest` | `decoding.ctc.prefix_search` | nothing: rows and tree made there |
| `ctc_search.search`, `stay` | `decoding.ctc.prefix_search` | blank, width: there; scores: `_scores_of` |
| `ctc_prefix.prefix_probabilities` | `decoding.joint.JointStepper` | lengths: `start`; symbols, rows: `step` |
| `elman`, `gru`, `lstm`, `mingru` | `layers.compiled` | inputs, state, weights: `check_scan`; lengths: `Padded` |
| `scan.place_rows` | `layers.compiled` | nothing: places that `Layout` has gathered from before |
| `product.add_picked` | `layers.compiled` | `Lookup.index`: there |
| `product.multiply`, `add_outer`, `pack`, ... | scans, engines | nothing: shapes of checked arrays |
| `attend.add_product`, `add_product_tanh` | the same | nothing: shapes of checked arrays |
| `attend.look`, `look_back`, `approach` | `layers.compiled_attending`, `models.decoder_engine` | rows, state: there |
| `step.run_layers`, `step.score` | `models.language_model_engine`, `decoder_engine` | symbols, rows, state: `step` |
| `choose.log_sums`, `largest` | `decoding.beam` | logits of a `Stepper`: there |
| `choose.best_of` | `decoding.beam` | nothing: what `largest` found |
| `bags.train_bags`, `score_bags` | `models.average` | features, starts, labels, order: there |
| `bags.n_gram_keys`, `spread`, `look_up` | `features.bags` | keys, longest n-gram: `TextFeatures` |
| `ngrams.hash_ngrams` | `features.subwords` | buckets: `NGrams` |
| `ngrams.means_of_rows` | `features.subwords`, `models.word2vec` | rows: `Subwords`, `Word2Vec` |
| `word2vec.train_stretch`, `subwords.train_parts` | `models.word2vec` | ids, desk: `train`; counts, parts: `Word2Vec` |
| `huffman`, `noise.alias_table` | `models.word2vec` | counts: `Word2Vec`, `take_over` |
| `words.number_words`, `words.mark` | `features.words`, `data.text` | nothing: code points of a `str` |
| `pairs.join_pairs` | `features.phrases` | nothing: numbers of words, made there |
| `records.read_text`, `read_binary` | `data.vector_files` | bytes: they look for the end; the header: `_rows` |
| `records.read_dictionary` | `data.fasttext` | bytes: it looks for the end; the header: `_read` |

`tests/fuzz_kernels.py` calls all of them through these doors with wrong arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unrolled.errors import ShapeError

__all__ = ["check_ids", "check_kind", "check_shape", "check_starts"]


def check_ids(name: str, ids: np.ndarray, n: int | None, least: int = 0) -> None:
    """Raise ShapeError unless all ids (...) are integers in least..n-1, least <= 0; n None: of any size from 0 on."""
    if not ids.size:
        return
    if ids.dtype.kind not in "iu" or not ids.dtype.isnative:
        raise ShapeError(f"{name} must be integers in this machine's order of bytes, got {ids.dtype}")
    if n is None or least == 0:  # as an unsigned number, what is below 0 is large: one pass
        most = int(ids.view(f"u{ids.itemsize}").max())
        inside = most < (2 ** (8 * ids.itemsize - 1) if n is None else n)
    else:
        inside = int(ids.min()) >= least and int(ids.max()) < n
    if not inside:
        if n is None:
            raise ShapeError(f"{name} must be numbered from 0, got {int(ids.min())}")
        expected = f"lie in {least}..{n - 1}" if n > least else "be empty"
        raise ShapeError(f"{name} must {expected}, got {int(ids.min())}..{int(ids.max())}")


def check_kind(name: str, array: np.ndarray, kind: type[np.generic]) -> None:
    """Raise ShapeError unless an array holds this kind of number: a kernel would be compiled anew for another."""
    if array.dtype != kind:
        raise ShapeError(f"{name} must be {np.dtype(kind)}, got {array.dtype}")


def check_starts(name: str, starts: np.ndarray, n: int) -> None:
    """Raise ShapeError unless starts (m + 1,) are integers that never fall, the first at least 0, the last at most n."""
    if starts.ndim != 1 or not len(starts) or starts.dtype.kind not in "iu":
        raise ShapeError(f"{name} must be integers (n + 1,), got {starts.dtype} {starts.shape}")
    if not (starts[0] >= 0 and starts[-1] <= n and bool((starts[1:] >= starts[:-1]).all())):
        raise ShapeError(f"{name} must rise from 0 to at most {n}, got {int(starts.min())}..{int(starts.max())}")


def check_shape(name: str, shape: Sequence[int], expected: Sequence[int | None]) -> None:
    """Raise ShapeError unless a shape is the expected one, in which None stands for any size."""
    if len(shape) != len(expected) or any(e is not None and s != e for s, e in zip(shape, expected, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in expected)
        raise ShapeError(f"{name} must have shape ({wanted}), got {tuple(shape)}")
