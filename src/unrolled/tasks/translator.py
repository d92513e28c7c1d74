"""A trained translator: `translate`, `evaluate`, `save`. Made by `unrolled.load`.

translator = unrolled.load("runs/de-en")
translator.translate(["Ein Hund rennt."])[0].text            # 'A dog runs.'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from unrolled.data.pairs import Pairs
from unrolled.decoding.beam import BeamOptions, Hypothesis, beam_search
from unrolled.errors import ConfigError, FolderError
from unrolled.features.pair_rows import pair_batch
from unrolled.features.texts import padded_rows
from unrolled.features.tokenizers import words_in
from unrolled.folders import header, open_model, prepare_model, write_json, write_text
from unrolled.metrics.translation import corpus_scores, loops
from unrolled.models.translator import Translator, TranslatorConfig
from unrolled.tasks.card import translator_card
from unrolled.tasks.pair_codec import PairCodec
from unrolled.training.weights import load_weights, save_weights

__all__ = ["NAME", "TrainedTranslator", "Translation"]

NAME = "translate"
#: Sentences translated at once. Changes no result.
_TOGETHER = 64
#: A translation has at most so many symbols for each of the source, and so many more.
_LONGER, _MORE = 2, 20


class Translation(NamedTuple):
    """text, its score (see `decoding.beam`), its symbols and log P of each; attention (T, S): how much each symbol looked
    at each symbol of the source, `read`; optimal: nothing that the beam could have reached is better; others: the next.
    """

    source: str
    text: str
    score: float
    symbols: list[str]
    token_scores: list[float]
    read: list[str]
    attention: np.ndarray | None
    optimal: bool
    others: tuple[Translation, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One JSON line of `predict`."""
        scored = zip(self.symbols, self.token_scores, strict=True)
        found: dict[str, Any] = {"source": self.source, "translation": self.text, "score": self.score}
        found["tokens"] = [{"token": symbol, "log_probability": round(p, 6)} for symbol, p in scored]
        found["read"] = self.read
        found |= {"optimal_in_beam": self.optimal}
        if self.attention is not None:
            found["attention"] = [[round(float(a), 4) for a in row] for row in self.attention]
        return found | ({"others": [other.to_json() for other in self.others]} if self.others else {})


