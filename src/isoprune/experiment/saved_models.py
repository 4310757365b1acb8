"""A saved network as the model of an experiment: ``saved:FOLDER``, pruned on from where it is."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Generator, nn

from isoprune.experiment.network_names import saved_place
from isoprune.export import manifest
from isoprune.pruning.mask import masks_of
from isoprune.types.errors import IsopruneError


def saved_model(name: str) -> Callable[..., nn.Module]:
    """Return what makes the network of ``saved:FOLDER``, with the option ``build``: what makes it dense.

    Raises:
        IsopruneError: If there is no such folder.
    """
    place = str(saved_place(name))
    manifest.read(Path(place))
    return functools.partial(_open, place)


def _open(
    place: str,
    in_shape: Sequence[int],
    classes: int,  # noqa: ARG001  the network brings its own; training refuses one with fewer than the data
    *,
    build: str | None = None,
    generator: Generator,
) -> nn.Module:
    from isoprune.experiment.named_network import open_pruned

    shape = (1, *in_shape)
    model = open_pruned(place, build=build, shape=shape, seed=generator.initial_seed())[1].model
    if masks_of(model):
        raise IsopruneError(
            f"{place} is masked, and with --data whole channels go. Make its zeros plain: isoprune.harden."
        )
    return copy.deepcopy(model)
