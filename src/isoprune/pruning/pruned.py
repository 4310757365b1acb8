"""`Pruned`, which every verb takes and returns: a pruned network, its plan, proof, costs and history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from isoprune.graph import Graph, trace
from isoprune.graph.groups import build
from isoprune.graph.ledger import Ledger
from isoprune.graph.recording import Recording
from isoprune.pruning import summary
from isoprune.pruning.costs import Costs, costs_of
from isoprune.pruning.spared import Spared, spared_of
from isoprune.pruning.verify import Proof
from isoprune.types import IsopruneError, Network, Plan, module_of


@dataclass(frozen=True, repr=False)
class Pruned:
    """A pruned network, how it was made, and the proof.

    Attributes:
        model: The network now: smaller, or of the dense shape with units held at zero by masks.
        dense: The network before anything went; left as it was.
        plan: Which units stay, numbered as in ``dense``; over all rounds.
        graph: Of ``dense``: its channels, and in ``graph.frozen`` what had to stay and why.
        proof: How far the network was, when its units went, from the one before with those units zeroed.
        costs: Parameters and multiply-adds of ``dense`` and of ``model``.
        history: One entry a step that was taken: {"step": "prune", ...}.
        example_inputs: What the forward takes.
        attempts: What did not fit and was put back, in the order of finding.
    """

    model: nn.Module
    dense: nn.Module
    plan: Plan
    graph: Graph
    proof: Proof
    costs: Costs
    history: tuple[Mapping[str, Any], ...] = ()
    example_inputs: Any = None
    attempts: tuple[str, ...] = ()

    @property
    def spared(self) -> tuple[Spared, ...]:
        """The channels or heads that could go and were requested, but lost nothing: name, size, reason."""
        return spared_of(self.graph, self.plan)

    def __repr__(self) -> str:
        return summary.text(self)

    def __rich__(self) -> Any:
        return summary.table(self)

    def _repr_html_(self) -> str:
        return summary.html(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the network computes now."""
        return self.model(*args, **kwargs)


def require_pruned(network: object, verb: str) -> None:
    """Refuse what a verb that reads a plan cannot work on.

    Raises:
        IsopruneError: If it is no `Pruned`: a module alone knows no plan.
    """
    if not isinstance(network, Pruned):
        raise IsopruneError(
            f"{verb} reads what was pruned of which network, and a {type(network).__name__} does not know "
            "it. Give what isoprune.prune or a later verb gave back."
        )


def example_inputs_of(network: Network, given: Any = None) -> Any:
    """Return what a network's forward takes: as given, or as a `Pruned` knows it.

    Raises:
        IsopruneError: If neither says it.
    """
    known = network.example_inputs if given is None and isinstance(network, Pruned) else given
    if known is None:
        raise IsopruneError(
            "Give example_inputs: what the network's forward takes, such as images of shape [2, 3, 224, 224]."
        )
    return known


def as_pruned(network: Network, example_inputs: Any = None) -> Pruned:
    """Return a `Pruned` as it is, and a module as one of which nothing went: it is its own dense network.

    Without ``example_inputs`` there is no forward to record: its graph is empty, no multiply-adds are shown.
    """
    if isinstance(network, Pruned):
        return network
    model, plan = module_of(network), Plan()
    nothing = build(Recording((), {}, (), {}), Ledger())
    graph = nothing if example_inputs is None else trace(model, example_inputs)
    costs = costs_of(model, model, graph, plan)
    return Pruned(model, model, plan, graph, Proof(0.0, 0.0), costs, example_inputs=example_inputs)
