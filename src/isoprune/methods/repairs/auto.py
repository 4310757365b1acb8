"""The default repair: the one that brings held-out outputs nearest to the dense network's."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from isoprune.methods.repairs.balance import balance
from isoprune.methods.repairs.batchnorm import batchnorm
from isoprune.methods.repairs.needs import first_inputs, need_batches, need_dense, need_plan
from isoprune.methods.repairs.none import none
from isoprune.methods.repairs.reconstruct import reconstruct
from isoprune.signals.modes import in_eval_mode
from isoprune.types import Batches, IsopruneError, Plan

_HELD_OUT = 8  # one sample of so many judges
_log = logging.getLogger(__name__)


def auto(
    pruned: nn.Module,
    *,
    dense: nn.Module | None,
    plan: Plan | None,
    batches: Batches | None,
    generator: Generator,
    samples: int = 2048,
    give: float = 0.02,
) -> nn.Module:
    r"""Return the best by held-out outputs of `reconstruct` + `balance`, `batchnorm` and `none`.

    The best has the least :math:`\sum_n |f(x_n) - f_{dense}(x_n)|^2` on every eighth sample, which the
    repairs do not see; no label is read. In the studies that chose it (docs/repairs.md) that was
    `reconstruct` wherever pruning had cost accuracy: it restores what the network computes, and the size of
    its Jacobian with it; `balance` then lets it be retrained at the dense network's rates. Where layers
    cannot be fitted (few samples, kinds that `reconstruct` does not know), one of the others is nearer.

    Args:
        samples: How many inputs are looked at.
        give: As in `reconstruct`.

    Raises:
        IsopruneError: Without data, dense network or plan, or if they do not belong together.
    """
    dense, plan = need_dense(dense, "auto"), need_plan(plan, "auto")
    inputs = first_inputs(need_batches(batches, "auto"), samples)
    judged = torch.arange(len(inputs)) % _HELD_OUT == 0
    if judged.all():
        raise IsopruneError(
            f"Repair 'auto' judges on every eighth sample, and batches hold {len(inputs)}. Pass more, "
            "or name a repair."
        )
    given: dict[str, Any] = {
        "dense": dense,
        "plan": plan,
        "batches": [(part, part) for part in inputs[~judged].split(256)],
        "generator": generator,
    }
    restored = reconstruct(pruned, **given, samples=samples, give=give)
    candidates = {
        "none": none(pruned, **given),
        "batchnorm": batchnorm(pruned, **given, samples=samples),
        "reconstruct and balance": balance(restored, **given),
    }
    off = {name: _off(network, dense, inputs[judged].split(256)) for name, network in candidates.items()}
    best = min(off, key=off.__getitem__)
    _log.info("auto takes %s; held-out outputs are off by %s", best, off)
    return candidates[best]


@torch.no_grad()
def _off(network: nn.Module, dense: nn.Module, chunks: Iterable[Tensor]) -> float:
    """Return the squared distance of all outputs; infinite if one is not finite."""
    with in_eval_mode(network, dense):
        total = sum(float((network(x) - dense(x)).double().square().sum()) for x in chunks)
    return total if total == total else float("inf")
