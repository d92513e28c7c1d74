"""Attention against plain loops, and the encoder-decoder: all steps at once as one by one, alone as together."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from unrolled.cells import CELLS
from unrolled.decoding.beam import beam_search
from unrolled.decoding.scoring import BeamOptions
from unrolled.errors import ConfigError
from unrolled.layers.attention import ATTENTIONS, Attention
from unrolled.layers.choice import only
from unrolled.layers.output import cross_entropy
from unrolled.models.decoder import BRIDGES, LOOKS, Writing
from unrolled.models.translator import Translator, TranslatorConfig
from unrolled.models.translator_engine import TranslatorEngine
from unrolled.types import map_state, state_tensors

CONFIG = TranslatorConfig(n_source=11, n_target=9, embedding_size=6, encoder_size=5, decoder_size=10, attention_size=7)


#: Each kind of attention, and two of those moving on.
LOOKING = [*((kind, 0.0) for kind in ATTENTIONS), ("additive", 1.5), ("dot", 1.5)]


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention_is_what_the_equations_say(kind: str) -> None:
    layer = Attention(kind, 6, 6, 4).double()
    values, lengths, query = torch.randn(3, 5, 6).double(), torch.tensor([5, 1, 3]), torch.randn(3, 6).double()
    spoiled = values.masked_fill((torch.arange(5) >= lengths.unsqueeze(1)).unsqueeze(2), 1e3)
    context, weights = layer(query, layer.remember(spoiled, lengths))
    p = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}
    for i, length in enumerate(lengths.tolist()):
        scores = []
        for a in values[i, :length].numpy():
            q = query[i].numpy()
            if kind == "additive":
                scores.append(
                    float(p["score.weight"][0] @ np.tanh(p["query.weight"] @ q + p["key.weight"] @ a + p["key.bias"]))
                )
            elif kind == "dot":
                scores.append(float(q @ a))
            elif kind == "general":
                scores.append(float(q @ p["key.weight"] @ a))
            else:
                scores.append(float((p["query.weight"] @ q) @ (p["key.weight"] @ a)) / math.sqrt(4))
        e = np.exp(np.array(scores) - max(scores))
        expected = e / e.sum()
        np.testing.assert_allclose(weights[i, :length].detach().numpy(), expected, rtol=1e-9)
        assert not weights[i, length:].any()
        np.testing.assert_allclose(context[i].detach().numpy(), expected @ values[i, :length].numpy(), rtol=1e-9)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention_that_moves_on(kind: str) -> None:
    """Where it may have come to multiplies what it would look at, of which the gradient knows nothing."""
    layer, free = (Attention(kind, 6, 6, 4, pace=pace).double() for pace in (2.5, 0.0))
    free.load_state_dict(layer.state_dict())
    memory = layer.remember(torch.randn(3, 5, 6).double(), torch.tensor([5, 1, 3]))
    query, before = torch.randn(3, 6).double().requires_grad_(), torch.rand(3, 5).double().requires_grad_()
    near = torch.zeros(3, 5).double()
    before = before * memory.inside
    before = before / before.sum(1, keepdim=True)
    for s in range(1, 5):
        near[:, s] = 0.6 * near[:, s - 1] + 0.4 * before[:, s - 1]
    for i, last in enumerate((4, 0, 2)):
        near[i, last] = 1 - near[i, :last].sum()
    expected = free(query, memory)[1] * (near + 1e-30)
    context, weights = layer(query, memory, before)
    torch.testing.assert_close(weights, expected / expected.sum(1, keepdim=True))
    torch.testing.assert_close(context, torch.einsum("bs,bsm->bm", weights, memory.values))
    assert torch.autograd.grad(context.sum(), before, allow_unused=True) == (None,)
    assert memory.beginning(2).tolist() == [[1, 0, 0, 0, 0]] * 2


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="unknown attention 'dots'"):
        Attention("dots", 2, 2, 2)
    with pytest.raises(ConfigError, match="dot attention needs one size"):
        Attention("dot", 2, 3, 2)
    with pytest.raises(ConfigError, match="one vocabulary"):
        replace(CONFIG, shared=True)
    with pytest.raises(ConfigError, match="unknown attention"):
        replace(CONFIG, attention="dots")
    with pytest.raises(ConfigError, match="at least 1 position"):
        Attention("dot", 2, 2, 2, pace=0.5)
    with pytest.raises(ConfigError, match="moves on looks before the step"):
        replace(CONFIG, pace=1.5, looks="after")


def test_smoothed_targets_as_torch_has_them() -> None:
    a, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((300, 8), (13, 8), (13,)))
    targets = torch.randint(13, (300,))
    found = cross_entropy(a, weight, bias, targets, 0.1)
    expected = functional.cross_entropy(functional.linear(a, weight, bias), targets, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, (a, weight, bias)), torch.autograd.grad(expected, (a, weight, bias)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "pace"), LOOKING)
@pytest.mark.parametrize("cell", CELLS)
def test_the_compiled_loop_is_the_readable_one(cell: str, kind: str, pace: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, weights, last state and all gradients, in double precision, rows shared out among threads."""
    monkeypatch.setattr("unrolled.layers.compiled_attending._WORTH_THREADS", 0)
    torch.manual_seed(1)
    model = Translator(replace(CONFIG, cell=cell, attention=kind, pace=pace, dropout_input=0.3)).double().train()
    (source, lengths), inputs = sentences(), torch.randint(9, (3, 5))
    found = []
    for way in ("compiled", "loop"):
        torch.manual_seed(2)
        model.zero_grad()
        with only(way):
            memory, first = model.encode(source, lengths)
            o, state, looked = model.decode(inputs, memory, first)
        parts = [o, *state_tensors(state)]
        sum((part * torch.arange(part.numel()).view_as(part).sin()).sum() for part in parts).backward()  # type: ignore[union-attr]
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append((parts, torch.stack(looked).detach(), gradients))
    (*a, mine), (*b, theirs) = found
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert mine.keys() >= theirs.keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs.get(name, torch.zeros_like(gradient)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "pace"), LOOKING)
@pytest.mark.parametrize("cell", CELLS)
def test_rows_that_end_early_and_share_memories(cell: str, kind: str, pace: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled loop computes nothing behind a row's end; loss and gradients are those of the readable loop."""
    monkeypatch.setattr("unrolled.layers.compiled_attending._WORTH_THREADS", 0)
    torch.manual_seed(1)
    model = Translator(replace(CONFIG, cell=cell, attention=kind, pace=pace)).double().train()
    inputs, of = torch.randint(9, (6, 5)), torch.tensor([2, 0, 2, 1, 0, 0])
    targets = torch.randint(9, (6, 5)).masked_fill(torch.arange(5) >= torch.tensor([[2], [4], [1], [4], [3], [0]]), -1)
    found = []
    for way in ("compiled", "loop"):
        model.zero_grad()
        with only(way):
            memory, first = model.encode(*sentences())
            loss, n, *_ = model.loss_of(inputs, targets, memory, map_state(lambda s: s[of], first), of)
        assert n == 14
        loss.backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None} | {"loss": loss})
    mine, theirs = found
    assert mine.keys() >= theirs.keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs.get(name, torch.zeros_like(gradient)), rtol=1e-9, atol=1e-9)


