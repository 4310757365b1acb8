"""Measures: numbers that are taken of a network right after pruning (and repair), before it is retrained."""

from __future__ import annotations

from collections.abc import Callable

from torch import Generator

from isoprune.methods.measures.dead_units import dead_units
from isoprune.methods.measures.effective_rank import effective_rank
from isoprune.methods.measures.gains import gains
from isoprune.methods.measures.gradient_norm import gradient_norm
from isoprune.methods.measures.hessian import hessian_largest, hessian_trace
from isoprune.methods.measures.jsv import jsv, jsv_relative
from isoprune.methods.measures.linear_probe import linear_probe
from isoprune.methods.measures.metrics import accuracy, loss
from isoprune.methods.measures.outputs import output_error, output_kl
from isoprune.methods.measures.probe import probe
from isoprune.methods.measures.size import size
from isoprune.methods.measures.synflow_score import synflow_score
from isoprune.methods.measures.tangent import tangent_dense, tangent_kernel, tangent_labels
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method_of, name_of

Measure = Callable[..., dict[str, float]]  # (pruned, signals, *, generator, **options) -> numbers by name

MEASURES: dict[str, Measure] = {
    f.__name__: f
    for f in (
        accuracy,
        loss,
        probe,
        size,
        output_kl,
        output_error,
        jsv,
        jsv_relative,
        gains,
        dead_units,
        gradient_norm,
        hessian_largest,
        hessian_trace,
        tangent_kernel,
        tangent_labels,
        tangent_dense,
        effective_rank,
        linear_probe,
        synflow_score,
    )
}


def measured(measure: Measure, pruned: Pruned, signals: Signals, *, generator: Generator) -> dict[str, float]:
    """Return the numbers of one measure; what is not finite too.

    Raises:
        IsopruneError: If the measure lacks what it needs, or cannot be told of this network and task.
    """
    needs, name = method_of(measure).needs, name_of(measure)
    if "data" in needs and signals.batches is None:
        raise IsopruneError(
            f"The measure {name!r} looks at data, and batches is None. Pass batches=[(inputs, targets), ...]."
        )
    if "labels" in needs and not _has_targets(next(signals.data())):
        raise IsopruneError(
            f"The measure {name!r} reads labels, and the batches are inputs alone. Pass (inputs, targets)."
        )
    if "dense" in needs and pruned.dense is pruned.model:
        raise IsopruneError(
            f"The measure {name!r} compares with the network before pruning, which a module alone does not "
            "know. Pass what isoprune.prune returned."
        )
    return measure(pruned, signals, generator=generator)


def _has_targets(batch: object) -> bool:
    return isinstance(batch, dict) or (isinstance(batch, tuple | list) and len(batch) > 1)


__all__ = ["MEASURES", "Measure", "measured"]
