"""A decoder that writes a sequence word by word, and may look at what has been read: of sentences, images, sounds.

    s<0>     = tanh(W h)                                                   the bridge from what sums up what was read, for
               `linear` has no tanh, `zero` starts from nothing            each layer of the decoder

with attention (the notes' model; Bahdanau et al. 2015, arXiv:1409.0473):

    c<t>     = attention of s<t-1> over all a                              what of the source counts now
    s<t>     = recurrent layers([E[y<t-1>]; c<t>], s<t-1>)
    o<t>     = tanh(W [s<t>; c<t>; E[y<t-1>]])
    y<t>     = softmax(E o<t> + b)                                         the output matrix is the embedding

looking after the step (Luong et al. 2015, arXiv:1508.04025): c<t> = attention of s<t>, and it enters o<t> alone. Then all
steps look at once, and the recurrent layers need not wait for it.

moving on (`pace`), c<t> depends on where the step before looked, too: see `layers/attention.py`.

with input feeding (Luong et al. 2015, arXiv:1508.04025, section 3.3) o<t-1> enters the recurrent layers too: what was
decided is known when looking again.

without (Sutskever et al. 2014, arXiv:1409.3215): the same with no c<t>; s<0> is all that the decoder knows of the source.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.cells import CELLS
from unrolled.errors import ConfigError, unknown_name
from unrolled.layers.attention import ATTENTIONS, Attention, Memory
from unrolled.layers.choice import attends_compiled
from unrolled.layers.compiled_attending import attending_layer
from unrolled.layers.dropout import Dropout, locked
from unrolled.layers.embedding import Embedding
from unrolled.layers.layout import Layout
from unrolled.layers.output import FullOutput, cross_entropy
from unrolled.layers.recurrent import Recurrent
from unrolled.layers.unroll import unroll_attending
from unrolled.types import LossSum, State, map_state, state_like, state_tensors

__all__ = ["BRIDGES", "LOOKS", "Decoder", "DecoderConfig", "Writing"]

BRIDGES = ("tanh", "linear", "zero")
LOOKS = ("before", "after")
#: A query (B, H), and where the one before looked (B, S) -> what it saw (B, M), and where.
Look = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Sizes and dropout probabilities. attention: a kind, or none; pace: above 0 it moves on."""

    n_target: int
    cell: str = "gru"
    embedding_size: int = 256
    decoder_size: int = 256
    decoder_layers: int = 1
    attention: str = "additive"
    attention_size: int = 256
    looks: str = "before"
    pace: float = 0.0
    input_feeding: bool = False
    bridge: str = "tanh"
    dropout_input: float = 0.0
    dropout_between: float = 0.0
    dropout_output: float = 0.0
    dropout_word: float = 0.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise unknown_name("cell", self.cell, CELLS)
        if self.attention not in ("none", *ATTENTIONS):
            raise unknown_name("attention", self.attention, ("none", *ATTENTIONS))
        if self.bridge not in BRIDGES:
            raise unknown_name("bridge", self.bridge, BRIDGES)
        if self.looks not in LOOKS:
            raise unknown_name("looks", self.looks, LOOKS)
        if self.pace and self.looks == "after":
            raise ConfigError("attention that moves on looks before the step: where it looks depends on where it looked")
        if self.input_feeding and self.attention == "none":
            raise ConfigError("input feeding goes with attention: without it the decoder feeds on its own output anyway")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Writing(NamedTuple):
    """The state of the decoder after a step, for each row: hidden (R, L, ...), where it looked (R, S), and o (R, D)."""

    hidden: State
    attention: Tensor
    fed: Tensor


