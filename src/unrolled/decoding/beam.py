"""Beam search on a model that steps: the best complete sequences, in log space, scored as `scoring` says.

At each step every live hypothesis is continued with every symbol; the `width` best that do not end live on. The search of a
sentence ends when no live hypothesis can win any more: l never rises, so what begins with l scores at most the largest of
(l + reward T) / norm(T) over the lengths T that are left. Then `optimal_in_beam` holds: nothing that the beam could have
reached from there is better. With a width of 1 the search is greedy: it ends when the end is the likeliest symbol.

Phrases may be required (Post and Vilar 2018, arXiv:1804.06609): the beam is then shared out evenly among hypotheses by how
many symbols of the phrases they have, and only those that have all of them may end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unrolled.decoding.required import Prescribed, Required
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError, ShapeError
from unrolled.kernels.choose import best_of, largest, log_sums
from unrolled.types import State, Stepper, map_state, state_tensors

__all__ = ["Found", "Hypothesis", "Node", "beam_search"]

#: What has been looked at less than this counts as looked at so much: its logarithm is to be finite.
_LEAST = 1e-9


class Hypothesis(NamedTuple):
    """symbols, with the end if there is one; log P of each in nats; score; attention (T, S) where the model has some."""

    symbols: list[int]
    token_scores: list[float]
    score: float
    attention: np.ndarray | None = None

    @property
    def log_probability(self) -> float:
        """l, in nats."""
        return float(np.sum(self.token_scores, dtype=np.float64))


class Node(NamedTuple):
    """A hypothesis that was considered at a step: `symbol` after the node `parent` of the step before (-1: the first),
    log P of all its symbols in nats, and its fate: live, ended or pruned.
    """

    parent: int
    symbol: int
    log_probability: float
    fate: str


class Found(NamedTuple):
    """The best sequences of a sentence, best first. optimal_in_beam: no live hypothesis could have won, up to the greatest
    length; what was pruned before is another matter (`exact`). steps: taken; tree: of each step what was considered,
    likeliest first, where it was asked for.
    """

    hypotheses: list[Hypothesis]
    optimal_in_beam: bool
    steps: int
    tree: list[list[Node]] | None = None


@dataclass
class _Sentence:
    """What is known of a sentence: its ended hypotheses, best first. limit: symbols, the end not counted; inside (S,): its
    true positions; node: which node of the last step of the tree each of its live hypotheses is.
    """

    prefix: Sequence[int]
    required: Required | None
    limit: int
    inside: np.ndarray | None = None
    tree: list[list[Node]] | None = None
    node: list[int] = field(default_factory=lambda: [-1])
    ended: list[Hypothesis] = field(default_factory=list)
    steps: int = 0
    optimal: bool = False


@dataclass
class _Beam:
    """The live hypotheses of all sentences, those of a sentence next to each other, best first.

    sentence (R,), log_probability (R,), symbols and token_scores (R, t); attention: for each step the weights (R, S) of its
    rows, and for each row of the step after it which of them it continues.
    """

    sentence: np.ndarray
    log_probability: np.ndarray
    symbols: np.ndarray
    token_scores: np.ndarray
    attention: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)


@torch.no_grad()
def beam_search(
    model: Stepper,
    source: Any,
    begin: Tensor,
    options: BeamOptions,
    *,
    end: int | None = None,
    forbidden: Sequence[int] = (),
    prescribed: Sequence[Prescribed] | None = None,
    keep_tree: bool = False,
) -> list[Found]:
    """The best sequences for each of B sentences; begin (B,): the symbols that are fed first.

    end: the symbol that ends a sequence, None where all have `max_length` symbols; forbidden: symbols that never come;
    prescribed: of each sentence what its sequences must have. ConfigError where that is longer than `max_length`, and for
    coverage without attention.
    """
    memory, state = model.start(source)
    n = len(begin)
    looked = getattr(state, "attention", None)
    if options.coverage and looked is None:
        raise ConfigError("coverage is for models with attention: this one has none")
    sentences = [
        _Sentence(
            *_checked(prescribed[i] if prescribed else Prescribed(), options.limit),
            None if looked is None else looked[i].numpy() > 0,
            [] if keep_tree else None,
        )
        for i in range(n)
    ]
    beam = _Beam(np.arange(n), np.zeros(n), np.zeros((n, 0), np.int64), np.zeros((n, 0)))
    last = begin
    for t in range(max((sentence.limit for sentence in sentences), default=0) + (end is not None)):
        logits, state = model.step(last, state, memory, torch.from_numpy(beam.sentence))
        # log P stays what the model says: what is forbidden keeps its share of the sum
        scored = logits.cpu().contiguous().numpy()
        if scored.ndim != 2 or scored.shape[0] != len(last) or not scored.shape[1] or scored.dtype.kind != "f":
            raise ShapeError(f"the model gave logits {scored.dtype} {scored.shape} for {len(last)} rows, expected (R, V)")
        log_z = log_sums(scored, torch.get_num_threads())
        _forbid(scored, beam, sentences, options, t, end=end, forbidden=forbidden)
        rows, symbols, scores = _candidates(scored, log_z, beam, sentences, options.width)
        kept = _continued(beam, sentences, (rows, symbols, scores), options, state, end=end)
        if not len(kept):
            break
        last, state = torch.from_numpy(symbols[kept]), _taken(state, rows[kept])
    return [Found(s.ended[: options.n_best], s.optimal, s.steps, s.tree) for s in sentences]


def _checked(prescribed: Prescribed, most: int) -> tuple[Sequence[int], Required | None, int]:
    """The prefix, the phrases and the limit of a sentence."""
    prefix, phrases, longest = prescribed
    max_length = most if longest is None else min(most, longest)
    if len(prefix) > max_length:
        raise ConfigError(f"a forced beginning is longer than max-length {max_length}")
    return prefix, Required.of(phrases, max_length) if phrases else None, max_length


def _taken(state: State, rows: np.ndarray) -> State:
    """The state of these rows (R,); state itself if they are all of its rows, in order."""
    n = len(state_tensors(state)[0])
    if len(rows) == n and (n == 1 or bool((rows == np.arange(n)).all())):
        return state
    return map_state(lambda s: s[torch.from_numpy(rows)], state)


def _forbid(
    logits: np.ndarray,
    beam: _Beam,
    sentences: list[_Sentence],
    options: BeamOptions,
    t: int,
    *,
    end: int | None,
    forbidden: Sequence[int],
) -> None:
    """Make logits (R, V) of symbols that must not come -inf."""
    for symbol in forbidden:
        logits[:, symbol] = -np.inf
    if end is not None and t < options.min_length:
        logits[:, end] = -np.inf
    special = options.no_repeat or any(t < len(s.prefix) or s.required or t == s.limit for s in sentences)
    for row, i in enumerate(beam.sentence.tolist() if special else ()):
        prefix, required = sentences[i].prefix, sentences[i].required
        if end is not None and t == sentences[i].limit:
            _force(logits[row], end)
        if required and end is not None and required.missing(beam.symbols[row]):
            logits[row, end] = -np.inf
        if t < len(prefix):
            _force(logits[row], prefix[t])
        elif options.no_repeat:
            logits[row, _repeating(beam.symbols[row].tolist(), options.no_repeat)] = -np.inf


def _force(logits: np.ndarray, symbol: int) -> None:
    """Leave one symbol of logits (..., V)."""
    kept = logits[..., symbol].copy()
    logits[:] = -np.inf
    logits[..., symbol] = kept


def _repeating(symbols: list[int], n: int) -> list[int]:
    """Symbols that would end an n-gram that stands in the sequence already."""
    before = symbols[len(symbols) - n + 1 :] if n > 1 else []
    return [symbols[i + n - 1] for i in range(len(symbols) - n + 1) if symbols[i : i + n - 1] == before]


def _candidates(
    logits: np.ndarray, log_z: np.ndarray, beam: _Beam, sentences: list[_Sentence], width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best continuations of each sentence, best first: rows, symbols, their log P.

    Twice as many as can live on: of each of the `width` rows one may be an end. Where phrases are required, the best of
    each number of symbols of them come first (`had`), then the second best, ...; else plain log P decides.
    """
    values, columns = largest(logits, min(2 * width, logits.shape[1]), torch.get_num_threads())
    if not any(sentence.required for sentence in sentences):
        token = values - log_z[:, None]
        rows, places = best_of(token, beam.log_probability, beam.sentence, 2 * width)
        return rows, columns[rows, places], token[rows, places]
    every = np.repeat(np.arange(len(logits)), columns.shape[1])
    rows, symbols, had = _with_required(every, columns.ravel(), beam, sentences)
    token = logits[rows, symbols] - log_z[rows]
    total, of = token + beam.log_probability[rows], beam.sentence[rows]
    order = np.lexsort((rows, -total, had, of))
    order = order[np.isfinite(total[order])]  # fewer symbols than places may be allowed
    place = _place(of[order], had[order])
    order = order[np.lexsort((-total[order], -had[order], place, of[order]))]
    order = order[_place(of[order], np.zeros(len(order))) < 2 * width]
    return rows[order], symbols[order], token[order]


