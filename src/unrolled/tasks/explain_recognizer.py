"""How a transcript came about: the sound as it is read, the symbol of each step, where each stands, what else was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from unrolled.decoding.alignment import align
from unrolled.errors import DataError
from unrolled.models.recognizer import BLANK
from unrolled.tasks.media_inputs import input_name

if TYPE_CHECKING:
    from unrolled.tasks.hearing import Search
    from unrolled.tasks.media_inputs import Recording
    from unrolled.tasks.recognizer import TrainedRecognizer

__all__ = ["explain_sound"]

#: Longer recordings are shown up to here.
_SECONDS = 20.0
_OTHERS = 10
_KINDS = {"log-mel": "loud and soft tones, low ones below", "mfcc": "cepstra, the first below", "given": "frames"}
#: A symbol that is nowhere likelier than this is not shown.
_SEEN = 0.02


def explain_sound(trained: TrainedRecognizer, sound: Recording, search: Search) -> dict[str, Any]:
    """Blocks for `pictures.page`, and the transcript itself. DataError for what is no recording."""
    raw, whole = trained.frames_of(sound)
    most = min(_SECONDS, trained.piece_seconds)
    frames = whole[: max(1, int(most * 1000 / trained.front.hop_ms))]
    (heard,) = trained.ear.heard([frames], replace(search, n_best=min(_OTHERS, search.width or trained.ear.width)))
    name = input_name(sound, "samples")
    found = trained.told(name, heard, frames, len(frames) * trained.front.hop_ms / 1000)
    rows = [["text", found.text or "(nothing)"], ["log P, in nats", round(found.log_probability, 4)]]
    rows += [["seconds", round(found.seconds, 2)], ["seconds a step", trained.step_seconds]]
    blocks: list[dict[str, Any]] = [{"kind": "facts", "title": "What is heard", "rows": rows}]
    spans = [{"text": word.text, "begin": round(word.begin, 3), "end": round(word.end, 3)} for word in found.words]
    sounding = raw[: len(frames)].numpy()
    blocks.append(
        _raster(
            f"The sound as {_KINDS[trained.front.kind]}, and the words where they are heard",
            sounding.T[::-1],
            [],
            trained.front.hop_ms / 1000,
            spans,
        )
    )
    blocks += _spelled(trained, frames, heard.symbols)
    if heard.attention is not None:
        symbols = [*map(_visible, trained.side.vocabulary.decode(heard.symbols)), "(end)"][: len(heard.attention)]
        title = "Where the decoder looked at each symbol"
        blocks.append(_raster(title, heard.attention, symbols, trained.step_seconds, [], (0.0, 1.0)))
    confident = [[word.text, f"{word.begin:.2f} to {word.end:.2f} s, {word.confidence:.3f}"] for word in found.words]
    blocks.append({"kind": "texts", "title": "Each word, when it is heard, and how sure the model is", "rows": confident})
    listed = [[f"{score:.4f}", text] for score, text in found.ranked()]
    blocks.append({"kind": "texts", "title": "The best texts by the search, with their scores", "rows": listed})
    result = found.to_json() | {"tokens": trained.side.vocabulary.decode(heard.symbols), "blocks": blocks}
    return result | ({"cut": True, "shown": f"{most:g} seconds"} if len(whole) > len(frames) else {})


def _spelled(trained: TrainedRecognizer, frames: Tensor, symbols: Sequence[int]) -> list[dict[str, Any]]:
    """The probability of each symbol at each step, by CTC, and where those of the text stand, all alignments together."""
    listened, step, blocks = trained.ear.listened([frames]), trained.step_seconds, list[dict[str, Any]]()
    if trained.model.ctc is not None:
        p = np.exp(trained.ear.spelled(listened)[0])
        shown = [k for k in np.argsort(-p.max(0), kind="stable").tolist() if k != BLANK and p[:, k].max() > _SEEN]
        names = [*(_visible(trained.side.vocabulary.symbols[k]) for k in shown), "(blank)"]
        title = "How likely each symbol is at each step: spikes, and nothing (the blank) between them"
        blocks.append(_raster(title, p[:, [*shown, BLANK]].T, names, step, [], (0.0, 1.0)))
    try:
        gamma = align(trained.ear.located(listened)[0], np.array(symbols, np.int64), BLANK).occupancy
    except DataError:
        return blocks
    own = [_visible(symbol) for symbol in trained.side.vocabulary.decode(symbols)]
    title = "Where each symbol of the text stands, by the sound around each step, all alignments together"
    return [*blocks, *([_raster(title, gamma.T, own, step, [], (0.0, 1.0))] if symbols else [])]


def _visible(symbol: str) -> str:
    return "(blank space)" if symbol.isspace() else symbol


def _raster(
    title: str,
    values: np.ndarray,
    rows: list[str],
    step: float,
    spans: list[dict[str, Any]],
    limits: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Values (rows, steps) as a block; without names of rows they are one picture."""
    low, high = limits or (float(np.quantile(values, 0.02)), float(values.max()))
    rounded = np.round(np.asarray(values, np.float64), 3).tolist()
    block = {"kind": "raster", "title": title, "rows": rows, "values": rounded, "range": [round(low, 3), round(high, 3)]}
    return block | {"step": step, "spans": spans}
