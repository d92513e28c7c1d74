"""What a recogniser can be helped by: a language model of ours or a file of n-grams, words to listen for, given phrases.

fusion = Fusion.of(recognizer.side, language_model="runs/books", hotwords=["sangiovese"])
recognizer.transcribe("talk.mp3", Search(fusion=fusion))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unrolled.data.arpa import read_arpa
from unrolled.decoding.ctc import Scorer
from unrolled.decoding.scorers import Hotwords, SymbolModel, TextModel, WordModel
from unrolled.errors import ConfigError
from unrolled.features.pair_codec import Side
from unrolled.tasks.language_model import TrainedLanguageModel
from unrolled.types import State, map_state, state_like, state_tensors

__all__ = ["Fusion", "FusionOptions", "NeuralModel", "pieces_of", "text_model"]


@dataclass(frozen=True)
class FusionOptions:
    """lm_weight: of the language model's log P; reward: for each word or, of a model of characters, each character;
    hotword_weight: for each letter of a word to listen for. All in nats.
    """

    lm_weight: float = 0.5
    reward: float = 0.5
    hotword_weight: float = 1.0


@dataclass(frozen=True)
class Fusion:
    """scorers: for the prefix search; phrases: the only texts there are, where any are given."""

    scorers: list[Scorer] = field(default_factory=list)
    phrases: list[str] = field(default_factory=list)

    @staticmethod
    def of(
        side: Side,
        *,
        language_model: str | Path | TextModel | TrainedLanguageModel | None = None,
        hotwords: Sequence[str] = (),
        phrases: Sequence[str] = (),
        options: FusionOptions | None = None,
    ) -> Fusion:
        """Help for a recogniser that writes the symbols of `side`; hotwords as its texts are spelled (`recognizer.spoken`).
        ConfigError for a model that does not fit, and for phrases beside other help: nothing else can be said then.
        """
        if phrases and (language_model is not None or hotwords):
            raise ConfigError("given phrases are compared by their sound alone: leave out language model and hotwords")
        options, scorers, pieces = options or FusionOptions(), list[Scorer](), pieces_of(side)
        if language_model is not None:
            model = text_model(language_model)
            kind = WordModel if model.words else SymbolModel
            scorers.append(kind(model, pieces, options.lm_weight, options.reward))
        if hotwords:
            scorers.append(Hotwords(hotwords, pieces, options.hotword_weight))
        return Fusion(scorers, list(phrases))


def pieces_of(side: Side) -> list[str]:
    """The text that each symbol adds behind another: a word's first piece begins with a blank."""
    join = side.tokenizer.join
    return [join(["a", symbol])[len(join(["a"])) :] for symbol in side.vocabulary.symbols]


def text_model(source: str | Path | TextModel | TrainedLanguageModel) -> TextModel:
    """A language model to ask: a run or model folder, a file of n-grams (.arpa, .arpa.gz), or one that is loaded."""
    if isinstance(source, TrainedLanguageModel):
        return NeuralModel(source)
    if not isinstance(source, (str, Path)):
        return source
    return read_arpa(source) if Path(source).is_file() else NeuralModel(TrainedLanguageModel.load(source))


class _Context:
    """What has been read: a token behind another context. It is worked out when it is first asked what comes next."""

    __slots__ = ("before", "logs", "state", "token")

    def __init__(self, before: State, token: int) -> None:
        self.before, self.token = before, token
        self.state: State | None = None
        self.logs: np.ndarray | None = None


class NeuralModel:
    """A language model of ours, of characters or words, as a `TextModel`: contexts that are new are read together."""

    def __init__(self, trained: TrainedLanguageModel) -> None:
        name = trained.codec.tokenizer.name
        if name not in ("char", "words", "whitespace", "chinese-words"):
            raise ConfigError(f"a language model of characters or words can help a recogniser, not one of {name}")
        self.trained, self.words = trained, name != "char"
        self.vocabulary, self.stepper = trained.codec.vocabulary, trained.stepper()
        ends = trained.codec.sentences or name == "whitespace"
        ids = self.vocabulary.encode(["\n"]).tolist()
        self._line = ids[0] if ids[0] != self.vocabulary.unknown else None
        self._end = self.vocabulary.end if ends else self._line
        self._first: _Context | None = None

    def first(self) -> _Context:
        if self._first is None:
            _, state = self.stepper.start(torch.full((1, 1), self.vocabulary.begin)[:, :0])
            self._first = _Context(state, self.vocabulary.begin)
            if self._line is not None and not self.trained.codec.sentences:  # as after the end of a line
                self._work_out([self._first])
                assert self._first.state is not None
                self._first = _Context(self._first.state, self._line)
        return self._first

    def read(self, asked: Sequence[tuple[Any, str]]) -> list[tuple[float, Any]]:
        self._work_out([context for context, _ in asked])
        ids = self.vocabulary.encode([token for _, token in asked]).tolist()
        return [(float(c.logs[k]), _Context(c.state, k)) for (c, _), k in zip(asked, ids, strict=True)]

    def ending(self, contexts: Sequence[Any]) -> list[float]:
        if self._end is None:
            return [0.0] * len(contexts)
        self._work_out(contexts)
        return [float(context.logs[self._end]) for context in contexts]

    def _work_out(self, contexts: Sequence[_Context]) -> None:
        """Read what has not been read yet, all at once."""
        new = list({id(context): context for context in contexts if context.logs is None}.values())
        if not new:
            return
        parts = zip(*(state_tensors(context.before) for context in new), strict=True)
        state = state_like(new[0].before, (torch.cat(part) for part in parts))
        last, rows = torch.tensor([context.token for context in new]), torch.zeros(len(new), dtype=torch.long)
        logits, after = self.stepper.step(last, state, None, rows)
        logs = logits.float().log_softmax(1).numpy()
        for i, context in enumerate(new):
            context.logs, context.state = logs[i], map_state(lambda s, i=i: s[i : i + 1], after)
