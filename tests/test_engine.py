"""The step engine against the model it is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unrolled.cells import CELLS
from unrolled.errors import ConfigError, ShapeError
from unrolled.models import language_model_engine as module
from unrolled.models.language_model import LanguageModel, LanguageModelConfig
from unrolled.models.language_model_engine import StepEngine
from unrolled.types import State, map_state, state_tensors

SIZES: dict[str, dict[str, Any]] = {
    "tied": {"n_symbols": 70, "embedding_size": 20, "hidden_size": 20},
    "bridged and deep": {"n_symbols": 301, "embedding_size": 17, "hidden_size": 40, "n_layers": 3},
    "one-hot": {"n_symbols": 33, "input": "one-hot", "hidden_size": 64, "n_layers": 2},
    "untied, learned state": {
        "n_symbols": 130,
        "embedding_size": 5,
        "hidden_size": 9,
        "tied": False,
        "learned_state": True,
    },
    "sampled softmax": {"n_symbols": 50, "embedding_size": 12, "hidden_size": 12, "softmax": "sampled"},
}


def made(cell: str, sizes: str) -> LanguageModel:
    model = LanguageModel(LanguageModelConfig(cell=cell, **SIZES[sizes])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def walk(model: Any, ids: Tensor) -> tuple[Tensor, State]:
    """Logits (T, R, V) of feeding ids (R, T) symbol by symbol, beams exchanged halfway, and the last state."""
    memory, state = model.start(ids[:, :1])
    found, rows = [], torch.zeros(len(ids), dtype=torch.long)
    for t, last in enumerate(ids.t()):
        if t == 3:
            state = map_state(lambda s: s.flip(0), state)
        logits, state = model.step(last, state, memory, rows)
        found.append(logits)
    return torch.stack(found), state


@pytest.mark.parametrize("cell", [name for name in CELLS if name != "mingru"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("table", [True, False])
def test_an_engine_steps_like_its_model(cell: str, sizes: str, table: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not table:
        monkeypatch.setattr(module, "_TABLE", 0)
    model = made(cell, sizes)
    for rows in (1, 2, 7):
        ids = torch.randint(0, model.config.n_symbols + 2, (rows, 6))  # begin and padding among them
        want, want_state = walk(model, ids)
        got, state = walk(StepEngine(model), ids)
        torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-5)
        for a, b in zip(state_tensors(state), state_tensors(want_state), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", SIZES)
def test_a_rounded_engine_finds_the_most_likely_symbol(sizes: str) -> None:
    model = made("gru", sizes)
    ids = torch.randint(0, model.config.n_symbols, (9, 12))
    want, _ = walk(model, ids)
    got, _ = walk(StepEngine(model, rounded=True), ids)
    assert torch.equal(got.argmax(2), want.argmax(2))
    best = want.argmax(2, keepdim=True)
    torch.testing.assert_close(got.gather(2, best), want.gather(2, best), atol=2e-5, rtol=1e-5)  # the leader is exact
    off = (got.log_softmax(2) - want.log_softmax(2)).abs()
    assert 0 < off.max() < 0.1
    assert off.mean() < 0.01


def test_ties_of_rounding_are_decided_exactly() -> None:
    """Symbols that the bytes cannot tell apart: the exact scores do."""
    model = LanguageModel(LanguageModelConfig(n_symbols=64, embedding_size=8, hidden_size=8, tied=False)).eval()
    with torch.no_grad():
        direction = torch.randn(8)
        model.output.weight.copy_(direction + 1e-4 * torch.randn(64, 8))
    ids = torch.randint(0, 64, (20, 3))
    assert torch.equal(walk(StepEngine(model, rounded=True), ids)[0].argmax(2), walk(model, ids)[0].argmax(2))


@pytest.mark.parametrize("rounded", [False, True])
def test_changed_parameters_are_noticed(rounded: bool) -> None:
    model = made("lstm", "tied")
    engine, ids = StepEngine(model, rounded=rounded), torch.randint(0, 70, (2, 4))
    before, _ = walk(engine, ids)
    for name in ("recurrent.weight_hh_l0", "recurrent.bias_ih_l0", "embedding.weight", "output.bias"):
        with torch.no_grad():
            model.get_parameter(name).mul_(1.5).add_(0.1)
        after, _ = walk(engine, ids)
        assert not torch.equal(after, before), name
        before = after
    fresh = made("lstm", "tied")
    model.load_state_dict(fresh.state_dict())
    torch.testing.assert_close(walk(engine, ids)[0].argmax(2), walk(fresh, ids)[0].argmax(2))


def test_replaced_parameters_are_noticed_and_training_mode_is_refused() -> None:
    model, ids = made("gru", "tied"), torch.randint(0, 70, (2, 4))
    engine = StepEngine(model)
    walk(engine, ids)
    model.output.bias = torch.nn.Parameter(torch.randn(70))
    torch.testing.assert_close(walk(engine, ids)[0], walk(model, ids)[0], atol=1e-4, rtol=1e-4)
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}, assign=True)
    torch.testing.assert_close(walk(engine, ids)[0], walk(model, ids)[0], atol=1e-4, rtol=1e-4)
    model.train()
    with pytest.raises(ConfigError, match="training mode"):
        walk(engine, ids)


def test_engines_under_autocast_and_with_bad_symbols() -> None:
    model = made("lstm", "bridged and deep")
    engine, ids = StepEngine(model), torch.randint(0, 301, (2, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert walk(engine, ids)[0].isfinite().all()
    with pytest.raises(ShapeError, match="from 0, got -1"):
        engine.step(torch.tensor([-1]), model.recurrent.initial_state(1), None, torch.zeros(1))


def test_what_an_engine_returns_stays() -> None:
    model = made("lstm", "tied")
    engine = StepEngine(model)
    memory, state = engine.start(torch.randint(0, 70, (2, 3)))
    logits, after = engine.step(torch.tensor([1, 2]), state, memory, torch.zeros(2))
    kept = [t.clone() for t in (logits, *state_tensors(state), *state_tensors(after))]
    engine.step(torch.tensor([3, 4]), after, memory, torch.zeros(2))
    assert all(torch.equal(a, b) for a, b in zip((logits, *state_tensors(state), *state_tensors(after)), kept, strict=True))


def test_models_without_an_engine() -> None:
    for model in (
        made("lstm", "tied").double(),
        LanguageModel(LanguageModelConfig(n_symbols=5000, softmax="adaptive", embedding_size=8, hidden_size=8)),
    ):
        assert not StepEngine.serves(model)
        with pytest.raises(ConfigError, match="float32 on the CPU"):
            StepEngine(model)
    model = made("lstm", "tied")
    engine = StepEngine(model)
    model.double()
    with pytest.raises(ConfigError, match="no longer in float32"):
        engine.step(torch.tensor([1]), model.recurrent.initial_state(1), None, torch.zeros(1))
