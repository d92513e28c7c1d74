"""What the loss of CTC and its decoders are given: every form of it, bounds, probabilities of 0 and NaN, derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fuzz_ctc import differences, make_case
from unrolled.decoding.alignment import align
from unrolled.decoding.ctc import closed, greedy, prefix_search
from unrolled.decoding.joint import JointStepper
from unrolled.decoding.scorers import Hotwords
from unrolled.errors import ConfigError, DataError, ShapeError
from unrolled.layers.ctc import ctc_loss

D = torch.float64
every_precision = pytest.mark.parametrize("dtype", [torch.float32, D])
LOGITS = torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(0))
FRAMES = LOGITS[:, 0].double().log_softmax(1).numpy()


@every_precision
def test_losses_and_gradients_of_random_shapes_are_torchs(dtype: torch.dtype) -> None:
    problems = {seed: differences(make_case(seed, dtype)) for seed in range(200)}
    assert not {seed: found for seed, found in problems.items() if found}


@pytest.mark.parametrize("blank", [-1, 4, 9, 1000, 10**6, 2**70])
def test_a_blank_out_of_range_is_refused(blank: int) -> None:
    with pytest.raises(ShapeError, match=r"blank must be in label range, 0\.\.3"):
        ctc_loss(LOGITS, [5, 5], [1, 2], [1, 1], blank=blank)
    with pytest.raises(ShapeError, match="among K"):
        closed(FRAMES, [[1]], blank)
    with pytest.raises(ShapeError, match="among K"):
        align(FRAMES, np.array([1]), blank)
    for decode in (greedy, prefix_search):
        with pytest.raises(ShapeError, match="among K"):
            decode(FRAMES, blank=blank)


@pytest.mark.parametrize("symbol", [0, -1, 4, 7, 10**7, -(2**63), 2**63 - 1])
def test_a_symbol_out_of_range_or_the_blank_is_refused(symbol: int) -> None:
    with pytest.raises(ShapeError, match="labels must"):
        ctc_loss(LOGITS, [5, 5], [1, symbol], [1, 1])
    with pytest.raises(ShapeError, match="labels must"):
        ctc_loss(LOGITS, [5, 5], [[1, 9], [symbol, 1]], [1, 2])
    with pytest.raises(ShapeError, match=f"text 1: got symbol {symbol}"):
        closed(FRAMES, [np.array([1]), np.array([2, symbol])])
    with pytest.raises(ShapeError, match=f"got symbol {symbol}"):
        align(FRAMES, np.array([symbol]))


def test_sums_of_lengths_that_overflow_are_refused() -> None:
    for sizes in ([2**62, 2**62, 2**62, 2**62, 1], [-1, 1, 1], [2**63 - 1, 2]):
        logits = torch.zeros(3, len(sizes), 4)
        with pytest.raises(ShapeError, match=r"label lengths must lie in 0\.\.1"):
            ctc_loss(logits, [3] * len(sizes), [1], sizes)


def test_a_label_far_too_long_takes_no_memory() -> None:
    assert ctc_loss(torch.zeros(100_000, 1, 2), [100_000], torch.ones(3_000_000, dtype=torch.long), [3_000_000]).isinf()
    assert closed(np.full((100_000, 2), -1.0), [np.ones(3_000_000, np.int64)]) == -np.inf


def _forms() -> dict[str, tuple[Any, Any, Any]]:
    return {
        "lists": ([5, 4], [1, 2, 3], [1, 2]),
        "tuples": ((5, 4), (1, 2, 3), (1, 2)),
        "arrays": (np.array([5, 4]), np.array([1, 2, 3], np.uint8), np.array([1, 2], np.int16)),
        "big-endian": (np.array([5, 4], ">i4"), np.array([1, 2, 3], ">i8"), np.array([1, 2], ">u2")),
        "int32": (torch.tensor([5, 4]).int(), torch.tensor([1, 2, 3]).int(), torch.tensor([1, 2]).int()),
        "table": (torch.tensor([5, 4]), torch.tensor([[1, 0, -9], [2, 3, 77]]), torch.tensor([1, 2])),
        "table of lists": ([5, 4], [[1, 0], [2, 3]], [1, 2]),
        "strided": (torch.tensor([5, 0, 4])[::2], torch.tensor([[1, 2], [0, 3]]).t(), torch.tensor([1, 2])),
        "scalars in lists": ([torch.tensor(5), torch.tensor(4)], [1, 2, 3], [torch.tensor(1), 2]),
    }


@pytest.mark.parametrize("form", _forms())
def test_lengths_and_labels_come_in_every_form(form: str) -> None:
    lengths, labels, sizes = (torch.tensor(x) for x in ([5, 4], [1, 2, 3], [1, 2]))
    expected = functional.ctc_loss(LOGITS.log_softmax(2), labels, lengths, sizes, reduction="none")
    torch.testing.assert_close(ctc_loss(LOGITS, *_forms()[form]), expected)


def test_one_row_needs_no_axis_for_the_batch() -> None:
    want = ctc_loss(LOGITS[:, :1], [4], [1, 2], [2])[0]
    for lengths, labels, sizes in ((4, [1, 2], 2), (torch.tensor(4), torch.tensor([1, 2, 0]), [2]), ([4], [[1, 2]], (2,))):
        found = ctc_loss(LOGITS[:, 0], lengths, labels, sizes)
        assert found.shape == ()
        torch.testing.assert_close(found, want)
    assert ctc_loss(LOGITS[:, :0], [], [], []).shape == (0,)
    assert ctc_loss(LOGITS[:0], [0, 0], [1], [0, 1]).tolist() == [0, math.inf]
    assert ctc_loss(LOGITS[:, :, :1], [5, 0], [], [0, 0]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((torch.ones(5, 1, 4, dtype=torch.long), [5], [1], [1]), TypeError, "floating-point"),
        ((torch.ones(5, 1, 4, dtype=torch.complex64), [5], [1], [1]), TypeError, "floating-point"),
        ((np.ones((5, 1, 4)), [5], [1], [1]), TypeError, "floating-point"),
        ((torch.ones(4), [5], [1], [1]), ShapeError, r"expected \(T, B, V\)"),
        ((torch.ones(5, 1, 4), torch.tensor([5.0]), [1], [1]), TypeError, "lengths of torch.float32"),
        ((torch.ones(5, 1, 4), [True], [1], [1]), TypeError, "lengths of bool"),
        ((torch.ones(5, 1, 4), [5], [1.5], [1]), TypeError, "labels of float64"),
        ((torch.ones(5, 1, 4), [5], ["a"], [1]), TypeError, "labels of"),
        ((torch.ones(5, 2, 4), [5, 5], [[1], [1, 2]], [1, 2]), ShapeError, "fill up short rows"),
        ((torch.ones(5, 2, 4), [5, 5], [[1, 2]], [1, 1]), ShapeError, r"a table \(2, S\)"),
        ((torch.ones(5, 1, 4), [5], 1, [1]), ShapeError, "label"),
        ((torch.ones(5, 1, 4), [[5]], [1], [1]), ShapeError, "1 rows need as many lengths"),
        ((torch.ones(5, 1, 4), 5, [1], [1]), ShapeError, "1 rows need as many lengths"),
        ((torch.ones(5, 1, 0), [5], [], [0]), ShapeError, "blank must be in label range"),
        ((torch.ones(5, 1, 4), [2**62], [1], [1]), ShapeError, "lengths must lie in 0..5"),
        ((torch.ones(5, 1, 4), [-1], [1], [1]), ShapeError, "lengths must lie in 0..5"),
    ],
)
def test_what_is_no_batch_is_refused(given: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ctc_loss(*given)


@every_precision
@pytest.mark.parametrize(("masked", "label"), [(1, [1, 2]), (0, [1, 1]), (2, [2]), (3, [3, 3, 1])])
def test_a_label_of_probability_0_is_infinitely_unlikely(masked: int, label: list[int], dtype: torch.dtype) -> None:
    """A symbol of the label is masked, or the blank that stands between two equal ones; other rows are as they were."""
    logits = LOGITS.to(dtype).clone()
    logits[:, 0, masked] = -math.inf
    logits.requires_grad_()
    losses = ctc_loss(logits, [5, 5], [*label, 1], [len(label), 1])
    assert losses.isinf().tolist() == [True, False]
    assert losses[0] > 0
    (gradient,) = torch.autograd.grad(losses[0], logits)
    assert gradient.eq(0).all()
    assert closed(logits[:, 0].detach().double().log_softmax(1).numpy(), [np.array(label)]).tolist() == [-math.inf]
    with pytest.raises(DataError, match="cannot be aligned"):
        align(logits[:, 0].detach().double().log_softmax(1).numpy(), np.array(label))


def test_a_symbol_that_is_masked_elsewhere_leaves_gradients_right() -> None:
    logits = LOGITS[:, :1].double().clone()
    logits[:, :, 3] = -math.inf
    logits.requires_grad_()
    ours = ctc_loss(logits, [5], [1, 2], [2])
    less = logits.detach()[:, :, :3].requires_grad_()
    theirs = functional.ctc_loss(less.log_softmax(2), torch.tensor([1, 2]), (5,), (2,), reduction="none")
    torch.testing.assert_close(ours, theirs)
    (gradient,), (expected,) = torch.autograd.grad(ours.sum(), logits), torch.autograd.grad(theirs.sum(), less)
    torch.testing.assert_close(gradient[:, :, :3], expected)
    assert gradient[:, :, 3].eq(0).all()


@every_precision
@pytest.mark.parametrize(
    ("rows", "label", "want"),
    [
        ([[0, -110, -200], [-200, -80, 0], [0, -200, -80]], [1, 2], 110.0),
        ([[0, -103.5]], [1], 103.5),
        ([[0, -800, -1000], [-2000, -900, 0], [0, -2000, -950]], [1, 2], 800.0),
        ([[0, -88, -90]] * 4, [1, 2], 176.2),
        ([[0, -3000, -3000]] * 2, [1], 3000 - math.log(2)),
    ],
)
def test_logits_hundreds_apart(rows: list[list[float]], label: list[int], want: float, dtype: torch.dtype) -> None:
    logits = torch.tensor(rows, dtype=dtype).unsqueeze(1).requires_grad_()
    loss = ctc_loss(logits, [len(rows)], label, [len(label)])
    exact = functional.ctc_loss(
        logits.double().log_softmax(2), torch.tensor([label]), (len(rows),), (len(label),), 0, "sum"
    )
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=1e-6 if dtype == torch.float32 else 1e-12)
    assert float(exact.detach()) == pytest.approx(want, abs=0.2)
    ours, theirs = (torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (loss, exact))
    torch.testing.assert_close(ours, theirs)
    logs = logits.detach()[:, 0].log_softmax(1).numpy()
    assert closed(logs, [np.array(label)])[0] == pytest.approx(-float(exact.detach()), rel=1e-6)
    assert align(logs, np.array(label)).log_probability == pytest.approx(-float(exact.detach()), rel=1e-6)


def test_alignments_in_log_space_are_those_of_probabilities() -> None:
    """Beside a row of logits that double precision cannot hold as probabilities, the occupancy of the others is as ever."""
    rng = np.random.default_rng(0)
    logs = torch.from_numpy(rng.normal(size=(12, 4)) * 2).log_softmax(1).numpy()
    far = np.vstack([logs, torch.tensor([[0.0, -2000.0, -2000.0, -2000.0]], dtype=D).log_softmax(1).numpy()])
    far = np.vstack([far, torch.tensor([[-2000.0, 0.0, -2000.0, -2000.0]], dtype=D).log_softmax(1).numpy()])
    label = np.array([2, 2, 3, 1])
    gradient = torch.from_numpy(far)[:, None].requires_grad_()
    functional.ctc_loss(gradient, torch.from_numpy(label)[None], (14,), (4,), 0, "sum").backward()
    found = align(np.vstack([far, far[-1:], far[:1] - 2000])[:14], label)
    assert gradient.grad is not None
    np.testing.assert_allclose(found.occupancy.sum(1) + _blank_share(gradient), 1, atol=1e-9)
    assert found.log_probability == pytest.approx(closed(far, [label])[0], rel=1e-12)


def _blank_share(logs: Tensor) -> np.ndarray:
    assert logs.grad is not None
    return (logs.detach().exp() - logs.grad)[:, 0, 0].numpy()


@every_precision
def test_nan_stays_nan(dtype: torch.dtype) -> None:
    """Within a row's length, and where the label does not fit, too; all -inf and +inf have no softmax."""
    logits = torch.zeros(5, 6, 4, dtype=dtype)
    logits[2, [0, 1, 3], 3] = math.nan
    logits[2, 4] = -math.inf
    logits[2, 5, 0] = math.inf
    logits.requires_grad_()
    losses = ctc_loss(logits, [5, 2, 5, 5, 5, 5], [[1] * 9] * 6, [1, 1, 1, 9, 1, 1])
    assert losses.isnan().tolist() == [True, False, False, True, True, True]
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert gradient[:, 0].isnan().any()
    assert gradient[:, [1, 2]].isfinite().all()
    bad = FRAMES.copy()
    bad[3, 2] = math.nan
    assert np.isnan(closed(bad, [np.array([1]), np.array([], np.int64)])).all()
    for decode in (greedy, prefix_search, lambda logs: align(logs, np.array([1]))):
        with pytest.raises(DataError, match="frame 3 of 5 holds NaN"):
            decode(bad)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_second_derivative_raises_also_of_a_sum() -> None:
    weight, x = torch.randn(4, 3, requires_grad=True), torch.randn(5, 1, 3, requires_grad=True)
    given = [5], [1, 2], [2]
    for loss in (ctc_loss(x @ weight.t(), *given).sum(), (ctc_loss(x @ weight.t(), *given) ** 2).mean()):
        (g,) = torch.autograd.grad(loss, x, create_graph=True)
        for wanted in (weight, x):
            with pytest.raises(RuntimeError, match="derivative of its gradient is not implemented"):
                torch.autograd.grad(g.pow(2).sum(), wanted, retain_graph=True)
    with pytest.raises(RuntimeError, match="not implemented"):
        torch.autograd.functional.hessian(lambda z: ctc_loss(z, *given).sum(), LOGITS[:, :1])
    with pytest.raises(RuntimeError, match="not implemented"):
        torch.func.grad(lambda z: torch.func.grad(lambda y: ctc_loss(y, *given).sum())(z).pow(2).sum())(LOGITS[:, :1])
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(lambda z: ctc_loss(z, *given), (LOGITS[:, :1],), (LOGITS[:, :1],))


