"""A generator from a seed of the user's."""

from __future__ import annotations

from torch import Generator

from isoprune.types.errors import IsopruneError


def seeded(seed: int) -> Generator:
    """Return torch's generator on the CPU with this seed.

    Raises:
        IsopruneError: If it is none that torch takes.
    """
    if not 0 <= seed < 2**63:
        raise IsopruneError(f"seed is {seed}, outside 0 to 2^63 - 1. Give for example 0.")
    return Generator().manual_seed(seed)
