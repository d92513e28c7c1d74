"""The public functions through which arrays from outside come to the compiled kernels, each with arguments that fit.

A door takes two random generators, makes arguments, changes some of them and calls. `kernels/bounds.py` lists the kernels.
"""

from __future__ import annotations

import random as plain
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzz_kernels import changed
from unrolled.cells import CELLS, Weights
from unrolled.data.text import Document
from unrolled.data.vector_files import read_vectors, write_vectors
from unrolled.decoding.alignment import align
from unrolled.decoding.beam import BeamOptions, beam_search
from unrolled.decoding.ctc import closed, greedy, prefix_search
from unrolled.decoding.joint import JointStepper
from unrolled.decoding.scorers import Hotwords
from unrolled.features.bags import Bags, TextFeatures
from unrolled.features.numbering import Spool
from unrolled.features.phrases import join_phrases, learn_phrases
from unrolled.features.subwords import NGrams, Parts, Subwords
from unrolled.features.words import READERS, read_words
from unrolled.layers import Lookup, Padded, Recurrent, choice
from unrolled.layers.attention import Attention
from unrolled.layers.compiled_attending import attending_layer
from unrolled.layers.ctc import ctc_loss
from unrolled.layers.layout import Layout
from unrolled.models.average import AverageClassifier, AverageConfig
from unrolled.models.language_model import LanguageModel, LanguageModelConfig
from unrolled.models.language_model_engine import StepEngine
from unrolled.models.translator import Translator, TranslatorConfig
from unrolled.models.translator_engine import TranslatorEngine
from unrolled.models.word2vec import Word2Vec, Word2VecConfig
from unrolled.tasks.vectors import Vectors
from unrolled.types import LSTMState, state_like, state_tensors

__all__ = ["doors"]

Door = Callable[[plain.Random, np.random.Generator], None]


def doors(only: Sequence[str] = ()) -> dict[str, Door]:
    """All of them, or those of these names."""
    every = {name[1:]: door for name, door in globals().items() if name.startswith("_") and hasattr(door, "is_door")}
    return {name: door for name, door in every.items() if not only or name in only}


def _door(function: Door) -> Door:
    function.is_door = True  # type: ignore[attr-defined]
    return function


def _wrong(random: plain.Random, *args: Any) -> list[Any]:
    """The arguments, mostly with one or two of them changed."""
    given = list(args)
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        i = random.randrange(len(given))
        given[i] = changed(random, given[i])
    return given


def _logits(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape) * rng.choice([1, 30, 300])


def _logs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return torch.from_numpy(_logits(rng, *shape)).log_softmax(-1).numpy()


@_door
def _ctc_loss(random: plain.Random, rng: np.random.Generator) -> None:
    steps, rows, n_symbols = rng.integers(0, 12), rng.integers(0, 4), rng.integers(1, 6)
    logits = torch.from_numpy(_logits(rng, steps, rows, n_symbols)).to(random.choice((torch.float32, torch.float64)))
    sizes = rng.integers(0, steps + 1, rows) if n_symbols > 1 else np.zeros(rows, np.int64)
    labels = rng.integers(1, max(2, n_symbols), sizes.sum() if random.random() < 0.5 else (rows, steps))
    args = _wrong(random, logits.requires_grad_(), rng.integers(0, steps + 1, rows), labels, sizes, 0)
    loss = ctc_loss(*args[:4], blank=args[4])
    loss.sum().backward()


@_door
def _closed(random: plain.Random, rng: np.random.Generator) -> None:
    texts = [rng.integers(1, 5, rng.integers(0, 5)) for _ in range(3)]
    closed(*_wrong(random, _logs(rng, rng.integers(0, 9), 5), texts, 0))


@_door
def _align(random: plain.Random, rng: np.random.Generator) -> None:
    align(*_wrong(random, _logs(rng, rng.integers(0, 9), 5), rng.integers(1, 5, rng.integers(0, 5)), 0))


@_door
def _prefix_search(random: plain.Random, rng: np.random.Generator) -> None:
    kind = random.choice((np.float32, np.float64))
    logs, width, blank, n_best, least, scored = _wrong(random, _logs(rng, 7, 5).astype(kind), 4, 0, 2, 1e-3, False)
    scorers = [Hotwords(["ab"], ["", "a", "b", " c", "d"], 1.0)] if scored else []
    greedy(logs, blank)
    prefix_search(logs, width, blank, n_best=n_best, least=least, scorers=scorers)