class _Feeding:
    """What enters a step besides the symbol: o of the step before, and the context unless one looks after the step."""

    def __init__(self, look: Look, read_out: Callable[[Tensor], Tensor], e: Tensor, fed: Tensor, *, after: bool) -> None:
        self.look, self.read_out, self.e, self.fed, self.after, self.t = look, read_out, e, fed, after, 0
        self.context = fed

    def __call__(self, top: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        looked = self.look(top, before)
        if self.t:
            context = looked[0] if self.after else self.context
            self.fed = self.read_out(torch.cat((top, context, self.e[self.t - 1]), 1))
        self.t += 1
        self.context, weights = looked
        return self.fed if self.after else torch.cat((self.context, self.fed), 1), weights


def _looking(attention: Attention, memory: Memory, top: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    return attention(top, memory, before)


C = TypeVar("C", bound=DecoderConfig)


class Decoder(nn.Module, ABC, Generic[C]):
    """Attention, recurrent layers, readout and output; what reads is for subclasses, which are `Stepper`s then.

    memory_size: M of what is attended to, and of what sums it up.
    """

    def __init__(self, config: C, memory_size: int) -> None:
        super().__init__()
        self.config = config
        size, attends, after = config.embedding_size, config.attention != "none", config.looks == "after"
        self.target = Embedding(config.n_target, size, word_dropout=config.dropout_word)
        context_size = memory_size if attends else 0
        entering = size + (0 if after else context_size) + (size if config.input_feeding else 0)
        dropout = Dropout(config.dropout_between, lock=True)
        cell = CELLS[config.cell](config.decoder_size)
        self.decoder = Recurrent(cell, entering, n_layers=config.decoder_layers, dropout=dropout)
        width = self.decoder.output_size
        asks, pace = config.attention_size, config.pace
        self.attention = Attention(config.attention, width, memory_size, asks, pace=pace) if attends else None
        parts = len(state_tensors(self.decoder.initial_state(1)))
        started = 0 if config.bridge == "zero" else parts * config.decoder_layers * width
        self.bridge = nn.Linear(memory_size, started) if started else None
        self.readout = nn.Linear(width + context_size + size, size)
        self.output = FullOutput(size, config.n_target)
        self.output.weight = self.target.weight

    @property
    def device(self) -> torch.device:
        """Where the model is; batches may come from elsewhere."""
        return self.output.weight.device

    @abstractmethod
    def start(self, source: Any) -> tuple[Memory | None, State]:
        """Read `source`."""

    def remember(self, values: Tensor, lengths: Tensor, summary: Tensor) -> tuple[Memory | None, State]:
        """values (B, S, M) of lengths (B,), and what sums them up (B, M) -> what is attended to, s<0>."""
        memory = self.attention.remember(values, lengths) if self.attention else None
        like = self.decoder.initial_state(len(lengths))
        if self.bridge is None:
            return memory, like
        first = self.bridge(summary)
        first = torch.tanh(first) if self.config.bridge == "tanh" else first
        shape = (len(lengths), len(state_tensors(like)), *state_tensors(like)[0].shape[1:])
        return memory, state_like(like, first.view(shape).unbind(1))

    def written_from(self, memory: Memory | None, hidden: State) -> tuple[Memory | None, State]:
        """What has been read, and the state before the first step."""
        if memory is None:
            return None, hidden
        return memory, self._first(memory, hidden, len(memory.values))

    def _first(self, memory: Memory, hidden: State, rows: int) -> Writing:
        at = memory.beginning(rows)
        return Writing(hidden, at, at.new_zeros(rows, self.config.embedding_size))

    def decode(self, inputs: Tensor, memory: Memory | None, state: State) -> tuple[Tensor, State, list[Tensor]]:
        """What comes before each symbol, ids (B, T), and the state, hidden or a `Writing` -> o (T, B, D), the next hidden
        state, attention of each step.
        """
        parts, state, looked = self._run(inputs, memory, state)
        return self._read_out(parts), state, looked

    def _run(
        self,
        inputs: Tensor,
        memory: Memory | None,
        state: State,
        *,
        lengths: Tensor | None = None,
        of: Tensor | None = None,
    ) -> tuple[Tensor, State, list[Tensor]]:
        """`decode` up to what is read out, (T, B, ...). lengths (B,): how many symbols of a row count; of (B,): the memory
        of each row; unset: all, and its own.
        """
        e = locked(self.target(inputs.t()), self.config.dropout_input, self.training)
        layout = Layout.of(lengths, e)
        if self.attention is None or memory is None:
            s, state = self.decoder.run(e, state, layout)
            return torch.cat((s, e), 2), state, []
        if self.config.looks == "before":
            s, contexts, looked, state = self._unrolled(e, memory, state, layout, of=of)
            return torch.cat((s, contexts, e), 2), state, looked
        memory = memory.of(of)
        if self.config.input_feeding:
            s, _, _, state = self._unrolled(e, memory, state, layout)
        else:
            state = state.hidden if isinstance(state, Writing) else state
            s, state = self.decoder.run(e, state, layout)
        contexts, every = self.attention.every(s, memory)
        return torch.cat((s, contexts, e), 2), state, list(every)

    def _unrolled(
        self, e: Tensor, memory: Memory, state: State, layout: Layout, *, of: Tensor | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor], State]:
        """Step by step over embedded symbols e (T, B, D): outputs, contexts, where each step looked, the last state."""
        assert self.attention is not None
        state, before, fed = state if isinstance(state, Writing) else self._first(memory, state, e.shape[1])
        weights = [self.decoder.weights(k) for k in range(self.config.decoder_layers)]
        split, cell = e.shape[2], self.decoder.cell
        if len(weights) == 1 and not self.config.input_feeding and attends_compiled(cell, e):
            with torch.autocast(e.device.type, enabled=False):  # the kernels compute in the precision of their weights
                e, keys, values = (x.to(weights[0].weight_hh) for x in (e, memory.keys, memory.values))
                layer = map_state(lambda s: s[:, 0].to(e), state)
                asking = self.attention.asking(Memory(values, keys, memory.inside))
                of = torch.arange(e.shape[1]) if of is None else of
                s, contexts, looked, layer = attending_layer(cell, e, layer, weights[0], asking, of, layout, before.to(e))
            return s, contexts, list(looked), map_state(lambda s: s.unsqueeze(1), layer)
        memory = memory.of(of)
        projected = functional.linear(e, weights[0].weight_ih[:, :split], cell.projection_bias(weights[0]))  # (T, B, G*H)
        layers = [map_state(lambda s, k=k: s[:, k], state) for k in range(len(weights))]
        masks = (torch.ones_like(state_tensors(layer)[0]) for layer in layers[1:])  # locked: the same at all steps
        between = [functional.dropout(mask, self.config.dropout_between, self.training) for mask in masks]
        look: Look = partial(_looking, self.attention, memory)
        if self.config.input_feeding:
            after = self.config.looks == "after"
            look = _Feeding(look, lambda parts: torch.tanh(self.readout(parts)), e, fed, after=after)
        weight = weights[0].weight_ih[:, split:]
        found = unroll_attending(cell, projected, layers, weights, look, before, weight, between)
        state = map_state(lambda *parts: torch.stack(parts, 1), *found.layers)
        return found.outputs, found.contexts[..., : memory.values.shape[2]], found.looked, state

    def _read_out(self, parts: Tensor) -> Tensor:
        return functional.dropout(torch.tanh(self.readout(parts)), self.config.dropout_output, self.training)

    def loss_of(
        self, inputs: Tensor, targets: Tensor, memory: Memory | None, state: State, of: Tensor | None = None
    ) -> LossSum:
        """Cross-entropy summed over the target symbols (B, T), behind a row's end below 0; inputs (B, T): what comes
        before; of (B,): the memory of each row; unset: its own.
        """
        inside = targets.t() >= 0
        parts, _, _ = self._run(inputs, memory, state, lengths=inside.sum(0), of=of)
        smoothing = self.config.smoothing if self.training else 0.0
        o = self._read_out(parts[inside])
        loss = cross_entropy(o, self.output.weight, self.output.bias, targets.t()[inside], smoothing)
        return LossSum(loss, int(inside.sum()))

    def step(self, last: Tensor, state: State, memory: Memory | None, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """Feed symbols (R,): logits (R, V) and the next state, a `Writing` where there is attention."""
        ids = last.unsqueeze(1).to(self.device)
        if memory is None:
            o, hidden, _ = self.decode(ids, None, state)
            return self.output(o[0]), hidden
        o, hidden, looked = self.decode(ids, memory.of(sentence_of_row), state)
        return self.output(o[0]), Writing(hidden, looked[0], o[0])
