"""Interpolated modified Kneser-Ney n-gram: the count-based peer of the language model.

    python benchmarks/kneser_ney.py --train train.txt --test test.txt --tokens whitespace --order 5
    python benchmarks/kneser_ney.py --train train.txt --test test.txt --tokens char --min-count 1

Chen and Goodman 1998, section 3: three discounts an order from the counts of counts, continuation counts below the
highest order, interpolation down to the uniform distribution. Tokens and vocabulary are made by `unrolled`'s own
tokenizers from the training text, so that a perplexity compares with `unrolled evaluate` on the same files. With
`whitespace` every line is a sentence and begins with empty history; otherwise the text is one stream. Pure Python: a
million tokens take about a minute.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter, defaultdict

from unrolled.data.text import read_documents
from unrolled.features.tokenizers import TOKENIZERS
from unrolled.features.vocabulary import Vocabulary

BEGIN = -1


class KneserNey:
    """Interpolated modified Kneser-Ney over integer sequences."""

    def __init__(self, sequences: list[list[int]], *, order: int, n_symbols: int) -> None:
        self.order, self.n_symbols = order, n_symbols
        highest: Counter[tuple[int, ...]] = Counter()
        for sequence in sequences:
            padded = (*(BEGIN,) * (order - 1), *sequence)
            highest.update(padded[i - order + 1 : i + 1] for i in range(order - 1, len(padded)))
        counts = [highest]
        for _ in range(order - 1):  # continuation counts: in how many different left contexts an n-gram was seen
            counts.append(Counter(gram[1:] for gram in counts[-1]))
        self.counts = counts[::-1]  # counts[n - 1] holds the n-grams
        self.discounts = [self._discounts(c) for c in self.counts]
        self.totals: list[dict[tuple[int, ...], int]] = []
        self.kinds: list[dict[tuple[int, ...], list[int]]] = []
        for grams in self.counts:
            totals: dict[tuple[int, ...], int] = defaultdict(int)
            kinds: dict[tuple[int, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
            for gram, n in grams.items():
                totals[gram[:-1]] += n
                kinds[gram[:-1]][min(n, 3) - 1] += 1
            self.totals.append(totals)
            self.kinds.append(kinds)

    @staticmethod
    def _discounts(grams: Counter[tuple[int, ...]]) -> list[float]:
        of = Counter(min(n, 5) for n in grams.values())
        n1, n2, n3, n4 = (max(1, of[k]) for k in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        return [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]

    def probability(self, gram: tuple[int, ...]) -> float:
        """P(last | the others) for a gram of at most `order` symbols."""
        p = 1 / self.n_symbols
        for n in range(1, len(gram) + 1):
            part = gram[-n:]
            total = self.totals[n - 1].get(part[:-1])
            if not total:
                break
            discounts = self.discounts[n - 1]
            count = self.counts[n - 1].get(part, 0)
            kept = max(0.0, count - discounts[min(count, 3) - 1]) if count else 0.0
            mass = sum(d * k for d, k in zip(discounts, self.kinds[n - 1][part[:-1]], strict=True))
            p = (kept + mass * p) / total
        return p

    def loss(self, sequences: list[list[int]]) -> tuple[float, int]:
        """(-log P in nats, tokens)."""
        nats, tokens = 0.0, 0
        for sequence in sequences:
            padded = (*(BEGIN,) * (self.order - 1), *sequence)
            for i in range(self.order - 1, len(padded)):
                nats -= math.log(self.probability(padded[i - self.order + 1 : i + 1]))
            tokens += len(sequence)
        return nats, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--test", nargs="+", required=True)
    parser.add_argument("--tokens", default="whitespace", choices=[*TOKENIZERS])
    parser.add_argument("--vocabulary-size", type=int)
    parser.add_argument("--min-count", type=int, default=1)
    parser.add_argument("--order", type=int, default=5)
    args = parser.parse_args()
    tokenizer = TOKENIZERS[args.tokens]()
    train = "".join(d.text for d in read_documents(args.train))
    test = "".join(d.text for d in read_documents(args.test))
    tokenizer.train([train], args.vocabulary_size or 8000)
    symbols = tokenizer.split(train)
    vocabulary = Vocabulary.build(Counter(symbols), min_count=args.min_count, max_size=args.vocabulary_size)

    def sequences(parts: list[str]) -> list[list[int]]:
        ids = vocabulary.encode(parts).tolist()
        if args.tokens != "whitespace":
            return [ids]
        ends = [i + 1 for i, k in enumerate(ids) if k == vocabulary.end]
        return [ids[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    held_out = tokenizer.split(test)
    model = KneserNey(sequences(symbols), order=args.order, n_symbols=len(vocabulary))
    nats, tokens = model.loss(sequences(held_out))
    print(
        json.dumps(
            {
                "order": args.order,
                "vocabulary": len(vocabulary),
                "train_tokens": len(symbols),
                "tokens": tokens,
                "loss": round(nats / tokens, 4),
                "perplexity": round(math.exp(nats / tokens), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
