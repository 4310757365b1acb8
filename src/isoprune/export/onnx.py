"""A network as an ONNX file, proven by running it in onnxruntime beside torch."""

from __future__ import annotations

import importlib
import logging
import math
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from isoprune.export.onnx_program import batch_of, doubled, exported, other_values, traced
from isoprune.export.outputs import by_name, inputs_of, named_tensors
from isoprune.graph.cloning import clone_sharing
from isoprune.graph.entries import as_call
from isoprune.pruning.mask import harden, masks_of
from isoprune.pruning.pruned import example_inputs_of
from isoprune.types import IsopruneError, Network, module_of
from isoprune.types.files import explained
from isoprune.types.task import are_images
from isoprune.types.temporary import clear_temporary, temporary

TOLERANCE = 1e-4  # of the largest output; onnxruntime fuses and sums in another order
_Way = Callable[[nn.Module, Any], Any]  # network, example inputs -> an ONNX program
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
    Weights of more than 1.5 GB go into a second file, ``path`` with ``.data`` after it. Where values stand in
    the way of torch.export, as the boxes that a detector finds, TorchScript traces the forward: the file then
    takes as many images, of the same sizes, and is compared on others of these sizes too.

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
    if dynamic_batch and any(map(are_images, tree_leaves(as_call(example_inputs), is_leaf=are_images))):
        fixed_batch = "a list of images holds as many as it does"
    part = temporary(path)
    clear_temporary(path.parent, path.name)
    with explained(path), _scratch(part):
        file = part / path.name
        if dynamic_batch:
            trials = (doubled(example_inputs), example_inputs)
            way = partial(exported, batch=batch_of(trials[0]))
            try:
                proof = _proven(alone, file, way, trials, metadata)
            except Exception as error:
                fixed_batch = reason(error)
        if fixed_batch is not None:
            try:
                proof = _proven(alone, file, partial(exported, batch=None), (example_inputs,), metadata)
            except IsopruneError:
                raise
            except Exception as error:  # values stand in its way
                trials = (example_inputs, *other_values(example_inputs))
                try:
                    proof = _proven(alone, file, traced, trials, metadata)
                except Exception as second:
                    raise IsopruneError(
                        f"torch's ONNX exporter cannot translate {type(model).__name__}: {reason(error)}. "
                        f"Nor can TorchScript's: {reason(second)}. The network itself is fine: use "
                        "torch.compile, or rewrite that operation."
                    ) from error
                fixed_batch = f"traced by TorchScript, as torch.export stops at {reason(error)}"
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
    network: nn.Module, file: Path, way: _Way, trials: tuple[Any, ...], metadata: Mapping[str, str] | None
) -> dict[str, Any]:
    """Write the file, made from the first of ``trials``; return how far it is from torch on all of them."""
    with _quiet():
        program = way(network, trials[0])
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
    if not any(number for *_, number in errors):
        raise IsopruneError(
            "On example_inputs the network's outputs are empty, so nothing can be compared and nothing was "
            "written. Give inputs on which it finds something, or lower its threshold of scores."
        )
    error, scale, _ = max(errors, key=lambda e: e[0] / max(e[1], 1e-30))
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
        network = clone_sharing(model).eval()
        try:
            program = exported(network, example_inputs, batch=None)
        except Exception:
            program = traced(network, example_inputs)
        program.save(file)
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


def _difference(network: nn.Module, example_inputs: Any, session: Any) -> tuple[float, float, int]:
    """Return the largest difference between onnxruntime and torch, the largest output, and of how many."""
    args, kwargs = as_call(example_inputs)
    with torch.no_grad():
        want = [t.cpu() for _, t in named_tensors(network(*args, **kwargs))]
    got = [torch.from_numpy(array) for array in session.run(None, _feed(network, example_inputs, session))]
    error, scale = 0.0, 0.0
    for a, b in zip(want, got, strict=True):
        if a.shape != b.shape:
            return math.inf, 1.0, a.numel()
        if a.numel():
            error = max(error, float((a.double() - b.double()).abs().nan_to_num(math.inf, math.inf).max()))
            scale = max(scale, float(a.double().abs().nan_to_num(math.inf, math.inf).max()))
    return error, scale, sum(t.numel() for t in want)


def _feed(network: nn.Module, example_inputs: Any, session: Any) -> dict[str, Any]:
    named = by_name(inputs_of(network, example_inputs))
    arrays = {name: t.detach().cpu().numpy() for name, t in named.items()}
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