class _Blind:
    """A decoder that knows nothing of the symbols."""

    def __init__(self, n_symbols: int) -> None:
        self.n_symbols = n_symbols

    def start(self, source: Any) -> tuple[None, torch.Tensor]:
        return None, torch.zeros(source, 1)

    def step(self, last: torch.Tensor, state: Any, memory: Any, sentence_of_row: Any) -> tuple[torch.Tensor, Any]:
        return torch.zeros(len(last), self.n_symbols), state


@_door
def _joint(random: plain.Random, rng: np.random.Generator) -> None:
    logs, lengths = torch.from_numpy(_logs(rng, 2, 6, 5)), torch.from_numpy(rng.integers(0, 7, 2))
    blank, begin, unknown, logs, lengths = _wrong(random, 0, 5, 1, logs, lengths)
    stepper = JointStepper(_Blind(5), 0.5, blank=blank, begin=begin, unknown=unknown)
    memory, state = stepper.start((2, logs, lengths))
    last, rows = torch.full((2,), 5), torch.arange(2)
    for _ in range(2):
        _, state = stepper.step(*_wrong(random, last, state), memory, rows)
        last, rows = _wrong(random, torch.from_numpy(rng.integers(0, 5, 2)), rows)
    stepper.step(last, state, memory, rows)


@_door
def _recurrent(random: plain.Random, rng: np.random.Generator) -> None:
    name, kind = random.choice(list(CELLS)), random.choice((torch.float32, torch.float64))
    layer = Recurrent(CELLS[name](random.choice((1, 5, 16))), 3, bidirectional=random.random() < 0.3).to(kind)
    rows, steps = rng.integers(0, 5), rng.integers(0, 6)
    x, lengths = torch.from_numpy(_logits(rng, rows, steps, 3)).to(kind), rng.integers(0, steps + 1, rows)
    state = layer.initial_state(int(rows))
    x, lengths, state = _wrong(random, x.requires_grad_(), torch.from_numpy(lengths), state)
    if random.random() < 0.3:
        parameter = random.choice([name for name, _ in layer.named_parameters()])
        setattr(layer, parameter, torch.nn.Parameter(changed(random, getattr(layer, parameter))))
    given: Any = random.choice((x, Padded(x, lengths)))
    if random.random() < 0.4:
        index = torch.from_numpy(rng.integers(0, 7, (rows, steps)))
        given = Lookup(*_wrong(random, torch.from_numpy(_logits(rng, 7, 3)).to(kind).requires_grad_(), index))
    with choice.only("compiled"):
        outputs, _ = layer(given, state if random.random() < 0.5 else None)
        (outputs.values if isinstance(outputs, Padded) else outputs).sum().backward()
        with torch.no_grad():
            layer(given)


@_door
def _attending(random: plain.Random, rng: np.random.Generator) -> None:
    kind, pace = random.choice(("additive", "dot", "general", "scaled-dot")), random.choice((0.0, 1.5))
    cell, attention = CELLS[random.choice(("rnn", "gru", "gru-before", "lstm"))](6), Attention(kind, 6, 6, 4, pace=pace)
    memory = attention.remember(torch.from_numpy(_logits(rng, 2, 5, 6)).float(), torch.from_numpy(rng.integers(0, 6, 2)))
    asking, gates = attention.asking(memory), cell.n_gates * 6
    shapes = (gates, 3 + 6), (gates, 6), (gates,), (gates,)
    w = Weights(*(torch.from_numpy(_logits(rng, *shape)).float().requires_grad_() for shape in shapes))
    x, of = torch.from_numpy(_logits(rng, 4, 3, 3)).float(), torch.from_numpy(rng.integers(0, 2, 3))
    state, before = cell.initial_state(3, x), memory.beginning(2)[of]
    x, state, w, asking, of, before = _wrong(random, x, state, w, asking, of, before)
    layout = Layout.of(torch.from_numpy(rng.integers(0, 5, 3)), torch.zeros(4, 3, 3))
    outputs, *_ = attending_layer(cell, x, state, w, asking, of, layout, before)
    outputs.sum().backward()


@cache
def _step_engine(cell: str) -> StepEngine:
    torch.manual_seed(0)
    return StepEngine(LanguageModel(LanguageModelConfig(n_symbols=9, cell=cell, embedding_size=4, hidden_size=6)).eval())


@_door
def _step(random: plain.Random, rng: np.random.Generator) -> None:
    engine = _step_engine(random.choice(("rnn", "gru", "lstm")))
    _, state = engine.start(torch.from_numpy(rng.integers(0, 9, (3, 2))))
    last, state = _wrong(random, torch.from_numpy(rng.integers(0, 10, 3)), state)
    engine.step(last, state, None, torch.arange(3))