def test_which_decoders_are_compiled() -> None:
    """One layer without input feeding; in bfloat16 too: it leaves out what has ended, which is worth more than products."""
    model = Translator(CONFIG)
    (source, lengths), inputs = sentences(), torch.randint(9, (3, 5))
    ways = []
    for changed, low in (({}, False), ({}, True), ({"decoder_layers": 2}, False), ({"input_feeding": True}, False)):
        model = Translator(replace(CONFIG, **changed))  # type: ignore[arg-type]
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            o, _, _ = model.decode(inputs, *model.encode(source, lengths))
        names, left = set(), [o.grad_fn]
        while left:
            node = left.pop()
            if node is not None and node not in names:
                names.add(node)
                left += [following for following, _ in node.next_functions]
        ways.append(any("_Attending" in node.name() for node in names))
    assert ways == [True, True, False, False]


def sentences() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[3, 4, 5, 6], [7, 11, 12, 12], [2, 2, 8, 12]])
    return ids, torch.tensor([4, 1, 3])


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("attention", ["none", *ATTENTIONS])
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn", "gru-before"])
def test_all_steps_at_once_as_one_by_one_and_alone_as_together(cell: str, attention: str, layers: int) -> None:
    assert cell in CELLS
    steps_agree(replace(CONFIG, cell=cell, attention=attention, encoder_layers=layers, decoder_layers=layers))


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_looking_after_the_step_too(cell: str, attention: str) -> None:
    config = replace(CONFIG, cell=cell, attention=attention, looks="after", decoder_layers=2)
    steps_agree(config)
    engines_agree(Translator(config).eval())
    model, (ids, lengths) = Translator(config).eval(), sentences()
    memory, first = model.encode(ids, lengths)
    assert memory is not None
    assert model.attention is not None
    inputs = torch.tensor([[9, 1], [9, 4], [9, 8]])
    _, state, looked = model.decode(inputs, memory, first)
    top = state_tensors(state)[0][:, -1]
    torch.testing.assert_close(looked[-1], model.attention(top, memory)[1])


