"""A trained translator: `translate`, `evaluate`, `save`. Made by `unrolled.load`.

translator = unrolled.load("runs/de-en")
translator.translate("Ein Hund rennt.").text                 # 'A dog runs.'
translator.translate(["Ein Hund.", "Eine Katze."])           # a list of two translations
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import torch

from unrolled.data.pairs import Pairs, read_pairs
from unrolled.data.text import Document
from unrolled.decoding.beam import Found, Hypothesis, beam_search
from unrolled.decoding.ensemble import Ensemble
from unrolled.decoding.listed import Lists
from unrolled.decoding.required import Prescribed
from unrolled.decoding.sampling import SamplingOptions, sample
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, FolderError
from unrolled.features.pair_codec import PairCodec
from unrolled.features.pair_rows import pair_batch
from unrolled.features.shortlist import Shortlist
from unrolled.features.texts import padded_rows
from unrolled.features.vocabulary import UNKNOWN
from unrolled.folders import header, open_model, prepare_model, write_json, write_text
from unrolled.metrics.translation import corpus_scores, loops
from unrolled.models.translator import Translator, TranslatorConfig
from unrolled.models.translator_engine import TranslatorEngine
from unrolled.tasks.card import translator_card
from unrolled.tasks.inputs import TEXTS, evaluation_paths, iter_inputs, map_inputs
from unrolled.tasks.translation import Translation, Wishes, by_length, in_parts, joined
from unrolled.training.weights import load_weights, save_weights
from unrolled.types import Stepper

__all__ = ["NAME", "TrainedTranslator"]

NAME = "translate"
#: Sentences translated at once. Changes no result.
_TOGETHER = 64
#: A translation has at most so many symbols for each of the source, and so many more.
_LONGER, _MORE = 2, 20


_NO_WISHES = Wishes()


class TrainedTranslator:
    """A translator and all it needs to read and write. search: how translations are searched for; longest: symbols of a
    source that is translated as a whole; shortlist: which symbols go with which; others: models that translate along;
    rounded: output matrices are kept in bytes; listed: if not 0, translations are made of the so many likeliest symbols for
    each symbol of the source.
    """

    def __init__(
        self,
        model: Translator,
        codec: PairCodec,
        search: BeamOptions | None = None,
        metrics: dict[str, Any] | None = None,
        longest: int = 200,
        shortlist: Shortlist | None = None,
    ) -> None:
        self.model, self.codec, self.search, self.metrics = model, codec, search or BeamOptions(), metrics or {}
        self.longest, self.shortlist = longest, shortlist
        self.others, self.rounded, self.listed = list[Translator](), False, 0
        self._stepper: Stepper | None = None

    @staticmethod
    def load(path: str | Path) -> TrainedTranslator:
        """Open a model folder or a run folder. FolderError if it is damaged or of another kind."""
        folder, config = open_model(path, NAME, "a translator")
        try:
            model = Translator(TranslatorConfig(**config["model"]))
            search, longest = BeamOptions(**config["search"]), int(config["longest"])
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise FolderError(f"{folder}: config.json does not describe a translator ({error}).") from None
        codec = PairCodec.load(folder)
        if (len(codec.source.vocabulary), len(codec.target.vocabulary)) != (model.config.n_source, model.config.n_target):
            raise FolderError(f"{folder}: the vocabularies are not those of config.json. Copy the folder again.")
        load_weights(model, folder / "model.safetensors")
        sizes, at = (model.config.n_source, model.config.n_target), folder / "shortlist.safetensors"
        shortlist = Shortlist.load(at, *sizes) if at.exists() else None
        return TrainedTranslator(model.eval(), codec, search, config.get("metrics"), longest, shortlist)

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = prepare_model(folder)
        search = {name: getattr(self.search, name) for name in ("width", "norm", "alpha", "reward", "coverage")}
        config = header(NAME)
        config |= {"model": self.model.config.to_json(), "search": search, "longest": self.longest}
        config |= {"metrics": self.metrics} | (extra or {})
        save_weights(self.model, folder / "model.safetensors")
        self.codec.save(folder)
        if self.shortlist is not None:
            self.shortlist.save(folder / "shortlist.safetensors")
        write_json(folder / "metrics.json", self.metrics)
        write_text(folder / "README.md", translator_card(config))
        write_json(folder / "config.json", config)

    @overload
    def translate(
        self, texts: str, options: BeamOptions | None = None, wishes: Wishes = _NO_WISHES, *, batch_size: int = _TOGETHER
    ) -> Translation: ...
    @overload
    def translate(
        self,
        texts: Iterable[str],
        options: BeamOptions | None = None,
        wishes: Wishes = _NO_WISHES,
        *,
        batch_size: int = _TOGETHER,
    ) -> list[Translation]: ...
    def translate(
        self, texts: Any, options: BeamOptions | None = None, wishes: Wishes = _NO_WISHES, *, batch_size: int = _TOGETHER
    ) -> Any:
        """Return the best translation of a text, with `options.n_best` - 1 others; of an iterable of texts, a list.

        batch_size: texts translated at once; changes no result. Raises TypeError for what is neither text nor texts.
        """
        return map_inputs(
            TEXTS, texts, lambda some: self.translations(some, options, wishes, batch_size), ("source", "text")
        )

    def translations(
        self,
        texts: Iterable[str],
        options: BeamOptions | None = None,
        wishes: Wishes = _NO_WISHES,
        batch_size: int = _TOGETHER,
    ) -> Iterator[Translation]:
        """`translate`, one after another as they are known, `batch_size` texts at once.

        A text of more symbols than the model has learned from is translated in parts. ConfigError for words that the model
        does not know.
        """
        prescribed = self._prescribed(wishes)
        remaining = iter_inputs(TEXTS, texts)
        while group := list(islice(remaining, batch_size)):
            split = [self._split(text) for text in group]
            if any(prescribed) and any(len(parts) > 1 for parts in split):
                raise ConfigError("a text that is too long, and so translated in parts, can have nothing prescribed")
            found = iter(self._together([part for parts in split for part in parts], options, prescribed, wishes))
            yield from (joined(text, [next(found) for _ in parts]) for text, parts in zip(group, split, strict=True))

    def _split(self, text: str) -> list[tuple[str, np.ndarray]]:
        """A text and its ids, or those of its parts if it is too long; nothing if it is empty."""
        encode = self.codec.source.encode
        row = encode(text)
        if not text.strip() or len(row) - 1 <= self.longest:
            return [(text, row)] if text.strip() else []
        return [(part, encode(part)) for part in in_parts(text, self._fits)]

    def _fits(self, text: str) -> bool:
        """Whether a text is as short as those that the model has learned from."""
        return len(self.codec.source.symbols(text)) <= self.longest

    def _prescribed(self, wishes: Wishes) -> Prescribed:
        """What is wished, as ids."""
        target = self.codec.target
        symbols = [target.symbols(wishes.prefix), *map(target.inside, wishes.required)]
        unknown = [symbol for row in symbols for symbol in row if symbol not in target.vocabulary]
        if unknown:
            raise ConfigError(
                f"the model cannot write {unknown[0]!r}: it is not among its {len(target.vocabulary)} symbols"
            )
        if wishes.replace_unknown and self.model.attention is None:
            raise ConfigError("--replace-unknown needs a model with attention: it tells which word of the source is meant")
        prefix, *phrases = [target.vocabulary.encode(row).tolist() for row in symbols]
        return Prescribed(prefix, phrases)

    def _together(
        self,
        texts: list[tuple[str, np.ndarray]],
        options: BeamOptions | None,
        prescribed: Prescribed,
        wishes: Wishes,
    ) -> list[Translation]:
        """Translations of texts none of which is empty or too long, their ids given."""
        rows = [row for _, row in texts]
        found: dict[int, Translation] = {}
        for size in sorted(set(map(_longest, rows))):
            of = [i for i, row in enumerate(rows) if _longest(row) == size]
            chosen = self.options_for(rows[of[0]], options)
            results = self.searched([rows[i] for i in of], chosen, [prescribed] * len(of), unknown=wishes.replace_unknown)
            for i, one in zip(of, results, strict=True):
                if not one.hypotheses:
                    raise ConfigError(f"no translation of up to {chosen.limit} symbols has all that is required")
                best, *others = [self.told(*texts[i], h, optimal=one.optimal_in_beam) for h in one.hypotheses]
                found[i] = best._replace(others=tuple(others))
        return [found[i] for i in range(len(texts))]

    def options_for(self, row: np.ndarray, options: BeamOptions | None = None) -> BeamOptions:
        """The options of a search for a source (S,): unless they say otherwise, a translation is not far longer than it."""
        chosen = options or self.search
        if chosen.max_length:
            return chosen
        return replace(chosen, max_length=max(_longest(row), chosen.min_length))

    def searched(
        self,
        rows: list[np.ndarray],
        options: BeamOptions,
        prescribed: Sequence[Prescribed] | None = None,
        *,
        unknown: bool = False,
        every: bool = False,
        keep_tree: bool = False,
    ) -> list[Found]:
        """What the beam finds for sources as ids. unknown: whether the unknown symbol may be written; every: whether all
        others may, also where symbols are `listed`.
        """
        self.model.eval()
        search = partial(beam_search, self.stepper, options=options, keep_tree=keep_tree)
        target, n = self.codec.target.vocabulary, len(rows)
        source = padded_rows(rows, self.codec.source.vocabulary.padding)
        forbidden = () if unknown else self.never_written()
        if every or self.shortlist is None or not self.listed:
            begin = torch.full((n,), target.begin)
            return search(source, begin, end=target.end, forbidden=forbidden, prescribed=prescribed)
        prescribed = prescribed or [Prescribed()] * n
        wanted = [{*one.prefix, *chain.from_iterable(one.phrases)} for one in prescribed]
        first = target.end, *forbidden
        lists = Lists(self.shortlist.lists(rows, self.listed, first, wanted, padding=target.begin))
        begin, places = torch.full((n,), lists.begin), lists.prescribed(prescribed)
        listed = (*source, lists.symbols)
        return lists.told(search(listed, begin, end=0, forbidden=range(1, len(first)), prescribed=places))

    def never_written(self) -> tuple[int, ...]:
        """The unknown symbol, unless it is the only one."""
        vocabulary = self.codec.target.vocabulary
        return () if len(vocabulary) == 2 else (vocabulary.unknown,)

    def told(self, text: str, row: np.ndarray, found: Hypothesis, *, optimal: bool) -> Translation:
        """A hypothesis as a translation; unknown words are those of the source that were looked at most."""
        source, target = self.codec.source, self.codec.target
        symbols = written = target.vocabulary.decode(found.symbols)
        attention = None if found.attention is None else found.attention[:, : len(row)]
        if UNKNOWN in symbols and attention is not None and len(row) > 1:
            words, at = source.symbols(text), attention[:, :-1].argmax(1)
            written = [words[at[t]] if symbol == UNKNOWN else symbol for t, symbol in enumerate(symbols)]
        read = source.vocabulary.decode(row.tolist())
        return Translation(text, target.join(written), found.score, symbols, found.token_scores, read, attention, optimal)

    def sampled(self, text: str, n: int = 1, options: SamplingOptions | None = None) -> list[Translation]:
        """`n` translations drawn from the model's own distribution; each a function of (seed, its place)."""
        vocabulary, row = self.codec.target.vocabulary, self.codec.source.encode(text)
        if not text.strip() or not self._fits(text):
            raise ConfigError(f"translations are drawn for texts of 1 to {self.longest} symbols, got {len(row) - 1}")
        steps = sample(
            self.stepper,
            torch.tensor([vocabulary.begin]),
            n_rows=n,
            length=_longest(row),
            options=options or SamplingOptions(),
            end=vocabulary.end,
            forbidden=self.never_written(),
            source=padded_rows([row], self.codec.source.vocabulary.padding),
        )
        drawn = [[i for i in symbols if i is not None] for symbols in zip(*steps, strict=True)]
        return [self.forced_ids(text, row, [i for i in ids if i != vocabulary.end]) for ids in drawn]

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
        return self.forced_ids(text, self.codec.source.encode(text), self.codec.target.encode(target)[:-1].tolist())

    def forced_ids(self, text: str, row: np.ndarray, wanted: list[int]) -> Translation:
        """The translation that has these symbols and then ends."""
        return self.forced_together([(text, row)], [wanted])[0]

    def forced_together(
        self, texts: list[tuple[str, np.ndarray]], wanted: list[list[int]], options: BeamOptions | None = None
    ) -> list[Translation]:
        """`forced_ids` of several texts, their ids given, at once; scored as `options` say, among all symbols."""
        whole = [Prescribed([*symbols, self.codec.target.vocabulary.end]) for symbols in wanted]
        longest = max(len(one.prefix) for one in whole)
        search = replace(options or self.search, width=1, n_best=1, max_length=longest, min_length=0)
        results = self.searched([row for _, row in texts], search, whole, unknown=True, every=True)
        return [self.told(*text, one.hypotheses[0], optimal=False) for text, one in zip(texts, results, strict=True)]

    def joined_by(
        self, others: Sequence[TrainedTranslator], *, rounded: bool = False, listed: int = 0
    ) -> TrainedTranslator:
        """An ensemble with models that read and write the same symbols: the mean of their probabilities."""
        for other in others:
            if not isinstance(other, TrainedTranslator):
                raise ConfigError(f"ensemble: got a {type(other).__name__}, expected translators")
            if other.codec.to_json() != self.codec.to_json():
                raise ConfigError("models can translate together only if they have the same vocabularies: train them alike")
        found = TrainedTranslator(self.model, self.codec, self.search, self.metrics, self.longest, self.shortlist)
        found.others, found.rounded, found.listed = [other.model for other in others], rounded, listed
        if listed and not (self.shortlist and all(map(TranslatorEngine.serves, (self.model, *found.others)))):
            raise ConfigError("--shortlist needs a model that has one, in float32 on the CPU: train it with this version")
        return found

    @property
    def stepper(self) -> Stepper:
        """What is searched with: the model's engine, where it has one; or an ensemble of them."""
        if self._stepper is None:
            each = [
                TranslatorEngine(m, rounded=self.rounded) if TranslatorEngine.serves(m) else m
                for m in (self.model, *self.others)
            ]
            self._stepper = cast(Stepper, each[0] if len(each) == 1 else Ensemble(cast(list[Stepper], each)))
        return self._stepper

    def explain(self, text: str | Iterable[str], reference: str | None = None, exact: int | None = None) -> Any:
        """What each symbol looked at, what it cost, what else was in the beam; given a reference, why it was not found.

        An iterable of texts gives a list. exact: the steps that a search for the model's own favourite may take.
        """
        from unrolled.tasks.explain_translator import explain_translation

        return map_inputs(TEXTS, text, lambda some: (explain_translation(self, one, reference, exact) for one in some))

    def swapped(self, pairs: Pairs) -> bool:
        """Whether source and target seem to have changed places: the other direction is far likelier."""
        few = pairs.part(range(min(len(pairs), 200)))
        total, n = self.losses(few)
        turned, m = self.losses(Pairs(few.targets, few.sources, few.places))
        return turned / m < 0.8 * total / n

    def evaluate(
        self, pairs: Any, made: Sequence[Translation] | None = None, *, batch_size: int = _TOGETHER
    ) -> dict[str, Any]:
        """BLEU and chrF of the translations, by length of the source too; perplexity; empty and looping translations.

        pairs: `Pairs`, or paths or documents as for training: source and target, or one file of both.
        made: the translations, if they are there already. batch_size: texts translated at once.
        """
        if not isinstance(pairs, Pairs):
            pairs = read_pairs(evaluation_paths(pairs, NAME, Document))
        if not len(pairs):
            raise ConfigError("there are no pairs to evaluate on")
        corpus_scores(["a"], ["a"])  # before the long work: is sacrebleu there?
        references = list(map(self.codec.target.tokenizer.normalize, pairs.targets))
        pairs = Pairs(pairs.sources, references, pairs.places, pairs.empty)
        total, n = self.losses(pairs)
        made = made or self.translate(pairs.sources, batch_size=batch_size)
        texts = [one.text for one in made]
        found: dict[str, Any] = {"pairs": len(pairs), "empty_pairs": pairs.empty, "loss": total / n}
        found |= {"perplexity": float(np.exp(min(total / n, 700)))} | corpus_scores(texts, pairs.targets)
        found["empty"] = sum(not text for text in texts)
        found["looping"] = sum(loops(one.symbols) for one in made)
        found["not_proved_optimal"] = sum(not one.optimal for one in made)
        found["in_parts"] = sum(one.parts > 1 for one in made)
        return found | {"by_length": by_length(pairs, texts)}


def _longest(row: np.ndarray) -> int:
    """Symbols that a translation may have, rounded up so that sentences of like length are searched together."""
    return -(-(_LONGER * len(row) + _MORE) // 20) * 20
