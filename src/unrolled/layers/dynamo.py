"""How TorchDynamo, the front end of `torch.compile`, treats the drop-in layers.

Dynamo refuses every `nn.RNN`, `nn.GRU` and `nn.LSTM` (unless `torch._dynamo.config.allow_rnn` is set) and leaves the graph
there: the layer runs as it does without compiling, on its fastest way, for every length. That is right for these layers,
too; but Dynamo skips the code of torch's layers and would compile ours in small pieces, so it is told to skip it.

With `fullgraph=True` a refusal is an error: there Dynamo may record these layers (and no others), as operators
(`operator.py`).

Dynamo is imported by `torch.compile`, after this package; importing it here would take a second. So an importer waits for
it. Where Dynamo's internals have other names, nothing is changed, and its own error says what to set.
"""

from __future__ import annotations

import importlib.util
import sys
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["prepare_dynamo"]

_BUILDER = "torch._dynamo.variables.builder"
_classes: tuple[type, ...] = ()
_passes: tuple[FunctionType, ...] = ()


def prepare_dynamo(classes: tuple[type, ...], passes: tuple[FunctionType, ...]) -> None:
    """Let Dynamo record modules of these classes with `fullgraph=True`, and else skip the functions `passes`.

    Args:
        classes: subclasses of torch's recurrent layers.
        passes: the methods by which they run, with all that these call.
    """
    global _classes, _passes
    _classes, _passes = classes, passes
    if _BUILDER in sys.modules:
        _extend(sys.modules[_BUILDER])
    else:
        sys.meta_path.insert(0, _AfterImport())


def _extend(builder: Any) -> None:
    """Extend Dynamo's `VariableBuilder.wrap_module`, and mark the code of the passes."""
    try:
        variable_builder, config = builder.VariableBuilder, builder.config
        wrap, _ = variable_builder.wrap_module, config.allow_rnn
    except AttributeError:
        return

    def wrap_module(self: Any, value: Any) -> Any:
        if isinstance(value, _classes) and getattr(self.tx, "one_graph", False):
            with config.patch(allow_rnn=True):
                return wrap(self, value)
        return wrap(self, value)

    variable_builder.wrap_module = wrap_module
    with suppress(ImportError, AttributeError):  # torch 2.6 has no such strategies
        from torch._C._dynamo.eval_frame import set_code_exec_strategy
        from torch._dynamo.types import FrameAction, FrameExecStrategy

        for function in _passes:  # frames of their own: a full graph takes them in all the same
            set_code_exec_strategy(function.__code__, FrameExecStrategy(FrameAction.SKIP, FrameAction.SKIP))


class _AfterImport(MetaPathFinder):
    """Waits for the import of Dynamo's builder, once."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != _BUILDER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """A loader that extends the module when it has been executed."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _extend(module)

    def __getattr__(self, name: str) -> Any:  # get_source and the like, for tracebacks
        return getattr(self._loader, name)
