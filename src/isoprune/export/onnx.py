"""A network as an ONNX file, proven by running it in onnxruntime beside torch."""

from __future__ import annotations

import importlib
import logging
import math
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from isoprune.export.outputs import TensorsOnly, inputs_of, tensors_of
from isoprune.graph.cloning import clone_sharing
from isoprune.graph.entries import as_call
from isoprune.pruning.mask import harden, masks_of
from isoprune.pruning.pruned import example_inputs_of
from isoprune.types import IsopruneError, Network, module_of
from isoprune.types.files import explained
from isoprune.types.temporary import clear_temporary, temporary

TOLERANCE = 1e-4  # of the largest output; onnxruntime fuses and sums in another order
EXTERNAL = 3 * 2**29  # bytes; a protocol buffer, which an ONNX file is, ends at 2 GB


def export_onnx(
    network: Network,
    path: str | Path,
    example_inputs: Any = None,
    *,
    dynamic_batch: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write a network in eval mode as ONNX and return how far onnxruntime is from torch.

    Inputs and outputs bear the names of the forward's arguments and of its output's keys. The file is
    written only if it computes the same; the network is left as it was. Masks are folded into the weights.
    Weights of more than 1.5 GB go into a second file, ``path`` with ``.data`` after it.

    Args:
        network: What a verb gave back, or any module.
        path: The file; an old one is replaced.
        example_inputs: What its forward takes: a tensor, a tuple of arguments, or a dict of keywords. A
            `Pruned` knows them.
        dynamic_batch: Let the first dimension be of any size. Where the exporter finds it fixed in the
            forward, the file is written for the batch of ``example_inputs``, and ``fixed_batch`` says why.
        metadata: What the file says of itself: names of classes, preprocessing.

    Returns:
        ``path``, ``bytes``, ``max_abs_error``, ``scale`` (largest output), ``relative_error``, ``inputs``
        and ``outputs`` (name -> shape), ``dynamic_batch`` (whether it is), ``fixed_batch`` (why not).

    Raises:
        IsopruneError: If the extra is not installed, the exporter cannot translate an operation (named), or
            the outputs differ by more than 1e-4 of the largest one.
    """
    needed()
    model = module_of(network)
    example_inputs = example_inputs_of(network, example_inputs)
    path = Path(path)
    alone = clone_sharing(harden(model) if masks_of(model) else model).eval()
    fixed_batch, proof = (None if dynamic_batch else "not asked for"), {}
    part = temporary(path)
    clear_temporary(path.parent, path.name)
    with explained(path), _scratch(part):
        file = part / path.name
        if dynamic_batch:
            larger = doubled(example_inputs)
            try:
                proof = _proven(alone, file, larger, example_inputs, dynamic=True, metadata=metadata)
            except Exception as error:
                fixed_batch = reason(error)
        if fixed_batch is not None:
            try:
                proof = _proven(alone, file, example_inputs, dynamic=False, metadata=metadata)
            except IsopruneError:
                raise
            except Exception as error:
                raise IsopruneError(
                    f"torch's ONNX exporter cannot translate {type(model).__name__}: {reason(error)}. The "
                    "network itself is fine: use torch.compile, or rewrite that operation."
                ) from error
        size = sum(f.stat().st_size for f in part.iterdir())
        for made in sorted(part.iterdir(), reverse=True):  # the .data before the file that names it
            made.replace(path.with_name(made.name))
    return {
        "path": str(path),
        "bytes": size,
        **proof,
        "dynamic_batch": fixed_batch is None,
        "fixed_batch": fixed_batch,
    }


def _proven(
    network: nn.Module, file: Path, *trials: Any, dynamic: bool, metadata: Mapping[str, str] | None
) -> dict[str, Any]:
    """Write the file, made from the first of ``trials``; return how far it is from torch on all of them."""
    with _quiet():
        program = _translated(network, trials[0], batch=_batch_of(trials[0]) if dynamic else None)
        program.model.metadata_props.update(metadata or {})
        program.save(file, external_data=_nbytes(network) > EXTERNAL)
    try:
        session = _session(file)
        errors = [_difference(network, inputs, session) for inputs in trials]
    except Exception as error:
        raise IsopruneError(
            f"onnxruntime does not run {type(network).__name__}: {reason(error)}. Nothing was written; "
            "float32 is what it knows best."
        ) from error
    error, scale = max(errors, key=lambda e: e[0] / max(e[1], 1e-30))
    if not math.isfinite(scale):
        raise IsopruneError(
            "The network's output holds NaN or infinity, so nothing can be compared and nothing was written. "
            "Give example_inputs like the data it was trained on."
        )
    if not error <= TOLERANCE * scale:
        raise IsopruneError(
            f"onnxruntime differs from torch by {error:.2g} on outputs up to {scale:.2g}, so nothing was "
            "written. Please report the network and the versions of torch and onnxruntime."
        )
    return {
        "max_abs_error": error,
        "scale": scale,
        "relative_error": error / scale if scale else error,
        "inputs": {i.name: list(i.shape) for i in session.get_inputs()},
        "outputs": {o.name: list(o.shape) for o in session.get_outputs()},
    }


def needed() -> None:
    """Raise unless the extra is installed.

    Raises:
        IsopruneError: Which package is missing, and what to type.
    """
    with _quiet():
        for name in ("onnx", "onnxscript", "onnxruntime"):
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise IsopruneError(f"ONNX needs {name}: pip install 'isoprune[export]'") from error


def installed() -> bool:
    """Tell whether the extra is."""
    try:
        needed()
    except IsopruneError:
        return False
    return True


def session_of(
    model: nn.Module, example_inputs: Any, file: Path, *, threads: int
) -> tuple[Any, dict[str, Any]]:
    """Return an onnxruntime session of ``model`` and its feed, for timing: with the batch as it comes."""
    needed()
    with _quiet():
        _translated(clone_sharing(model).eval(), example_inputs, batch=None).save(file)
    session = _session(file, threads)
    return session, _feed(model, example_inputs, session)


def reason(error: BaseException) -> str:
    """Return the cause of an exporter's failure in one line: the first line of the first exception."""
    if isinstance(error, IsopruneError):
        return str(error).rstrip(".")
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    line = next((" ".join(row.split()) for row in text.splitlines() if row.strip()), "no reason given")
    return f"{type(error).__name__}: {line[:200].rstrip('. ')}"


def doubled(example_inputs: Any) -> Any:
    """Return the same inputs twice: torch.export takes a batch of one for a constant."""
    batch = _batch_of(example_inputs)
    return tree_map(lambda t: torch.cat([t, t]) if _has_batch(t, batch) else t, example_inputs)


def _batch_of(example_inputs: Any) -> int:
    sizes = [t.shape[0] for t in tree_leaves(example_inputs) if isinstance(t, Tensor) and t.dim()]
    return sizes[0] if sizes else 0


def _has_batch(value: Any, batch: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == batch


def _translated(network: nn.Module, example_inputs: Any, *, batch: int | None) -> Any:
    args, kwargs = as_call(example_inputs)
    dynamic: dict[str, Any] | None = None
    if batch is not None:
        size = torch.export.Dim("batch")
        spec = tree_map(lambda t: {0: size} if _has_batch(t, batch) else None, (args, kwargs))
        dynamic = {**({"args": spec[0]} if args else {}), **spec[1]}
    with torch.no_grad():
        outputs = network(*args, **kwargs)
        return torch.onnx.export(
            TensorsOnly(network),
            args,
            kwargs=kwargs,
            dynamo=True,
            verbose=False,
            dynamic_shapes=dynamic,
            input_names=[name for name, _ in tensors_of(inputs_of(network, example_inputs))],
            output_names=[name for name, _ in tensors_of(outputs)],
        )


def _difference(network: nn.Module, example_inputs: Any, session: Any) -> tuple[float, float]:
    """Return the largest difference between onnxruntime and torch, and the largest output."""
    args, kwargs = as_call(example_inputs)
    with torch.no_grad():
        want = [t.cpu() for _, t in tensors_of(network(*args, **kwargs))]
    got = [torch.from_numpy(array) for array in session.run(None, _feed(network, example_inputs, session))]
    error, scale = 0.0, 0.0
    for a, b in zip(want, got, strict=True):
        if a.shape != b.shape:
            return math.inf, 1.0
        if a.numel():
            error = max(error, float((a.double() - b.double()).abs().nan_to_num(math.inf, math.inf).max()))
            scale = max(scale, float(a.double().abs().nan_to_num(math.inf, math.inf).max()))
    return error, scale


def _feed(network: nn.Module, example_inputs: Any, session: Any) -> dict[str, Any]:
    arrays = {name: t.detach().cpu().numpy() for name, t in tensors_of(inputs_of(network, example_inputs))}
    return {i.name: arrays[i.name] for i in session.get_inputs()}  # those that the forward reads


def _session(file: Path, threads: int = 0) -> Any:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads  # 0: as onnxruntime likes
    options.log_severity_level = 3
    return runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _nbytes(model: nn.Module) -> int:
    return sum(t.nbytes for t in [*model.parameters(), *model.buffers()])


@contextmanager
def _scratch(directory: Path) -> Iterator[None]:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's warnings and log lines, which are about its own inside, from the user."""
    before = logging.root.manager.disable
    fast = torch.backends.mha.get_fastpath_enabled()
    logging.disable(logging.CRITICAL)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused kernels have no ONNX form
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        logging.disable(before)
