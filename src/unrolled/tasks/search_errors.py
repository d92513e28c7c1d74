"""Whose fault wrong translations are, over a file: the search's or the model's; and which beam and norm suit it best.

For each pair the score of the reference is compared with that of what was found (`explain_translator.blame`): with many
search errors a wider beam pays, with many of the model more data or a better model, where the norm decides another norm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from unrolled.data.pairs import Pairs
from unrolled.decoding.scoring import BeamOptions
from unrolled.metrics.translation import corpus_scores
from unrolled.tasks.explain_translator import BLAMES, blame

if TYPE_CHECKING:
    from unrolled.tasks.translation import Translation
    from unrolled.tasks.translator import TrainedTranslator

__all__ = ["Choice", "Judged", "choices", "evaluated", "judged", "shares"]

#: References judged at once. Changes no result.
_TOGETHER = 64


class Judged(NamedTuple):
    """A translation, the reference as the model sees it, and which of both is to blame."""

    place: str
    found: Translation
    right: Translation
    blame: str


def evaluated(
    trained: TrainedTranslator, pairs: Pairs, options: BeamOptions | None = None, batch_size: int = _TOGETHER
) -> tuple[dict[str, Any], list[Judged]]:
    """What `TrainedTranslator.evaluate` says, with the `shares` of blame; and each pair judged.

    batch_size: texts translated at once.
    """
    corpus_scores(["a"], ["a"])  # before the long work: is sacrebleu there?
    made = trained.translate(pairs.sources, options, batch_size=batch_size)
    rows = list(judged(trained, pairs, made, options))
    return trained.evaluate(pairs, made) | shares(rows), rows


def judged(
    trained: TrainedTranslator, pairs: Pairs, made: Sequence[Translation], options: BeamOptions | None = None
) -> Iterator[Judged]:
    """Each pair with its translation, found with these options, those left out that were translated in parts."""
    codec, whole, made = trained.codec, [i for i, one in enumerate(made) if one.parts == 1], list(made)
    for at in range(0, len(whole), _TOGETHER):
        group = whole[at : at + _TOGETHER]
        texts = [(made[i].source, codec.source.encode(made[i].source)) for i in group]
        wanted = [codec.target.encode(pairs.targets[i])[:-1].tolist() for i in group]
        if trained.listed:  # scored among listed symbols only: not to be compared with others
            own = [codec.target.vocabulary.encode(made[i].symbols[:-1]).tolist() for i in group]
            for i, one in zip(group, trained.forced_together(texts, own, options), strict=True):
                made[i] = made[i]._replace(score=one.score, token_scores=one.token_scores)
        for i, right in zip(group, trained.forced_together(texts, wanted, options), strict=True):
            yield Judged(pairs.places[i], made[i], right, blame(made[i], right))


def shares(rows: Sequence[Judged]) -> dict[str, Any]:
    """How often each is to blame, of all pairs; and how much longer or shorter than the reference is what was found."""
    n, counts = max(1, len(rows)), Counter(row.blame for row in rows)
    wrong = [row for row in rows if row.blame != "found"]
    lengths = [(len(row.found.symbols), len(row.right.symbols)) for row in wrong]
    return {
        "blame": {name: counts[name] / n for name in BLAMES},
        "shorter": sum(a < b for a, b in lengths) / n,
        "longer": sum(a > b for a, b in lengths) / n,
        "length_ratio": sum(a for a, _ in lengths) / max(1, sum(b for _, b in lengths)),
    }


class Choice(NamedTuple):
    """BLEU of the translations that a beam of `width` finds with a norm."""

    width: int
    norm: str
    alpha: float
    bleu: float


def choices(
    trained: TrainedTranslator,
    pairs: Pairs,
    options: BeamOptions | None = None,
    widths: Sequence[int] = (1, 3, 5, 10),
    alphas: Sequence[float] = (0.6, 1.0),
) -> Iterator[Choice]:
    """BLEU for each width, without a norm and with average^alpha, all else as in options; choose by these on validation
    pairs, not on a test.
    """
    for width in widths:
        for norm, alpha in (("none", 1.0), *(("average", alpha) for alpha in alphas)):
            tried = replace(options or trained.search, width=width, n_best=1, norm=norm, alpha=alpha)
            made = trained.translate(pairs.sources, tried)
            yield Choice(width, norm, alpha, corpus_scores([one.text for one in made], pairs.targets)["bleu"])
