"""Evaluation that learns from what it reads: against plain loops, and on texts where the gain is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unrolled
from unrolled.data.text import Document
from unrolled.errors import ConfigError
from unrolled.models.language_model import LanguageModel, LanguageModelConfig
from unrolled.tasks.adaptive import DynamicEvaluation, NeuralCache, adapter

V = 9


def model(**changes: Any) -> LanguageModel:
    sizes: dict[str, Any] = {"n_symbols": V, "embedding_size": 5, "hidden_size": 7, "n_layers": 2} | changes
    return LanguageModel(LanguageModelConfig(**sizes)).eval()


def texts(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(V, size=n).astype(np.int32) for n in lengths]


def plain(network: LanguageModel, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities (T, V) and hidden states (T, H) of one text read alone."""
    inputs = torch.tensor([[V, *ids[:-1].tolist()]])
    with torch.no_grad():
        hidden, _ = network.hidden(inputs, None)
        return torch.log_softmax(network.logits(hidden[:, 0]), 1).numpy(), hidden[:, 0].numpy()


@pytest.mark.parametrize("window", [1, 5, 1000])
def test_cache_is_its_equation(window: int) -> None:
    """Against a loop over tokens, also across the windows in which a long text is read and from text to text."""
    network, parts = model(), texts(300, 0, 40)
    cache = NeuralCache(window=window, sharpness=3.0, weight=0.3)
    found = list(cache.losses(network, parts, V))
    keys: list[np.ndarray] = []
    words: list[int] = []
    for ids, losses in zip(parts, found, strict=True):
        if not len(ids):
            assert not len(losses)
            continue
        log_p, hidden = plain(network, ids)
        expected = []
        for t, word in enumerate(ids):
            query = hidden[t] / max(np.linalg.norm(hidden[t]), 1e-12)
            match = np.exp([3.0 * float(query @ key) for key in keys[-window:]])
            hits = np.array([w == word for w in words[-window:]])
            cached = float((match * hits).sum() / match.sum()) if len(match) else 0.0
            expected.append(-math.log(0.7 * math.exp(log_p[t, word]) + 0.3 * cached))
            keys.append(query)
            words.append(int(word))
        np.testing.assert_allclose(losses, expected, rtol=2e-5)


def test_weightless_cache_and_rateless_steps_change_nothing() -> None:
    network, (ids,) = model(), texts(60)
    log_p, _ = plain(network, ids)
    expected = -log_p[np.arange(60), ids]
    for learner in (NeuralCache(weight=0.0), DynamicEvaluation(rate=0.0)):
        (found,) = learner.losses(network, [ids], V)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_dynamic_evaluation_steps_as_torch_does_and_puts_the_weights_back() -> None:
    """Its update against torch.optim.Adam without momentum, which is RMSprop with the correction of v."""
    network, twin, parts = model(), model(), texts(20, 13)
    twin.load_state_dict(network.state_dict())
    before = {name: w.clone() for name, w in network.state_dict().items()}
    learner = DynamicEvaluation(tokens=6, rate=0.02, pull=0.0)
    found = list(learner.losses(network, parts, V))
    optimiser = torch.optim.Adam(twin.parameters(), lr=0.02, betas=(0.0, 0.99), eps=1e-6)
    for ids, losses in zip(parts, found, strict=True):
        state: Any = None
        inputs, targets = torch.tensor([[V, *ids[:-1].tolist()]]), torch.tensor(ids.astype(np.int64))
        for at in range(0, len(ids), 6):
            hidden, state = twin.hidden(inputs[:, at : at + 6], state)
            state = type(state)(*(s.detach() for s in state))
            each = torch.nn.functional.cross_entropy(twin.logits(hidden[:, 0]), targets[at : at + 6], reduction="none")
            np.testing.assert_allclose(losses[at : at + 6], each.detach().numpy(), rtol=1e-4)
            optimiser.zero_grad()
            each.mean().backward()
            optimiser.step()
    assert all(torch.equal(w, before[name]) for name, w in network.state_dict().items())


def test_the_pull_brings_the_trained_weights_back() -> None:
    """With the full pull every step starts from the trained weights: the second half sees one step of learning only."""
    network, (ids,) = model(), texts(40)
    full = DynamicEvaluation(tokens=20, rate=0.05, pull=1.0)
    (pulled,) = full.losses(network, [ids], V)
    (free,) = DynamicEvaluation(tokens=20, rate=0.05, pull=0.0).losses(network, [ids], V)
    np.testing.assert_allclose(pulled, free)  # the first pull leads nowhere else
    (pulled,) = full.losses(network, [np.tile(ids, 2)], V)
    (free,) = DynamicEvaluation(tokens=20, rate=0.05, pull=0.0).losses(network, [np.tile(ids, 2)], V)
    assert not np.allclose(pulled[40:], free[40:])


def test_interrupted_evaluation_leaves_the_trained_weights() -> None:
    network, parts = model(), texts(50, 50)
    before = [w.clone() for w in network.parameters()]
    walk = DynamicEvaluation(rate=0.1).losses(network, parts, V)
    next(walk)
    assert not all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))
    walk.close()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))


def test_both_help_with_a_text_that_repeats_itself_and_documents_do_not_see_each_other(run_folder: Path) -> None:
    trained = unrolled.load(run_folder)
    secret = "Zyx wvu Zyx wvu, qqq Zyx. " * 30
    documents = [Document("a", secret), Document("b", "The value of the expression is the object. " * 20)]
    usual = trained.evaluate(documents)
    for learner in (NeuralCache(weight=0.3, sharpness=30), DynamicEvaluation(rate=1e-3)):
        learned = trained.evaluate(documents, adapter=learner)
        assert learned["tokens"] == usual["tokens"]
        assert learned["texts"][0]["loss"] < usual["texts"][0]["loss"] - 0.3
        assert learned["adapted"] == learner.to_json()
        alone = trained.evaluate(documents[1:], adapter=learner)
        assert alone["loss"] == pytest.approx(learned["texts"][1]["loss"], rel=1e-6)
    assert "adapted" not in usual


def test_settings_by_name() -> None:
    assert adapter(None) is None
    assert adapter("cache", ["weight=0.2", "window=50"]) == NeuralCache(50, weight=0.2)
    assert adapter("dynamic", ["rate=1"]) == DynamicEvaluation(rate=1.0)
    for name, settings, message in (
        ("cash", [], "unknown adapter 'cash'.*Did you mean 'cache'"),
        ("cache", ["wight=1"], "unknown setting of --adapt cache 'wight'.*Did you mean 'weight'"),
        ("cache", ["window=0.5"], "window: a whole number is expected, got 0.5"),
        ("dynamic", ["rate=fast"], "rate: a number is expected, got 'fast'"),
        ("cache", ["weight=1"], "0 <= weight < 1"),
        ("dynamic", ["tokens=0"], "tokens >= 1"),
        (None, ["rate=1"], "add --adapt cache or --adapt dynamic"),
    ):
        with pytest.raises(ConfigError, match=message):
            adapter(name, settings)
