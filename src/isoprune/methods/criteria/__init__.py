"""Score units: `(signals, units, *, generator, **options) -> Scores`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Generator

from isoprune.methods.criteria.bn_scale import bn_scale
from isoprune.methods.criteria.c_obd import c_obd
from isoprune.methods.criteria.channel_lasso import channel_lasso
from isoprune.methods.criteria.edge_popup import edge_popup
from isoprune.methods.criteria.fisher import fisher
from isoprune.methods.criteria.geometric_median import geometric_median
from isoprune.methods.criteria.grasp import grasp
from isoprune.methods.criteria.karnin import karnin
from isoprune.methods.criteria.kronecker import c_obs, kron_obd, kron_obs
from isoprune.methods.criteria.lamp import lamp
from isoprune.methods.criteria.norms import l1_norm, l2_norm
from isoprune.methods.criteria.obc import obc
from isoprune.methods.criteria.obd import obd
from isoprune.methods.criteria.obs import obs, woodfisher
from isoprune.methods.criteria.osscar import osscar
from isoprune.methods.criteria.random_scores import random
from isoprune.methods.criteria.reconstruction import reconstruction
from isoprune.methods.criteria.signal_propagation import signal_propagation
from isoprune.methods.criteria.skeletonization import skeletonization
from isoprune.methods.criteria.snip import snip
from isoprune.methods.criteria.synflow import synflow
from isoprune.methods.criteria.taylor import taylor
from isoprune.methods.criteria.thinet import thinet
from isoprune.pruning.unit_scores import score_units as score_units
from isoprune.signals import Signals
from isoprune.signals.effective import WeightSource
from isoprune.types import IsopruneError, Member, Scores, Units
from isoprune.types.errors import pick
from isoprune.types.method import method_of

Criterion = Callable[..., Scores]

CRITERIA: dict[str, Criterion] = {
    f.__name__: f
    for f in (
        l1_norm,
        l2_norm,
        lamp,
        bn_scale,
        geometric_median,
        taylor,
        skeletonization,
        fisher,
        snip,
        signal_propagation,
        grasp,
        synflow,
        karnin,
        obd,
        obs,
        woodfisher,
        obc,
        c_obd,
        c_obs,
        kron_obd,
        kron_obs,
        edge_popup,
        thinet,
        channel_lasso,
        osscar,
        reconstruction,
        random,
    )
}


def scores_of(
    criterion: str | Criterion,
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    **options: Any,
) -> Scores:
    """Return the scores of a criterion given by its name or as a function.

    Raises:
        IsopruneError: If the name is unknown, the criterion does not know the grain of the units, or it
            needs data and there is none.
    """
    function = pick(CRITERIA, criterion, "criterion") if isinstance(criterion, str) else criterion
    facts = method_of(function)
    unknown = sorted({u.grain for u in units} - set(facts.grains)) if facts.kind == "criterion" else []
    if unknown:
        raise IsopruneError(
            f"The criterion {criterion!r} does not score units of grain {unknown[0]!r}; it knows "
            f"{', '.join(facts.grains)}."
        )
    if "data" in facts.needs and signals.batches is None:
        raise IsopruneError(
            f"The criterion {criterion!r} looks at data, and batches is empty. "
            "Pass batches=[(inputs, targets), ...], such as a DataLoader of training data."
        )
    return function(signals, _of_weights(signals, units), generator=generator, **options)


def _of_weights(signals: Signals, units: Sequence[Units]) -> tuple[Units, ...]:
    """Return the units as parts of the weights that the forward works with, not of what these are made of."""
    if not signals.computed:
        return tuple(units)
    return tuple(replace(one, members=tuple(_members_of_weights(signals.computed, one))) for one in units)


def _members_of_weights(computed: Mapping[str, WeightSource], units: Units) -> Iterator[Member]:
    """Yield where units live; what a tensor does with channels, all that its weight is made of says."""
    roles: dict[tuple[str, tuple[int, ...]], set[str]] = {}
    for m in units.members:
        if m.tensor in computed:
            roles.setdefault((computed[m.tensor].weight, m.dims), set()).add(m.role)
    for m in units.members:
        part = computed.get(m.tensor)
        if part is None:
            yield m
        elif part.stands_for:
            known = roles[part.weight, m.dims]
            role = next((r for r in ("out", "in") if r in known), m.role)
            yield replace(m, tensor=part.weight, role=role)
