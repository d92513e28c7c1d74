"""A language model made ready for writing: each step of generation is one compiled call.

engine = StepEngine(model)                 # packs the weights once
memory, state = engine.start(prompt)
logits, state = engine.step(last, state, memory, sentence_of_row)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unrolled.kernels.step import run_layers, score
from unrolled.layers.output import FullOutput
from unrolled.models.engine import Engine, check_step, pack_layers, pack_output, plain
from unrolled.models.language_model import LanguageModel
from unrolled.types import State, state_like, state_tensors

__all__ = ["StepEngine"]

#: Bytes up to which the first layer's projected inputs are kept for every symbol of the vocabulary.
_TABLE = 128 * 2**20


class StepEngine(Engine[LanguageModel]):
    """A `Stepper` for a language model in evaluation mode, on the CPU in single precision, of RNN, GRU or LSTM cells
    without projection, with a softmax over the whole vocabulary. ConfigError for others: see `serves`.
    """

    serving = "step engine serves RNN, GRU and LSTM in float32 on the CPU with a full softmax"

    @staticmethod
    def serves(model: LanguageModel) -> bool:
        """Whether an engine can be made of the model."""
        return isinstance(model.output, FullOutput) and plain(model, model.recurrent.cell)

    def start(self, source: Tensor) -> tuple[None, State]:
        """Read a prompt (R, T), begin id first and all but its last symbol; T may be 0."""
        return self.model.start(source)

    @torch.no_grad()
    def step(self, last: Tensor, state: State, memory: None, sentence_of_row: Tensor) -> tuple[Tensor, State]:
        """Feed symbols (R,), which are not below 0: logits (R, V) and the next state. ShapeError for others."""
        self._refresh()
        check_step(self.model.recurrent, last.numpy(), state_tensors(state))
        ids = last.clamp(max=self.model.config.n_symbols)
        old = [s.float().contiguous().numpy() for s in state_tensors(state)]  # bfloat16 under autocast
        new = [torch.empty(s.shape) for s in old]
        h, c, new_h, new_c = old[0], old[-1], new[0].numpy(), new[-1].numpy()  # cells with one tensor do not look at c
        x = self._nothing if self._table is not None else self.model.embedding(ids).numpy()
        first = self._nothing if self._table is None else self._table[ids.numpy()]
        run_layers(self._layers, x, first, h, c, new_h, new_c)
        a = self.model.bridge(new[0][:, -1]).float()
        logits = torch.empty(len(last), self.model.config.n_symbols)
        score(self._output, a.contiguous().numpy(), logits.numpy())
        return logits, state_like(state, new)

    def _pack(self) -> None:
        self._layers, self._table = pack_layers(self.model.recurrent), self._projected()
        assert isinstance(self.model.output, FullOutput)
        self._output = pack_output(self.model.output, rounded=self.rounded)
        self._nothing = np.zeros((1, 0), np.float32)

    def _projected(self) -> np.ndarray | None:
        """What every symbol, and none, is to the first layer; None where that is too much to keep."""
        recurrent, n_symbols = self.model.recurrent, self.model.config.n_symbols
        w = recurrent.weights(0)
        bias = recurrent.cell.projection_bias(w)
        assert bias is not None
        if 4 * (n_symbols + 1) * len(bias) > _TABLE:
            return None
        some = torch.arange(n_symbols + 1).split(1024)  # one-hot vectors of all symbols would be many numbers
        rows = [torch.nn.functional.linear(self.model.embedding(ids), w.weight_ih, bias).float() for ids in some]
        return torch.cat(rows).numpy()
