"""Proof that the small network computes what the dense one does without the removed channels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.isolation import isolated
from isoprune.graph.outputs import tensors_in, tensors_of
from isoprune.pruning.drift import Drift
from isoprune.pruning.pair import Compared, NetworkPair, Reference, Run, Wanted
from isoprune.pruning.reference import zeroing
from isoprune.pruning.shrink import scales
from isoprune.pruning.trials import Trial, drawn_trials, norm_factors, recorded_trials
from isoprune.pruning.weight_norms import weight_norms
from isoprune.types import Plan

_MANY = 1 << 16  # numbers in an example that is large


@dataclass(frozen=True)
class Proof:
    """How far the small network is from the dense one with channels zeroed.

    Attributes:
        max_abs_error: The difference of the worst element of all outputs.
        scale: The size of that element, or of the small elements of its tensor where it is smaller still.
        statistics: Where a mean or a norm ran over channels that went: there the function changes, as it
            must, and the reference restricts the statistic to what stays.
        trials: What the networks were compared on; "in float64" unless the forward runs in its own type only.
        tensors: How many tensors of an output were compared.
        change: Where such norms are over weights (a cosine classifier), how far outputs move for it, of the
            largest one.
    """

    max_abs_error: float
    scale: float
    statistics: tuple[str, ...] = ()
    trials: tuple[str, ...] = ()
    tensors: int = 0
    change: float = 0.0

    @property
    def relative_error(self) -> float:
        return self.max_abs_error / self.scale if self.scale else self.max_abs_error


def verify(
    model: nn.Module,
    small: nn.Module,
    graph: Graph,
    plan: Plan,
    inputs: Any,
    *,
    drifts: Sequence[Drift] | None = None,
) -> Proof:
    """Return the largest difference of ``small`` from ``model`` with the plan's channels zeroed.

    Channels are zeroed where the next layer reads them (after BatchNorm and activation). Copies of both run
    in eval mode and float64 on ``inputs``, and with changed weights on drawn inputs of another batch size
    and, if the network takes one, another image size. Random numbers that a forward draws are the same for
    both.

    Cost: four forwards, those on drawn inputs in float64 and one more recorded. A large example is run in
    float32 after the drawn one has been proven in float64.

    Raises:
        WrongNetwork: If an element of an output differs by more than rounding: 1e-9 of its size in float64.
    """
    kept = graph.kept_ids(plan)
    norms = weight_norms(model, graph)

    def reference(run: Run, trial: Trial) -> Wanted:
        left = trial.kept_ids(graph, kept)
        with zeroing(trial.graph, trial.way, left, norms=norms) as mode:
            output = run(mode)
        change = 0.0
        if mode.norms and trial.seed is None:
            with zeroing(trial.graph, trial.way, left, norms=norms, whole=True) as before:
                change = _change(run(before, noted=False), output)
        return Wanted(output, mode.statistics, change)

    factors = scales(model, graph, plan, drifts) | norm_factors(model, small, graph, kept, norms)
    return proven(model, small, graph, inputs, kept, reference, factors)


def _change(before: Any, after: Any) -> float:
    """Return the largest difference of the outputs, of the largest one; infinite if their shapes differ."""
    pairs = list(zip(tensors_in(before), tensors_in(after), strict=True))
    if any(a.shape != b.shape for a, b in pairs):  # such as other numbers of boxes
        return math.inf
    whole = [(a, b) for a, b in pairs if a.numel()]
    scale = max((float(a.abs().max()) for a, _ in whole), default=0.0)
    error = max((float((a - b).abs().max()) for a, b in whole), default=0.0)
    return error / scale if scale else error


@isolated()
def proven(
    model: nn.Module,
    small: nn.Module,
    graph: Graph,
    inputs: Any,
    kept: Tensor | None,
    reference: Reference,
    factors: Mapping[str, Tensor],
    *,
    names: Mapping[str, str] | None = None,
) -> Proof:
    """Return the proof that ``small`` computes what ``reference`` says; raises as `verify` does.

    Args:
        model, small: Left as they are.
        graph: Of ``model``, recorded on ``inputs``.
        kept: The channel ids that ``small`` has; None: all.
        reference: (a run of a copy of ``model``, a trial) -> what it should give.
        factors: What `shrink` multiplied weights of ``small`` by.
        names: What tensors of ``small`` are called in ``model``, where that is something else.
    """
    pair = NetworkPair(model, small, graph, kept, reference, factors, names=names or {})
    exact, own = pair, replace(pair, exact=False)
    done: list[Compared] = []
    for trial in drawn_trials(model, graph, inputs):
        found = next(filter(None, (pair.usable(trial) for pair in (exact, own))), None)
        if found is not None:
            done.append(found[0].compared(trial, found[1]))
            break
    # Convolutions in float64 are slow, and what was drawn is proven in it already.
    quick = bool(done) and sum(t.numel() for t in tensors_of(inputs)) > _MANY and own.is_single
    first, second = (own, exact) if quick else (exact, own)
    recorded = []
    for trial in recorded_trials(graph, inputs):
        try:
            pair, want = first, first.want(trial)
        except Exception:
            pair, want = second, second.want(trial)
        recorded.append(pair.compared(trial, want))
    done = [*recorded, *done]
    worst = max(done, key=lambda one: one.discrepancy.relative)
    return Proof(
        worst.discrepancy.error,
        worst.discrepancy.scale,
        tuple(sorted({s for one in done for s in one.statistics})),
        tuple(one.trial for one in done),
        done[0].discrepancy.tensors,
        max(one.change for one in done),
    )
