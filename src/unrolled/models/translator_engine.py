"""A translator made ready for writing: each step of the decoder in a few compiled calls.

    engine = TranslatorEngine(model)           # packs the weights once
    memory, state = engine.start((ids, lengths))
    logits, state = engine.step(last, state, memory, sentence_of_row)

The same `Stepper` as the model, several times faster. What a symbol is to the decoder and to the readout is looked up, not
computed, and memories are read where they stand. It notices when parameters change (not through `parameter.data`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unrolled.errors import ConfigError
from unrolled.kernels.attend import add_product, add_product_tanh, look
from unrolled.kernels.step import run_layers, score
from unrolled.models.engine import pack, pack_layers, pack_output, step_kind
from unrolled.models.translator import Translator, Writing
from unrolled.types import State, state_like, state_tensors

__all__ = ["Read", "TranslatorEngine"]

#: Bytes up to which what a symbol is to decoder and readout is kept for every symbol.
_TABLES = 256 * 2**20
_NOTHING = np.zeros((1, 0), np.float32)


class Read(NamedTuple):
    """Sentences that have been read: keys (B, S, A), values (B, S, M), lengths (B,)."""

    keys: np.ndarray
    values: np.ndarray
    lengths: np.ndarray


class TranslatorEngine:
    """A `Stepper` for a translator in evaluation mode, on the CPU in single precision, of RNN, GRU or LSTM cells.

    rounded: the output matrix is kept in bytes, see `models.engine`. ConfigError for others: see `serves`.
    """

    def __init__(self, model: Translator, *, rounded: bool = False) -> None:
        if not self.serves(model):
            raise ConfigError("the translator engine serves RNN, GRU and LSTM in float32 on the CPU")
        self.model, self.rounded = model, rounded
        self._seen: list[tuple[int, int]] = []

    @staticmethod
    def serves(model: Translator) -> bool:
        """Whether an engine can be made of the model."""
        plain = all(p.device.type == "cpu" and p.dtype == torch.float32 for p in model.parameters())
        config, gates = model.config, model.decoder.cell.n_gates
        table = 4 * config.n_target * (gates * config.decoder_size + config.embedding_size)
        return plain and step_kind(model.decoder.cell) is not None and table <= _TABLES

    @torch.no_grad()
    def start(self, source: tuple[Tensor, Tensor]) -> tuple[Read | None, State]:
        """Read sentences, ids (B, S) and lengths (B,)."""
        memory, state = self.model.start(source)
        if memory is None:
            return None, state
        lengths = memory.inside.sum(1).numpy()
        return Read(memory.keys.contiguous().numpy(), memory.values.contiguous().numpy(), lengths), state

    @torch.no_grad()
    def step(self, last: Tensor, state: State, memory: Read | None, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """Feed symbols (R,): logits (R, V) and the next state."""
        self._refresh()
        ids = last.clamp(max=self.model.config.n_target).numpy()
        hidden = state.hidden if isinstance(state, Writing) else state
        old = [s.contiguous().numpy() for s in state_tensors(hidden)]
        new = [torch.empty(s.shape) for s in old]
        first, o = self._symbols[ids], self._read_symbols[ids]
        seen, parts = None, list[np.ndarray]()
        if memory is not None:
            assert isinstance(state, Writing)
            context, weights = self._look(old[0][:, -1], memory, sentence_of_row.numpy())
            seen, parts = weights, [context]
            fed = [state.fed.numpy()] if self.model.config.input_feeding else []
            add_product(np.concatenate([context, *fed], 1), self._entering, first)
        run_layers(self._layers, _NOTHING, first, old[0], old[-1], new[0].numpy(), new[-1].numpy())
        add_product_tanh(np.concatenate([new[0][:, -1].numpy(), *parts], 1), self._read_out, o)
        logits = torch.empty(len(last), self.model.config.n_target)
        score(self._output, o, logits.numpy())
        after = state_like(hidden, new)
        return logits, after if seen is None else Writing(after, torch.from_numpy(seen), torch.from_numpy(o))

    def _look(self, top: np.ndarray, memory: Read, sentence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Context (R, M) and weights (R, S) of the top layer's last outputs (R, H)."""
        asked = np.ascontiguousarray(top)
        if self._query is not None:
            asked = np.zeros((len(top), memory.keys.shape[2]), np.float32)
            add_product(np.ascontiguousarray(top), self._query, asked)
        context = np.empty((len(top), memory.values.shape[2]), np.float32)
        weights = np.empty((len(top), memory.values.shape[1]), np.float32)
        look(memory.keys, memory.values, memory.lengths, sentence, asked, self._score, self._scale, context, weights)
        return context, weights

    def _refresh(self) -> None:
        """Pack the weights unless they are what they were."""
        if self.model.training:
            raise ConfigError("the model is in training mode, where it drops out: call model.eval() first")
        now = [(p._version, p.data_ptr()) for p in self.model.parameters()]
        if now == self._seen:
            return
        model, size = self.model, self.model.config.embedding_size
        w = model.decoder.weights(0)
        vectors = model.target(torch.arange(model.config.n_target + 1))
        bias = model.decoder.cell.projection_bias(w)
        self._symbols = functional.linear(vectors, w.weight_ih[:, :size], bias).numpy()
        self._entering = pack(w.weight_ih[:, size:])
        self._layers = pack_layers(model.decoder)
        read_out = model.readout.weight
        self._read_symbols = functional.linear(vectors, read_out[:, -size:], model.readout.bias).numpy()
        self._read_out = pack(read_out[:, :-size])
        self._output = pack_output(model.output, rounded=self.rounded)
        self._query, self._score, self._scale = None, np.zeros(0, np.float32), np.float32(1)
        if model.attention is not None:
            query, network = model.attention.query, model.attention.score
            self._query = pack(query.weight) if isinstance(query, torch.nn.Linear) else None
            self._score = self._score if network is None else network.weight.detach().numpy()[0].copy()
            self._scale = np.float32(model.attention.scale)
        self._seen = now
