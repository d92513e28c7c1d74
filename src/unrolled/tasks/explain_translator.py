"""How a translation came about: where each symbol looked, what it cost, what else was in the beam, and who is to blame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from unrolled.decoding.beam import Hypothesis, Node
from unrolled.decoding.exact import exact_search
from unrolled.errors import ConfigError
from unrolled.features.texts import padded_rows
from unrolled.features.vocabulary import UNKNOWN
from unrolled.tasks.beam_tree import added, beam_tree

if TYPE_CHECKING:
    from unrolled.tasks.translation import Translation
    from unrolled.tasks.translator import TrainedTranslator

__all__ = ["BLAMES", "Favourite", "blame", "explain_translation", "favourite"]


class Favourite(NamedTuple):
    """What the model itself likes best, as far as it is known: see `decoding.exact.Exact`."""

    translation: Translation
    proved: bool
    bound: float
    steps: int

    def to_json(self) -> dict[str, Any]:
        return self.translation.to_json() | {"proved": self.proved, "bound": self.bound, "steps": self.steps}


def favourite(trained: TrainedTranslator, text: str, budget: int, known: Hypothesis | None = None) -> Favourite:
    """The best of all translations of a text that is not too long, with proof unless it takes more than `budget` steps.

    known: what a beam has found, if there is something already.
    """
    row, vocabulary = trained.codec.source.encode(text), trained.codec.target.vocabulary
    options = trained.options_for(row)
    known = known or trained.searched([row], options)[0].hypotheses[0]
    found = exact_search(
        trained.stepper,
        padded_rows([row], trained.codec.source.vocabulary.padding),
        torch.tensor([vocabulary.begin]),
        options,
        end=vocabulary.end,
        forbidden=trained.never_written(),
        known=known,
        budget=budget,
    )
    assert found.best is not None
    best = trained.forced_ids(text, row, found.best.symbols[:-1])
    return Favourite(best._replace(optimal=found.proved), found.proved, found.bound, found.steps)


def blame(best: Translation, right: Translation) -> str:
    """Why a reference was not found, in a word.

    found; unknown: it has symbols that the model cannot write; search: the model scores it above what was found, the beam
    has missed it; norm: the model finds it likelier, but not after the division by a norm of the lengths; model: the model
    itself prefers what was found.
    """
    if best.symbols == right.symbols:
        return "found"
    if UNKNOWN in right.symbols:
        return "unknown"
    if right.score > best.score:
        return "search"
    return "norm" if sum(right.token_scores) > sum(best.token_scores) else "model"


#: What `blame` says, as it is shown.
BLAMES = {
    "found": "none: the reference itself was found",
    "search": "search error: the model prefers the reference, the beam has missed it",
    "norm": "the norm: the reference is likelier, but not once it is divided by a norm of its length",
    "model": "model error: the model prefers what was found",
    "unknown": "neither: the reference has symbols that the model does not know, so it cannot write it",
}


def explain_translation(
    trained: TrainedTranslator, text: str, reference: str | None = None, exact: int | None = None
) -> dict[str, Any]:
    """Blocks for `pictures.page`, and the translation itself with its attention and its rivals.

    ConfigError for an empty text or reference, and for a text that would be translated in parts.
    """
    if not text.strip():
        raise ConfigError("the text to explain is empty")
    if reference is not None and not reference.strip():
        raise ConfigError("the reference is empty")
    row = trained.codec.source.encode(text)
    if len(row) - 1 > trained.longest:
        raise ConfigError(f"the text has {len(row) - 1} symbols; up to {trained.longest} are explained: take a part of it")
    options = replace(trained.options_for(row), n_best=trained.search.width)
    (searched,) = trained.searched([row], options, keep_tree=True)
    best, *others = [trained.told(text, row, one, optimal=searched.optimal_in_beam) for one in searched.hypotheses]
    assert searched.tree is not None
    rows = [["translation", best.text], ["score", round(best.score, 4)]]
    rows += [["nothing the beam could have reached is better", "proved" if best.optimal else "not proved"]]
    found: dict[str, Any] = best._replace(others=tuple(others)).to_json()
    paths = {"best": searched.hypotheses[0].symbols}
    series = {"found": best.token_scores}
    right = None if reference is None else trained.forced(text, reference)._replace(text=reference)
    if right is not None:
        paths["reference"] = trained.codec.target.vocabulary.encode(right.symbols).tolist()
        series["reference"] = right.token_scores
        verdict, left = blame(best, right), _left(searched.tree, paths["reference"], right)
        found |= {"reference": right.to_json(), "verdict": BLAMES[verdict], "blame": verdict, "left_the_beam": left}
        rows += [["reference", right.text], ["its score", round(right.score, 4)], ["verdict", found["verdict"]]]
        rows += [["the reference in the beam", left["what"]]]
    if exact is not None:
        own = favourite(trained, text, exact, searched.hypotheses[0])
        found["favourite"] = own.to_json()
        rows += _favourite_rows(own)
    blocks: list[dict[str, Any]] = [{"kind": "facts", "title": "Translation", "rows": rows}]
    blocks += _looks("What each symbol (row) looked at", trained, best)
    if right is not None:
        blocks += _looks("What the reference would have looked at", trained, right)
    lines = [{"name": name, "points": added(scores)} for name, scores in series.items()]
    blocks.append({"kind": "lines", "title": "log P, in nats, added up symbol by symbol", "x": "symbol", "series": lines})
    blocks.append(beam_tree(searched.tree, trained.codec.target.name, paths))
    listed = [[f"{one.score:.4f}", one.text] for one in (best, *others)]
    blocks.append({"kind": "texts", "title": "The best that were found", "rows": listed})
    return found | {"tokens": best.symbols, "blocks": blocks}


def _favourite_rows(own: Favourite) -> list[list[Any]]:
    what = "the model's own favourite" if own.proved else f"the best after {own.steps:,} steps of exact search"
    proof = f"proved in {own.steps:,} steps" if own.proved else f"not proved; none scores above {own.bound:.4f}"
    return [[what, own.translation.text], ["its score", round(own.translation.score, 4)], ["better than all others", proof]]


def _left(tree: list[list[Node]], path: list[int], right: Translation) -> dict[str, Any]:
    """Where a path leaves the beam: the number of the symbol (from 1), the symbol, and what happened there."""
    at = -1
    for t, symbol in enumerate(path):
        nodes = tree[t] if t < len(tree) else []
        if not nodes:
            return {"symbol": t + 1, "what": f"alive until the search ended, after {len(tree)} symbols"}
        where = next((i for i, node in enumerate(nodes) if (node.parent, node.symbol) == (at, symbol)), None)
        if where is None or nodes[where].fate == "pruned":
            total, lived = sum(right.token_scores[: t + 1]), [n.log_probability for n in nodes if n.fate == "live"]
            how = "never considered" if where is None else "pruned"
            last = f"the last that lived had {min(lived):.3f}" if lived else "nothing lived on: the search ended"
            what = f"{how} at symbol {t + 1}, {right.symbols[t]!r}: log P {total:.3f}, {last}"
            return {"symbol": t + 1, "token": right.symbols[t], "what": what}
        at = where
    return {"symbol": None, "what": "never left it"}


def _looks(title: str, trained: TrainedTranslator, of: Translation) -> list[dict[str, Any]]:
    """The attention of a translation as a block, where there is any."""
    if of.attention is None:
        return []
    values, most = np.round(of.attention.astype(np.float64), 4).tolist(), round(float(of.attention.max()), 4)
    codec = trained.codec
    columns = [codec.source.tokenizer.shown(symbol) for symbol in of.read]
    rows = [codec.target.tokenizer.shown(symbol).strip() for symbol in of.symbols]
    return [{"kind": "heat", "title": title, "columns": columns, "rows": rows, "values": values, "range": [-most, most]}]
