"""CTC: the loss is the sum over all alignments, torch's too, and its own gradient; a wide search is exhaustive."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import references
from unrolled.decoding.ctc import Spelled, collapse, greedy, prefix_search
from unrolled.errors import ConfigError, ShapeError
from unrolled.layers import ctc as module
from unrolled.layers.ctc import ctc_loss

D = torch.float64


def rows(*labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([k for some in labels for k in some], dtype=torch.long), torch.tensor(
        [len(some) for some in labels]
    )


def summed_over_alignments(logits: torch.Tensor, label: list[int], blank: int) -> torch.Tensor:
    """-log of the sum over all K^T alignments of a row, logits (T, K)."""
    p, total = logits.softmax(1), logits.new_zeros(())
    for alignment in product(range(logits.shape[1]), repeat=len(logits)):
        if collapse(alignment, blank) == label:
            total = total + torch.stack([p[t, k] for t, k in enumerate(alignment)]).prod()
    return -total.log()


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("label", [[], [1], [1, 1], [3, 1], [1, 1, 1], [3, 3, 1], [1, 3, 1, 3]])
def test_it_is_the_sum_over_all_alignments(label: list[int], blank: int) -> None:
    torch.manual_seed(len(label))
    logits = torch.randn(5, 1, 4, dtype=D).mul(2).requires_grad_()
    labels, sizes = rows(label)
    found = ctc_loss(logits, torch.tensor([5]), labels, sizes, blank=blank)[0]
    expected = summed_over_alignments(logits[:, 0], label, blank)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    ours, theirs = (torch.autograd.grad(loss, logits)[0] for loss in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("label", [[], [2], [1, 1, 3, 2, 2]])
def test_it_is_what_the_equations_say(label: list[int]) -> None:
    torch.manual_seed(len(label))
    logits = torch.randn(30, 1, 4, dtype=D).mul(3).requires_grad_()
    p = logits[:, 0].detach().softmax(1).numpy()
    found = ctc_loss(logits, torch.tensor([30]), *rows(label))[0]
    assert float(found.detach()) == pytest.approx(-math.log(references.ctc_probability(p, label)), rel=1e-12)
    (gradient,) = torch.autograd.grad(found, logits)
    np.testing.assert_allclose(gradient[:, 0].numpy(), references.ctc_gradient(p, label), rtol=0, atol=1e-12)
    for width in (1, 2, 7, 40):
        expected = references.ctc_prefix_search(p, width)
        ours = prefix_search(np.log(p), width, n_best=width, least=0)
        assert [(tuple(one.symbols), one.log_probability) for one in ours] == [
            (text, pytest.approx(math.log(probability))) for text, probability in expected
        ]
    assert collapse(p.argmax(1).tolist()) == references.collapse(p.argmax(1).tolist())


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 6), st.integers(2, 9), st.floats(0.1, 30))
@settings(max_examples=80, deadline=None)
def test_it_is_torchs(seed: int, steps: int, n: int, n_symbols: int, scale: float) -> None:
    torch.manual_seed(seed)
    logits = (torch.randn(steps, n, n_symbols, dtype=D) * scale).requires_grad_()
    lengths, sizes = torch.randint(1, steps + 1, (n,)), torch.randint(0, steps + 1, (n,))
    labels = torch.randint(1, n_symbols, (int(sizes.sum()),))
    found = ctc_loss(logits, lengths, labels, sizes)
    expected = functional.ctc_loss(logits.log_softmax(2), labels, lengths, sizes, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    fits = expected.isfinite()
    weight = torch.where(fits, torch.arange(1.0, n + 1, dtype=D), 0)
    known = functional.ctc_loss(logits.log_softmax(2), labels, lengths, sizes, reduction="none", zero_infinity=True)
    (ours,) = torch.autograd.grad((found.masked_fill(~fits, 0) * weight).sum(), logits)
    (theirs,) = torch.autograd.grad((known * weight).sum(), logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_what_does_not_fit_is_infinitely_unlikely_and_teaches_nothing() -> None:
    logits = torch.randn(3, 4, 5, requires_grad=True)
    labels, sizes = rows([1, 1, 2], [1, 2, 3], [1, 1], [])
    losses = ctc_loss(logits, torch.tensor([3, 3, 2, 0]), labels, sizes)
    assert losses.isinf().tolist() == [True, False, True, False]
    assert losses[3] == 0
    (gradient,) = torch.autograd.grad(losses[1], logits)
    assert gradient[:, [0, 2, 3]].eq(0).all()
    assert gradient[:, 1].ne(0).all()
    torch.testing.assert_close(gradient[:, 1].sum(1), torch.zeros(3), atol=1e-6, rtol=0)


def test_probabilities_of_nothing_are_counted_in_log_space() -> None:
    """Where each frame is sure of something else: 400 nats a frame, which is 0 even in double precision."""
    logits = torch.zeros(4, 2, 3, dtype=D)
    logits[..., 2] = 400
    logits.requires_grad_()
    labels, sizes = rows([1, 1], [2])
    losses = ctc_loss(logits, torch.tensor([4, 4]), labels, sizes)
    expected = functional.ctc_loss(logits.log_softmax(2), labels, torch.tensor([4, 4]), sizes, reduction="none")
    torch.testing.assert_close(losses, expected)
    ours, theirs = (torch.autograd.grad(loss.sum(), logits)[0] for loss in (losses, expected))
    torch.testing.assert_close(ours, theirs)


def test_threads_and_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORTH_THREADS", 0)
    torch.manual_seed(1)
    logits = torch.randn(60, 9, 12)
    labels, sizes = torch.randint(1, 12, (90,)), torch.full((9,), 10)
    exact = ctc_loss(logits.double(), torch.full((9,), 60), labels, sizes)
    torch.testing.assert_close(ctc_loss(logits, torch.full((9,), 60), labels, sizes).double(), exact, rtol=1e-6, atol=1e-5)
    low = ctc_loss(logits.bfloat16(), torch.full((9,), 60), labels, sizes)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.double(), exact, rtol=2e-2, atol=1)


@pytest.mark.parametrize(
    ("lengths", "labels", "sizes", "message"),
    [
        ([3, 4], [1], [1, 0], "lengths must lie in 0..3"),
        ([3], [1], [1], "2 rows need as many"),
        ([3, 3], [1, 2], [1, 0], "add up to the 2 labels"),
        ([3, 3], [0], [1, 0], "not be the blank"),
        ([3, 3], [5], [1, 0], "must lie in 0..4"),
    ],
)
def test_what_is_no_label_is_said(lengths: list[int], labels: list[int], sizes: list[int], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        ctc_loss(torch.zeros(3, 2, 5), torch.tensor(lengths), torch.tensor(labels), torch.tensor(sizes))


def test_the_collapse_rule() -> None:
    assert collapse([0, 3, 3, 0, 3, 1, 1, 0]) == [3, 3, 1]
    assert collapse([2, 2, 0, 2], blank=2) == [0]
    assert collapse([]) == []


def all_texts(p: np.ndarray, blank: int) -> dict[tuple[int, ...], float]:
    """The probability of every text, by all alignments of p (T, K)."""
    found: dict[tuple[int, ...], float] = {}
    for alignment in product(range(p.shape[1]), repeat=len(p)):
        text = tuple(collapse(alignment, blank))
        found[text] = found.get(text, 0.0) + float(np.prod([p[t, k] for t, k in enumerate(alignment)]))
    return found


@pytest.mark.parametrize("blank", [0, 1])
@pytest.mark.parametrize(("steps", "n_symbols"), [(1, 2), (4, 3), (6, 3), (5, 4)])
def test_a_wide_prefix_search_is_exhaustive(steps: int, n_symbols: int, blank: int) -> None:
    logs = torch.randn(steps, n_symbols, dtype=D).mul(2).log_softmax(1).numpy()
    every = all_texts(np.exp(logs), blank)
    found = prefix_search(logs, 2000, blank, n_best=2000, least=0)
    assert {tuple(one.symbols) for one in found} == set(every)
    for one in found:
        assert one.log_probability == pytest.approx(math.log(every[tuple(one.symbols)]), abs=1e-9)
    assert [one.log_probability for one in found] == sorted((one.log_probability for one in found), reverse=True)
    labels = torch.tensor(found[0].symbols, dtype=torch.long)
    loss = ctc_loss(
        torch.from_numpy(logs)[:, None], torch.tensor([steps]), labels, torch.tensor([len(labels)]), blank=blank
    )
    assert found[0].log_probability == pytest.approx(-loss.item(), abs=1e-9)


def test_the_likeliest_text_is_not_that_of_the_likeliest_alignment() -> None:
    """Graves' example: blanks are likeliest in both frames, but more of the alignments say `1`."""
    logs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert greedy(logs) == Spelled([], pytest.approx(math.log(0.36)), pytest.approx(math.log(0.36)))
    (found,) = prefix_search(logs, 5)
    assert found == Spelled([1], pytest.approx(math.log(0.64)), pytest.approx(math.log(0.64)))


