"""ThiNet: what goes is what the next layer misses least, and scales make up for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from isoprune.graph.cloning import copied
from isoprune.methods.criteria.norms import l2_norm
from isoprune.methods.layers.attention import taken_apart
from isoprune.methods.layers.contributions import Contributions, contributions
from isoprune.methods.layers.readers import kept_units, reading_layers, weights_that_read
from isoprune.signals import Signals
from isoprune.types import Units, UpdatingScores
from isoprune.types.method import method

_RIDGE = 1e-9  # of the mean diagonal: contributions may be multiples of each other


@method(
    "criterion",
    "data",
    grains=("channel", "head"),
    updates_weights=True,
    label="ThiNet",
    source="Luo, Wu & Lin, ICCV 2017, arXiv 1707.06342",
)
def thinet(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    samples: int = 512,
    places: int = 10,
    gigabytes: float = 12.0,
) -> UpdatingScores:
    r"""Greedy order of going: always the unit that leaves the least :math:`\| \sum_{i \in T} W_i x_i \|^2`.

    T are the units that went, :math:`W_i x_i` what unit i contributes to what the layers that read it make,
    at sampled places of their outputs (all outputs of a place, where the paper draws one): the squared error
    of these layers without T, added up over them. A score is the unit's place in that order. Each reader's
    inputs that stay are then scaled by the least-squares numbers
    :math:`\min_s \| \sum_i W_i x_i - \sum_{i \notin T} s_i W_i x_i \|^2`.

    No label is read. All layers are chosen on the dense network; the paper goes layer after layer and trains
    in between. Units that no layer with weights reads are scored by the norm of their weights.

    Args:
        samples: How many inputs are looked at.
        places: Positions of an output map (or of a sequence), drawn for each sample.
        gigabytes: What the moments of what layers read may take; more is refused before anything is computed.

    Cost: a forward of the samples; units squared additions a group. Memory: [fan_in, fan_in] of every layer.
    """
    how = {"samples": samples, "places": places, "generator": generator, "gigabytes": gigabytes}
    found = contributions(signals, units, **how)
    scores = l2_norm(signals, [u for u in units if u.name not in found], generator=generator)
    scores = {**scores, **{name: _places(greedy(c.total)) for name, c in found.items()}}

    def update(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return _scaled(signals, units, found, masks)

    return UpdatingScores({u.name: scores[u.name].reshape(u.shape) for u in units}, update)


def greedy(overlaps: Tensor) -> list[int]:
    r"""Return the order in which units go, each the one with the least :math:`1_T^\top M 1_T` after it."""
    there = torch.ones(len(overlaps), dtype=torch.bool)
    error, order = overlaps.diagonal().clone(), []
    for _ in range(len(overlaps)):
        unit = int(torch.where(there, error, torch.inf).argmin())
        there[unit] = False
        order.append(unit)
        error += 2 * overlaps[:, unit]  # what the next one adds: its own, and twice what it shares with T
    return order


def scales(overlaps: Tensor, kept: Tensor) -> Tensor:
    """Return the factors of least squares on what stays; zero on what goes."""
    M = overlaps[kept][:, kept]
    M = M + _RIDGE * (float(M.diagonal().mean()) or 1.0) * torch.eye(len(M), dtype=M.dtype)
    missing = overlaps[kept][:, ~kept].sum(1)
    factors = torch.zeros(len(overlaps), dtype=overlaps.dtype)
    factors[kept] = 1 + torch.linalg.solve(M, missing)
    return factors


def _places(order: list[int]) -> Tensor:
    places = torch.empty(len(order), dtype=torch.float64)
    places[torch.tensor(order)] = torch.arange(1, len(order) + 1, dtype=torch.float64)
    return places


def _scaled(
    signals: Signals,
    units: Sequence[Units],
    contributed: Mapping[str, Contributions],
    masks: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return the weights of the layers that read units of which some go, scaled."""
    network = copied(signals.network)
    kept = {u.name: kept_units(u, masks) for u in units if u.name in contributed}
    with torch.no_grad(), taken_apart(network) as parts:
        for layer in reading_layers(network, parts, units, next(signals.chunks(1))):
            matrices = layer.weight.matrices.clone()
            for name, unit in layer.inputs.items():
                if name in kept and not bool(kept[name].all()):
                    factors = scales(contributed[name].overlaps[layer.name], kept[name]).to(matrices)
                    matrices *= torch.where(unit >= 0, factors[unit.clamp_min(0)], 1.0)[:, None]
            layer.weight.write_(matrices)
    return weights_that_read(network, [u for u in units if u.name in kept], masks)
