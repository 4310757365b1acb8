"""A network as an ONNX program, by either of torch's exporters.

``torch.export`` follows a forward without computing it. What has values in its way, as the boxes that a
detector finds, it refuses; TorchScript's tracer runs the forward and writes down what ran.
"""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten
from torch.utils.weak import WeakIdKeyDictionary

from isoprune.export.outputs import TensorsOnly, by_name, inputs_of
from isoprune.graph.dispatch_mode import DispatchMode
from isoprune.graph.entries import as_call
from isoprune.types import IsopruneError


@torch.no_grad()
def exported(network: nn.Module, example_inputs: Any, *, batch: int | None) -> Any:
    """Return the program that torch.export makes; the first dimension is free where it is ``batch``."""
    args, kwargs = as_call(example_inputs)
    dynamic: dict[str, Any] | None = None
    if batch is not None:
        size = torch.export.Dim("batch")
        spec = tree_map(lambda t: {0: size} if _has_batch(t, batch) else None, (args, kwargs))
        dynamic = {**({"args": spec[0]} if args else {}), **spec[1]}
    inputs, outputs = _names(network, example_inputs)
    return torch.onnx.export(
        TensorsOnly(network),
        args,
        kwargs=kwargs,
        dynamo=True,
        verbose=False,
        dynamic_shapes=dynamic,
        input_names=inputs,
        output_names=outputs,
    )


@torch.no_grad()
def traced(network: nn.Module, example_inputs: Any) -> Any:
    """Return the program of the forward as it runs on ``example_inputs``, whose sizes are part of it.

    Raises:
        IsopruneError: If Python reads a value that the inputs decide: a trace would hold it.
    """
    inputs, outputs = _names(network, example_inputs)
    flat = _Flat(network, example_inputs).eval()  # the exporter gives its mode to all within
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _require_unread(flat)
        torch.onnx.export(
            flat,
            flat.tensors,
            file,  # pyright: ignore[reportArgumentType]
            dynamo=False,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: f"{name}_found"} for name in outputs},  # as many as it finds
        )
    ir = importlib.import_module("onnx_ir")
    model = ir.from_proto(importlib.import_module("onnx").load_from_string(file.getvalue()))
    return torch.onnx.ONNXProgram(model, None)


def _require_unread(flat: _Flat) -> None:
    """Refuse a forward whose trace would hold values of these inputs.

    Raises:
        IsopruneError: If Python reads such a value.
    """
    reads = _Reads()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # In a trace of its own: under the mode what comes after a script is written down as a constant.
        torch.jit.trace(_Under(flat, reads), flat.tensors, check_trace=False)
    if reads.reads_numbers or any(
        kind in str(w.message) for w in said for kind in ("NumPy array", "Python list")
    ):
        raise IsopruneError("Python reads values of the inputs in the forward, and a trace would hold them")


def doubled(example_inputs: Any) -> Any:
    """Return the same inputs twice: torch.export takes a batch of one for a constant."""
    batch = batch_of(example_inputs)
    return tree_map(lambda t: torch.cat([t, t]) if _has_batch(t, batch) else t, example_inputs)


def other_values(example_inputs: Any) -> tuple[Any, Any]:
    """Return inputs of the same sizes: turned round along the last dimension, and almost of one value.

    In the second a detector that was trained finds nothing; of one value alone it would find ties.
    """

    def each(of: Any) -> Any:
        return tree_map(lambda t: of(t) if _is_float(t) else t, example_inputs)

    return each(_turned), each(lambda t: t.mean() + 0.01 * (_turned(t) - t.mean()))


def _turned(t: Tensor) -> Tensor:
    return t.flip(-1) if t.dim() else t


def batch_of(example_inputs: Any) -> int:
    sizes = [t.shape[0] for t in tree_leaves(example_inputs) if isinstance(t, Tensor) and t.dim()]
    return sizes[0] if sizes else 0


def _names(network: nn.Module, example_inputs: Any) -> tuple[list[str], list[str]]:
    args, kwargs = as_call(example_inputs)
    return list(by_name(inputs_of(network, example_inputs))), list(by_name(network(*args, **kwargs)))


def _has_batch(value: Any, batch: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == batch


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0


class _Flat(TensorsOnly):
    """A network whose arguments are the tensors in its inputs; what else these hold stays as it is."""

    def __init__(self, network: nn.Module, example_inputs: Any) -> None:
        super().__init__(network)
        self._leaves, self._spec = tree_flatten(as_call(example_inputs))
        self.tensors = tuple(leaf for leaf in self._leaves if isinstance(leaf, Tensor))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        args, kwargs = tree_unflatten(leaves, self._spec)
        return super().forward(*args, **kwargs)


class _Under(nn.Module):
    """A network that tells which tensors are its inputs, and runs under what notices reads."""

    def __init__(self, network: nn.Module, reads: _Reads) -> None:
        super().__init__()
        self.network, self._reads = network, reads

    def forward(self, *tensors: Tensor) -> Any:
        with self._reads:
            self._reads.mark(tensors)
            return self.network(*tensors)


class _Reads(DispatchMode):
    """Notices whether Python reads a number of what comes of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.reads_numbers = False
        self._of_inputs = WeakIdKeyDictionary()

    def mark(self, values: Any) -> None:
        for t in tree_leaves(values):
            if isinstance(t, Tensor):
                self._of_inputs[t] = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(isinstance(t, Tensor) and t in self._of_inputs for t in tree_leaves((args, kwargs))):
            self.reads_numbers |= func._schema.name == "aten::_local_scalar_dense" and not _by_script()
            self.mark(out)
        return out


def _by_script() -> bool:
    """Tell whether a script of torch.jit.script_if_tracing reads: it is in the trace, and reads anew."""
    return sys._getframe(2).f_globals.get("__name__", "").startswith("torch.jit.")
