"""Make a network smaller, or hold parts of it at zero: proven, round after round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from isoprune.graph import Constraint, Graph, trace
from isoprune.graph.entries import further_calls
from isoprune.isometry.picks import OutputPick
from isoprune.methods.repairs.auto import check_retrain_budget
from isoprune.pruning import Pruned, prune_by
from isoprune.pruning.allocation import CAP, Number, Ratio
from isoprune.pruning.costs import costs_of
from isoprune.pruning.dead import living_channels, plan_without_dead
from isoprune.pruning.grains import read_grain, units_of
from isoprune.pruning.mask import element_masks, masks_of
from isoprune.pruning.mask import harden as plain_copy
from isoprune.pruning.mask_plan import plan_units
from isoprune.pruning.masking import mask_by
from isoprune.pruning.plan import cost_of_one, make_plan, plan_for_target, plan_of_same_numbers, share
from isoprune.pruning.pruned import example_inputs_of
from isoprune.pruning.rounds import inflated, renumbered
from isoprune.types import CLASSIFICATION, IsopruneError, Network, Plan, Scores, Task, module_of
from isoprune.types.units import DEPTH, UpdatingScores
from isoprune.verbs.masked_rounds import masked_units, without_masks
from isoprune.verbs.request import check_numbers, check_options, requested
from isoprune.verbs.scorer import Scorer, default_criterion
from isoprune.verbs.tasks import task_of
from isoprune.verbs.whole_blocks import without_whole_blocks


def prune(
    network: Network,
    example_inputs: Any = None,
    ratio: Ratio | None = None,
    *,
    flops: Number | None = None,
    parameters: Number | None = None,
    latency: Number | None = None,
    criterion: str | Callable[..., Scores] | None = None,
    grain: str = "channel",
    mask: bool = False,
    batches: Iterable[Any] | None = None,
    task: Task = CLASSIFICATION,
    loss: Callable[[Any, Any], Tensor] | None = None,
    output: OutputPick = None,
    allocation: str = "uniform",
    scope: str = "all",
    round_to: int = 1,
    floor: int = 1,
    cap: Number = CAP,
    retrain_budget: int | None = None,
    seed: int = 0,
    backend: str | None = None,
    threads: int = 1,
    also: Iterable[Any] = (),
    unrun: str = "keep",
    outputs: Sequence[str | int] = (),
) -> Pruned:
    """Return the network without a part of its units, proven against the one before.

    Whole channels, heads and residual blocks are removed: the network is smaller, and of the same class.
    Units of other grains, and any with ``mask``, are held at zero by masks, through any training; no shape
    changes, and a dense kernel gains no time. How much goes is said by one of ``ratio``, ``flops``,
    ``parameters`` and ``latency``. The request is in ``pruned.plan.request``, what came of it in
    ``pruned.costs``.

    A `Pruned` is pruned once more: ``ratio`` is then a fraction of what is left, and the plan of all rounds
    is numbered as in the dense network. A network that was shrunk becomes the dense one of a plan of masks.

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
        criterion: A name from `isoprune methods`, or a function of your own with a criterion's signature; one
            that brings a weight update (docs/curvature.md) changes the weights that stay.
            None: "l1_norm", and with ``retrain_budget`` "reconstruction" where it knows the grain.
            "zeros" needs no ratio: exactly the channels that are zero wherever they are read go, whoever
            zeroed them, and the network computes what it did.
        grain: What goes as one: "channel", "head", "residual_block", "filter", "kernel", "vector", "weight",
            n:m such as "2:4" (which needs no ratio), or a block such as "4x4"; see `isoprune.pruning.grains`.
        mask: Whether whole channels are held at zero instead of removed.
        batches: Data for criteria that need some, as a DataLoader yields them.
        task: What a batch means; by default (inputs, labels), and the loss is cross-entropy.
        loss: (outputs, batch) -> scalar, in place of the task's; a loss of torch gets ``batch[1]``.
        output: Which of several outputs the loss reads: a key, an index or a function of the outputs.
        allocation: "uniform"; "global": all units compete, channels by score over the mean of their group
            (by their scores as they are where the criterion's are comparable), other units by their scores
            as they are; "error": channels by score over what one costs (multiply-adds for ``flops``, else
            parameters), for scores that are rises of one error; or "erk", of other units than channels: each
            tensor keeps a part by its shape (`isoprune.pruning.erdos_renyi`).
        scope, round_to, floor, cap: Of channels; see `isoprune.pruning.make_plan`. ``floor`` is for all.
        retrain_budget: Samples that the retraining will see, 0 if none follows. With it the network comes
            back repaired by "auto" as that budget asks for; ``batches`` are looked at, labels are not.
        seed: For criteria that draw.
        backend: Where latency is measured: "onnxruntime" (the default, if it is installed and runs the
            network), "eager" or "compile".
        threads: Threads of the timed networks.
        also: Further calls that must stay right: inputs of forward (another task, another branch), or pairs
            (name of a method, its inputs). Train mode and both ways of a branch on a value are recorded by
            themselves. A `Pruned` knows those of earlier rounds.
        unrun: "keep" the channels that a parameter which no call runs could read, or "ignore" it: then such
            parts keep their dense sizes and need not fit any more.
        outputs: Which outputs of the forward count, by key, name or index (``["logits"]``): they alone keep
            their channels and are proven. A `Pruned` knows those of earlier rounds; by default all count.

    Raises:
        IsopruneError: Bad options; a forward that does not run; nothing that could be removed; a budget
            out of reach.
    """
    unit, zeros = read_grain(grain), criterion == "zeros"
    what, target = requested(
        unit, zeros, mask, ratio=ratio, flops=flops, parameters=parameters, latency=latency
    )
    check_options(unit, ratio, allocation=allocation, scope=scope, round_to=round_to, cap=cap)
    check_retrain_budget(retrain_budget)
    example_inputs = example_inputs_of(network, example_inputs)
    check_numbers(network, example_inputs)
    also = further_calls(also)
    if isinstance(network, Pruned):
        also += network.graph.recording.also
        outputs = outputs or network.graph.recording.outputs
    graph_of = partial(trace, example_inputs=example_inputs, also=also, unrun=unrun, outputs=outputs)
    score = Scorer(
        criterion or default_criterion(unit, retrain_budget), batches, task_of(task, loss, output), seed
    )
    how = {"allocation": allocation, "floor": floor}
    if unit.name == DEPTH:
        if mask or retrain_budget is not None:
            raise IsopruneError(
                f"Grain {DEPTH} takes no mask= and no retrain_budget=: blocks are removed, and "
                "isoprune.repair(small, 'polish', batches=...) trains what is left toward the dense outputs."
            )
        made = without_whole_blocks(network, example_inputs, target, score, graph_of, **how)
        return followed(made)
    if not unit.whole:
        made = masked_units(network, example_inputs, unit, target, score, graph_of, **how)
        return score.repaired(made, retrain_budget)
    model = module_of(network)
    if mask:
        network = without_masks(network, unit)
    elif masks_of(model):
        raise IsopruneError(
            f"The network is masked, and removing {unit}s would lose the masks. Prune at the grain of its "
            "masks (mask=True for channels), or make its zeros plain first: isoprune.harden(pruned)."
        )
    options = {"allocation": allocation, "scope": scope, "round_to": round_to, "floor": floor, "cap": cap}

    budget = what if what == "flops" else "parameters"

    def shrunk(what: str, target: Any) -> Pruned:
        small = module_of(network)
        graph = graph_of(small)
        if zeros:
            living = living_channels(small, graph)

            def without_dead(graph: Graph, links: tuple[Constraint, ...]) -> Plan:
                return plan_without_dead(graph, living, links, floor=floor)

            return joined(network, prune_by(small, example_inputs, graph, without_dead))
        scores = score.of(small, example_inputs)

        def planner(graph: Graph, links: tuple[Constraint, ...]) -> Plan:
            units = units_of(graph, unit)

            def by(scores: Scores) -> Plan:
                if unit.name == "head":
                    return plan_units(graph, units, scores, grain=unit, ratio=target, floor=floor)
                per = cost_of_one(graph, small, budget) if allocation == "error" else score.per(units)
                at = partial(make_plan, graph, scores, links=links, per=per, **options)
                if what == "ratio":
                    return at(ratio=target)
                return plan_for_target(lambda r: at(ratio=r), share(graph, small, what), target, what=what)

            def again(scores: Scores, first: Plan) -> Plan:
                if unit.name == "head":
                    return by(scores)
                how = {"round_to": round_to, "floor": floor, "links": links}
                return plan_of_same_numbers(graph, scores, first, **how)

            return score.plan(scores, units, by, again, numbers_by_scores=allocation != "uniform")

        made = prune_by(small, example_inputs, graph, planner)
        graph, plan = made.graph, made.plan
        new = score.updated(small, lambda: element_masks(graph, plan, units_of(graph, unit)))
        if new is not small:
            made = replace(prune_by(new, example_inputs, graph, lambda *_: plan), dense=small)
        return joined(network, made)

    if what != "latency":
        made = shrunk(what, target)
    else:
        from isoprune.export import prune_in_time

        at_ratio, dense = partial(shrunk, "ratio"), module_of(network)
        made = prune_in_time(at_ratio, dense, example_inputs, target, backend=backend, threads=threads)
    if mask:
        whole = plain_copy(model)
        if isinstance(score.last_scores, UpdatingScores):
            whole = inflated(whole, made.graph, made.plan, made.model)
        result = mask_by(whole, example_inputs, made.graph, made.plan, units_of(made.graph, unit))
        made = replace(result, dense=made.dense, history=made.history, attempts=made.attempts)
    else:
        made = followed(made)
    return score.repaired(made, retrain_budget)


def followed(made: Pruned) -> Pruned:
    """Return a network of transformers with the config that makes one of its sizes; others as they are."""
    if not hasattr(made.model, "save_pretrained"):
        return made
    from isoprune.export import follow_config

    return follow_config(made)


def joined(network: Network, made: Pruned) -> Pruned:
    """Return a further round as one with those before, numbered as in the dense network."""
    if not isinstance(network, Pruned):
        return made
    history = (*network.history, *made.history)
    if not network.plan:  # nothing went before: what was pruned is the dense network
        return replace(made, history=history)
    dense, graph = network.dense, network.graph
    plan = network.plan.then(renumbered(graph, network.plan, made.graph, made.plan))
    return replace(
        made,
        dense=dense,
        graph=graph,
        plan=plan,
        costs=replace(costs_of(dense, made.model, graph, plan), latency=made.costs.latency),
        history=history,
        attempts=(*network.attempts, *made.attempts),
    )
