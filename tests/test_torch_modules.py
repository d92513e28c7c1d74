"""PyTorch's own database of module tests (`module_db`, in the wheel), with these layers in the place of torch's."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrolled import layers

pytest.importorskip("expecttest")  # torch's test helpers need it; a part of the extra `dev`
from torch.testing._internal.common_modules import ModuleErrorEnum, ModuleInfo, module_db

NAMES = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
BY_NAME: dict[str, ModuleInfo] = {
    info.module_cls.__name__: info for info in module_db if info.module_cls in [getattr(nn, name) for name in NAMES]
}
every_module = pytest.mark.parametrize("name", NAMES)


def samples(name: str, dtype: torch.dtype = torch.float64, requires_grad: bool = False) -> list[Any]:
    """The inputs of the database: constructor, call, and for some what the results are to be compared with."""
    info, given = BY_NAME[name], {"device": "cpu", "dtype": dtype, "requires_grad": requires_grad, "training": True}
    return info.module_inputs_func(info, **given)


def flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return (
        [tensor for part in value if part is not None for tensor in flat(part)] if isinstance(value, tuple | list) else []
    )


def make(kind: type[nn.Module], sample: Any, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(7)
    return kind(*sample.constructor_input.args, **sample.constructor_input.kwargs).to(dtype)


@every_module
def test_results_of_the_database_are_torchs(name: str) -> None:
    for sample in samples(name, requires_grad=True):
        ours, theirs = make(getattr(layers, name), sample), make(getattr(nn, name), sample)
        call = sample.forward_input
        got, want = flat(ours(*call.args, **call.kwargs)), flat(theirs(*call.args, **call.kwargs))
        leaves = [tensor for tensor in flat(call.args) if tensor.requires_grad]
        got += torch.autograd.grad(sum(t.square().sum() for t in got), [*leaves, *ours.parameters()])  # type: ignore[arg-type]
        want += torch.autograd.grad(sum(t.square().sum() for t in want), [*leaves, *theirs.parameters()])  # type: ignore[arg-type]
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, atol=1e-10, rtol=0)
        if sample.reference_fn is not None:
            expected = flat(sample.reference_fn(ours, *call.args, **call.kwargs))
            for a, b in zip(got, expected, strict=False):
                torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


@every_module
def test_the_database_s_errors_are_raised(name: str) -> None:
    info = BY_NAME[name]
    given = {"device": "cpu", "dtype": torch.float64, "requires_grad": False, "training": True}
    assert info.module_error_inputs_func is not None
    for error in info.module_error_inputs_func(info, **given):
        sample = error.module_error_input
        if error.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR:
            with pytest.raises(error.error_type, match=error.error_regex):
                make(getattr(layers, name), sample)
        else:
            module, call = make(getattr(layers, name), sample), sample.forward_input
            with pytest.raises(error.error_type, match=error.error_regex):
                module(*call.args, **call.kwargs)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@every_module
def test_modules_of_the_database_are_copied_moved_and_saved(name: str) -> None:
    for sample in samples(name, torch.float32)[::2]:
        module, call = make(getattr(layers, name), sample, torch.float32), sample.forward_input
        want = flat(module(*call.args, **call.kwargs))
        assert repr(module)
        for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module).to("meta").to_empty(device="cpu")):
            twin.load_state_dict(module.state_dict())
            for a, b in zip(flat(twin(*call.args, **call.kwargs)), want, strict=True):
                assert torch.equal(a, b)
        factory = sample.constructor_input.kwargs | {"device": "meta", "dtype": torch.float16}
        placed = getattr(layers, name)(*sample.constructor_input.args, **factory)
        assert {(p.dtype, p.device.type) for p in placed.parameters()} == {(torch.float16, "meta")}


@every_module
def test_inputs_of_the_database_that_are_not_contiguous(name: str) -> None:
    for sample in samples(name):
        module, call = make(getattr(layers, name), sample), sample.forward_input

        def spread(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(spread, value))
            return torch.stack((value, value), dim=-1)[..., 0] if isinstance(value, Tensor) else value

        got, want = flat(module(*map(spread, call.args))), flat(module(*call.args))
        for a, b in zip(got, want, strict=True):
            assert torch.equal(a, b)


@every_module
def test_derivatives_of_the_database_s_modules(name: str) -> None:
    sample = samples(name, requires_grad=True)[-1]
    module, args = make(getattr(layers, name), sample), sample.forward_input.args
    x, parameters = args[0], dict(module.named_parameters())

    def run(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        swapped = dict(zip(parameters, weights, strict=True))
        return tuple(flat(torch.func.functional_call(module, swapped, (x, *args[1:]))))

    assert torch.autograd.gradcheck(run, (x, *parameters.values()), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, *parameters.values()), fast_mode=True)
