"""A decoder made ready for writing: each step in a few compiled calls.

    engine = DecoderEngine(model)              # packs the weights once
    memory, state = engine.start(source)       # as the model's
    logits, state = engine.step(last, state, memory, sentence_of_row)

The same `Stepper` as the model, several times faster. What a symbol is to the decoder and to the readout is looked up, not
computed, and memories are read where they stand. Each `start` notices when parameters have changed (not through
`parameter.data`).
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unrolled.errors import ShapeError
from unrolled.kernels.attend import LOOKED, add_product, add_product_tanh, approach, look
from unrolled.kernels.bounds import check_ids, check_shape
from unrolled.kernels.step import Output, run_layers, score
from unrolled.kernels.workspace import over_rows
from unrolled.layers.attention import Memory
from unrolled.models.decoder import Decoder, Writing
from unrolled.models.engine import Engine, check_step, pack, pack_layers, pack_output, plain
from unrolled.types import State, state_like, state_tensors

__all__ = ["TABLES", "DecoderEngine", "Listed", "Read", "Sources"]

#: Bytes up to which what a symbol is to a layer is kept for every symbol.
TABLES = 256 * 2**20
_NOTHING = np.zeros((1, 0), np.float32)
D = TypeVar("D", bound=Decoder[Any])


class Read(NamedTuple):
    """Sentences that have been read: keys (B, S, A), values (B, S, M), lengths (B,)."""

    keys: np.ndarray
    values: np.ndarray
    lengths: np.ndarray


class Listed(NamedTuple):
    """symbols (B, C): what the translation of each sentence may have, padded; of each the part of the output layer."""

    symbols: np.ndarray
    outputs: list[Output]


class Sources(NamedTuple):
    """What is known of the sentences: what is attended to, if anything is; and their lists, if they have some."""

    read: Read | None
    listed: Listed | None


class _Given(NamedTuple):
    """What a step begins with: symbols (R,), the sentence of each (R,), hidden states (R, L, H); of the step before o, and
    where it looked (R, S).
    """

    ids: np.ndarray
    sentence: np.ndarray
    hidden: list[np.ndarray]
    fed: np.ndarray | None
    looked: np.ndarray | None
    memory: Read | None
    listed: Listed | None


class _Made(NamedTuple):
    """What a step comes to: hidden states (R, L, H), weights (R, S), o (R, D), which begins as what the symbols give, and
    logits (R, V), or (R, C) of listed symbols.
    """

    hidden: list[np.ndarray]
    weights: np.ndarray
    o: np.ndarray
    logits: np.ndarray


class DecoderEngine(Engine[D], Generic[D]):
    """A `Stepper` for a decoder in evaluation mode, on the CPU in single precision, of RNN, GRU or LSTM cells.

    rounded: the output matrix is kept in bytes, see `models.engine`. ConfigError for others: see `serves`.
    """

    serving = "decoder's engine serves RNN, GRU and LSTM in float32 on the CPU"

    @staticmethod
    def serves(model: Decoder[Any]) -> bool:
        """Whether an engine can be made of the model."""
        config, gates = model.config, model.decoder.cell.n_gates
        table = 4 * config.n_target * (gates * config.decoder_size + config.embedding_size)
        looks = model.attention is None or model.attention.kind in LOOKED
        return plain(model, model.decoder.cell) and looks and table <= TABLES

    @torch.no_grad()
    def start(self, source: Any) -> tuple[Sources, State]:
        """Read `source` as the model does."""
        self._refresh()
        return self._sources(*self._started(source))

    def _started(self, source: Any) -> tuple[Memory | None, State]:
        """`start` of the model."""
        return self.model.start(source)

    def _sources(self, memory: Memory | None, state: State, listed: Listed | None = None) -> tuple[Sources, State]:
        if memory is None:
            return Sources(None, listed), state
        n = memory.inside.sum(1).numpy()
        return Sources(Read(memory.keys.contiguous().numpy(), memory.values.contiguous().numpy(), n), listed), state

    @torch.no_grad()
    def step(self, last: Tensor, state: State, memory: Sources, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """Feed symbols (R,), or places in lists: logits (R, V), or (R, C), and the next state. ShapeError for symbols,
        sentences and states that are none of the model's.
        """
        ids, n, size, of = last.numpy(), len(last), self.model.config.n_target, sentence_of_row.numpy()
        read, listed = memory
        self._check(ids, state, memory, of)
        if listed is not None:
            ids, size = listed.symbols[of, ids], listed.symbols.shape[1]
        ids = np.minimum(ids, self.model.config.n_target)
        hidden, fed, looked = state, None, None
        if isinstance(state, Writing):
            hidden, fed, looked = state.hidden, state.fed.numpy(), state.attention.contiguous().numpy()
        given = _Given(ids, of, [s.contiguous().numpy() for s in state_tensors(hidden)], fed, looked, read, listed)
        weights = np.zeros((n, 0 if read is None else read.values.shape[1]), np.float32)
        o, logits = self._read_symbols[ids], np.empty((n, size), np.float32)
        made = _Made([np.empty_like(s) for s in given.hidden], weights, o, logits)
        over_rows(n, partial(self._rows, given, made), torch.get_num_threads())
        stepped = state_like(hidden, map(torch.from_numpy, made.hidden))
        after = stepped if read is None else Writing(stepped, torch.from_numpy(weights), torch.from_numpy(o))
        return torch.from_numpy(logits), after

    def _check(self, ids: np.ndarray, state: State, memory: Sources, of: np.ndarray) -> None:
        read, listed = memory
        hidden = state.hidden if isinstance(state, Writing) else state
        check_step(self.model.decoder, ids, state_tensors(hidden))
        check_shape("sentences of rows", of.shape, ids.shape)
        if listed is not None:
            check_ids("places in lists", ids, listed.symbols.shape[1])
            check_ids("sentences of rows", of, len(listed.symbols))
        if read is None:
            return
        check_ids("sentences of rows", of, len(read.lengths))
        check_shape("keys", read.keys.shape, (len(read.lengths), None, self._key_size))
        check_shape("values", read.values.shape, (*read.keys.shape[:2], self._value_size))
        check_ids("lengths of sentences", read.lengths, read.keys.shape[1] + 1)
        if isinstance(state, Writing):
            check_shape("where rows looked", state.attention.shape, (len(ids), read.keys.shape[1]))
            check_shape("what rows were fed", state.fed.shape, (len(ids), self._read_symbols.shape[1]))
        elif self.model.config.pace or self.model.config.input_feeding:
            raise ShapeError("the state must be what `start` or `step` returned: it says where the decoder looked")

    def _rows(self, given: _Given, made: _Made, first: int, last: int) -> None:
        """Rows first to last of a step."""
        rows = slice(first, last)
        old, new, o = [s[rows] for s in given.hidden], [s[rows] for s in made.hidden], made.o[rows]
        projected, after = self._symbols[given.ids[rows]], self.model.config.looks == "after"
        entering = [given.fed[rows]] if given.fed is not None and self.model.config.input_feeding else []
        context = list[np.ndarray]()
        if given.memory is not None and not after:
            context = [self._look(old[0][:, -1], given, made.weights[rows], rows)]
        if context or entering:
            add_product(np.concatenate([*context, *entering], 1), self._entering, projected)
        run_layers(self._layers, _NOTHING, projected, old[0], old[-1], new[0], new[-1])  # a cell with one tensor has no c
        if given.memory is not None and after:
            context = [self._look(new[0][:, -1], given, made.weights[rows], rows)]
        add_product_tanh(np.concatenate([new[0][:, -1], *context], 1), self._read_out, o)
        logits = made.logits[rows]
        if given.listed is None:
            score(self._output, o, logits)
            return
        of = given.sentence[rows]
        logits[:] = -np.inf  # behind the end of shorter lists
        for start, end in pairwise([0, *(np.flatnonzero(np.diff(of)) + 1).tolist(), len(of)]):
            score(given.listed.outputs[of[start]], o[start:end], logits[start:end])

    def _look(self, top: np.ndarray, given: _Given, weights: np.ndarray, rows: slice) -> np.ndarray:
        """Context (R, M) of the top layer's outputs (R, H); weights (R, S) are filled in."""
        memory, top = given.memory, np.ascontiguousarray(top)
        assert memory is not None
        asked = top
        if self._query is not None:
            asked = np.zeros((len(top), memory.keys.shape[2]), np.float32)
            add_product(top, self._query, asked)
        context = np.empty((len(top), memory.values.shape[2]), np.float32)
        of = given.sentence[rows]
        if self.model.config.pace:
            assert given.looked is not None
            approach(given.looked[rows], self.model.config.pace, memory.lengths, of, weights)
        look(memory.keys, memory.values, memory.lengths, of, asked, self._score, self._scale, context, weights)
        return context

    def _pack(self) -> None:
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
        self._value_size = read_out.shape[1] - size - model.config.decoder_size
        self._key_size = 0
        self._query, self._score, self._scale = None, np.zeros(0, np.float32), np.float32(1)
        if model.attention is not None:
            query, key, network = model.attention.query, model.attention.key, model.attention.score
            self._key_size = key.out_features if isinstance(key, torch.nn.Linear) else self._value_size
            self._query = pack(query.weight) if isinstance(query, torch.nn.Linear) else None
            self._score = self._score if network is None else network.weight.detach().numpy()[0].copy()
            self._scale = np.float32(model.attention.scale)
