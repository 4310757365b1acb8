"""GRAIL: what reads units takes over what the data say of those that went, by ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isoprune.methods.layers.probe import Callbacks, as_positions, watch
from isoprune.methods.layers.substitution import Substitution, places_of
from isoprune.methods.layers.weights import weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals.matrices import LAYERS
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.signals import Signals
from isoprune.types import Units
from isoprune.types.method import method


@method("repair", "data", "dense", "plan", source="GRAIL, arXiv 2602.23795")
def grail(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 128, strength: float = 1e-3
) -> nn.Module:
    r"""Return a copy whose readers have the weights :math:`W G_{:K} (G_{KK} + \lambda a I)^{-1}`.

    G is the Gram matrix of what is read of all units, K those that stay, a its mean diagonal there; group
    after group, each on what the groups before it make now. Several readers of the same units share one G.
    Readers that are grouped stay as pruned. No label is read.

    It starts from the dense network: do it right after pruning.

    Args:
        samples: How many inputs are looked at.
        strength: :math:`\lambda`.

    Cost: a forward of ``samples`` inputs, and a system of equations of the kept units, for each group.
    Memory: a copy of each network; the Gram matrix [units, units] of one group in float64, and a forward of a
    batch.
    """
    work, chunks = Substitution(pruned), list(signals.chunks(samples))
    for units, kept in work.losing():
        G = _gram(work.model, units, chunks)
        if not bool(G.any()):  # dead, or read by attentions alone, whose inputs are not looked at
            continue
        within = G[kept][:, kept]
        within.diagonal().add_((strength * within.diagonal().mean()).clamp_min(1e-300))
        work.replace_(units, kept, torch.linalg.solve(within, G[kept]).mT)
    return work.result()


def _gram(model: nn.Module, units: Units, chunks: Sequence[Any]) -> Tensor:
    """Return the Gram matrix [n, n] of what layers read of the units, in float64."""
    layers = {w.tensor: w for w in weights(model) if isinstance(w.module, LAYERS)}
    readers = {layers[m.tensor].name: m for m in units.members if m.role == "in" and m.tensor in layers}
    modules = {name: model.get_submodule(name) for name in readers}
    gram = torch.zeros(units.size, units.size, dtype=torch.float64)

    def read(name: str, _run: int, x: Tensor, _y: Tensor) -> None:
        seen = as_positions(x, modules[name]).double()
        h = seen[..., places_of(readers[name], units.size)].unflatten(-1, (units.size, -1))
        rows = h.transpose(-1, -2).flatten(0, -2)
        gram.add_((rows.mT @ rows).cpu())

    with in_eval_mode(model):
        for chunk in chunks:
            watch(model, chunk, modules, Callbacks(output=read))
    return gram
