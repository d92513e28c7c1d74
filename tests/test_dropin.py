"""`unrolled.layers.RNN / GRU / LSTM` against `torch.nn`'s: options, values, gradients, state_dict, accuracy."""

from __future__ import annotations

import copy
import io
import itertools
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from unrolled import layers
from unrolled.cells import CELLS
from unrolled.errors import ShapeError
from unrolled.layers import Dropout, Padded, Recurrent
from unrolled.types import state_tensors

NAMES = ("RNN", "GRU", "LSTM")
OPTIONS = [
    dict(zip(("num_layers", "bias", "batch_first", "bidirectional"), values, strict=True))
    for values in itertools.product((1, 2), (True, False), (True, False), (True, False))
]
CASES = [(name, options) for name in NAMES for options in OPTIONS]
CASES += [("RNN", {"nonlinearity": "relu", "num_layers": 2, "bidirectional": True})]
CASES += [("LSTM", {"proj_size": 3, **options}) for options in OPTIONS[::3]]
every_case = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)
D, H, B, T = 5, 6, 4, 7
LENGTHS = torch.tensor([4, 7, 1, 5])


def pair(name: str, options: dict[str, Any], dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """torch's layer and ours with the same weights, by load_state_dict."""
    theirs = getattr(nn, name)(D, H, dtype=dtype, **options)
    ours = getattr(layers, name)(D, H, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def states(name: str, options: dict[str, Any], dtype: torch.dtype, rows: int = B) -> Any:
    n = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    h = torch.randn(n, rows, options.get("proj_size") or H, dtype=dtype, requires_grad=True)
    return (h, torch.randn(n, rows, H, dtype=dtype, requires_grad=True)) if name == "LSTM" else h


def flat(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, tuple) else [value]


def gradients(outputs: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    total = sum((torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o.dtype) * o).sum() for o in outputs)
    return list(torch.autograd.grad(total, leaves))


@every_case
def test_same_start_keys_and_state_dict_both_ways(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(11)
    theirs = getattr(nn, name)(D, H, **options)
    torch.manual_seed(11)
    ours = getattr(layers, name)(D, H, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    other = getattr(nn, name)(D, H, **options)
    other.load_state_dict(ours.state_dict())
    assert [p.shape for p in ours.all_weights[0]] == [p.shape for p in theirs.all_weights[0]]
    assert repr(ours).startswith(name)
    assert ours.mode == theirs.mode


@every_case
def test_values_and_gradients_equal_torch_in_float64(name: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(name, options, torch.float64)
    shape = (B, T, D) if options.get("batch_first") else (T, B, D)
    x, hx = torch.randn(shape, dtype=torch.float64, requires_grad=True), states(name, options, torch.float64)
    (y, h), (z, g) = theirs(x, hx), ours(x, hx)
    for a, b in zip([z, *flat(g)], [y, *flat(h)], strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    want = gradients([y, *flat(h)], [x, *flat(hx), *theirs.parameters()])
    got = gradients([z, *flat(g)], [x, *flat(hx), *ours.parameters()])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@every_case
def test_padded_equals_packed(name: str, options: dict[str, Any]) -> None:
    options = options | {"batch_first": True}
    theirs, ours = pair(name, options, torch.float64)
    x, hx = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True), states(name, options, torch.float64)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    y, h = theirs(packed, hx)
    y, _ = pad_packed_sequence(y, batch_first=True)
    z, g = ours(Padded(x, LENGTHS), hx)
    assert isinstance(z, Padded)
    for a, b in zip([z.values, *flat(g)], [y, *flat(h)], strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    want = gradients([y, *flat(h)], [x, *flat(hx), *theirs.parameters()])
    got = gradients([z.values, *flat(g)], [x, *flat(hx), *ours.parameters()])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    from_packed, _ = ours(packed, hx)
    torch.testing.assert_close(pad_packed_sequence(from_packed, batch_first=True)[0], y, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("padded", [False, True], ids=["full", "mixed"])
def test_float32_is_as_accurate_as_torch(name: str, padded: bool) -> None:
    """Norm-relative error to float64 at most max(2e-6, twice torch's own), outputs and gradients."""
    options = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    exact, _ = pair(name, options, torch.float64)
    theirs, ours = copy.deepcopy(exact).float(), getattr(layers, name)(D, H, **options)
    ours.load_state_dict(theirs.state_dict())
    exact.load_state_dict(theirs.state_dict())
    x, lengths = torch.randn(B, 30, D), torch.tensor([30, 11, 24, 3])

    def run(module: nn.Module, x: Tensor, wrap: bool) -> list[Tensor]:
        x = x.clone().requires_grad_()
        if not padded:
            y, h = module(x)
        elif wrap:
            out, h = module(Padded(x, lengths))
            y = out.values
        else:
            out, h = module(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
            y = pad_packed_sequence(out, batch_first=True)[0]
        return [y, *flat(h), *gradients([y, *flat(h)], [x, *module.parameters()])]

    want, peer, got = run(exact, x.double(), False), run(theirs, x, False), run(ours, x, True)
    for w, p, g in zip(want, peer, got, strict=True):
        error, theirs_error = (g - w).norm() / w.norm(), (p - w).norm() / w.norm()
        assert error <= max(2e-6, 2 * theirs_error.item())


@pytest.mark.parametrize("name", NAMES)
def test_unbatched_input_and_default_state(name: str) -> None:
    theirs, ours = pair(name, {"num_layers": 2}, torch.float64)
    x = torch.randn(T, D, dtype=torch.float64)
    (y, h), (z, g) = theirs(x), ours(x)
    for a, b in zip([z, *flat(g)], [y, *flat(h)], strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    start = states(name, {"num_layers": 2}, torch.float64, rows=1)
    start = tuple(s[:, 0] for s in start) if isinstance(start, tuple) else start[:, 0]
    torch.testing.assert_close(ours(x, start)[0], theirs(x, start)[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_empty_batch(name: str) -> None:
    theirs, ours = pair(name, {"num_layers": 2}, torch.float32)
    x = torch.randn(T, 0, D)
    assert ours(x)[0].shape == theirs(x)[0].shape


@pytest.mark.parametrize("name", NAMES)
def test_moved_copied_and_pickled_layers_keep_working(name: str) -> None:
    ours = getattr(layers, name)(D, H)
    x = torch.randn(T, B, D)
    twin = copy.deepcopy(ours)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert ours(x)[0].abs().sum() > 0
    assert twin(x)[0].abs().sum() == 0
    assert torch.equal(pickle.loads(pickle.dumps(ours))(x)[0], ours(x)[0])
    stored = io.BytesIO()
    torch.save(ours.state_dict(), stored)
    stored.seek(0)
    twin.load_state_dict(torch.load(stored, weights_only=True))
    assert torch.equal(twin(x)[0], ours(x)[0])
    assert ours.double()(x.double())[0].dtype == torch.float64
    swapped = torch.func.functional_call(
        ours, {k: torch.zeros_like(v) for k, v in ours.state_dict().items()}, (x.double(),)
    )
    assert swapped[0].abs().sum() == 0


def test_dropout_acts_between_layers_in_training_only() -> None:
    ours = layers.GRU(D, H, 2, dropout=0.5)
    x = torch.randn(T, B, D)
    assert not torch.equal(ours(x)[0], ours(x)[0])
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])
    with pytest.warns(UserWarning, match="expects num_layers greater than 1"):
        layers.GRU(D, H, dropout=0.5)
    certain = layers.LSTM(D, H, 2, dropout=1.0)
    blank = layers.LSTM(D, H, 2)
    blank.load_state_dict(certain.state_dict())
    with torch.no_grad():
        blank.weight_ih_l1.zero_()
    torch.testing.assert_close(certain(x)[0], blank(x)[0])


def test_locked_and_weight_dropout() -> None:
    deep = Recurrent(CELLS["rnn"](64), 5, n_layers=2, dropout=Dropout(between=0.5, lock=True))
    with torch.no_grad():  # the second layer hands its input on, so that the mask on it can be seen
        for name, parameter in deep.named_parameters():
            parameter.zero_()
            if name == "bias_ih_l0":
                parameter.fill_(1.0)
            if name == "weight_ih_l1":
                parameter.copy_(torch.eye(64))
    masked, _ = deep(torch.ones(B, T, 5))
    masked = (torch.atanh(masked) / math.tanh(1)).transpose(0, 1).round(decimals=4)
    assert torch.equal(masked[0], masked[-1])
    assert 0.3 < (masked == 0).float().mean() < 0.7
    assert set(masked.unique().tolist()) == {0.0, 2.0}
    dropped = Recurrent(CELLS["rnn"](64), 5, dropout=Dropout(weight=0.5))
    w, original = dropped.weights(0), dropped.weight_hh_l0
    kept = w.weight_hh != 0
    assert 0.3 < kept.float().mean() < 0.7
    torch.testing.assert_close(w.weight_hh[kept], 2 * original[kept])
    dropped.eval()
    assert torch.equal(dropped.weights(0).weight_hh, original)


def test_learned_initial_state_is_trained() -> None:
    deep = Recurrent(CELLS["lstm"](6), 5, n_layers=2, learned_state=True)
    y, final = deep(torch.randn(3, 4, 5))
    y.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in deep.initial)
    resumed, _ = deep(torch.randn(3, 4, 5), final)
    assert resumed.shape == (3, 4, 6)


def test_state_in_and_out_continue_a_sequence() -> None:
    deep = Recurrent(CELLS["gru"](6), 5, n_layers=2).double()
    x = torch.randn(3, 8, 5, dtype=torch.float64)
    whole, last = deep(x)
    first, middle = deep(x[:, :5])
    second, end = deep(x[:, 5:], middle)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole, atol=1e-12, rtol=0)
    torch.testing.assert_close(end, last, atol=1e-12, rtol=0)


def test_habits_of_torch_users_work() -> None:
    lstm, gru = layers.LSTM(D, H, 2), layers.GRU(D, H, 2)
    x, h, c = torch.randn(T, B, D), torch.randn(2, B, H), torch.randn(2, B, H)
    assert torch.equal(lstm(x, [h, c])[0], lstm(x, (h, c))[0])
    gru.dropout = 0.5
    assert not torch.equal(gru(x)[0], gru(x)[0])
    sorted_before = pack_padded_sequence(x, torch.tensor([7, 5, 4, 1]), enforce_sorted=True)
    assert lstm(sorted_before)[0].sorted_indices is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert gru(Padded(x.transpose(0, 1), LENGTHS))[0].values.isfinite().all()
    weights = dict(gru.eval().named_parameters())
    got = torch.func.grad(lambda w: torch.func.functional_call(gru, w, (x,))[0].square().sum())(weights)
    want = torch.autograd.grad(gru(x)[0].square().sum(), list(weights.values()))
    for a, b in zip(got.values(), want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_errors_name_axis_expectation_and_value() -> None:
    gru, lstm, x = layers.GRU(D, H), layers.LSTM(D, H), torch.randn(T, B, D)
    with pytest.raises(ShapeError, match=r"input_size. Expected 5, got 4"):
        gru(torch.randn(T, B, 4))
    with pytest.raises(ShapeError, match=r"Expected input to be 2D or 3D, got 1D"):
        gru(torch.randn(D))
    with pytest.raises(ShapeError, match=r"Expected hidden size \(1, 4, 6\), got \[2, 4, 6\]"):
        gru(x, torch.randn(2, B, H))
    with pytest.raises(ShapeError, match=r"Expected hidden\[1\] size \(1, 4, 6\), got \[1, 4, 7\]"):
        lstm(x, (torch.randn(1, B, H), torch.randn(1, B, H + 1)))
    with pytest.raises(ShapeError, match="pair"):
        lstm(x, torch.randn(1, B, H))
    with pytest.raises(ShapeError, match="one tensor, got 2"):
        gru(x, (torch.randn(1, B, H), torch.randn(1, B, H)))
    with pytest.raises(TypeError, match="got str"):
        gru(x, "state")
    with pytest.raises(ShapeError, match=r"hidden tensor with torch\.float64"):
        gru(x, torch.randn(1, B, H).double())
    with pytest.raises(ShapeError, match="found input tensor at cpu and parameter tensor at meta"):
        layers.GRU(D, H, device="meta")(x)
    with pytest.raises(ShapeError, match="hidden tensor at meta"):
        gru(x, torch.randn(1, B, H, device="meta"))


def test_padded_rows_and_mask() -> None:
    rows = [torch.randn(n, 2) for n in (3, 1, 4)]
    padded = Padded.of(rows, value=9)
    assert all(torch.equal(a, b) for a, b in zip(padded.rows(), rows, strict=True))
    assert padded.mask().sum(1).tolist() == [3, 1, 4]
    assert (padded.values[~padded.mask()] == 9).all()


@pytest.mark.parametrize("name", list(CELLS))
@pytest.mark.parametrize("lengths", [[7, 2, 0], [7, 7, 7]])
def test_without_a_gradient_directions_write_beside_each_other_and_say_the_same(name: str, lengths: list[int]) -> None:
    layer = Recurrent(CELLS[name](16), 5, n_layers=2, bidirectional=True).eval()
    given = Padded(torch.randn(3, 7, 5), torch.tensor(lengths))
    expected, last = layer(given)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found, after = layer(given)
        torch.testing.assert_close(found.values, expected.values.detach())
        for one, other in zip(state_tensors(after), state_tensors(last), strict=True):
            torch.testing.assert_close(one, other.detach())
