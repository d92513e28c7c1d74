"""The vocabulary (字典) of the notes: symbols and their numbers, and one-hot vectors.

Four symbols are special. Unknown and end can be predicted and come first; begin and padding are never predicted and come
last, so that a model's output layer simply ends before them:

    0 <unk>   1 <eos>   2 ... V-1 the symbols, most frequent first   |   V <bos>   V+1 <pad>
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from unrolled.errors import DataError

__all__ = ["END", "UNKNOWN", "Vocabulary"]

UNKNOWN, END = "<unk>", "<eos>"


class Vocabulary:
    """A two-way table of symbols and ids.

    >>> vocabulary = Vocabulary.build(Counter("to be or not to be".split()))
    >>> vocabulary.symbols
    ('<unk>', '<eos>', 'be', 'to', 'not', 'or')
    >>> vocabulary.encode(["to", "sleep"])
    array([3, 0], dtype=int32)
    >>> vocabulary.one_hot([3])
    array([[0., 0., 0., 1., 0., 0.]], dtype=float32)

    Args:
        symbols: the V symbols that can be predicted, `<unk>` and `<eos>` first.
        counts: how often each stood in the training text.
    """

    unknown = 0
    end = 1

    def __init__(self, symbols: Sequence[str], counts: Sequence[int]) -> None:
        self.symbols, self.counts = tuple(symbols), tuple(counts)
        if self.symbols[:2] != (UNKNOWN, END) or len(self.symbols) != len(self.counts):
            raise DataError("A vocabulary starts with <unk>, <eos> and has one count for each symbol.")
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(self._ids) != len(self.symbols):
            twice = next(s for s, n in Counter(self.symbols).items() if n > 1)
            raise DataError(f"The vocabulary names the symbol {twice!r} twice.")

    @staticmethod
    def build(
        counts: Counter[str], *, min_count: int = 1, max_size: int | None = None, always: Iterable[str] = ()
    ) -> Vocabulary:
        """Keep symbols seen at least `min_count` times, and of them the most frequent so that V <= max_size.

        Symbols in `always` are kept however rare.
        """
        fixed = set(always)
        seen = {**dict.fromkeys(fixed, 0), **counts}
        kept = [(s, n) for s, n in seen.items() if (n >= min_count or s in fixed) and s not in (UNKNOWN, END)]
        kept.sort(key=lambda pair: (pair[0] not in fixed, -pair[1], pair[0]))
        kept = kept if max_size is None else kept[: max(0, max_size - 2)]
        kept.sort(key=lambda pair: (-pair[1], pair[0]))
        dropped = sum(counts.values()) - sum(n for _, n in kept) - counts[END]
        return Vocabulary([UNKNOWN, END, *(s for s, _ in kept)], [dropped, counts[END], *(n for _, n in kept)])

    def __len__(self) -> int:
        """V, the number of symbols that can be predicted."""
        return len(self.symbols)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._ids

    @property
    def begin(self) -> int:
        """The id fed before the first symbol; its vector is zero."""
        return len(self.symbols)

    @property
    def padding(self) -> int:
        """The id that fills the rest of a row in a batch."""
        return len(self.symbols) + 1

    @property
    def dtype(self) -> np.dtype:
        """The smallest integers that hold all ids, begin and padding included."""
        kinds = (np.uint8, np.uint16, np.int32)
        return np.dtype(next(kind for kind in kinds if self.padding <= np.iinfo(kind).max))

    def encode(self, symbols: Iterable[str]) -> np.ndarray:
        """Symbols -> int32 ids (T,); unknown symbols become 0."""
        find = self._ids.get
        return np.fromiter((find(s, 0) for s in symbols), dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Ids -> symbols."""
        names = (*self.symbols, "<bos>", "<pad>")
        return [names[i] for i in ids]

    def one_hot(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Ids (...) -> one-hot vectors (..., V) in float32; begin and padding give zero vectors."""
        ids = np.asarray(ids)
        return (ids[..., None] == np.arange(len(self))).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        return {"symbols": list(self.symbols), "counts": list(self.counts)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Vocabulary:
        return Vocabulary(data["symbols"], data["counts"])
