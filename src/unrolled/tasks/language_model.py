"""The language model task: text files -> tokenizer, vocabulary, columns -> model -> perplexity, samples, explanations.

`TrainedLanguageModel` is what `unrolled.load` returns and what the command line speaks to; `LanguageModelTask` makes one.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import nn

from unrolled.data.text import Document, read_documents
from unrolled.decoding.sampling import SamplingOptions
from unrolled.errors import ConfigError, DataError, FolderError
from unrolled.features.batching import Columns, Sentences, TextBatch, read_windows
from unrolled.features.tokenizers import as_sentence
from unrolled.features.unknown import UnknownRate, unknown_share
from unrolled.folders import header, open_model, prepare_model, write_json, write_text
from unrolled.metrics.perplexity import Tally
from unrolled.models.language_model import LanguageModel, LanguageModelConfig
from unrolled.models.language_model_engine import StepEngine
from unrolled.options.batches import take_batch
from unrolled.options.language_model import LanguageModelOptions
from unrolled.tasks.adaptive import Adapter
from unrolled.tasks.card import model_card
from unrolled.tasks.corpus import read_corpus
from unrolled.tasks.inputs import TEXTS, evaluation_paths, iter_inputs, map_inputs
from unrolled.tasks.text_codec import TextCodec
from unrolled.tasks.transfer import Transferred, begin_with_vectors
from unrolled.tasks.writing import Likeliest, drawn, likeliest
from unrolled.training.weights import load_weights, save_weights
from unrolled.types import Criterion, Stage, State, Stepper, map_state

__all__ = ["LanguageModelTask", "Score", "TrainedLanguageModel", "hold_out"]

NAME = "language-model"
#: Texts read side by side, and steps read at once, at evaluation. Neither changes a result.
_TEXTS, _WINDOW = 16, 256
#: Batch size and window of the largest batch that is derived.
_LARGEST = (32, 128)
#: Validation during training reads at most this many tokens, in this many columns: approximate, and fast.
_VALID_TOKENS, _VALID_COLUMNS = 150_000, 16


class Score(NamedTuple):
    """What the model thinks of one text. tokens: the symbols and -log P of each in nats; log_probability in nats."""

    text: str
    tokens: list[tuple[str, float]]
    log_probability: float
    perplexity: float | None

    def to_json(self) -> dict[str, Any]:
        """One JSON line of `predict`."""
        tokens = [{"token": token, "surprisal": round(nats, 6)} for token, nats in self.tokens]
        return {
            "text": self.text,
            "log_probability": self.log_probability,
            "perplexity": self.perplexity,
            "tokens": tokens,
        }


class TrainedLanguageModel:
    """A language model with everything it needs: `sample`, `score`, `evaluate`, `save`. Made by `unrolled.load`."""

    def __init__(self, model: LanguageModel, codec: TextCodec, metrics: dict[str, Any] | None = None) -> None:
        self.model, self.codec, self.metrics = model, codec, metrics or {}
        self._engines: dict[bool, StepEngine] = {}

    @staticmethod
    def load(path: str | Path) -> TrainedLanguageModel:
        """Open a model folder or a run folder. FolderError if it is damaged or of another kind."""
        folder, config = open_model(path, NAME, "a language model")
        try:
            sizes = LanguageModelConfig(**config["model"])
            model = LanguageModel(sizes)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, ConfigError) as error:
            raise FolderError(f"{folder}: config.json does not describe a language model ({error}).") from None
        codec = TextCodec.load(folder)
        if len(codec.vocabulary) != sizes.n_symbols:
            raise FolderError(
                f"{folder}: the vocabulary has {len(codec.vocabulary)} symbols, config.json asks for {sizes.n_symbols}."
            )
        load_weights(model, folder / "model.safetensors")
        return TrainedLanguageModel(model.eval(), codec, config.get("metrics"))

    def save(self, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
        """Write a self-sufficient model folder: a new one, or in place of a model. `extra` goes into config.json."""
        folder = prepare_model(folder)
        config = header(NAME)
        config |= {"model": self.model.config.to_json(), "metrics": self.metrics} | (extra or {})
        save_weights(self.model, folder / "model.safetensors")
        self.codec.save(folder)
        write_json(folder / "metrics.json", self.metrics)
        write_text(folder / "README.md", model_card(config, self.codec.tokenizer.unit))
        write_json(folder / "config.json", config)

    @torch.no_grad()
    def _losses(self, texts: Sequence[np.ndarray], batch_size: int = _TEXTS) -> list[np.ndarray]:
        """-log P of every id of every text, each text read from its own start."""
        self.model.eval()
        vocabulary = self.codec.vocabulary
        found: list[list[np.ndarray]] = [[] for _ in texts]
        state: State | None = None
        for alive, batch in read_windows(texts, begin=vocabulary.begin, batch_size=batch_size, window=_WINDOW):
            if bool(batch.fresh.all()):
                state = None
            elif state is not None:  # texts that have ended leave the batch; they are its last rows
                state = map_state(lambda s, n=alive: s[: len(n)], state)
            losses, state = self.model.token_losses(batch, state)
            lengths = [batch.inputs.shape[1]] * len(alive) if batch.lengths is None else batch.lengths.tolist()
            for i, row, length in zip(alive, losses.double().numpy(), lengths, strict=True):
                found[i].append(row[:length])
        return [np.concatenate(parts) if parts else np.zeros(0) for parts in found]

    @overload
    def score(self, text: str, *, batch_size: int = _TEXTS) -> Score: ...
    @overload
    def score(self, text: Iterable[str], *, batch_size: int = _TEXTS) -> list[Score]: ...
    def score(self, text: Any, *, batch_size: int = _TEXTS) -> Any:
        """Return log-probability, perplexity and the surprisal of each token of a text; of an iterable of texts, a list."""
        return map_inputs(TEXTS, text, lambda some: self.scores(some, batch_size))

    def scores(self, texts: Iterable[str], batch_size: int = _TEXTS) -> Iterator[Score]:
        """Score many texts, in order, `batch_size` at a time. A text is one sequence, also where it has several lines."""
        codec = self.codec
        remaining = iter_inputs(TEXTS, texts)
        while group := list(itertools.islice(remaining, batch_size)):
            split = [codec.tokenizer.split(text) for text in group]
            if codec.sentences:
                split = [as_sentence(part) for part in split]
            ids = [codec.vocabulary.encode(part) for part in split]
            for text, symbols, nats in zip(group, split, self._losses(ids, batch_size), strict=True):
                tally = Tally(float(nats.sum()), len(symbols))
                tokens = list(zip(symbols, nats.tolist(), strict=True))
                yield Score(text, tokens, -tally.nats, tally.perplexity)

    def evaluate(self, documents: Any, batch_size: int = _TEXTS, adapter: Adapter | None = None) -> dict[str, Any]:
        """Read each document from first to last token, state carried; every token counts once.

        documents: one or several paths of texts, or documents of `unrolled.lines`.
        Returns the numbers of all documents together and, under "texts", of each. Batch size changes nothing.
        With an `adapter` (`tasks.adaptive`) the model learns from each document while it reads it.
        """
        documents = read_documents(evaluation_paths(documents, NAME, Document))
        codec = self.codec
        owners: list[int] = []
        symbols: list[list[str]] = []
        for n, document in enumerate(documents):
            for part in codec.texts(document.text):
                owners.append(n)
                symbols.append(part)
        ids = [codec.vocabulary.encode(part) for part in symbols]
        tallies = [Tally() for _ in documents]
        losses = self._losses(ids, batch_size) if adapter is None else self._adapted(adapter, owners, ids)
        for n, part, numbers, nats in zip(owners, symbols, ids, losses, strict=True):
            tallies[n] += codec.tally(part, numbers, float(nats.sum()))
        each = [{"text": d.name} | t.to_json() for d, t in zip(documents, tallies, strict=True)]
        total = sum(tallies, Tally())
        extra = {} if adapter is None else {"adapted": adapter.to_json()}
        return total.to_json() | {"unit": codec.tokenizer.unit, "texts": each} | extra

    def block_costs(self, document: Document, block: int) -> np.ndarray:
        """Nats, nats to spell unknown words, tokens and characters of every `block` characters: (blocks, 4).

        A token belongs to the block in which it begins. Unknown words that the text does not tell cost nothing to spell.
        """
        codec, at = self.codec, 0
        parts = codec.texts(document.text)
        ids = [codec.vocabulary.encode(part) for part in parts]
        costs = np.zeros((1, 4))
        for part, numbers, nats in zip(parts, ids, self._losses(ids), strict=True):
            lengths = np.fromiter((len(piece) for piece in codec.pieces(part)), dtype=np.int64)
            starts = at + np.cumsum(lengths) - lengths
            at += int(lengths.sum())
            costs = np.pad(costs, ((0, max(0, at // block + 1 - len(costs))), (0, 0)))
            for i, values in enumerate((nats, codec.spelled(part, numbers), np.ones(len(nats)), lengths)):
                np.add.at(costs[:, i], starts // block, values)
        return costs if costs[-1, 2] else costs[:-1]

    def _adapted(self, adapter: Adapter, owners: list[int], ids: list[np.ndarray]) -> Iterator[np.ndarray]:
        """-log P of every id of every text, learning within each document."""
        self.model.eval()
        for _, texts in itertools.groupby(zip(owners, ids, strict=True), key=lambda pair: pair[0]):
            yield from adapter.losses(self.model, [text for _, text in texts], self.codec.vocabulary.begin)

    def sample(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        n: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        rounded: bool = False,
    ) -> list[str]:
        """Continue the prompt `n` times by at most `length` tokens; returns the texts, prompt included.

        `rounded` keeps the output matrix in bytes: faster with a large vocabulary, probabilities to about three digits.
        """
        options = SamplingOptions(temperature, top_k, top_p, min_p, repetition_penalty, seed)
        texts = [""] * n
        for pieces in self.stream(prompt, length=length, n=n, options=options, rounded=rounded):
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        return texts

    def stream(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        n: int = 1,
        options: SamplingOptions | None = None,
        rounded: bool = False,
    ) -> Iterator[tuple[str, ...]]:
        """Like `sample`, but yields the next piece of text of each of the `n` samples as it is drawn, the prompt first."""
        return drawn(self, prompt, length=length, n=n, options=options, rounded=rounded)

    def likeliest(self, prompt: str = "", *, length: int = 50, n: int = 1, width: int = 5) -> list[Likeliest]:
        """The `n` likeliest continuations by at most `length` tokens that a beam of `width` finds, the best first."""
        return likeliest(self, prompt, length=length, n=n, width=width)

    def explain(self, text: str | Iterable[str]) -> Any:
        """Surprisal, alternatives, gates, states and gradients while a text is read. An iterable of texts gives a list."""
        from unrolled.tasks.explain_language_model import explain_text

        return map_inputs(TEXTS, text, lambda some: (explain_text(self, one) for one in some))

    def stepper(self, *, rounded: bool = False) -> Stepper:
        """The model as a decoder sees it: its engine, where it has one."""
        self.model.eval()
        if not StepEngine.serves(self.model):
            return self.model
        return self._engines.setdefault(rounded, StepEngine(self.model, rounded=rounded))


@dataclass(frozen=True)
class _Split:
    """Training and validation ids."""

    train: Columns | Sentences
    valid: list[TextBatch]


class LanguageModelTask:
    """Implements `types.Task` for language models."""

    criteria = (Criterion("valid_loss"),)

    def __init__(
        self,
        options: LanguageModelOptions,
        train: Sequence[Document],
        valid: Sequence[Document] | None = None,
        *,
        codec: TextCodec | None = None,
    ) -> None:
        if valid is None and options.data.valid_fraction:
            train, valid = hold_out(train, options.data.valid_fraction, by_line=options.data.sentences)
        training = options.training
        if not valid and (training.schedule == "plateau" or training.average_after):
            raise ConfigError(
                "schedule plateau and average-after need validation: hold text out, with --valid or --valid-fraction"
            )
        self.codec, ids = read_corpus(train, options.data, codec)
        held = read_corpus(valid or (), options.data, self.codec).ids
        windows = len(ids) // _WINDOW
        self.options = take_batch(options, examples=windows, tokens=len(ids), largest=_LARGEST)
        self.data = _Split(self._batches(ids), self._validation(held))
        self.train_tokens, self.valid_tokens = len(ids), len(held)
        ends = (ids[: 1 << 20], ids[-(1 << 20) :], held)
        #: Equal in two processes that read the same text.
        self.fingerprint = (len(ids), *(zlib.crc32(part.tobytes()) for part in ends))
        counts = self.codec.vocabulary.counts
        share = counts[self.codec.vocabulary.unknown] / max(1, sum(counts))
        self.unknown = UnknownRate(share, unknown_share([held]) if len(held) else None, self.codec.tokenizer.unit)
        self.sources = [d.name for d in train]
        self.transferred: Transferred | None = None

    def _batches(self, ids: np.ndarray) -> Columns | Sentences:
        vocabulary, training = self.codec.vocabulary, self.options.training
        if self.codec.sentences:
            tokens = training.batch_tokens
            return Sentences(ids, tokens=tokens, begin=vocabulary.begin, end=vocabulary.end, seed=training.seed)
        batch_size, window = training.batch_shape()
        return Columns(
            ids,
            batch_size=batch_size,
            window=window,
            begin=vocabulary.begin,
            seed=training.seed,
        )

    def _validation(self, ids: np.ndarray) -> list[TextBatch]:
        """The batches of the approximate validation: sentences as they are, a stream cut into columns."""
        if not len(ids):
            return []
        vocabulary = self.codec.vocabulary
        if self.codec.sentences:
            rest = np.flatnonzero(ids[_VALID_TOKENS - 1 :] == vocabulary.end)[:1]
            ids = ids[: _VALID_TOKENS + int(rest[0])] if len(rest) else ids
            split = Sentences(ids, tokens=8192, begin=vocabulary.begin, end=vocabulary.end, seed=0, longest=2**40)
            return [split.batch(0, k) for k in range(len(split))]
        ids = ids[:_VALID_TOKENS]
        columns = max(1, min(_VALID_COLUMNS, len(ids) // 200))
        window = min(_WINDOW, len(ids) // columns)
        split = Columns(ids, batch_size=columns, window=window, begin=vocabulary.begin, seed=0, restarts=0)
        return [split.batch(0, k) for k in range(len(split))]

    def build(self) -> LanguageModel:
        """A fresh model of the configured size, its embedding as `transfer` has it."""
        sizes = LanguageModelConfig(n_symbols=len(self.codec.vocabulary), **self.options.model.model_dump())
        model = LanguageModel(sizes)
        self.transferred = begin_with_vectors(model, self.codec.vocabulary, self.options.transfer)
        return model

    def stages(self, model: nn.Module) -> list[Stage]:
        """All parameters learn alike."""
        return [Stage(list(model.parameters()))]

    @property
    def batches_per_epoch(self) -> int:
        """Windows, or batches of sentences, in one pass."""
        return len(self.data.train)

    def batch(self, epoch: int, k: int) -> TextBatch:
        """Batch k of an epoch."""
        return self.data.train.batch(epoch, k)

    def evaluate(self, model: nn.Module) -> dict[str, Any]:
        """Loss and perplexity on the validation text, in columns: approximate. Nothing where no text was held out."""
        assert isinstance(model, LanguageModel)
        if not self.data.valid:
            return {}
        state = None
        tally = Tally()
        for batch in self.data.valid:
            losses, state = model.token_losses(batch, state)
            tally += Tally(float(losses.double().sum()), batch.n_tokens)
        assert tally.loss is not None
        return {"valid_loss": tally.loss, "valid_perplexity": tally.perplexity}

    def trained(self, model: nn.Module, metrics: dict[str, Any] | None = None) -> TrainedLanguageModel:
        """The model with its tokenizer and vocabulary."""
        assert isinstance(model, LanguageModel)
        return TrainedLanguageModel(model, self.codec, metrics)

    def preview(self, model: nn.Module) -> str:
        """A short sample, from the beginning of a line."""
        length = 100 if self.codec.tokenizer.name == "char" else 25
        start = "\n" if "\n" in self.codec.vocabulary and not self.codec.sentences else ""
        trained, seed = self.trained(model), self.options.training.seed
        return trained.sample(start, length=length, temperature=0.7, seed=seed)[0].removeprefix(start)

    def save(self, model: nn.Module, folder: Path, metrics: dict[str, Any]) -> None:
        """Write the model folder."""
        data = {"sources": self.sources, "train_tokens": self.train_tokens, "valid_tokens": self.valid_tokens}
        options = self.options.model_dump(exclude_none=True)
        self.trained(model, metrics | self.unknown.to_metrics()).save(folder, {"data": data, "options": options})


def hold_out(documents: Sequence[Document], fraction: float, *, by_line: bool) -> tuple[list[Document], list[Document]]:
    """Split off the end of the text, at a line end where there is one near."""
    total = sum(d.size for d in documents)
    keep = total - min(int(total * fraction), 1_000_000)
    train, valid = [], []
    for document in documents:
        size = document.size
        if keep >= size:
            train.append(document)
        elif keep <= 0:
            valid.append(document)
        else:
            line = document.line_start(keep)
            cut = line if by_line or line > 0.8 * keep else keep
            train.append(document.part(0, cut, document.name))
            valid.append(document.part(cut, size, f"{document.name} (end)"))
        keep -= size
    train, valid = ([d for d in part if any(piece.strip() for piece in d.pieces())] for part in (train, valid))
    if not train or not valid:
        raise DataError("the text is too short to hold a part of it out. Give more text, or --valid FILE.")
    return train, valid
