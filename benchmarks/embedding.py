"""An embedding and an LSTM, forward and backward: each symbol projected once (`Lookup`) against nn.Embedding + nn.LSTM.

    python benchmarks/embedding.py --data DIR        # DIR holds language-model/: real characters and words
    python benchmarks/embedding.py                   # symbols drawn from Zipf's law

Contenders in turn in one process; a figure is the median over the rounds of (their time / ours).
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import timing
from unrolled.cells import LSTMCell
from unrolled.layers import Embedding, Lookup, Recurrent

#: symbols, rows, steps, units
SHAPES = ((96, 32, 100, 128), (96, 32, 100, 256), (96, 64, 100, 256), (10_000, 32, 35, 128), (10_000, 32, 35, 256))


def zipf(n_symbols: int, n: int) -> Tensor:
    return torch.multinomial(1 / torch.arange(1, n_symbols + 1), n, replacement=True)


def real(folder: Path, n_symbols: int, n: int) -> Tensor:
    """The beginning of classic books as ids in the order of frequency: characters for a small vocabulary, else words."""
    with gzip.open(folder / "language-model" / "classic-books" / "train.txt.gz") as file:
        text = file.read(5_000_000).decode("utf-8", errors="ignore")
    symbols: Sequence[str] = text if n_symbols < 1000 else re.findall(r"\w+|[^\w\s]", text.lower())
    rank = {s: min(i, n_symbols - 1) for i, (s, _) in enumerate(Counter(symbols).most_common())}
    return torch.tensor([rank[s] for s in itertools.islice(symbols, n)])


def contenders(ids: Tensor, n_symbols: int, size: int) -> dict[str, Callable[[], None]]:
    table, layer = nn.Embedding(n_symbols, size), nn.LSTM(size, size, batch_first=True)
    our_table, ours = Embedding(n_symbols, size), Recurrent(LSTMCell(size), size)
    weigh = torch.randn(*ids.shape, size)

    def plain() -> None:
        table.zero_grad()
        layer.zero_grad()
        layer(table(ids))[0].backward(weigh)

    def once() -> None:
        our_table.zero_grad()
        ours.zero_grad()
        ours(Lookup.of(our_table, ids))[0].backward(weigh)

    return {"torch.nn": plain, "ours": once}


def main() -> None:
    args = timing.arguments(__doc__, data=True)
    print("| symbols, batch, steps, hidden | different in the batch | over torch.nn |\n|---|---|---|")
    for n_symbols, rows, steps, size in SHAPES:
        ids = (real(args.data, n_symbols, rows * steps) if args.data else zipf(n_symbols, rows * steps)).view(rows, steps)
        seconds = timing.take_turns(contenders(ids, n_symbols, size), args)
        print(
            f"| {n_symbols}, {rows}, {steps}, {size} | {len(ids.unique())} of {ids.numel()} | "
            f"{timing.ratio(seconds, 'torch.nn', 'ours'):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
