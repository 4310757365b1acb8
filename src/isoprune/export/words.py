"""A `PruneResult` in sentences: the proof, and what stays whole and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isoprune.graph import Graph
from isoprune.pruning import PruneResult

REASONS = 6  # more are counted, not told


def proof_in_words(result: PruneResult) -> Iterator[str]:
    """Yield how far the pruned network is from the dense one, and where its function changes."""
    proof = result.verification
    yield (
        "Proof: the pruned network differs from the dense one with those channels zeroed by "
        f"{proof.max_abs_error:.2g}, {proof.relative_error:.1g} of the largest output."
    )
    if proof.statistics:
        yield (
            "The function changes, as it must, where a mean or a norm runs over channels that went: "
            f"{_some(proof.statistics)}."
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


def _some(words: Sequence[str], most: int = 2) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
