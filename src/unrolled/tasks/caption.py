"""Captioning as a task of the training loop: images and their captions -> regions and ids -> model."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.config import take_auto
from unrolled.data.captions import Captioned
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, DataError
from unrolled.features.caption_rows import CaptionBatch, CaptionRows
from unrolled.features.fingerprints import fingerprints, held_out
from unrolled.features.pair_codec import Side
from unrolled.features.pixels import shifted
from unrolled.features.scripts import AutomaticTokens
from unrolled.features.unknown import UnknownRate
from unrolled.metrics.captions import caption_scores, plain
from unrolled.models.captioner import Captioner, CaptionerConfig
from unrolled.options.batches import take_batch
from unrolled.options.caption import LARGEST, CaptionOptions
from unrolled.tasks.captioner import TrainedCaptioner
from unrolled.tasks.image_encoders import Eye, Looked
from unrolled.tasks.transfer import fill_rows, given_vectors
from unrolled.tasks.vectors import Vectors
from unrolled.types import Criterion, Stage

__all__ = ["CaptionFacts", "CaptionTask", "check", "parted"]

#: Of the learning rate, what an encoder gets that has weights to begin from.
_SHARE = 0.1
#: The metric that models are selected by, for each value of `select`.
_METRICS = {"bleu": "valid_bleu_4", "cider": "valid_cider_d"}
#: Images whose captions are validated together.
_TOGETHER = 64


class CaptionFacts(NamedTuple):
    """What was found. missing: captioned images that are not there; unread: that cannot be read; long, empty: captions."""

    train: int
    valid: int
    captions: int
    symbols: int
    missing: int
    unread: int
    empty: int
    long: int
    bare: int


def parted(captioned: Captioned, valid: Captioned | None, fraction: float, seed: int) -> tuple[Captioned, Captioned]:
    """Images to learn from and to choose by: drawn by the fingerprints of their captions."""
    if valid is not None:
        return captioned, valid
    held = held_out(fingerprints("\n".join(some) for some in captioned.captions), fraction, seed)
    if held.all() or not held.any():
        raise DataError("there are too few images to hold some out for validation. Give more, or --valid FILE.")
    train = captioned.part(np.flatnonzero(~held))
    train.missing, train.empty, train.bare = captioned.missing, captioned.empty, captioned.bare
    return train, captioned.part(np.flatnonzero(held))


def check(options: CaptionOptions, eye: Eye) -> Vectors | None:
    """The word vectors to begin with. ConfigError or MissingExtra for what would else be found out hours later."""
    if options.transfer.freeze_vectors:
        raise ConfigError("--freeze-vectors: a captioner's embedding is its output matrix too, which has to learn")
    vectors = given_vectors(options.transfer)
    if vectors is not None and vectors.size != options.model.embedding_size:
        raise ConfigError(f"the vectors have {vectors.size} numbers: say --embedding-size {vectors.size}")
    Captioner(_config(options, eye, n_target=3), eye.encoder)
    if options.search.select != "loss":
        caption_scores(["a"], [["a"]])
    return vectors


def _config(options: CaptionOptions, eye: Eye, n_target: int) -> CaptionerConfig:
    """The sizes of a model that writes so many symbols."""
    sizes = options.model.model_dump(include=set(CaptionerConfig.__dataclass_fields__))
    return CaptionerConfig(**sizes, n_target=n_target, n_features=eye.encoder.n_features)


def _drawn_anew(module: nn.Module) -> None:
    """Begin from nothing, by the training's seed; signals keep their size (He et al. 2015, arXiv:1502.01852)."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


#: What `--tokens auto` takes.
_TOKENS = AutomaticTokens("whitespace", han="chinese-words", han_without="char", unspaced="graphemes")


