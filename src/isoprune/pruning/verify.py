"""Proof that the small network computes what the dense one does without the removed channels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from isoprune.graph import Graph
from isoprune.graph.entries import Entry
from isoprune.graph.reads import Reads, retold
from isoprune.graph.recording import Pass
from isoprune.graph.trace import clone_sharing, tensors_in
from isoprune.pruning.reference import zeroed_forward
from isoprune.pruning.weight_norms import weight_norms
from isoprune.types import IsopruneError, Plan

# Relative to the largest output. Float32 sums in another order differ by some 1e-6 a layer.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True)
class Proof:
    """How far the small network is from the dense one with channels zeroed.

    ``statistics`` names where a mean or a norm ran over channels that went: there the function
    changes, as it must, and the reference restricts the statistic to what stays. Where such norms are over
    weights (a cosine classifier), ``change`` is how far outputs move for it, of the largest one.
    """

    max_abs_error: float
    scale: float
    statistics: tuple[str, ...] = ()
    change: float = 0.0

    def joined(self, other: Proof) -> Proof:
        """Return the proof of two ways through the network: the larger error, each to its scale."""
        worse = max(self, other, key=lambda p: (p.relative_error, p.scale))
        statistics = tuple(sorted({*self.statistics, *other.statistics}))
        return replace(worse, statistics=statistics, change=max(self.change, other.change))

    @property
    def relative_error(self) -> float:
        return self.max_abs_error / self.scale if self.scale else self.max_abs_error


class WrongNetwork(IsopruneError):
    """A smaller network that does not compute what it should: never handed out."""


class NotFinite(WrongNetwork):
    """Outputs from which nothing can be proven."""


def verify(model: nn.Module, small: nn.Module, graph: Graph, plan: Plan, inputs: Any) -> Proof:
    """Return the largest difference of ``small`` from ``model`` with the plan's channels zeroed.

    Channels are zeroed where the next layer reads them (after BatchNorm and activation). Both run in eval
    mode on ``inputs``, and are left as they were. Cost: one forward of each.

    Raises:
        WrongNetwork: If they differ by more than rounding: 1e-4 of the output in float32, 1e-10 in float64.
    """
    proof = Proof(0.0, 0.0)
    for number, one in enumerate(graph.recording.passes):
        dense, little = clone_sharing(model), clone_sharing(small)
        given = one.entry.inputs if number else inputs
        here = tree_map_only(torch.Tensor, torch.Tensor.clone, given)
        proof = proof.joined(_of_pass(dense, little, graph, one, graph.kept_ids(plan), here))
    return proof


def _change(before: Any, after: Any) -> float:
    """Return the largest difference of the outputs, of the largest one."""
    pairs = list(zip(tensors_in(before), tensors_in(after), strict=True))
    scale = max((float(a.abs().max()) for a, _ in pairs), default=0.0)
    error = max((float((a - b).abs().max()) for a, b in pairs), default=0.0)
    return error / scale if scale else error


def _of_pass(
    dense: nn.Module, little: nn.Module, graph: Graph, one: Pass, kept: torch.Tensor, inputs: Any
) -> Proof:
    """Return how far ``little`` is from ``dense`` with zeroed channels in one recorded pass.

    Where the forward reads values, both are given the recorded answers, and what is read is compared too.
    """
    again = clone_sharing(dense)
    norms = weight_norms(dense, graph)
    want, mode, seen = zeroed_forward(dense, graph, one, kept, copy.copy(inputs), norms=norms)
    statistics = tuple(sorted(mode.statistics))
    proof = compared(want, little, inputs, statistics, one.entry, (seen, one.answers()))
    if not mode.norms:
        return proof
    before, _, _ = zeroed_forward(again, graph, one, kept, copy.copy(inputs), whole=True)
    return replace(proof, change=_change(before, want))


def compared(
    want: Any,
    little: nn.Module,
    inputs: Any,
    statistics: tuple[str, ...] = (),
    entry: Entry | None = None,
    reads: tuple[Sequence[torch.Tensor], Reads] | None = None,
) -> Proof:
    """Return how far the outputs of ``little`` on ``inputs`` are from ``want``; raises as `verify` does.

    ``reads``: what the dense network's forward read answers from, and those answers.
    """
    seen, answers = reads or ((), Reads())
    try:
        with torch.no_grad(), retold(answers):
            got = (entry or Entry(inputs)).run(little, inputs)
    except Exception as problem:
        raise WrongNetwork(
            f"The smaller network does not run: {type(problem).__name__}: {problem}. It is not handed out; "
            "`prune` leaves out what does not fit."
        ) from problem
    error, scale, tolerance = 0.0, 0.0, 0.0
    # What is read of channels that go is of another size, and goes on to what is compared.
    read = [(a, b) for a, b in zip(seen, answers.seen, strict=True) if a.shape == b.shape and _finite(a, b)]
    for a, b in [*zip(tensors_in(want), tensors_in(got), strict=True), *read]:
        if not _finite(a, b):
            raise NotFinite(
                "The network's output holds NaN or infinity, so nothing can be proven. "
                "Give example_inputs like the data it was trained on."
            )
        if not a.numel():
            continue
        error = max(error, float((a - b).abs().max()))
        scale = max(scale, float(a.abs().max()))
        tolerance = max(tolerance, TOLERANCE.get(a.dtype, 1e-4))
    if error > tolerance * max(scale, torch.finfo(torch.float32).tiny):
        raise WrongNetwork(
            f"The smaller network differs from the dense one by {error:.2g} on outputs up to {scale:.2g}. "
            "It is not handed out. Please report the model's class and the plan."
        )
    return Proof(error, scale, statistics)


def _finite(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.isfinite(a).all() and torch.isfinite(b).all())
