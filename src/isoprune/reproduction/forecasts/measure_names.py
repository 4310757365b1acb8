"""Which measure gives which number: taken from measuring a small network, so no list repeats it."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from isoprune.forecast.columns import KNOWN
from isoprune.methods.measures import MEASURES
from isoprune.models import mlp_7
from isoprune.types.seeded import seeded
from isoprune.verbs import measures, prune


@functools.cache
def measure_of() -> Mapping[str, str]:
    """Return number -> measure of all that `isoprune methods measure` lists, but for those known anyway."""
    generator = seeded(0)
    dense = mlp_7(activation="relu", in_shape=(1, 8, 8), classes=4, width=8, generator=generator).eval()
    images = torch.randn(32, 1, 8, 8, generator=generator)
    pruned = prune(dense, images[:2], ratio=0.25)
    batches = [(images, torch.arange(32) % 4)]
    given = {name: measures(pruned, batches, names=[name]).numbers for name in MEASURES}
    return {
        number: name for name, numbers in given.items() for number in numbers if f"log_{number}" not in KNOWN
    }