def test_functional_transforms() -> None:
    given = torch.tensor([5, 4]), torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
    logits = torch.stack([LOGITS, LOGITS + LOGITS.flip(0), LOGITS * 3]).double()
    each = torch.stack([ctc_loss(z, *given) for z in logits])
    torch.testing.assert_close(torch.func.vmap(lambda z: ctc_loss(z, *given))(logits), each)
    inner = torch.func.vmap(lambda z: ctc_loss(z, *given), in_dims=3, out_dims=1)
    torch.testing.assert_close(inner(logits.permute(1, 2, 3, 0)), each.t())
    leaf = logits.clone().requires_grad_()
    (want,) = torch.autograd.grad(sum(ctc_loss(z, *given).sum() for z in leaf), leaf)
    gradient = torch.func.grad(lambda z: ctc_loss(z, *given).sum())
    torch.testing.assert_close(torch.func.vmap(gradient)(logits), want)
    torch.testing.assert_close(torch.func.jacrev(lambda z: ctc_loss(z, *given))(logits[0]).sum(0), want[0])
    labels = torch.tensor([[1, 2, 3], [3, 3, 1], [2, 1, 2]])
    rows = torch.func.vmap(lambda z, n, k: ctc_loss(z, n, k, [2, 1]))(
        logits, torch.tensor([[5, 5], [4, 5], [3, 3]]), labels
    )
    expected = [ctc_loss(z, n, k, [2, 1]) for z, n, k in zip(logits, ([5, 5], [4, 5], [3, 3]), labels, strict=True)]
    torch.testing.assert_close(rows, torch.stack(expected))
    with pytest.raises(ShapeError, match="of each example must add up"):
        torch.func.vmap(lambda z, k: ctc_loss(z, [5, 5], [1, 2, 3], k))(logits[:2], torch.tensor([[1, 1], [2, 2]]))


