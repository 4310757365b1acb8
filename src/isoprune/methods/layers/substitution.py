"""What goes is replaced by a mixture of what stays: the step that merging, folding and GRAIL share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune.graph.cloning import copied, tensor_names
from isoprune.graph.labels import restrict
from isoprune.methods.layers.norms import Affine
from isoprune.methods.layers.probe import Site, sites
from isoprune.methods.layers.stored import stored, write_
from isoprune.methods.layers.weights import weights
from isoprune.pruning.pruned import Pruned
from isoprune.pruning.shrink import scales
from isoprune.signals.matrices import LAYERS
from isoprune.signals.modes import in_eval_mode
from isoprune.types import Member, Units

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MadeUnits:
    """How units are made: ``filters`` [n, features] and ``shifts`` [n, layers], in float64.

    Of all layers that make them, a BatchNorm's scale and shift (in eval mode) multiplied in. ``normed``:
    whether a BatchNorm follows some of them.
    """

    filters: Tensor
    shifts: Tensor
    normed: bool


@dataclass
class Substitution:
    """The dense network on its way: what read a unit that goes reads a mixture of those that stay.

    ``model`` keeps the dense network's shape, with zeros where nothing is read any more.
    """

    pruned: Pruned
    model: nn.Module = field(init=False)
    _tensors: Mapping[str, Tensor] = field(init=False)
    _changed: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.model = copied(self.pruned.dense)
        self._tensors = {name: tensor.detach() for name, tensor in tensor_names(self.model).values()}

    def losing(self) -> list[tuple[Units, Tensor]]:
        """Return the units of which some go, and which stay (bool [n]); none where single weights go.

        Units that a tensor holds along several dimensions at once (grouped convolutions) are left out: what
        is read there cannot be mixed freely.
        """
        plan = self.pruned.plan
        if plan.grain != "channel":
            return []
        found = [(u, plan.kept[u.name].flatten()) for u in self.pruned.graph.groups if u.name in plan.kept]
        losing = [(u, kept) for u, kept in found if not bool(kept.all())]
        for u, _ in losing:
            if not self._free(u):
                _log.info("%s: stays as pruned, since what reads it cannot be mixed freely", u.name)
        return [(u, kept) for u, kept in losing if self._free(u)]

    def _free(self, units: Units) -> bool:
        reads = [m for m in units.members if m.role == "in"]
        return bool(reads) and all(places_of(m, units.size) is not None for m in units.members)

    @torch.no_grad()
    def made(self, units: Units) -> MadeUnits:
        """Return how the units are made by the network as it is now."""
        layers = {w.tensor: w for w in weights(self.model) if isinstance(w.module, LAYERS)}
        makers = [m for m in units.members if m.role == "out" and m.tensor in layers]
        with in_eval_mode(self.model):
            named = {layers[m.tensor].name: layers[m.tensor].module for m in makers}
            after = {s.name: s for s in sites(self.model, self.pruned.example_inputs, named)}
        filters, shifts, normed = [], [], False
        for member in makers:
            layer = layers[member.tensor]
            affine = self._affine(after.get(layer.name))
            normed |= affine is not None
            W = self._tensors[member.tensor].double().movedim(member.dims[0], 0).flatten(1)
            bias = torch.zeros(len(W)) if layer.bias is None else layer.bias.detach()
            b = bias.to(W)
            if affine is not None:
                W, b = W * affine.scale[:, None], b * affine.scale + affine.shift
            order = places_of(member, units.size)
            filters.append(W[order].reshape(units.size, -1))
            shifts.append(b[order].reshape(units.size, -1))
        return MadeUnits(torch.cat(filters, 1), torch.cat(shifts, 1), normed)

    def _affine(self, site: Site | None) -> Affine | None:
        norm = self.model.get_submodule(site.norm) if site is not None and site.norm is not None else None
        return Affine.of(norm, torch.arange(norm.num_features)) if isinstance(norm, _BatchNorm) else None

    @torch.no_grad()
    def replace_(self, units: Units, kept: Tensor, read: Tensor, make: Tensor | None = None) -> None:
        """Let unit k that stays stand for ``read`` [n, k] of the others where units are read.

        ``make`` [k, n]: what makes the units that stay is mixed, too (biases and norms with it).
        """
        places = kept.nonzero().flatten()
        for member in units.members:
            mix = read.mT if member.role == "in" else make
            if mix is None:
                continue
            self._changed.add(member.tensor)
            tensor = self._tensors[member.tensor].movedim(member.dims[0], 0)
            order = places_of(member, units.size)
            assert order is not None
            apart = tensor[order].reshape(units.size, -1).double()
            new = torch.zeros_like(apart) if member.role == "in" else apart.clone()
            new[places] = mix.to(apart) @ apart
            tensor[order] = new.reshape(tensor[order].shape).to(tensor)

    @torch.no_grad()
    def scale_running_variance_(self, units: Units, kept: Tensor, factors: Tensor) -> None:
        """Multiply the running variances of the units that stay by ``factors`` [k]."""
        for member in units.members:
            if member.tensor.endswith("running_var"):
                self._changed.add(member.tensor)
                order = places_of(member, units.size)
                assert order is not None
                at = order.reshape(units.size, -1)[kept]
                tensor = self._tensors[member.tensor]
                tensor[at] = tensor[at] * factors[:, None].to(tensor)

    @torch.no_grad()
    def result(self) -> nn.Module:
        """Return the pruned network with what changed, cut to its shape; masks stay."""
        repaired, graph, plan = copied(self.pruned.model), self.pruned.graph, self.pruned.plan
        if not self._changed:
            return repaired
        kept, factors = graph.kept_ids(plan), scales(self.pruned.dense, graph, plan)
        for name in self._changed:
            owner, _, key = name.rpartition(".")
            module, value = repaired.get_submodule(owner), self._tensors[name]
            behind = stored(module, key)
            assert behind is not None
            if behind.shape != value.shape:
                value = restrict(value, graph.tensors[name][0], kept)
                value = value * factors[name].to(value) if name in factors else value
            write_(module, key, value)
        return repaired


def places_of(member: Member, units: int) -> Tensor | None:
    """Return the places of a tensor along its one dimension of units, unit after unit.

    None where units lie along several dimensions, or not all equally often.
    """
    if len(member.dims) != 1 or member.unit is None:
        return None
    unit = member.unit.flatten()
    order = unit.argsort(stable=True)
    order = order[unit[order] >= 0]
    there = unit[order].reshape(units, -1) if len(order) % units == 0 and len(order) else None
    whole = there is not None and bool((there == torch.arange(units)[:, None]).all())
    return order if whole and len(order) == len(unit) else None