class CaptionTask:
    """Implements `types.Task` for captions. seen: what there is of the images to learn from, then of those to choose by;
    vectors: of words, to begin with.
    """

    def __init__(
        self,
        options: CaptionOptions,
        parts: tuple[Captioned, Captioned],
        seen: Looked,
        eye: Eye,
        side: Side | None = None,
        vectors: Vectors | None = None,
    ) -> None:
        data = options.data
        self.options, self.eye, self.vectors, self._records = options, eye, vectors, seen.records
        by_loss, select = Criterion("valid_loss"), options.search.select
        self.criteria = (by_loss,) if select == "loss" else (Criterion(_METRICS[select], maximize=True), by_loss)
        train, valid = parts
        self.preparation = eye.preparation(data.fit)
        rows_of = seen.rows[: len(train)], seen.rows[len(train) :]
        texts = [[self._plain(text) for text in train.captions[i]] for i in np.flatnonzero(rows_of[0] >= 0)]
        self.references = [valid.captions[i] for i in np.flatnonzero(rows_of[1] >= 0)]
        if not texts or not self.references:
            raise DataError("\n".join(["none of the images can be read:", *seen.problems[:10]]))
        every = [text for some in texts for text in some]
        options = take_auto(options, {"tokens": side.tokenizer.name if side else _TOKENS.choose(every)})
        self.side = side or Side.fit(every, options.data.tokens, data.vocabulary_size, data.min_count)
        encoded = [[self.side.encode(text) for text in some] for some in texts]
        kept = [[row for row in some if len(row) <= data.longest + 1] for some in encoded]
        learned = [i for i, some in enumerate(kept) if some]
        if not learned:
            raise DataError(f"all captions have more than {data.longest} symbols: raise --longest.")
        self._train, self._valid = (of[of >= 0] for of in rows_of)
        self._train = self._train[learned]
        rows = [kept[i] for i in learned]
        self.longest = max(len(row) for some in rows for row in some) - 1
        begin = self.side.vocabulary.begin
        self.options = take_batch(options, examples=len(rows), tokens=len(rows), largest=LARGEST)
        images, seed = self.options.training.batch_shape()[0], self.options.training.seed
        self.rows = CaptionRows(rows, self._see, images=images, begin=begin, seed=seed)
        held = [[self.side.encode(self._plain(text)) for text in some] for some in self.references]
        self._held = CaptionRows(
            [[row[: data.longest + 1] for row in some] for some in held],
            lambda _, __, which: self._look(self._valid[which]),
            images=_TOGETHER,
            begin=begin,
            seed=0,
        )
        self.unknown = UnknownRate.of_sentences(chain(*encoded), chain(*held), self.side.tokenizer.unit)
        self.missing = [*train.missing, *valid.missing]
        self.problems, self.photos = seen.problems, seen.digest
        self.facts = CaptionFacts(
            len(learned),
            len(self.references),
            sum(map(len, rows)),
            len(self.side.vocabulary),
            len(self.missing),
            len(self.problems),
            train.empty + valid.empty,
            sum(map(len, encoded)) - sum(map(len, rows)),
            train.bare,
        )
        self.sources = ["captioned images"]

    def _plain(self, text: str) -> str:
        return plain(text) if self.options.data.plain else text

    def _look(self, rows: np.ndarray, random: np.random.Generator | None = None) -> Tensor:
        """What the model is given of some images, rows of the records: regions, or pixels, which `random` shifts."""
        records = self._records[rows]
        if records.ndim != 4:
            return torch.from_numpy(records)
        model = self.options.model
        if random is not None:
            records = shifted(records, random, model.shift, mirror=model.mirror)
        return self.preparation.scaled(records).contiguous(memory_format=torch.channels_last)

    def _see(self, epoch: int, k: int, which: np.ndarray) -> Tensor:
        return self._look(self._train[which], np.random.default_rng([self.options.training.seed, epoch, k]))

    def build(self) -> Captioner:
        """A fresh decoder of the configured size, on the encoder as it is; words begin from vectors that are given."""
        if not self.eye.ready:
            self.eye.encoder.apply(_drawn_anew)
        if self.eye.name != "own":
            for module in self.eye.encoder.modules():
                if isinstance(module, nn.Dropout):
                    module.p = self.options.model.dropout_encoder
        model = Captioner(_config(self.options, self.eye, len(self.side.vocabulary)), self.eye.encoder)
        if self.vectors is not None:
            fill_rows(model.target.weight.data, self.side.vocabulary.symbols, self.vectors)
        if not self.eye.learns(self.options.model.fine_tune):
            model.encoder.requires_grad_(False)
        return model

    def stages(self, model: nn.Module) -> list[Stage]:
        """The decoder, and the encoder where it learns on: slowly, if it had weights to begin from."""
        assert isinstance(model, Captioner)
        seeing = {id(p) for p in model.encoder.parameters()}
        found = [Stage([p for p in model.parameters() if id(p) not in seeing and p.requires_grad])]
        if self.eye.learns(self.options.model.fine_tune):
            used = [p for p in model.encoder.parameters() if p.requires_grad]
            share = self.options.model.encoder_share
            found.append(Stage(used, share if share is not None else _SHARE if self.eye.ready else 1.0))
        return found

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass."""
        return len(self.rows)

    def batch(self, epoch: int, k: int) -> CaptionBatch:
        """Batch k of an epoch."""
        return self.rows.batch(epoch, k)

    def trained(self, model: nn.Module) -> TrainedCaptioner:
        """The model with what it needs to look and to write."""
        assert isinstance(model, Captioner)
        search = self.options.search.model_dump(exclude={"beam", "select"}) | {"width": self.options.search.beam}
        return TrainedCaptioner(
            model,
            self.side,
            self.preparation,
            encoder=self.eye.name,
            as_plain=self.options.data.plain,
            search=BeamOptions(**search),
            longest=self.longest,
        )

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, Any]:
        """Return loss in nats per symbol, without smoothing, on the validation images, and BLEU-4 and CIDEr-D of greedy
        captions unless `select` is the loss.
        """
        assert isinstance(model, Captioner)
        model.eval()
        trained, total, n, made = self.trained(model), 0.0, 0, list[str]()
        select = self.options.search.select
        references = list[list[str]]()
        for k in range(len(self._held)):
            batch = self._held.batch(0, k).to(model.device)
            regions = model.regions(batch.seen)
            found = model.loss(replace(batch, seen=regions))
            total, n = total + float(found.loss), n + found.n_tokens
            if select != "loss":
                made += [trained.told("", one).text for one in trained.searched(regions, BeamOptions(1))]
                references += [self.references[i] for i in self._held.images_of(0, k)]
        scores = {"valid_loss": total / n, "valid_perplexity": math.exp(min(total / n, 700))}
        if select == "loss":
            return scores
        counted = caption_scores(made, references)
        return {"valid_bleu_4": counted["bleu_4"], "valid_cider_d": counted["cider_d"]} | scores

    def preview(self, model: nn.Module) -> str:
        """A caption of the first validation image, found greedily."""
        trained = self.trained(model)
        return trained.told("", trained.searched(self._look(self._valid[:1]), BeamOptions(1))[0]).text

    def save(self, model: nn.Module, folder: Path, metrics: dict[str, Any]) -> None:
        """Write the model folder."""
        found = self.trained(model)
        found.metrics = {key: value for key, value in metrics.items() if value is not None} | self.unknown.to_metrics()
        data = {"sources": self.sources, **self.facts._asdict()}
        found.save(folder, {"data": data, "options": self.options.model_dump(exclude_none=True)})