def _place(*keys: np.ndarray) -> np.ndarray:
    """The place of each element within its run of equal keys."""
    n = len(keys[0])
    begins = np.ones(n, bool)
    begins[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.arange(n) - np.maximum.accumulate(np.where(begins, np.arange(n), 0))


def _with_required(
    rows: np.ndarray, symbols: np.ndarray, beam: _Beam, sentences: list[_Sentence]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Continuations, those that go on with a required phrase added; and how many symbols of phrases each has then."""
    pairs = dict.fromkeys(zip(rows.tolist(), symbols.tolist(), strict=True))
    for row, i in enumerate(beam.sentence.tolist()):
        required = sentences[i].required
        if required is not None and len(beam.symbols[row]) >= len(sentences[i].prefix):
            pairs |= dict.fromkeys((row, symbol) for symbol in required.wanted(beam.symbols[row]))
    had = []
    for row, symbol in pairs:
        required = sentences[beam.sentence[row]].required
        had.append(0 if required is None else required.had(np.append(beam.symbols[row], symbol)))
    each = np.array(list(pairs), np.int64)
    return each[:, 0], each[:, 1], np.array(had, np.int64)


def _continued(
    beam: _Beam,
    sentences: list[_Sentence],
    candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
    options: BeamOptions,
    state: State,
    *,
    end: int | None,
) -> np.ndarray:
    """Take candidates into the beam, which becomes that of the next step; those that have ended go to their sentence.

    Returns which candidates live on.
    """
    rows, symbols, scores = candidates
    length = beam.symbols.shape[1] + 1
    attention = getattr(state, "attention", None)
    if attention is not None:
        beam.attention.append((attention.numpy(), np.zeros(0, np.int64)))
    kept: list[int] = []
    bounds = np.searchsorted(beam.sentence[rows], np.arange(len(sentences) + 1))
    for sentence, first, last in zip(sentences, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if first == last:
            continue
        live: list[int] = []
        ended: list[int] = []
        longest = sentence.limit + (end is not None)
        least = sentence.ended[-1].score if len(sentence.ended) == options.width else -np.inf
        for at in range(first, last):
            if len(live) == options.width or (options.width == 1 and ended):
                break
            if symbols[at] == end or (end is None and length == longest):
                ended.append(at)
                if options.score(beam.log_probability[rows[at]] + scores[at], length) >= least:
                    sentence.ended.append(
                        _hypothesis(beam, sentence, rows[at].item(), symbols[at].item(), scores[at].item(), options)
                    )
            else:
                live.append(at)
        if sentence.tree is not None:
            _note(sentence, beam, candidates, range(first, last), live=live, ended=ended)
        sentence.ended = sorted(sentence.ended, key=lambda h: -h.score)[: options.width]
        sentence.steps = length
        kept += [] if _over(sentence, beam.log_probability[rows[live]] + scores[live], options, length, longest) else live
    chosen = np.array(kept, np.int64)
    of = rows[chosen]
    beam.symbols = np.concatenate([beam.symbols[of], symbols[chosen][:, None]], 1)
    beam.token_scores = np.concatenate([beam.token_scores[of], scores[chosen][:, None]], 1)
    beam.log_probability, beam.sentence = beam.token_scores.sum(1), beam.sentence[of]
    if attention is not None:
        beam.attention[-1] = (beam.attention[-1][0], of)
    return chosen


def _over(sentence: _Sentence, live: np.ndarray, options: BeamOptions, length: int, longest: int) -> bool:
    """Whether the search of a sentence ends, log P (n,) of its live hypotheses given; notes whether it ends with proof."""
    if len(sentence.ended) >= options.n_best:
        hope = float(options.most(live, length, longest).max()) if len(live) and length < longest else -np.inf
        sentence.optimal = sentence.ended[options.n_best - 1].score >= hope
    return sentence.optimal or not len(live) or (options.width == 1 and bool(sentence.ended))


def _note(
    sentence: _Sentence,
    beam: _Beam,
    candidates: tuple[np.ndarray, np.ndarray, np.ndarray],
    considered: range,
    *,
    live: list[int],
    ended: list[int],
) -> None:
    """Add a step to the tree of a sentence."""
    assert sentence.tree is not None
    rows, symbols, scores = candidates
    first = int(np.searchsorted(beam.sentence, beam.sentence[rows[considered[0]]]))
    nodes = []
    for at in considered:
        row, fate = int(rows[at]), "live" if at in live else "ended" if at in ended else "pruned"
        nodes.append(
            Node(sentence.node[row - first], int(symbols[at]), float(beam.log_probability[row] + scores[at]), fate)
        )
    sentence.tree.append(nodes)
    sentence.node = [at - considered[0] for at in live]


def _hypothesis(beam: _Beam, sentence: _Sentence, row: int, symbol: int, score: float, options: BeamOptions) -> Hypothesis:
    """The sequence of a row with its last symbol."""
    symbols, token_scores = [*beam.symbols[row].tolist(), symbol], [*beam.token_scores[row].tolist(), score]
    total = float(options.score(np.array(np.sum(token_scores)), len(symbols)))
    weights: list[np.ndarray] = []
    at = row
    for step in reversed(range(len(beam.attention))):
        weights.append(beam.attention[step][0][at])
        at = int(beam.attention[step - 1][1][at]) if step else at
    attention = np.stack(weights[::-1]) if weights else None
    if options.coverage and attention is not None:
        looked = attention[:, sentence.inside].sum(0, dtype=np.float64)
        total += options.coverage * float(np.log(np.clip(looked, _LEAST, 1)).sum())
    return Hypothesis(symbols, token_scores, total, attention)
