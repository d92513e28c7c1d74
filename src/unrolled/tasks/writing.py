"""How a language model writes: symbols are drawn one after another, or the likeliest are searched for; both become text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from unrolled.decoding.beam import beam_search
from unrolled.decoding.sampling import SamplingOptions, sample
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError
from unrolled.tasks.text_codec import TextCodec, Written
from unrolled.types import Stepper

if TYPE_CHECKING:
    from unrolled.tasks.language_model import TrainedLanguageModel

__all__ = ["Likeliest", "Piece", "drawn", "likeliest", "watched"]


class Likeliest(NamedTuple):
    """A continuation, the prompt before it. log_probability of what was added, in nats; tokens: each with its own."""

    text: str
    log_probability: float
    tokens: list[tuple[str, float]]

    def to_json(self) -> dict[str, Any]:
        """One JSON line of `sample --beam`."""
        tokens = [{"token": token, "log_probability": round(nats, 6)} for token, nats in self.tokens]
        return {"text": self.text, "log_probability": self.log_probability, "tokens": tokens}


class Piece(NamedTuple):
    """text: what a token adds to what is written; its probability, and those of the likeliest others, as the model has it:
    before temperature and all that is left out; tokens as people read them. The prompt is the first piece, without a token.
    """

    text: str
    token: str | None = None
    probability: float | None = None
    others: tuple[tuple[str, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One event of a stream."""
        found: dict[str, Any] = {"text": self.text}
        if self.token is not None:
            found |= {"token": self.token, "probability": self.probability, "others": [list(one) for one in self.others]}
        return found


def _prompt(codec: TextCodec, prompt: str) -> tuple[list[str], torch.Tensor]:
    """The symbols of a prompt, and their ids (T,), begin id first."""
    symbols = codec.tokenizer.split(prompt)
    if codec.tokenizer.name == "whitespace" and symbols and not prompt.endswith("\n"):
        symbols.pop()  # the line goes on: no end of line after the prompt
    ids = torch.from_numpy(codec.vocabulary.encode(symbols).astype(np.int64))
    return symbols, torch.cat((torch.tensor([codec.vocabulary.begin]), ids))


def _never_written(codec: TextCodec) -> tuple[int, ...]:
    """Unknown is never written, nor an end that the training text does not have."""
    ends = codec.sentences or codec.tokenizer.name == "whitespace"
    vocabulary = codec.vocabulary
    only_unknown = len(vocabulary) == 2
    return () if only_unknown else ((vocabulary.unknown,) if ends else (vocabulary.unknown, vocabulary.end))


def _end(codec: TextCodec) -> int | None:
    """The symbol that ends a text, where texts end by themselves."""
    return codec.vocabulary.end if codec.sentences else None


def _steps(
    codec: TextCodec,
    stepper: Stepper,
    ids: torch.Tensor,
    options: SamplingOptions,
    *,
    n: int,
    length: int,
    watch: Callable[[torch.Tensor], None] | None = None,
) -> Iterator[list[int | None]]:
    """`decoding.sampling.sample` as a model of such text may write: where it ends, and what never stands there."""
    end, forbidden = _end(codec), _never_written(codec)
    return sample(stepper, ids, n_rows=n, length=length, options=options, end=end, forbidden=forbidden, watch=watch)


def drawn(
    trained: TrainedLanguageModel,
    prompt: str,
    *,
    length: int,
    n: int,
    options: SamplingOptions | None = None,
    rounded: bool = False,
) -> Iterator[tuple[str, ...]]:
    """The prompt, then the next piece of text of each of `n` samples as it is drawn."""
    if n < 1 or length < 0:
        raise ConfigError(f"n must be at least 1 and length at least 0, got n={n}, length={length}")
    codec, vocabulary = trained.codec, trained.codec.vocabulary
    symbols, ids = _prompt(codec, prompt)
    stepper = trained.stepper(rounded=rounded)
    steps = _steps(codec, stepper, ids, options or SamplingOptions(), n=n, length=length)
    rows = [Written(codec.tokenizer) for _ in range(n)]
    yield tuple("".join(row.add(symbol) for symbol in symbols) for row in rows)
    for step in steps:
        names = [None if i is None or (codec.sentences and i == vocabulary.end) else vocabulary.symbols[i] for i in step]
        yield tuple("" if name is None else row.add(name) for row, name in zip(rows, names, strict=True))
    yield tuple(row.finish() for row in rows)


def watched(
    trained: TrainedLanguageModel, prompt: str, length: int, options: SamplingOptions, alternatives: int = 5
) -> Iterator[Piece]:
    """What `drawn` writes, token by token, with the probability of each and the likeliest `alternatives`."""
    codec, vocabulary = trained.codec, trained.codec.vocabulary
    symbols, ids = _prompt(codec, prompt)
    seen = list[torch.Tensor]()

    def watch(logits: torch.Tensor) -> None:
        seen.append(torch.log_softmax(logits[0].double(), 0))

    steps = _steps(codec, trained.stepper(), ids, options, n=1, length=length, watch=watch)
    written = Written(codec.tokenizer)
    yield Piece("".join(map(written.add, symbols)))
    for (symbol,) in steps:
        logs = seen.pop()
        values, places = logs.topk(min(alternatives, len(logs)))
        others = tuple(
            (codec.tokenizer.shown(vocabulary.symbols[i]), round(p, 6))
            for i, p in zip(places.tolist(), values.exp().tolist(), strict=True)
            if p
        )
        assert symbol is not None
        token, ended = vocabulary.symbols[symbol], codec.sentences and symbol == vocabulary.end
        yield Piece(
            "" if ended else written.add(token), codec.tokenizer.shown(token), round(float(logs[symbol].exp()), 6), others
        )
    yield Piece(written.finish())


def likeliest(trained: TrainedLanguageModel, prompt: str, *, length: int, n: int, width: int) -> list[Likeliest]:
    """The `n` likeliest continuations of at most `length` tokens that a beam of `width` finds, the best first.

    Where texts do not end by themselves, all have `length` tokens, and the likeliest is the one with the highest
    probability; else the one with the highest probability a token (geometric mean).
    """
    codec, vocabulary = trained.codec, trained.codec.vocabulary
    options = BeamOptions(width, n, max_length=length)
    symbols, ids = _prompt(codec, prompt)
    end = _end(codec)
    (found,) = beam_search(trained.stepper(), ids[None, :-1], ids[-1:], options, end=end, forbidden=_never_written(codec))
    texts = []
    for hypothesis in found.hypotheses:
        names = vocabulary.decode(hypothesis.symbols)
        written = names[:-1] if hypothesis.symbols[-1] == end else names
        text = codec.tokenizer.join([*symbols, *written])
        scored = list(zip(names, hypothesis.token_scores, strict=True))
        texts.append(Likeliest(text, hypothesis.log_probability, scored))
    return texts