def test_a_narrow_search_loses_probability_never_wins() -> None:
    logs = torch.randn(40, 8, dtype=D).mul(2).log_softmax(1).numpy()
    narrow, wide = (prefix_search(logs, width, least=0)[0] for width in (2, 400))
    assert narrow.log_probability <= wide.log_probability
    labels = torch.tensor(wide.symbols)
    loss = ctc_loss(torch.from_numpy(logs)[:, None], torch.tensor([40]), labels, torch.tensor([len(labels)]))
    assert wide.log_probability <= -loss.item() + 1e-9


def test_long_and_empty_and_wrong_frames() -> None:
    """Thousands of frames neither underflow nor run out of nodes; no frames say nothing."""
    rng = np.random.default_rng(0)
    logs = torch.from_numpy(rng.normal(size=(3000, 6)) * 4).log_softmax(1).numpy()
    (found,) = prefix_search(logs.astype(np.float32), 30)
    assert np.isfinite(found.log_probability)
    assert len(found.symbols) > 500
    assert prefix_search(np.zeros((0, 4))) == [Spelled([], 0.0, 0.0)]
    assert greedy(np.zeros((0, 4))) == Spelled([], 0.0, 0.0)
    with pytest.raises(ShapeError, match="blank 4 among K"):
        greedy(np.zeros((3, 4)), blank=4)
    with pytest.raises(ConfigError, match="n_best"):
        prefix_search(logs, 3, n_best=4)


