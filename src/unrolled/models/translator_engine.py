"""A translator made ready for writing: its decoder's engine, and an encoder whose words are looked up.

engine = TranslatorEngine(model)           # packs the weights once
memory, state = engine.start((ids, lengths))           # or (ids, lengths, lists): only listed symbols are scored
logits, state = engine.step(last, state, memory, sentence_of_row)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unrolled.kernels.bounds import check_ids, check_shape
from unrolled.kernels.step import Output
from unrolled.kernels.workspace import Kept, keeping
from unrolled.layers.attention import Memory
from unrolled.layers.embedding import Lookup
from unrolled.models.decoder_engine import TABLES, DecoderEngine, Listed, Sources
from unrolled.models.engine import pack_output
from unrolled.models.translator import Translator
from unrolled.types import State

__all__ = ["TranslatorEngine"]


class TranslatorEngine(DecoderEngine[Translator]):
    """A `Stepper` for a translator; see `DecoderEngine`."""

    @torch.no_grad()
    def start(self, source: tuple[Tensor, Tensor] | tuple[Tensor, Tensor, np.ndarray]) -> tuple[Sources, State]:
        """Read sentences, ids (B, S) and lengths (B,).

        With lists (B, C) of the symbols that translations may have, padded with what is fed first, steps speak of places in
        them instead of symbols; and probabilities are those among listed symbols.
        """
        self._refresh()
        ids, lengths, *lists = source
        if lists:
            check_shape("lists", lists[0].shape, (len(ids), None))
            check_ids("lists", lists[0], None)
        listed = Listed(lists[0], [self._part(symbols) for symbols in lists[0]]) if lists else None
        return self._sources(*self._started((ids, lengths)), listed)

    def _started(self, source: tuple[Tensor, Tensor]) -> tuple[Memory | None, State]:
        """`start` of the model, with what each word is to the first layers looked up and its weights packed once."""
        if self._words is None:
            return self.model.start(source)
        ids, lengths = source
        with keeping(self._kept):
            words = Lookup(self._words, ids.t().clamp(max=self.model.config.n_source))
            return self.model.written_from(*self.model.read(words, lengths))

    def _part(self, symbols: np.ndarray) -> Output:
        """The output layer for listed symbols (C,), without their padding."""
        which = torch.from_numpy(symbols[symbols < self.model.config.n_target])
        return pack_output(self.model.output, rounded=False, symbols=which)

    def _pack(self) -> None:
        super()._pack()
        model, words = self.model, torch.arange(self.model.config.n_source + 1)
        table = 4 * len(words) * 2 * model.encoder.cell.n_gates * model.config.encoder_size
        self._words = model.source(words) if table <= TABLES else None
        self._kept: Kept = {}