@pytest.mark.parametrize("more", [{}, {"decoder_layers": 2, "input_feeding": True}])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_moving_on_too(attention: str, more: dict[str, Any]) -> None:
    config = replace(CONFIG, attention=attention, pace=1.5, **more)
    steps_agree(config)
    engines_agree(Translator(config).eval())


@pytest.mark.parametrize("looks", LOOKS)
@pytest.mark.parametrize("bridge", BRIDGES)
@pytest.mark.parametrize("attention", ["additive", "scaled-dot"])
def test_with_input_feeding_and_any_bridge_too(attention: str, bridge: str, looks: str) -> None:
    config = replace(CONFIG, cell="lstm", attention=attention, input_feeding=True, bridge=bridge, decoder_layers=2)
    config = replace(config, looks=looks)
    steps_agree(config)
    engines_agree(Translator(config).eval())
    torch.manual_seed(1)
    model, (ids, lengths) = Translator(config).eval(), sentences()
    memory, first = model.encode(ids, lengths)
    assert memory is not None
    zero = all(not s.any() for s in state_tensors(first))
    assert zero is (bridge == "zero")
    inputs = torch.tensor([[9, 1], [9, 4], [9, 8]])
    o, state, looked = model.decode(inputs[:, :1], memory, first)
    fed, _, _ = model.decode(inputs[:, 1:], memory, Writing(state, looked[0], o[0]))
    unfed, _, _ = model.decode(inputs[:, 1:], memory, state)
    assert not torch.allclose(fed, unfed)
    for wrong, what in (
        ({"attention": "none"}, "input feeding goes with attention"),
        ({"bridge": "x"}, "unknown bridge"),
        ({"looks": "x"}, "x"),
    ):
        with pytest.raises(ConfigError, match=what):
            replace(config, **wrong)  # type: ignore[arg-type]