@pytest.mark.parametrize("label", [[], [2], [2, 2, 3]])
def test_what_is_too_unlikely_for_shares_is_torchs_too(label: list[int]) -> None:
    """A softmax of -200 is zero in single precision, so that no alignment has any share; it has a logarithm."""
    logits = torch.zeros(20, 2, 5)
    logits[:, 0, [0, 2]] = torch.tensor([-200.0, -250.0])
    logits.requires_grad_()
    labels, sizes = rows(label, [1])
    losses = ctc_loss(logits, torch.tensor([20, 20]), labels, sizes)
    log_p = logits.double().log_softmax(2)
    expected = functional.ctc_loss(log_p, labels, torch.tensor([20, 20]), sizes, reduction="none")
    torch.testing.assert_close(losses, expected.float())
    ours, theirs = (torch.autograd.grad(loss.sum(), logits)[0] for loss in (losses, expected))
    torch.testing.assert_close(ours, theirs)


def test_shares_that_are_almost_nothing_do_not_become_nan() -> None:
    """For one of these rows the shares of both directions multiply to a number whose inverse is infinite."""
    torch.manual_seed(112)
    steps, part, scale = int(torch.randint(300, 600, (1,))), float(torch.rand(1)), float(torch.rand(1))
    logits = (torch.randn(steps, 4, 30) * (3 + 3 * scale)).requires_grad_()
    size = int(steps * part * 0.6)
    labels, sizes = torch.randint(2, 30, (4 * size,)), torch.full((4,), size)
    losses = ctc_loss(logits, torch.full((4,), steps), labels, sizes, blank=1)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert (steps, size) == (584, 48)
    assert gradient.isfinite().all()
