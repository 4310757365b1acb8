"""Prune layers in the eigenbasis of their Fisher matrix: EigenDamage, with the bottlenecks that it builds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph import Graph, trace
from isoprune.isometry.picks import OutputPick
from isoprune.methods.layers.layer_moments import LayerMoments, layer_moments
from isoprune.pruning import Cost, Pruned, flops, prune_by
from isoprune.pruning.allocation import check_ratio
from isoprune.pruning.bottleneck import Bases, can_be_taken_apart, taken_apart
from isoprune.pruning.costs import everything
from isoprune.pruning.mask import masks_of
from isoprune.pruning.pruned import as_pruned, example_inputs_of
from isoprune.signals import Signals
from isoprune.types import CLASSIFICATION, IsopruneError, Network, Plan, Task, module_of
from isoprune.types.method import method
from isoprune.types.seeded import seeded
from isoprune.verbs.tasks import task_of


@method(
    "structure",
    "data",
    "gradients",
    updates_weights=True,
    label="EigenDamage",
    source="Wang, Grosse, Fidler & Zhang, ICML 2019, arXiv 1905.05934",
)
def eigendamage(
    network: Network,
    example_inputs: Any = None,
    ratio: float = 0.5,
    *,
    batches: Iterable[Any],
    task: Task = CLASSIFICATION,
    loss: Callable[[Any, Any], Tensor] | None = None,
    output: OutputPick = None,
    cap: float = 0.95,
    samples: int = 256,
    places: int = 64,
    gigabytes: float = 4.0,
    seed: int = 0,
) -> Pruned:
    r"""Return the network with bottlenecks in the place of layers, without directions that matter little.

    The Fisher matrix of a layer is taken as :math:`G \otimes A` (K-FAC, under labels that the network draws
    itself). In the eigenvectors of both, :math:`W^* = Q_g^\top W Q_a`, it is diagonal, and a direction of
    what the layer makes or reads matters by the sum over its row or column of
    :math:`\frac{1}{2} W^{*2} \odot d_g d_a^\top`. The least of all layers go, and the layer becomes three:
    :math:`Q_a^\top` (1x1), what is left of :math:`W^*`, :math:`Q_g` (1x1). A layer for which that is not
    fewer parameters stays as it was. Of a convolution A is over channels, the mean over its taps.

    Plain Linear layers and convolutions without groups are looked at. ``dense`` of what comes back is the
    network with bottlenecks of full width: the given one, in other coordinates. The costs compare with the
    given one. To load what `isoprune.save` wrote, ``build`` has to make the network with bottlenecks: see
    `isoprune.pruning.bottleneck.taken_apart`.

    Args:
        network, example_inputs, batches, task, loss, output: As in `isoprune.prune`; labels are not read.
        ratio: Fraction of the directions of all layers that goes; those of layers that stay as they were
            are counted, but do not go.
        cap: The largest fraction that a layer loses of what it reads, and of what it makes.
        samples, places: How many samples are looked at, and positions of a map or sequence in each.
        gigabytes: What the factors may take; more is refused before anything is computed.
        seed: Of the labels that are drawn.

    Raises:
        IsopruneError: Bad options; a masked network; no layer that gets smaller.

    Cost: a forward and a backward of the samples; eigenvectors of both factors of each layer. Memory: A, G
    and their eigenvectors, in float64.
    """
    check_ratio(ratio)
    check_ratio(cap, "cap")
    example_inputs, model = example_inputs_of(network, example_inputs), module_of(network)
    if masks_of(model):
        raise IsopruneError(
            "The network is masked, and turning its weights would lose the masks. Make its zeros plain "
            "first: isoprune.harden(network)."
        )
    if not ratio:
        return as_pruned(network, example_inputs)
    signals = Signals(model, batches, task_of(task, loss, output))
    names = [f"{name}.weight" for name in can_be_taken_apart(model)]
    how = {"samples": samples, "places": places, "gigabytes": gigabytes, "generator": seeded(seed)}
    layers = {
        name.removesuffix(".weight"): eigen_layer(one)
        for name, one in layer_moments(signals, names, **how).items()
    }
    kept = {name: k for name, k in _kept(layers, ratio, cap).items() if layers[name].shrinks(k)}
    if not kept:
        raise IsopruneError(
            f"No layer has fewer parameters as a bottleneck at ratio={ratio}. Raise ratio: a square Linear "
            "layer is smaller where more than 0.59 of its directions go, a 3x3 convolution at 0.11."
        )
    apart = taken_apart(model, {name: layers[name].bases for name in kept})
    graph = trace(apart, example_inputs)
    plan = _plan(graph, kept, {"ratio": ratio, "criterion": "eigendamage", "cap": cap})
    made = prune_by(apart, example_inputs, graph, lambda *_: plan)
    entry = {"step": "eigendamage", "ratio": ratio, "layers": sorted(kept)}
    history = network.history if isinstance(network, Pruned) else ()
    made = replace(made, history=(*history, entry))
    return _costs_of_given(made, model, trace(model, example_inputs))


STRUCTURES = {f.__name__: f for f in (eigendamage,)}


@dataclass(frozen=True)
class EigenLayer:
    """A layer in its eigenbasis: how much each direction of what it reads and makes matters."""

    bases: Bases
    inputs: Tensor  # scores
    outputs: Tensor
    taps: int

    def shrinks(self, kept: tuple[Tensor, Tensor]) -> bool:
        """Whether the bottleneck of what is ``kept`` of inputs and outputs has fewer parameters."""
        n, m = len(self.inputs), len(self.outputs)
        a, g = (int(k.sum()) for k in kept)
        return n * a + a * g * self.taps + g * m < n * m * self.taps


def eigen_layer(moments: LayerMoments) -> EigenLayer:
    """Return a layer in the eigenbasis of its Fisher matrix, from its factors."""
    weight = moments.weight.parameter.detach().double().cpu()
    taps = math.prod(weight.shape[2:])
    (A,), (G,) = moments.inputs, moments.outputs
    A = A.unflatten(1, (-1, taps)).unflatten(0, (-1, taps)).diagonal(dim1=1, dim2=3).mean(-1)
    (a, Q_a), (g, Q_g) = (torch.linalg.eigh(t) for t in (A, G))
    bases = Bases(Q_a, Q_g)
    squares = bases.rotated(weight).square().reshape(*weight.shape[:2], -1).sum(2)
    each = squares * torch.outer(g.clamp_min(0), a.clamp_min(0)) / 2
    return EigenLayer(bases, each.sum(0), each.sum(1), taps)


def _kept(layers: Mapping[str, EigenLayer], ratio: float, cap: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Return which directions stay, of what each layer reads and makes: one threshold for all."""
    every = [scores for layer in layers.values() for scores in (layer.inputs, layer.outputs)]
    if not every:
        raise IsopruneError("No plain Linear layer or convolution without groups was seen to run.")
    flat = torch.cat(every)
    goes = torch.zeros(len(flat), dtype=torch.bool)
    goes[flat.argsort(stable=True)[: round(ratio * len(flat))]] = True
    parts = iter(goes.split([len(scores) for scores in every]))
    return {
        name: (_capped(layer.inputs, next(parts), cap), _capped(layer.outputs, next(parts), cap))
        for name, layer in layers.items()
    }


