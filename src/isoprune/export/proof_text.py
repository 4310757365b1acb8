"""A `Pruned` in sentences: the proof, and what stays whole and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.conv import _ConvNd

from isoprune.graph import Graph
from isoprune.pruning import Pruned
from isoprune.types.units import counted

REASONS = 6  # more are counted, not told


def proof_in_words(result: Pruned) -> Iterator[str]:
    """Yield how far the pruned network is from the dense one, and where its function changes."""
    proof = result.proof
    zeroed = f"the dense one with those {counted(result.plan.grain)} zeroed"
    if proof.max_abs_error:
        yield (
            f"Proof: the pruned network differs from {zeroed} by {proof.max_abs_error:.2g}, "
            f"{proof.relative_error:.1g} of its scale."
        )
    else:
        yield f"Proof: the pruned network computes what {zeroed} does, to the last bit."
    if proof.statistics:
        yield (
            "The function changes, as it must, where a mean or a norm runs over channels that went: "
            f"{_some(proof.statistics)}."
            + (f" For norms over weights, outputs move by {proof.change:.1%}." if proof.change else "")
        )


def frozen_in_words(graph: Graph) -> Iterator[str]:
    """Yield what had to stay whole, by reason; the reason that holds most tensors first."""
    by_reason: dict[str, list[str]] = {}
    for f in graph.frozen:
        by_reason.setdefault(f.reason, []).append(f"{f.tensor} ({f.channels} channels)")
    ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    for reason, tensors in ordered[:REASONS]:
        yield f"Stays ({reason}): {_some(tensors)}."
    if len(ordered) > REASONS:
        yield f"Stays, for {len(ordered) - REASONS} more reasons: isoprune.trace(model, inputs).frozen."


def odd_in_words(dense: nn.Module, pruned: nn.Module, name: str = "The pruned network") -> Iterator[str]:
    """Yield how many layers got a width that is no multiple of 8, unless the dense one's is none either."""
    usual = odd_widths(dense)
    odd = {layer: width for layer, width in odd_widths(pruned).items() if layer not in usual}
    if odd:
        some = ", ".join(f"{layer} {width}" for layer, width in list(odd.items())[:3])
        more = ", ..." if len(odd) > 3 else ""
        yield (
            f"{name} has {len(odd)} layers whose width is not a multiple of 8 ({some}{more}), which much "
            "hardware runs no faster than the next multiple: prune with round_to=8."
        )


def _some(words: Sequence[str], most: int = 2) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def odd_widths(model: nn.Module) -> dict[str, int]:
    """Return, by layer, the outputs of convolutions and Linear layers that are no multiple of 8."""
    widths = {
        name: m.out_channels if isinstance(m, _ConvNd) else m.out_features
        for name, m in model.named_modules()
        if isinstance(m, _ConvNd | nn.Linear)
    }
    return {name: width for name, width in widths.items() if width % 8}