class TrainedTranslator:
    """A translator and all it needs to read and write. search: how translations are searched for."""

    def __init__(
        self, model: Translator, codec: PairCodec, search: BeamOptions | None = None, metrics: dict[str, Any] | None = None
    ) -> None:
        self.model, self.codec, self.search, self.metrics = model, codec, search or BeamOptions(), metrics or {}

    @staticmethod
    def load(path: str | Path) -> TrainedTranslator:
        """Open a model folder or a run folder. FolderError if it is damaged or of another kind."""
        folder, config = open_model(path, NAME, "a translator")
        try:
            model = Translator(TranslatorConfig(**config["model"]))
            search = BeamOptions(**config["search"])
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise FolderError(f"{folder}: config.json does not describe a translator ({error}).") from None
        codec = PairCodec.load(folder)
        if (len(codec.source.vocabulary), len(codec.target.vocabulary)) != (model.config.n_source, model.config.n_target):
            raise FolderError(f"{folder}: the vocabularies are not those of config.json. Copy the folder again.")
        load_weights(model, folder / "model.safetensors")
        return TrainedTranslator(model.eval(), codec, search, config.get("metrics"))

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = prepare_model(folder)
        search = {name: getattr(self.search, name) for name in ("width", "norm", "alpha")}
        config = header(NAME)
        config |= {"model": self.model.config.to_json(), "search": search, "metrics": self.metrics} | (extra or {})
        save_weights(self.model, folder / "model.safetensors")
        self.codec.save(folder)
        write_json(folder / "metrics.json", self.metrics)
        write_text(folder / "README.md", translator_card(config))
        write_json(folder / "config.json", config)

    def translate(self, texts: Iterable[str], options: BeamOptions | None = None) -> list[Translation]:
        """The best translation of each text, with `options.n_best` - 1 others."""
        return list(self.translations(texts, options))

    def translations(
        self, texts: Iterable[str], options: BeamOptions | None = None, batch_size: int = _TOGETHER
    ) -> Iterator[Translation]:
        """`translate`, one after another as they are known, `batch_size` texts at once."""
        remaining = iter(texts)
        while group := list(islice(remaining, batch_size)):
            rows = {i: self.codec.source.encode(text) for i, text in enumerate(group) if text.strip()}
            found = {i: Translation(text, "", 0.0, [], [], [], None, True) for i, text in enumerate(group) if i not in rows}
            for size in sorted({_longest(row) for row in rows.values()}):
                of = [i for i, row in rows.items() if _longest(row) == size]
                found |= zip(of, self._searched([group[i] for i in of], [rows[i] for i in of], size, options), strict=True)
            yield from (found[i] for i in range(len(group)))

    def _searched(
        self, texts: list[str], rows: list[np.ndarray], longest: int, options: BeamOptions | None
    ) -> list[Translation]:
        """Translations of texts whose translations may have `longest` symbols."""
        codec, chosen = self.codec, options or self.search
        if options is None or options.max_length == BeamOptions.max_length:
            chosen = replace(chosen, max_length=max(longest, chosen.min_length))
        self.model.eval()
        ids, lengths = padded_rows(rows, codec.source.vocabulary.padding)
        begin, end = torch.full((len(rows),), codec.target.vocabulary.begin), codec.target.vocabulary.end
        forbidden = [] if len(codec.target.vocabulary) == 2 else [codec.target.vocabulary.unknown]
        results = beam_search(self.model, (ids, lengths), begin, chosen, end=end, forbidden=forbidden)
        made = []
        for text, row, found in zip(texts, rows, results, strict=True):
            best, *others = [self._translation(text, row, one, optimal=found.optimal_in_beam) for one in found.hypotheses]
            made.append(best._replace(others=tuple(others)))
        return made

    def _translation(self, text: str, row: np.ndarray, found: Hypothesis, *, optimal: bool) -> Translation:
        target, read = self.codec.target, self.codec.source.vocabulary.decode(row.tolist())
        symbols = target.vocabulary.decode(found.symbols)
        attention = None if found.attention is None else found.attention[:, : len(row)]
        return Translation(
            text, target.decode(found.symbols), found.score, symbols, found.token_scores, read, attention, optimal
        )

    @torch.no_grad()
    def losses(self, pairs: Pairs) -> tuple[float, int]:
        """-log P of all target symbols, in nats, and how many there are."""
        self.model.eval()
        sources = [self.codec.source.encode(text) for text in pairs.sources]
        targets = [self.codec.target.encode(text) for text in pairs.targets]
        order = sorted(range(len(pairs)), key=lambda i: len(targets[i]))
        total, n = 0.0, 0
        for at in range(0, len(order), _TOGETHER):
            which = order[at : at + _TOGETHER]
            padding, begin = self.codec.source.vocabulary.padding, self.codec.target.vocabulary.begin
            batch = pair_batch([sources[i] for i in which], [targets[i] for i in which], padding=padding, begin=begin)
            found = self.model.loss(batch)
            total, n = total + float(found.loss), n + found.n_tokens
        return total, n

    def forced(self, text: str, target: str) -> Translation:
        """A given translation as the model sees it: its score, log P of each symbol, and where it looks."""
        row, wanted = self.codec.source.encode(text), self.codec.target.encode(target)
        options = replace(self.search, width=1, n_best=1, max_length=max(1, len(wanted) - 1), min_length=0)
        begin, end = torch.tensor([self.codec.target.vocabulary.begin]), self.codec.target.vocabulary.end
        ids, lengths = padded_rows([row], self.codec.source.vocabulary.padding)
        self.model.eval()
        (found,) = beam_search(self.model, (ids, lengths), begin, options, end=end, prefixes=[wanted[:-1].tolist()])
        return self._translation(text, row, found.hypotheses[0], optimal=False)

    def explain(self, text: str, reference: str | None = None) -> dict[str, Any]:
        """What each symbol looked at, what it cost, what else was found; and, given a reference, why it was not."""
        from unrolled.tasks.explain_translator import explain_translation

        return explain_translation(self, text, reference)

    def swapped(self, pairs: Pairs) -> bool:
        """Whether source and target seem to have changed places: the other direction is far likelier."""
        few = pairs.part(range(min(len(pairs), 200)))
        total, n = self.losses(few)
        turned, m = self.losses(Pairs(few.targets, few.sources, few.places))
        return turned / m < 0.8 * total / n

    def evaluate(self, pairs: Pairs, options: BeamOptions | None = None) -> dict[str, Any]:
        """BLEU and chrF of the translations, by length of the source too; perplexity; empty and looping translations."""
        if not len(pairs):
            raise ConfigError("there are no pairs to evaluate on")
        corpus_scores(["a"], ["a"])  # before the long work: is sacrebleu there?
        total, n = self.losses(pairs)
        made = self.translate(pairs.sources, options)
        texts = [one.text for one in made]
        found: dict[str, Any] = {"pairs": len(pairs), "empty_pairs": pairs.empty, "loss": total / n}
        found |= {"perplexity": float(np.exp(min(total / n, 700)))} | corpus_scores(texts, pairs.targets)
        found["empty"] = sum(not text for text in texts)
        found["looping"] = sum(loops(one.symbols) for one in made)
        found["not_proved_optimal"] = sum(not one.optimal for one in made)
        return found | {"by_length": _by_length(pairs, texts)}


def _longest(row: np.ndarray) -> int:
    """Symbols that a translation may have, rounded up so that sentences of like length are searched together."""
    return -(-(_LONGER * len(row) + _MORE) // 20) * 20


def _by_length(pairs: Pairs, texts: Sequence[str]) -> list[dict[str, Any]]:
    """BLEU of sentences by the number of words of the source: quarters of the pairs."""
    lengths = np.array([len(words_in(source)) for source in pairs.sources])
    bounds = np.unique(np.quantile(lengths, (0, 0.25, 0.5, 0.75, 1), method="lower"))
    bounds = np.repeat(bounds, 2) if len(bounds) == 1 else bounds
    found = []
    for low, high in pairwise(bounds):
        which = np.flatnonzero((lengths >= low) & ((lengths < high) | (high == bounds[-1]))).tolist()
        scores = corpus_scores([texts[i] for i in which], [pairs.targets[i] for i in which])
        found.append({"words": [int(low), int(high)], "pairs": len(which), "bleu": scores["bleu"]})
    return found
