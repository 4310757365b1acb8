"""Make a network smaller, or hold parts of it at zero: proven, round after round."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from isoprune.graph import Constraint, Graph, trace
from isoprune.methods.criteria import scores_of
from isoprune.pruning import Pruned, prune_by
from isoprune.pruning.allocation import Number, Ratio
from isoprune.pruning.plan import make_plan, plan_for_target, share
from isoprune.signals import Signals
from isoprune.types import IsopruneError, Network, Plan, Scores, module_of


def prune(
    network: Network,
    example_inputs: Any = None,
    ratio: Ratio | None = None,
    *,
    flops: Number | None = None,
    parameters: Number | None = None,
    latency: Number | None = None,
    criterion: str | Callable[..., Scores] = "l1_norm",
    batches: Iterable[Any] | None = None,
    allocation: str = "uniform",
    scope: str = "all",
    round_to: int = 1,
    floor: int = 1,
    cap: Number = 0.9,
    seed: int = 0,
    backend: str | None = None,
    threads: int = 1,
) -> Pruned:
    """Return a physically smaller network of the same class, proven against the dense one.

    How much goes is said by one of ``ratio``, ``flops``, ``parameters`` and ``latency``. The request is in
    ``pruned.plan.request``, what came of it in ``pruned.costs``.

    Args:
        network: Any module, or what a verb gave back; left as it is.
        example_inputs: What its forward takes: a tensor, a tuple of arguments, or a dict of keywords. A
            `Pruned` knows them.
        ratio: Fraction of the units removed per group, or name patterns -> fractions, the last match wins.
            The last channel of a group and the network's outputs always stay.
        flops: The fraction of multiply-adds that may stay, such as 0.5.
        parameters: The fraction of parameters that may stay.
        latency: The fraction of the dense network's time that may stay, measured on these inputs: up to 7
            networks are made, and timed in turns with the dense one.
        criterion: A name from `isoprune methods`, or a function of your own with a criterion's signature.
        batches: Data for criteria that need some, as a DataLoader yields them.
        allocation, scope, round_to, floor, cap: See `isoprune.pruning.make_plan`.
        seed: For criteria that draw.
        backend: Where latency is measured: "onnxruntime" (the default, if it is installed and runs the
            network), "eager" or "compile".
        threads: Threads of the timed networks.

    Raises:
        IsopruneError: Bad options; a forward that does not run; nothing that could be removed; a budget
            out of reach.
    """
    given = {"ratio": ratio, "flops": flops, "parameters": parameters, "latency": latency}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) != 1:
        raise IsopruneError(
            f"Give one of ratio, flops, parameters and latency; got {', '.join(given) or 'none'}."
        )
    model = module_of(network)
    signals = Signals(model, batches)
    if example_inputs is None and isinstance(network, Pruned):
        example_inputs = network.example_inputs
    options = {"allocation": allocation, "scope": scope, "round_to": round_to, "floor": floor, "cap": cap}

    def shrunk(what: str, target: Any) -> Pruned:
        def planner(graph: Graph, links: tuple[Constraint, ...]) -> Plan:
            generator = torch.Generator().manual_seed(seed)
            scores = scores_of(criterion, signals, graph.groups, generator=generator)
            at = partial(make_plan, graph, scores, links=links, **options)
            if what == "ratio":
                return at(ratio=target)
            return plan_for_target(lambda r: at(ratio=r), share(graph, model, what), target, what=what)

        return prune_by(model, example_inputs, trace(model, example_inputs), planner)

    if latency is None:
        return shrunk(*next(iter(given.items())))
    from isoprune.export import prune_in_time

    return prune_in_time(
        partial(shrunk, "ratio"), model, example_inputs, latency, backend=backend, threads=threads
    )


def verify(pruned: Pruned) -> Any:
    """Return the proof."""
    return pruned.proof
