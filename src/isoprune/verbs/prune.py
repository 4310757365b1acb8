"""The library's verbs around a `PruneResult`: thin, so that a script reads as the story."""

from __future__ import annotations

from typing import Any

from torch import nn

from isoprune import pruning
from isoprune.pruning import PruneResult
from isoprune.pruning.allocation import Ratio
from isoprune.types import IsopruneError


def prune(
    model: nn.Module,
    example_inputs: Any,
    ratio: Ratio | None = None,
    *,
    flops: float | None = None,
    parameters: float | None = None,
    latency: float | None = None,
    backend: str | None = None,
    threads: int = 1,
    **options: Any,
) -> PruneResult:
    """Return a physically smaller network of the same class, proven against the dense one.

    How much goes is said by one of ``ratio``, ``flops``, ``parameters`` and ``latency``. What was asked and
    what came of it is in ``result.realised``.

    Args:
        model: Any module; left as it is.
        example_inputs: What its forward takes: a tensor, a tuple of arguments, or a dict of keywords.
        ratio: Fraction of channels removed per group, or name patterns -> fractions, the last match wins.
        flops: The fraction of multiply-adds that may stay, such as 0.5.
        parameters: The fraction of parameters that may stay.
        latency: The fraction of the dense network's time that may stay, measured on these inputs: up to 7
            networks are made, and timed in turns with the dense one.
        backend: Where latency is measured: "onnxruntime" (the default, if it is installed and runs the
            network), "eager" or "compile".
        threads: Threads of the timed networks.
        options: criterion, batches, allocation, scope, round_to, floor, cap, seed: see
            `isoprune.pruning.prune`.

    Raises:
        IsopruneError: Bad options; a forward that does not run; nothing that could be removed; a target
            out of reach.
    """
    asked = {"ratio": ratio, "flops": flops, "parameters": parameters, "latency": latency}
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) != 1:
        raise IsopruneError(
            f"Give one of ratio, flops, parameters and latency; got {', '.join(given) or 'none'}."
        )
    if latency is None:
        return pruning.prune(model, example_inputs, **given, **options)
    from isoprune.export import prune_in_time

    return prune_in_time(
        lambda r: pruning.prune(model, example_inputs, r, **options),
        model,
        example_inputs,
        latency,
        backend=backend,
        threads=threads,
    )


def verify(model: nn.Module, result: PruneResult, example_inputs: Any) -> float:
    """Return the largest absolute difference of the small network from the dense one with channels zeroed.

    Raises:
        WrongNetwork: If it is more than rounding; see `isoprune.pruning.verify`.
    """
    proof = pruning.verify(model, result.model, result.graph, result.plan, example_inputs)
    return proof.max_abs_error
