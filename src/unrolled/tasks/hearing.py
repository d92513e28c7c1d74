"""The ear of a recogniser: what it hears in frames of sound, as ids, by whichever search its network needs.

frames -> listener -> CTC        -> greedy, prefix search with what helps, or the likeliest of given phrases
                   -> attention  -> beam search; with CTC at its side in a hybrid
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from unrolled.decoding.alignment import align
from unrolled.decoding.beam import Found, beam_search
from unrolled.decoding.ctc import Spelled, closed, greedy, prefix_search
from unrolled.decoding.joint import JointStepper
from unrolled.decoding.required import Prescribed
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, DataError
from unrolled.features.pair_codec import Side
from unrolled.features.spoken_rows import padded_frames
from unrolled.features.transcripts import Spoken
from unrolled.models.decoder_engine import DecoderEngine
from unrolled.models.recognizer import BLANK, AttentionRecognizer, Listened, Recognizer
from unrolled.tasks.fusion import Fusion
from unrolled.types import Stepper

__all__ = ["Ear", "Heard", "Search"]

#: Symbols of a text for each step that is heard, at most.
_FASTEST = 1.0
#: Nats that a blank is made less likely by when a text is aligned.
_LESS_BLANK = 2.0


class Heard(NamedTuple):
    """A text for a piece of sound: ids without the end, its log P, when each symbol begins and ends, in steps, and how sure
    the model is of it; others: symbols, log P and score of the next best, best first; score: what texts are ranked by;
    attention (U, T): where the decoder looked at each symbol, if there is one.
    """

    symbols: list[int]
    log_probability: float
    times: list[tuple[float, float, float]]
    others: list[tuple[list[int], float, float]]
    score: float
    attention: np.ndarray | None = None


@dataclass(frozen=True)
class Search:
    """How a text is searched for. width: hypotheses side by side, 1: greedy, None: as at training; n_best: texts that are
    told; fusion: what helps.
    """

    width: int | None = None
    n_best: int = 1
    fusion: Fusion = field(default_factory=Fusion)


class Ear:
    """model: what listens; side, spoken: how texts become ids; width: of the search, unless something else is said."""

    def __init__(self, model: Recognizer, side: Side, spoken: Spoken, width: int) -> None:
        self.model, self.side, self.spoken, self.width = model, side, spoken, width

    @torch.no_grad()
    def listened(self, frames: Sequence[Tensor]) -> Listened:
        """Normal frames (T, F) each -> what is heard."""
        self.model.eval()
        padded, lengths = padded_frames(frames)
        return self.model.listener(padded.to(self.model.device), lengths.to(self.model.device))

    @torch.no_grad()
    def spelled(self, listened: Listened) -> list[np.ndarray]:
        """Log-probabilities (T', V) of the symbols at each step, the blank among them; of models with CTC. The unknown
        symbol, which is never written, has none.
        """
        assert self.model.ctc is not None
        return self._rows(self.model.ctc(listened.h), listened.lengths)

    @torch.no_grad()
    def located(self, listened: Listened) -> list[np.ndarray]:
        """`spelled`, by the sound around each step alone: for aligning texts. Blanks are less likely than they are, so that
        symbols last as long as they sound.
        """
        logits = self.model.listener.locator(listened.x)
        logits[:, :, BLANK] -= _LESS_BLANK
        return self._rows(logits, listened.lengths)

    def _rows(self, logits: Tensor, lengths: Tensor) -> list[np.ndarray]:
        logits = logits.float()
        logits[:, :, self.side.vocabulary.unknown] = -torch.inf
        logs = logits.log_softmax(2).cpu().numpy()
        return [np.ascontiguousarray(logs[:n, b]) for b, n in enumerate(lengths.tolist())]

    @cached_property
    def stepper(self) -> Stepper:
        """What is searched with, of models with attention: the decoder's engine, where it has one, and CTC if there is."""
        assert isinstance(self.model, AttentionRecognizer)
        decoder = cast(Stepper, DecoderEngine(self.model) if DecoderEngine.serves(self.model) else self.model)
        if self.model.ctc is None:
            return decoder
        vocabulary, weight = self.side.vocabulary, self.model.config.ctc_weight
        return JointStepper(decoder, weight, blank=BLANK, begin=vocabulary.begin, unknown=vocabulary.unknown)

    def heard(self, frames: Sequence[Tensor], search: Search | None = None) -> list[Heard]:
        """The best text for each piece of normal frames (T, F). ConfigError for help that such a model cannot use."""
        search = search or Search()
        listened = self.listened(frames)
        located = self.located(listened)
        if isinstance(self.model, AttentionRecognizer) and not (self.model.ctc is not None and search.fusion.phrases):
            if search.fusion.scorers or search.fusion.phrases:
                raise ConfigError("language models and hotwords help models with --head ctc; phrases also hybrids")
            return self._by_attention(listened, located, search)
        return [self.heard_in(*logs, search) for logs in zip(self.spelled(listened), located, strict=True)]

    def heard_in(self, logs: np.ndarray, located: np.ndarray, search: Search) -> Heard:
        """The best text for log-probabilities (T', V), by CTC; located: those that say where symbols stand."""
        if search.fusion.phrases:
            symbols, log_probability, others = self._of_phrases(logs, search)
            score = log_probability
        else:
            (symbols, log_probability, score), *rest = self._by_ctc(logs, search)
            others = [tuple(one) for one in rest]
        sure = np.zeros(len(symbols))
        with contextlib.suppress(DataError):  # a given phrase may be too unlikely to say where
            aligned = align(logs, np.array(symbols, np.int64), BLANK)
            sure = aligned.confidences
            log_probability = log_probability if search.fusion.phrases else aligned.log_probability
        return Heard(symbols, log_probability, self._times(located, symbols, sure), others, score)

    def _by_ctc(self, logs: np.ndarray, search: Search) -> list[Spelled]:
        """Return the best texts of the beam, best first, with the log P of the alignments that were searched."""
        width, scorers = max(search.width or self.width, search.n_best), search.fusion.scorers
        if width == 1 and not scorers:
            return [greedy(logs, BLANK)]
        return prefix_search(logs, width, BLANK, n_best=search.n_best, scorers=scorers) or [Spelled([], 0.0, 0.0)]

    def _of_phrases(
        self, logs: np.ndarray, search: Search
    ) -> tuple[list[int], float, list[tuple[list[int], float, float]]]:
        """The likeliest of given phrases, or nothing, with the log of its probability among them; and the next likely."""
        texts = [np.zeros(0, np.int64), *(self.side.encode(self.spoken(p))[:-1] for p in search.fusion.phrases)]
        scores = closed(logs, texts, BLANK)
        scores = scores - np.logaddexp.reduce(scores)
        ranked = np.argsort(-scores, kind="stable")[: search.n_best].tolist()
        (symbols, log_probability, _), *others = [(texts[i].tolist(), float(scores[i]), float(scores[i])) for i in ranked]
        return symbols, log_probability, others

    def _times(self, located: np.ndarray, symbols: list[int], sure: np.ndarray) -> list[tuple[float, float, float]]:
        """When each symbol begins and ends, in steps, and how sure the model is of it."""
        try:
            aligned = align(located, np.array(symbols, np.int64), BLANK)
        except DataError:  # more symbols than steps, or far too unlikely
            ends = np.linspace(0, len(located), len(symbols) + 1)
            return list(zip(ends[:-1].tolist(), ends[1:].tolist(), sure.tolist(), strict=True))
        return list(zip(aligned.begins.tolist(), aligned.ends.tolist(), sure.tolist(), strict=True))

    @torch.no_grad()
    def _by_attention(self, listened: Listened, located: list[np.ndarray], search: Search) -> list[Heard]:
        h, steps, _ = listened
        vocabulary, begin = self.side.vocabulary, torch.full((len(steps),), self.side.vocabulary.begin)
        width, n_best = max(search.width or self.width, search.n_best), search.n_best
        most = [max(1, int(_FASTEST * n)) for n in steps.tolist()]
        options = BeamOptions(width=width, n_best=n_best, norm="gnmt", max_length=max(most))
        source: Any = listened
        if self.model.ctc is not None:
            logs = self.model.ctc(h).float().log_softmax(2)
            source = (listened, logs.transpose(0, 1).cpu(), steps.cpu())
        own, unknown = [Prescribed(longest=n) for n in most], vocabulary.unknown
        found = beam_search(self.stepper, source, begin, options, end=vocabulary.end, forbidden=[unknown], prescribed=own)
        return [self._written(*one) for one in zip(found, located, strict=True)]

    def _written(self, found: Found, located: np.ndarray) -> Heard:
        """What the decoder has found."""
        end = self.side.vocabulary.end
        (symbols, log_probability, score), *others = [
            ([k for k in h.symbols if k != end], h.log_probability, h.score) for h in found.hypotheses
        ]
        best = found.hypotheses[0]
        sure = np.exp(np.array(best.token_scores[: len(symbols)]))
        return Heard(symbols, log_probability, self._times(located, symbols, sure), others, score, best.attention)
