"""The default repair: of several, what brings the outputs nearest to the dense network's."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from torch import Generator

from isoprune.graph.outputs import tensors_in
from isoprune.methods.repairs.balance import balance
from isoprune.methods.repairs.batchnorm import batchnorm
from isoprune.methods.repairs.distances import layers_off, outputs_off
from isoprune.methods.repairs.none import none
from isoprune.methods.repairs.polish import SAMPLES, polish
from isoprune.methods.repairs.reconstruct import reconstruct
from isoprune.pruning.pruned import Pruned
from isoprune.signals.samples import every_eighth, in_batches
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.methods import Repaired
from isoprune.types.units import GRAINS

_CHUNK, _BYTES = 256, 2**26  # samples that go through together, and bytes of their inputs
_GIVE = 0.02
_log = logging.getLogger(__name__)


@method("repair", "data", "dense", "plan", grains=GRAINS)
def auto(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    samples: int = 2048,
    give: float | None = None,
    retrain_budget: int | None = None,
) -> Repaired:
    r"""Return the best by its outputs of `reconstruct` + `balance`, `batchnorm` and `none`.

    The best has the least :math:`\sum_n |f(x_n) - f_{dense}(x_n)|^2` over all tensors of floats in the
    outputs, on every eighth sample, which the repairs do not see; no label is read. Where the outputs are of
    other numbers, as the boxes that a detector finds, what layers make counts that lost no channel. In the
    studies that chose it (docs/repairs.md) that was `reconstruct` wherever pruning had cost accuracy: it
    restores what the network computes, and the size of its Jacobian with it; `balance` then lets it be
    retrained at the dense network's rates. Where layers cannot be fitted (few samples, kinds that
    `reconstruct` does not know), one of the others is nearer.

    With ``retrain_budget`` the result is `polish`ed and balanced where the retraining that follows is shorter
    than polishing (76,800 samples). That is training: its samples are in what comes back, and count with
    those of retraining.

    Args:
        samples: How many inputs are looked at.
        give: As in `reconstruct`; None: 0 where no retraining follows, else 0.02.
        retrain_budget: Samples that the retraining will see, 0 if there will be none. None: not known, and
            nothing is trained here.

    Cost: that of `reconstruct` and `balance`, and of `polish` where it follows. Memory: three copies of the
    network, ``samples`` inputs, and what `reconstruct` and `balance` hold; that of `polish` where it follows.

    Raises:
        IsopruneError: Without data, for a budget that is no number of samples, or if dense network and plan
            do not belong to the pruned network.
    """
    check_retrain_budget(retrain_budget)
    # One pass: a loader that shuffles would have polishing judge by samples that the repairs have seen.
    signals = signals.taking(samples)
    each = list(signals.chunks(samples, chunk=1))
    if len(each) < 2:
        raise IsopruneError(
            f"Repair 'auto' judges on every eighth sample, and batches hold {len(each)}. Pass more, "
            "or name a repair."
        )
    judges, fitted = (in_batches(part, _at_once(each[0])) for part in every_eighth(each))
    seen = replace(signals, batches=fitted, task=replace(signals.task, inputs=lambda inputs: inputs))
    if give is None:
        give = 0.0 if retrain_budget == 0 else _GIVE
    restored = reconstruct(pruned, seen, generator=generator, samples=samples, give=give)
    candidates = {
        "none": none(pruned, seen, generator=generator),
        "batchnorm": batchnorm(pruned, seen, generator=generator, samples=samples),
        "reconstruct and balance": balance(replace(pruned, model=restored), seen, generator=generator),
    }
    judged: dict[str, float | None] = {}
    for judge in (outputs_off, layers_off):
        judged = {name: judge(network, pruned.dense, judges) for name, network in candidates.items()}
        if None not in judged.values():
            break
    off = {name: value for name, value in judged.items() if value is not None}
    if len(off) < len(candidates):
        raise IsopruneError(
            "Repair 'auto' compares outputs, and those of the pruned and the dense network differ in number "
            "or shape on the same inputs, and so do those of all layers. Name a repair instead."
        )
    best = min(off, key=off.__getitem__)
    _log.info("auto takes %s; outputs are off by %s", best, off)
    if retrain_budget is None or retrain_budget >= SAMPLES:
        return Repaired(candidates[best])
    start = replace(pruned, model=candidates[best])
    polished = polish(start, signals, generator=generator, images=samples)
    level = balance(replace(pruned, model=polished.model), seen, generator=generator)
    return replace(polished, model=level)


def check_retrain_budget(samples: int | None) -> None:
    """Raise IsopruneError unless a budget is a number of samples, or None."""
    if samples is not None and (type(samples) is not int or samples < 0):
        raise IsopruneError(
            f"retrain_budget is {samples!r}. Give how many samples the retraining will see, such as epochs * "
            "len(train): 0 if there will be none."
        )


def _at_once(sample: Any) -> int:
    """Return how many samples like this one go through the network together."""
    size = sum(t.nbytes for t in tensors_in(sample))
    return max(1, min(_CHUNK, _BYTES // max(size, 1)))
