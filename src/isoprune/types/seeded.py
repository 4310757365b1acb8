"""Generators made from a user's seed; torch's global ones, changed for a while and restored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from numbers import Integral

import torch
from torch import Generator

from isoprune.types.errors import IsopruneError

_CPU = torch.device("cpu")


def seeded(seed: int) -> Generator:
    """Return torch's generator on the CPU with this seed.

    Raises:
        IsopruneError: If it is none that torch takes.
    """
    if not isinstance(seed, Integral):
        raise IsopruneError(f"seed is {seed!r}, no whole number. Give for example 0.")
    if not 0 <= seed < 2**63:
        raise IsopruneError(f"seed is {seed}, outside 0 to 2^63 - 1. Give for example 0.")
    return Generator().manual_seed(int(seed))


def derived_seed(seed: int, name: str) -> int:
    """Return a seed in [0, 2^63) made from a seed and the name of a random stream.

    So a repair that draws more numbers does not change the order of the data that comes after it, and a
    training can go on from any step.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8]) >> 1


@contextmanager
def lent_generators(seed: int | None = None, device: torch.device = _CPU) -> Iterator[Callable[[int], None]]:
    """Lend torch's global generators (the CPU's and ``device``'s), at a seed if one is given.

    For what draws from them and takes no other: layers such as Dropout, resets, other people's constructors.
    Yields the function that seeds them again; afterwards they are as before. (`torch.manual_seed` would seed
    every accelerator, and note its caller for those that are not in use.)
    """
    module = None if device.type == "cpu" else torch.get_device_module(device)
    numbered = hasattr(module, "device")  # Apple's GPU is not: there is one, and its state is not forked.

    def seed_(seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        if module is not None:
            with module.device(device) if numbered else nullcontext():
                module.manual_seed(seed)

    devices = [device.index or 0] if numbered else []
    with torch.random.fork_rng(devices=devices, device_type=device.type if numbered else "cuda"):
        if seed is not None:
            seed_(seed)
        yield seed_
