"""Saved folders, opened by what makes their dense network; as a model of experiments: ``saved:FOLDER``."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from isoprune.experiment.building import built
from isoprune.experiment.choice import Choice
from isoprune.experiment.network_names import NETWORK, is_delivery, saved_place
from isoprune.experiment.trusted_names import is_zoo, trusted
from isoprune.export import Source, checkpoint, manifest, open_source
from isoprune.export.folder import settled
from isoprune.export.manifest import Manifest
from isoprune.graph import trace
from isoprune.pruning import Proof, Pruned
from isoprune.pruning.costs import costs_of
from isoprune.pruning.mask import masks_of
from isoprune.types import Plan
from isoprune.types.errors import IsopruneError
from isoprune.types.seeded import seeded


def open_saved(
    place: Path, *, build: str | None = None, shape: Sequence[int] | None = None, seed: int = 0
) -> tuple[nn.Module, Manifest, Source]:
    """Return the network of a saved folder in eval mode, what is known of it, and what made it dense.

    Args:
        build: The source that makes the dense network; None: what the folder names, if that is trusted.
        shape: Of the input, batch first.
        seed: Of random inputs.

    Raises:
        IsopruneError: If it cannot be read, or does not say what makes it.
    """
    facts = manifest.read(place)
    text = build or (facts.source if facts.source is not None and is_zoo(facts.source) else None)
    if text is None and re.fullmatch(r"[\w.]+:\w+", facts.source or ""):
        text = trusted("model", Choice(str(facts.source)), str(place)).name
    if text is None:
        raise IsopruneError(
            f"{place} was made of {facts.made_of} and does not say how to make that again. Give the "
            "function: --build my_package.module:function (or --dense, which then is the dense network too)."
        )
    sources: list[Source] = []

    def make() -> nn.Module:
        sources.append(open_source(text, shape=shape, seed=seed, with_inputs=False))
        return sources[0].model

    model, facts = checkpoint.read(place, make if build else lambda: built(make, facts, str(place)))
    return model.eval(), facts, sources[0]


def drawn_inputs(facts: Manifest, seed: int) -> Tensor | None:
    """Return inputs of the shape that a saved network's forward takes, if its folder says it."""
    if facts.in_shape is None:
        return None
    return torch.randn(facts.in_shape, generator=seeded(seed))


def open_pruned(
    name: str, *, build: str | None = None, shape: Sequence[int] | None = None, seed: int = 0
) -> tuple[Source, Pruned]:
    """Return the network of a saved folder, or of a delivery, to be pruned again, and what made it dense.

    Raises:
        IsopruneError: If it cannot be read, or does not say what its forward takes.
    """
    path = Path(name)
    place = settled(path / NETWORK if is_delivery(path) else path)
    model, facts, source = open_saved(place, build=build, shape=shape, seed=seed)
    inputs = drawn_inputs(facts, seed) if source.example_inputs is None else source.example_inputs
    if inputs is None:
        raise IsopruneError(f"{name} does not say what its forward takes. Give --shape 1,3,224,224.")
    graph, plan = trace(source.model, inputs), facts.plan or Plan()
    costs = facts.costs or costs_of(source.model, model, graph, plan)
    history = ({"step": "load"},)
    pruned = Pruned(model, source.model, plan, graph, Proof(0.0, 0.0), costs, history, inputs)
    return replace(source, example_inputs=inputs), pruned


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
    shape = (1, *in_shape)
    model, _, _ = open_saved(settled(Path(place)), build=build, shape=shape, seed=generator.initial_seed())
    if masks_of(model):
        raise IsopruneError(
            f"{place} is masked, and with --data whole channels go. Make its zeros plain: isoprune.harden."
        )
    return copy.deepcopy(model)
