"""The counted (not timed) cost of measuring a network, and whether it is measured exactly or estimated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from isoprune.isometry.estimate import products_of
from isoprune.isometry.function import sample_function
from isoprune.isometry.memory import default_memory
from isoprune.isometry.picks import InputPick, Inputs, OutputPick
from isoprune.signals.work import multiply_adds

SAMPLES = 64
# Multiply-adds for one network's singular values: about ten seconds of one core. Counted and not timed, so
# that the same question gets the same measurement on every machine.
BUDGET = 2e11


@dataclass(frozen=True)
class Effort:
    """How singular values are measured. ``exact`` and ``estimate`` are multiply-adds for one sample."""

    method: Literal["exact", "estimate"]
    samples: int
    values: int
    exact: float
    estimate: float


def plan_effort(
    model: nn.Module,
    inputs: Inputs,
    *,
    samples: int | None = None,
    budget: float | int = BUDGET,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
) -> Effort:
    r"""Return how to measure the Jacobians at ``inputs`` with about ``budget`` multiply-adds.

    A sample costs one backward an output and a QR of J exactly, and `products_of` backwards estimated. Exact
    where that fits into the budget, or is the cheaper of the two; J must fit into ``memory``. Where neither
    fits, fewer samples are taken, but one at least. A forward counts at least a multiply-add a weight.

    Args:
        samples: How many; taken as given. None: 64, fewer if that is beyond the budget.
        budget: ``math.inf`` asks for exact values whatever they cost.

    Other arguments, and what raises, as in `jacobian_singular_values`.
    """
    with sample_function(model, inputs, input=input, output=output) as f:
        weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
        one = f.rows(0, 1)
        with torch.no_grad():
            forward = multiply_adds(lambda: f(f.x[one], one), least=max(f.x[0].numel(), weights))
        small, large = sorted((f.outputs, f.x[0].numel()))
        exact = f.outputs * forward + float(small) ** 2 * large
        estimate = products_of() * forward
        bound = default_memory(f.x.device) if memory is None else memory
        fits = budget == math.inf or 3 * small * large * f.x.element_size() <= bound
        wanted = min(SAMPLES if samples is None else samples, len(f.x))
    few = small <= products_of()  # there, the estimate itself computes them all
    method = "exact" if few or (fits and (wanted * exact <= budget or exact <= estimate)) else "estimate"
    each = exact if method == "exact" else estimate
    if samples is None:
        wanted = max(int(min(wanted, budget / each)), 1)
    return Effort(method, wanted, small, exact, estimate)
