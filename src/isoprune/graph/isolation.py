"""What stands around a call (autocast, inference mode, random numbers): left while we work, and left as it
was.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def isolated() -> Iterator[None]:
    """Run the block in plain eager float arithmetic, and restore every random state afterwards.

    Under autocast, weights would be cast and the casts kept for the user's own forwards; in inference mode,
    tensors would be made that no optimizer can take; what was compiled would be compiled anew for every
    network tried.
    """
    with ExitStack() as stack:
        for kind in _DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        if torch.get_default_device().type == "meta":
            stack.enter_context(torch.device("cpu"))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_any_algorithm())
        stack.enter_context(_random_states())
        yield


@contextmanager
def _any_algorithm() -> Iterator[None]:
    """Lift the demand for deterministic algorithms: nothing that runs here is an answer of the network's."""
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warn_only)


@contextmanager
def _random_states() -> Iterator[None]:
    here, pythons, numpys = torch.random.get_rng_state(), random.getstate(), np.random.get_state()
    accelerators = [
        (module, module.get_rng_state_all()) for module in (torch.cuda, torch.xpu) if module.is_initialized()
    ]
    apples = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        torch.random.set_rng_state(here)
        random.setstate(pythons)
        np.random.set_state(numpys)
        for module, states in accelerators:
            module.set_rng_state_all(states)
        if apples is not None:
            torch.mps.set_rng_state(apples)


def seed_all(seed: int) -> None:
    """Set every random state that a forward may draw from."""
    seed_torch(seed)
    random.seed(seed)
    np.random.seed(seed)


def seed_torch(seed: int) -> None:
    """Set torch's generators, of the accelerators that are in use.

    `torch.manual_seed` notes down where it was called from, for each accelerator that is not: half a
    millisecond, and every operation that draws is seeded anew.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.xpu.is_initialized():
        torch.xpu.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