def steps_agree(config: TranslatorConfig) -> None:
    """All steps at once give what single steps give, and a sentence alone what it gives in company."""
    model = Translator(config).eval()
    ids, lengths = sentences()
    inputs = torch.tensor([[9, 1, 2, 3], [9, 4, 4, 0], [9, 8, 7, 6]])
    memory, first = model.encode(ids, lengths)
    o, _, _ = model.decode(inputs, memory, first)
    logits = model.output(o).transpose(0, 1)
    with torch.no_grad():
        memory, state = model.start((ids, lengths))
        rows = torch.arange(3)
        for t in range(4):
            step, state = model.step(inputs[:, t], state, memory, rows)
            torch.testing.assert_close(step, logits[:, t], rtol=1e-4, atol=1e-5)
        for i, length in enumerate(lengths.tolist()):
            alone, state = model.start((ids[i : i + 1, :length], lengths[i : i + 1]))
            for t in range(4):
                step, state = model.step(inputs[i : i + 1, t], state, alone, torch.tensor([0]))
            torch.testing.assert_close(step[0], logits[i, 3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["none", "additive"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_beam_scores_what_the_model_says(cell: str, attention: str) -> None:
    model = Translator(replace(CONFIG, cell=cell, attention=attention, decoder_layers=2)).eval()
    options = BeamOptions(width=4, n_best=3, max_length=6)
    ids, lengths = sentences()
    begin = torch.full((3,), 9)
    for i, found in enumerate(beam_search(model, (ids, lengths), begin, options, end=1, forbidden=[0])):
        one = (ids[i : i + 1, : lengths[i]], lengths[i : i + 1])
        (alone,) = beam_search(model, one, begin[:1], options, end=1, forbidden=[0])
        for a, b in zip(found.hypotheses, alone.hypotheses, strict=True):
            assert a.symbols == b.symbols
            np.testing.assert_allclose(a.token_scores, b.token_scores, atol=1e-5)
            memory, first = model.encode(*one)
            inputs = torch.tensor([[9, *a.symbols[:-1]]])
            o, _, looked = model.decode(inputs, memory, first)
            forced = model.output(o[:, 0]).log_softmax(1)[torch.arange(len(a.symbols)), a.symbols]
            np.testing.assert_allclose(a.token_scores, forced.detach().numpy(), atol=1e-5)
            if attention == "none":
                assert a.attention is None
            else:
                assert a.attention is not None
                weights = torch.stack(looked)[:, 0].detach().numpy()
                np.testing.assert_allclose(a.attention[:, : weights.shape[1]], weights, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("attention", ["none", *ATTENTIONS])
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn", "rnn-relu", "gru-before"])
def test_an_engine_steps_like_its_model(cell: str, attention: str, layers: int) -> None:
    config = replace(CONFIG, cell=cell, attention=attention, decoder_layers=layers, input_feeding=attention == "general")
    engines_agree(Translator(replace(config, bridge="linear", encoder_layers=layers)).eval())


def test_an_engine_reads_words_that_are_too_many_for_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.models.translator_engine.TABLES", 10_000)
    engines_agree(Translator(replace(CONFIG, n_source=300)).eval())


@torch.no_grad()
def engines_agree(model: Translator) -> None:
    """The engine and its model on rows of three sentences that change places."""
    engine, (ids, lengths) = TranslatorEngine(model), sentences()
    for change in range(2):
        expected_memory, expected = model.start((ids, lengths))
        memory, state = engine.start((ids, lengths))
        rows = torch.tensor([0, 0, 1, 2, 2])
        expected, state = (map_state(lambda s, rows=rows: s[rows], of) for of in (expected, state))
        for t in range(4):
            last = torch.tensor([9, 3, 8, 1, t])  # 9 stands for no symbol
            wanted, expected = model.step(last, expected, expected_memory, rows)
            found, state = engine.step(last, state, memory, rows)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
            for mine, theirs in zip(state_tensors(state), state_tensors(expected), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
            if t == 1:
                order = torch.tensor([4, 2, 0])
                rows, expected, state = rows[order], *(map_state(lambda s, o=order: s[o], of) for of in (expected, state))
                rows = torch.cat((rows, rows[:2]))
                expected, state = (map_state(lambda s: torch.cat((s, s[:2])), of) for of in (expected, state))
        if not change:
            for parameter in model.parameters():
                parameter += 0.05


def test_an_engine_in_bytes_and_what_it_refuses() -> None:
    torch.manual_seed(2)
    model = Translator(replace(CONFIG, n_target=300, embedding_size=32)).eval()
    exact, rounded = TranslatorEngine(model), TranslatorEngine(model, rounded=True)
    last, rows = torch.tensor([5, 6, 7]), torch.arange(3)
    started = [(engine, *engine.start(sentences())) for engine in (exact, rounded)]
    a, b = (engine.step(last, state, memory, rows)[0] for engine, memory, state in started)
    assert torch.equal(a.argmax(1), b.argmax(1))
    torch.testing.assert_close(a, b, atol=0.05, rtol=0.02)
    with pytest.raises(ConfigError, match=r"call model\.eval"):
        TranslatorEngine(model.train()).start(sentences())
    with pytest.raises(ConfigError, match="serves RNN, GRU and LSTM"):
        TranslatorEngine(Translator(replace(CONFIG, cell="mingru")))
    with pytest.raises(ConfigError, match="in float32"):
        TranslatorEngine(model.double())
