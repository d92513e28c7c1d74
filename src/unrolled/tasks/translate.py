"""Translation as a task of the training loop: pairs of sentences -> symbols of both sides -> model."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from unrolled.data.pairs import Pairs
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import DataError
from unrolled.features.fingerprints import fingerprints, held_out
from unrolled.features.pair_codec import PairCodec
from unrolled.features.pair_rows import PairBatch, PairRows
from unrolled.features.shortlist import Shortlist
from unrolled.features.unknown import UnknownRate
from unrolled.metrics.translation import corpus_scores
from unrolled.models.translator import Translator, TranslatorConfig
from unrolled.options.batches import take_batch
from unrolled.options.translate import LARGEST, TranslateOptions
from unrolled.tasks.translator import TrainedTranslator
from unrolled.types import Criterion, Stage

__all__ = ["PairFacts", "TranslateTask"]

#: Held-out pairs that BLEU and chrF of the report are computed from: a few seconds.
_SCORED = 500


class PairFacts(NamedTuple):
    """What was found. empty: pairs with an empty side; long: with too many symbols; overlap: validation pairs that stand
    among the training pairs too; source, target: different symbols.
    """

    train: int
    valid: int
    empty: int
    long: int
    overlap: int
    source: int
    target: int
    target_symbols: int


class TranslateTask:
    """Implements `types.Task` for translation."""

    def __init__(
        self, options: TranslateOptions, pairs: Pairs, valid: Pairs | None = None, codec: PairCodec | None = None
    ) -> None:
        data = options.data
        by_loss, by_bleu = Criterion("valid_loss"), Criterion("valid_bleu", maximize=True)
        self.criteria = (by_loss,) if options.search.select == "loss" else (by_bleu, by_loss)
        train, self.valid = _split(pairs, valid, data.valid_fraction, options.training.seed)
        self.codec = codec or PairCodec.fit(train.sources, train.targets, data)
        sources = [self.codec.source.encode(text) for text in train.sources]
        targets = [self.codec.target.encode(text) for text in train.targets]
        kept = [i for i, rows in enumerate(zip(sources, targets, strict=True)) if max(map(len, rows)) <= data.longest + 1]
        if not kept:
            raise DataError(f"all pairs have more than {data.longest} symbols on a side: raise --longest, or split them.")
        symbols = sum(max(len(sources[i]), len(targets[i])) for i in kept)
        self.options = take_batch(options, examples=len(kept), tokens=symbols, largest=LARGEST)
        training = self.options.training
        self.rows = PairRows(
            [sources[i] for i in kept],
            [targets[i] for i in kept],
            tokens=training.batch_tokens,
            padding=self.codec.source.vocabulary.padding,
            begin=self.codec.target.vocabulary.begin,
            seed=training.seed,
        )
        source, target = self.codec
        rates = (
            UnknownRate.of_sentences(sources, map(source.encode, self.valid.sources), f"source {source.tokenizer.unit}"),
            UnknownRate.of_sentences(targets, map(target.encode, self.valid.targets), f"target {target.tokenizer.unit}"),
        )
        self.unknown = max(rates, key=lambda rate: rate.worst)
        self.facts = PairFacts(
            len(kept),
            len(self.valid),
            pairs.empty,
            len(train) - len(kept),
            int(np.isin(_keys(self.valid), _keys(train)).sum()),
            len(self.codec.source.vocabulary),
            len(self.codec.target.vocabulary),
            sum(len(targets[i]) for i in kept),
        )
        self.sources = ["pairs"]

    def build(self) -> Translator:
        """A fresh model of the configured size."""
        sizes = self.options.model.model_dump() | {"shared": self.options.data.shared}
        return Translator(
            TranslatorConfig(
                n_source=len(self.codec.source.vocabulary), n_target=len(self.codec.target.vocabulary), **sizes
            )
        )

    def stages(self, model: nn.Module) -> list[Stage]:
        """All parameters learn alike."""
        return [Stage(list(model.parameters()))]

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass."""
        return len(self.rows)

    def batch(self, epoch: int, k: int) -> PairBatch:
        """Batch k of an epoch."""
        return self.rows.batch(epoch, k)

    def trained(self, model: nn.Module) -> TrainedTranslator:
        """The model with what it needs to read and write."""
        assert isinstance(model, Translator)
        search = self.options.search
        chosen = search.model_dump() | {"width": search.beam}
        del chosen["beam"], chosen["select"]
        return TrainedTranslator(model, self.codec, BeamOptions(**chosen), longest=self.options.data.longest)

    def evaluate(self, model: nn.Module) -> dict[str, Any]:
        """Return loss in nats per symbol, without smoothing, and perplexity on the validation pairs; with `select` BLEU
        also BLEU.
        """
        trained = self.trained(model)
        total, n = trained.losses(self.valid)
        found = {"valid_loss": total / n, "valid_perplexity": math.exp(total / n) if total / n < 700 else None}
        if self.options.search.select == "loss":
            return found
        made = [one.text for one in trained.translate(self.valid.sources, BeamOptions(1))]
        bleu = corpus_scores(made, list(map(self.codec.target.tokenizer.normalize, self.valid.targets)))["bleu"]
        return {"valid_bleu": bleu} | found

    def final_scores(self, folder: Path) -> dict[str, float]:
        """Return BLEU and chrF of greedy translations by the best model of a run, of the first held-out pairs."""
        few = self.valid.part(range(min(len(self.valid), _SCORED)))
        trained = TrainedTranslator.load(folder)
        made = [one.text for one in trained.translate(few.sources, BeamOptions(1))]
        found = corpus_scores(made, list(map(self.codec.target.tokenizer.normalize, few.targets)))
        return {"valid_bleu": found["bleu"], "valid_chrf": found["chrf"]}

    def preview(self, model: nn.Module) -> str:
        """The first validation sentence, translated greedily."""
        return self.trained(model).translate(self.valid.sources[:1], BeamOptions(1))[0].text

    @cached_property
    def shortlist(self) -> Shortlist:
        """Which symbols go with which in the training pairs."""
        return Shortlist.learned(self.rows.sources, self.rows.targets, self.facts.source, self.facts.target)

    def save(self, model: nn.Module, folder: Path, metrics: dict[str, Any]) -> None:
        """Write the model folder."""
        found = self.trained(model)
        found.shortlist = self.shortlist
        found.metrics = {key: value for key, value in metrics.items() if value is not None} | self.unknown.to_metrics()
        data = {"sources": self.sources, **self.facts._asdict()}
        found.save(folder, {"data": data, "options": self.options.model_dump(exclude_none=True)})


def _keys(pairs: Pairs) -> np.ndarray:
    """Fingerprints of pairs (n,)."""
    return fingerprints("\n".join(pair) for pair in zip(pairs.sources, pairs.targets, strict=True))


def _split(pairs: Pairs, valid: Pairs | None, fraction: float, seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to learn from and to choose by: drawn by the sources' fingerprints, so that equal ones are on one side."""
    if valid is not None:
        return pairs, valid
    held = held_out(fingerprints(pairs.sources), fraction, seed)
    if held.all():
        raise DataError("there are too few pairs to hold some out for validation. Give more, or --valid SOURCE TARGET.")
    return pairs.part(np.flatnonzero(~held)), pairs.part(np.flatnonzero(held))