def test_texts_of_probability_0_are_left_out() -> None:
    certain = np.log(np.eye(3)[[0, 1, 2]], where=np.eye(3)[[0, 1, 2]] > 0, out=np.full((3, 3), -np.inf))
    assert [one.symbols for one in prefix_search(certain, n_best=3)] == [[1, 2]]
    assert [one.symbols for one in prefix_search(certain[:1], n_best=5, least=0)] == [[]]
    assert prefix_search(np.full((3, 4), -np.inf), n_best=2) == []
    few = prefix_search(np.log(np.array([[0.5, 0.5, 0], [0.5, 0.5, 0]]) + 1e-320), 9, n_best=9, least=0)
    assert all(math.isfinite(one.log_probability) for one in few)


def test_single_precision_keeps_what_is_very_unlikely() -> None:
    logs = np.array([[0, -138], [-138, 0], [0, -138]], np.float32)
    found = {tuple(one.symbols): one.log_probability for one in prefix_search(logs, n_best=3, least=0)}
    assert found[(1,)] == pytest.approx(0, abs=1e-6)
    assert found[()] == pytest.approx(-138, rel=1e-6)


class _Shouting:
    """A scorer that answers what it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def begin(self) -> None:
        pass

    def grow(self, parents: np.ndarray, symbols: np.ndarray) -> Any:
        return self.answer

    def end(self, prefixes: np.ndarray) -> np.ndarray:
        return np.zeros(len(prefixes))


@pytest.mark.parametrize("answer", [math.nan, [math.nan] * 3, [math.inf] * 3, [0.0], [[0.0]] * 3])
def test_a_scorer_that_answers_nonsense_is_named(answer: Any) -> None:
    with pytest.raises(ConfigError, match="_Shouting must return 3 finite numbers"):
        prefix_search(FRAMES, least=0, scorers=[_Shouting(answer)])


def test_frames_searches_and_scorers_out_of_bounds() -> None:
    for frames, message in ((-FRAMES, "at most 0"), (FRAMES.astype(int), "floating-point"), (FRAMES[0], "floating-point")):
        with pytest.raises(ShapeError, match=message):
            prefix_search(frames)
    for options in ({"width": 2**62}, {"width": 0}, {"n_best": 26}, {"least": math.nan}):
        with pytest.raises(ConfigError, match="prefix search needs"):
            prefix_search(FRAMES, **options)  # pyrefly: ignore
    words = Hotwords(["ab"], ["", "a", "b"], 1.0)
    words.begin()
    for parents, symbols in (([0], [3]), ([0], [-1]), ([1], [1]), ([-1], [1])):
        with pytest.raises(ShapeError, match=r"expected 0\.\."):
            words.grow(np.array(parents), np.array(symbols))
    with pytest.raises(ConfigError, match="finite"):
        Hotwords(["ab"], ["", "a", "b"], math.nan)


class _Uniform:
    """A decoder that knows nothing of 4 symbols."""

    def start(self, source: int) -> tuple[None, Tensor]:
        return None, torch.zeros(source, 1)

    def step(self, last: Tensor, state: Any, memory: Any, sentence_of_row: Tensor) -> tuple[Tensor, Any]:
        return torch.zeros(len(last), 4), state


def test_a_joint_search_out_of_bounds() -> None:
    logs, stepper = LOGITS.log_softmax(2).transpose(0, 1), JointStepper(_Uniform(), 0.5, blank=0, begin=4, unknown=1)
    memory, state = stepper.start((2, logs, torch.tensor([5, 3])))
    for last, rows, message in (
        ([5, 4], [0, 1], "symbol"),
        ([-1, 4], [0, 1], "symbol"),
        ([4, 4], [0, 2], "sentence"),
        ([4, 4], [-1, 0], "sentence"),
        ([4], [0], "need a sentence for each"),
    ):
        with pytest.raises(ShapeError, match=message):
            stepper.step(torch.tensor(last), state, memory, torch.tensor(rows))
    for lengths in ([6, 5], [-1, 5], [5]):
        with pytest.raises(ShapeError, match="length"):
            stepper.start((2, logs, torch.tensor(lengths)))
    for wrong in ({"blank": 4, "unknown": 1}, {"blank": 0, "unknown": -1}):
        with pytest.raises(ShapeError, match=r"expected integers in 0\.\.3"):
            JointStepper(_Uniform(), 0.5, begin=4, **wrong).start((2, logs, torch.tensor([5, 5])))
