"""One forward as a function without arguments, on each backend."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from isoprune.export.onnx import reason, session_of
from isoprune.graph.cloning import clone_sharing
from isoprune.graph.entries import as_call
from isoprune.types.errors import IsopruneError, check_known

MOST = 1024  # threads: OpenMP ends the process where it cannot make them
BACKENDS = ("eager", "compile", "onnxruntime")

Call = Callable[[], Any]


def check_backends(backends: Sequence[str], threads: int) -> None:
    """Raise unless each is a backend and threads can be had."""
    for backend in backends:
        check_known(backend, BACKENDS, "backend")
    if not 1 <= threads <= MOST:
        raise IsopruneError(f"{threads} threads cannot run a network. Give 1, or as many as there are cores.")


def prepared(backend: str, model: nn.Module, example_inputs: Any, scratch: Path, threads: int) -> Call | str:
    """Return a function that runs ``model`` once on ``backend``, after a first run, or why there is none.

    A forward that does not run in eager mode is the caller's mistake, and raises as it is.
    """
    if backend == "eager":
        call = eager(model, example_inputs)
        call()
        return call
    try:
        if backend == "onnxruntime":
            session, feed = session_of(model, example_inputs, scratch, threads=threads)
            return lambda: session.run(None, feed)
        return compiled(model, example_inputs)
    except Exception as error:
        return reason(error)


def eager(model: nn.Module, example_inputs: Any) -> Call:
    return _torch(clone_sharing(model).eval(), example_inputs)


def compiled(model: nn.Module, example_inputs: Any) -> Call:
    """Return the compiled forward, run once; its compiler's warnings are kept from the user."""
    call = _torch(torch.compile(clone_sharing(model).eval(), dynamic=False), example_inputs)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    finally:
        logging.disable(before)
    return call


def _torch(run: Callable[..., Any], example_inputs: Any) -> Call:
    args, kwargs = as_call(example_inputs)
    # A GPU's forward returns before it is done.
    gpu = any(isinstance(t, torch.Tensor) and t.is_cuda for t in tree_leaves((args, kwargs)))

    def call() -> None:
        with torch.inference_mode():
            run(*args, **kwargs)
            if gpu:
                torch.cuda.synchronize()

    return call