@cache
def _translator_engine(attention: str, looks: str) -> TranslatorEngine:
    torch.manual_seed(0)
    config = TranslatorConfig(
        n_source=8, n_target=9, embedding_size=4, encoder_size=3, decoder_size=6, attention=attention, looks=looks,
        attention_size=6, cell="lstm" if looks == "after" else "gru",
    )  # fmt: skip
    return TranslatorEngine(Translator(config).eval())


@_door
def _translate(random: plain.Random, rng: np.random.Generator) -> None:
    attention = random.choice(("additive", "general", "none"))
    engine = _translator_engine(attention, "before" if attention == "none" else random.choice(("before", "after")))
    ids, lengths = torch.from_numpy(rng.integers(0, 8, (2, 4))), torch.from_numpy(rng.integers(1, 5, 2))
    lists = np.array([[0, 1, 3, 5, 9], [0, 1, 2, 9, 9]])
    given = _wrong(random, ids, lengths, *([lists] if random.random() < 0.4 else []))
    memory, state = engine.start(tuple(given))
    last, state, memory, rows = _wrong(
        random, torch.tensor([1, 0, 2]), _rows(state, [0, 0, 1]), memory, torch.tensor([0, 0, 1])
    )
    _, state = engine.step(last, state, memory, rows)
    engine.step(*_wrong(random, last, state), memory, rows)


def _rows(state: Any, rows: list[int]) -> Any:
    return state_like(state, (s[rows] for s in state_tensors(state)))


class _Fixed:
    """A model that answers what it is told to."""

    def __init__(self, logits: Any) -> None:
        self.logits = logits

    def start(self, source: Any) -> tuple[None, torch.Tensor]:
        return None, torch.zeros(2, 1)

    def step(self, last: Any, state: Any, memory: Any, sentence_of_row: Any) -> tuple[Any, Any]:
        logits = self.logits
        return (logits[: len(last)] if isinstance(logits, torch.Tensor) and logits.dim() else logits), state[: len(last)]


@_door
def _beam(random: plain.Random, rng: np.random.Generator) -> None:
    kind = random.choice((torch.float32, torch.float64))
    logits, width, n_best, length, end = _wrong(random, torch.from_numpy(_logits(rng, 8, 6)).to(kind), 3, 2, 4, 0)
    model: Any = _Fixed(logits)
    beam_search(model, None, torch.tensor([5, 5]), BeamOptions(width=width, n_best=n_best, max_length=length), end=end)


@_door
def _average(random: plain.Random, rng: np.random.Generator) -> None:
    n = 4
    sizes, label_sizes = rng.integers(0, 5, n), rng.integers(0, 3, n)
    starts, label_starts = (np.concatenate([[0], np.cumsum(s)]) for s in (sizes, label_sizes))
    features, labels = rng.integers(0, 7, starts[-1], np.int32), rng.integers(0, 3, label_starts[-1], np.int32)
    model = AverageClassifier(
        AverageConfig(7, 3, 5, random.choice((0.0, 2.0)), random.random() < 0.5), weighted=random.random() < 0.5
    )
    bags = Bags(*_wrong(random, features, starts, sizes))
    if random.random() < 0.1:
        model.output = torch.nn.Parameter(changed(random, model.output), requires_grad=False)
    if random.random() < 0.5:
        model.logits(bags)
        return
    targets = _wrong(random, labels, label_starts, np.ones(n, np.float32))
    order, state, dropout = _wrong(random, rng.permutation(n), rng.integers(1, 9, 1).astype(np.uint64), 0.3)
    options = {"rates": (0.1, 0.05), "dropout": dropout, "frozen": random.random() < 0.2, "random": state}
    model.step(bags, tuple(targets), order, **options)
    model.contributions(changed(random, features))


@_door
def _text_features(random: plain.Random, rng: np.random.Generator) -> None:
    features, _ = TextFeatures.learned(["a b c a b", "b c a b c"], longest=3)
    words, longest, keys = _wrong(random, features.words, features.longest, features.keys)
    texts = [" ".join(rng.choice(list("abcd"), rng.integers(0, 9))), random.choice(("", "a\ud800b", "\U0010ffff", "字"))]
    TextFeatures("words-and-marks", words, longest, keys).encode(texts)