def _capped(scores: Tensor, goes: Tensor, cap: float) -> Tensor:
    """Return what stays: all but ``goes``, and the best of these where they are more than ``cap``."""
    most = min(math.floor(cap * len(scores)), len(scores) - 1)
    lowest = torch.zeros_like(goes)
    lowest[scores.argsort(stable=True)[:most]] = True
    return ~(goes & lowest)


def _plan(graph: Graph, kept: Mapping[str, tuple[Tensor, Tensor]], request: Mapping[str, Any]) -> Plan:
    made = {
        m.tensor: (g.name, m.channels.flatten()) for g in graph.groups for m in g.members if m.role == "out"
    }
    removed: dict[str, list[int]] = {}
    for name, both in kept.items():
        for place, stays in enumerate(both):
            group, channels = made[f"{name}.{place}.weight"]
            removed[group] = channels[~stays].tolist()
    return graph.removing(removed, **request)


def _costs_of_given(made: Pruned, model: nn.Module, graph: Graph) -> Pruned:
    """Return the same with costs against the network that was given, not the one of full bottlenecks."""
    number = sum(p.numel() for p in model.parameters())
    dense, now = Cost(number, number, flops(graph, everything(graph))), made.costs.pruned
    ratios = {
        **made.costs.ratios,
        "parameters": 1 - now.parameters / max(dense.parameters, 1),
        "flops": 1 - now.flops / max(dense.flops, 1),
    }
    return replace(made, costs=replace(made.costs, dense=dense, ratios=ratios))
