"""How a caption came about: which region each word looked at, what it cost, what else was in the beam."""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.decoding.scoring import BeamOptions
from unrolled.features.tokenizers import Tokenizer
from unrolled.tasks.beam_tree import added, beam_tree

if TYPE_CHECKING:
    from unrolled.tasks.captioner import Caption, TrainedCaptioner
    from unrolled.tasks.media_inputs import Image

__all__ = ["explain_caption"]


def explain_caption(trained: TrainedCaptioner, image: Image, options: BeamOptions) -> dict[str, Any]:
    """Blocks for `pictures.page`, and the caption itself with its attention and rivals. DataError for what is no image."""
    square = trained.read_pixels(image)
    search = replace(options, n_best=options.width)
    (searched,) = trained.searched(trained.seen(square[None]), search, keep_tree=True)
    assert searched.tree is not None
    best = trained.told(image, searched)
    rows = [["caption", best.text], ["score", round(best.score, 4)]]
    rows += [["nothing the beam could have reached is better", "proved" if best.optimal else "not proved"]]
    blocks: list[dict[str, Any]] = [{"kind": "facts", "title": "Caption", "rows": rows}]
    blocks.append(_photo(square, best, trained.side.tokenizer))
    points = [{"name": "found", "points": added(best.token_scores)}]
    blocks.append({"kind": "lines", "title": "log P, in nats, added up word by word", "x": "word", "series": points})
    paths = {"best": searched.hypotheses[0].symbols}
    blocks.append(beam_tree(searched.tree, trained.side.name, paths))
    listed = [[f"{one.score:.4f}", one.text] for one in (best, *best.others)]
    blocks.append({"kind": "texts", "title": "The best that were found", "rows": listed})
    return best.to_json() | {"tokens": best.symbols, "blocks": blocks}


def _photo(square: np.ndarray, best: Caption, tokenizer: Tokenizer) -> dict[str, Any]:
    """The image as the encoder was given it, once for each word, bright where that looked."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(square).save(file, "JPEG", quality=90)
    found: dict[str, Any] = {"kind": "photo", "title": "The image as the encoder is given it"}
    found["image"] = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    if best.attention is None or best.attention.shape[1] == 1:
        return found | {"words": [], "values": [], "side": 1}
    side = math.isqrt(best.attention.shape[1])
    values = np.round(best.attention, 4).tolist() if side * side == best.attention.shape[1] else []
    note = f"Bright: where a word looked, among {side} x {side} regions, each of which has seen its surroundings too."
    words = [tokenizer.shown(symbol).strip() for symbol in best.symbols] if values else []
    return found | {"title": "Where each word looked", "note": note, "words": words, "values": values, "side": side}