@_door
def _subwords(random: plain.Random, rng: np.random.Generator) -> None:
    words = ["abc", "é", "字符", "", "x" * int(rng.integers(1, 60))]
    shortest, longest, n_buckets = _wrong(random, 2, 4, 50)
    ngrams = NGrams(shortest, longest, n_buckets)
    parts = Parts(words, ngrams)
    buckets = parts.buckets if random.random() < 0.5 else None
    rows = len(words) + (50 if buckets is None else len(parts.buckets))
    table, n_words, buckets = _wrong(random, _logits(rng, rows, 8).astype(np.float32), len(words), buckets)
    subwords = Subwords(ngrams, table, n_words, buckets)
    subwords.vectors_of([*words, "new"], *_wrong(random, np.arange(-1, len(words))))


@_door
def _word2vec(random: plain.Random, rng: np.random.Generator) -> None:
    n_words, use = 6, {"subwords": random.random() < 0.4}
    if not use["subwords"]:
        use["objective"] = random.choice(("negative-sampling", "hierarchical-softmax", "softmax"))
    sizes = {"vector_size": 5, "window": 2, "negatives": 3}
    name = random.choice(list(sizes))
    sizes[name] = random.choice((sizes[name], sizes[name], changed(random, sizes[name])))
    architecture = random.choice(("skip-gram", "cbow"))
    config = Word2VecConfig(n_words, architecture=architecture, **sizes, **use)  # type: ignore[arg-type]
    parts: Any = Parts([str(k) * 3 for k in range(n_words)], NGrams(2, 3, 20)) if config.subwords else None
    if parts is not None and random.random() < 0.3:
        parts.starts, parts.rows = _wrong(random, parts.starts, parts.rows)
    (counts,) = _wrong(random, rng.integers(0, 9, n_words))
    model = Word2Vec(config, counts, 1, parts)
    desks = model.desks([1, 2])
    if random.random() < 0.2:
        model.desks([3])
    ids, rates, desk = _wrong(random, rng.integers(-1, n_words, 40, np.int32), (0.1, 0.05), desks[0])
    model.train(ids, rates, desk)
    model.vectors.sum()
    inputs, outputs = np.zeros((n_words, 5), np.float32), np.array(model.output_vectors)
    model.take_over(*_wrong(random, inputs, outputs, counts))


@_door
def _words(random: plain.Random, rng: np.random.Generator) -> None:
    letters = [*"ab c'\n\0é字\ud800\U0010ffff̈", " ", "\n"]
    text = "".join(random.choice(letters) for _ in range(int(rng.integers(0, 80)))) + "a" * random.choice((0, 0, 1500))
    spool = Spool(None)
    words = read_words([Document("text", text)], READERS[random.choice(("words", "words-and-marks", "whitespace"))], spool)
    join_phrases(words, learn_phrases(words, threshold=0.0, min_count=1), spool)


@cache
def _files() -> dict[str, bytes]:
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4) / 7
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("word2vec-bin", "word2vec-text", "glove", "tsv", "safetensors"):
            path = Path(folder) / kind
            write_vectors(path, ["one", "字", "three"], vectors, kind)
            found[kind] = path.read_bytes()
    found["fasttext-bin"] = _fasttext()
    return found


def _fasttext() -> bytes:
    from unrolled.data.fasttext import _SETTINGS, FastText, write_fasttext

    settings = dict(zip(_SETTINGS, (4, 5, 1, 1, 5, 1, 2, 2, 6, 2, 3, 100), strict=True)) | {"t": 1e-3, "tokens": 9}
    table = np.ones((9, 4), np.float32)
    return b"".join(write_fasttext(FastText(settings, ["one", "two", "three"], np.array([4, 3, 2]), [], table, table[:3])))


@_door
def _vector_files(random: plain.Random, _: np.random.Generator) -> None:
    data = bytearray(_files()[random.choice(sorted(_files()))])
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        at = random.randrange(min(len(data), 120)) if random.random() < 0.7 else random.randrange(len(data))
        data[at] = random.choice((0, 10, 32, 45, 46, 48, 101, 127, 128, 255))
    if random.random() < 0.3:
        del data[random.randrange(len(data)) :]
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        read_vectors(file.name)
        vectors = Vectors.from_file(file.name)
        if vectors.subwords is not None:
            vectors.subwords.vectors_of(["unseen"])


@_door
def _layers_state(random: plain.Random, rng: np.random.Generator) -> None:
    """States of the LSTM that are shared, of another kind, or of another size."""
    layer = Recurrent(CELLS["lstm"](4), 3, n_layers=2)
    state = LSTMState(*(torch.from_numpy(_logits(rng, 2, 2, 4)).float() for _ in range(2)))
    state = random.choice((state, LSTMState(state.hidden, state.hidden), *_wrong(random, state)))
    with choice.only("compiled"):
        layer(torch.zeros(2, 3, 3), state)
