"""Checks of a network's content: weights that are not finite, a plan whose units its class does not have."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor, nn

from isoprune.export.manifest import Manifest
from isoprune.pruning.stored_sizes import shapes_of
from isoprune.types import IsopruneError
from isoprune.types.units import DEPTH


def check_finite(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise if a tensor holds NaN, or a parameter infinity; a buffer may, as masks of attention do."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        whole = not tensor.is_floating_point() or bool(tensor.isfinite().all())
        if not whole and (bool(tensor.isnan().any()) or name in parameters):
            raise IsopruneError(
                f"{where} has NaN or infinity in {name}: its training diverged. Take an earlier state of it, "
                "or lower the learning rate."
            )


def plan_problem(facts: Manifest, model: nn.Module) -> str | None:
    """Return why the plan cannot belong to the dense network ``model``; None if it can.

    Units may be numbered as in a network between the two, where both were pruned before.
    """
    dense, plan = shapes_of(model), facts.plan
    if plan is None or plan.grain == DEPTH:  # `without_blocks` looked at that
        return None
    modules = {name for name, _ in model.named_modules()}
    for name, kept in plan.kept.items():
        home = re.sub(r"(\.heads)?(:\d+)?$", "", name)
        inside = [key for key in dense if key == home or key.startswith(f"{home}." if home else "")]
        if not inside or (home not in modules and home not in dense):
            return f"its plan is of units '{name}', which build() has not"
        widest = max(max(dense[key], default=1) for key in inside)
        left = max(max(facts.tensors[key].shape, default=1) for key in inside)
        most = widest if kept.dim() == 1 else max(math.prod(dense[key]) for key in inside)
        stay = left if kept.dim() == 1 and not facts.bools else most
        if not 0 < kept.numel() <= most or int(kept.sum()) > stay:
            return f"its plan keeps {int(kept.sum())} of {kept.numel()} units '{name}': they are not so many"
    # Made plain, a network that was masked has all its parameters, and its costs say so.
    costs = facts.costs
    smaller = costs is None or costs.pruned.parameters < costs.dense.parameters
    whole = all(dense[name] == entry.shape for name, entry in facts.tensors.items())
    if plan and smaller and not facts.bools and whole:
        return "its plan removes units, and no tensor became smaller"
    return None
