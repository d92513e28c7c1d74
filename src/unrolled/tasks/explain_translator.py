"""How a translation came about: where each symbol looked, what it cost, what else was in the beam, and who is to blame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unrolled.errors import ConfigError
from unrolled.features.vocabulary import UNKNOWN

if TYPE_CHECKING:
    from unrolled.tasks.translator import TrainedTranslator, Translation

__all__ = ["explain_translation"]

_OTHERS = 5


def explain_translation(trained: TrainedTranslator, text: str, reference: str | None) -> dict[str, Any]:
    """Blocks for `pictures.page`, and the translation itself with its attention and its rivals.

    The verdict, given a reference: if the model scores it above what was found, the search has missed it (search error);
    if below, the model itself prefers what was found (model error).
    """
    if not text.strip():
        raise ConfigError("the text to explain is empty")
    if reference is not None and not reference.strip():
        raise ConfigError("the reference is empty")
    n_best = min(_OTHERS, trained.search.width)
    best = trained.translate([text], replace(trained.search, n_best=n_best))[0]
    rows = [["translation", best.text], ["score", round(best.score, 4)]]
    rows += [["nothing the beam could have reached is better", "proved" if best.optimal else "not proved"]]
    found: dict[str, Any] = best.to_json()
    right = None if reference is None else trained.forced(text, reference)
    if right is not None:
        found |= {"reference": right.to_json(), "verdict": _verdict(best, right)}
        rows += [["reference", right.text], ["its score", round(right.score, 4)], ["verdict", found["verdict"]]]
    blocks: list[dict[str, Any]] = [{"kind": "facts", "title": "Translation", "rows": rows}]
    blocks += _looks("What each symbol (row) looked at", best)
    if right is not None:
        blocks += _looks("What the reference would have looked at", right)
    of = {"found": best} | ({} if right is None else {"reference": right})
    blocks.append(
        {
            "kind": "lines",
            "title": "log P, in nats, added up symbol by symbol",
            "x": "symbol",
            "series": [{"name": name, "points": _added(one.token_scores)} for name, one in of.items()],
        }
    )
    others = [[f"{one.score:.4f}", one.text] for one in (best, *best.others)]
    blocks.append({"kind": "texts", "title": "The best that were found", "rows": others})
    return found | {"tokens": best.symbols, "blocks": blocks}


def _verdict(best: Translation, right: Translation) -> str:
    if best.text == right.text:
        return "none: it was found"
    if UNKNOWN in right.symbols:
        return "neither: the reference has symbols that the model does not know, so it cannot write it"
    if right.score > best.score:
        return "search error: the model prefers the reference, the beam has missed it"
    return "model error: the model prefers what was found"


def _looks(title: str, of: Translation) -> list[dict[str, Any]]:
    """The attention of a translation as a block, where there is any."""
    if of.attention is None:
        return []
    values = [[round(float(a), 4) for a in row] for row in of.attention]
    return [
        {"kind": "heat", "title": title, "columns": of.read, "rows": of.symbols, "values": values, "range": [-1.0, 1.0]}
    ]


def _added(scores: list[float]) -> list[list[float]]:
    total, points = 0.0, [[0.0, 0.0]]
    for i, score in enumerate(scores, start=1):
        total += score
        points.append([float(i), round(total, 5)])
    return points
