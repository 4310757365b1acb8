"""What the dense network's layers make of data, at sampled places: what `reconstruct` wants back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from isoprune.graph import trace
from isoprune.graph.labels import restrict
from isoprune.repairs.probe import Probe, made_at, places, watch
from isoprune.types import IsopruneError, Plan

Key = tuple[str, int, int]  # layer, how often it has run before, chunk of inputs


@dataclass(frozen=True)
class Goals:
    """Per layer, run and chunk: sampled places [samples, places], and there, in the channels that are kept,

    the layer's outputs ``made`` and the sums ``totals`` that they go into, [samples, places, channels].
    """

    where: Mapping[Key, Tensor]
    made: Mapping[Key, Tensor]
    totals: Mapping[Key, Tensor]

    def runs(self, layer: str) -> int:
        """Return how often the layer runs in a forward."""
        return 1 + max(run for name, run, _ in self.where if name == layer)


def goals(
    dense: nn.Module,
    layers: Mapping[str, nn.Module],
    rows: Mapping[str, Tensor],
    chunks: Sequence[Tensor],
    *,
    most: int,
    generator: Generator,
    memory: int,
) -> Goals:
    """Return the goals of the dense network's ``layers``: one forward of all ``chunks``.

    Args:
        rows: Per layer, the outputs that are kept.
        most: Places a sample.
        memory: Bound in bytes on what is returned.

    Raises:
        IsopruneError: If that is more than ``memory``, after the first chunk.
    """
    where: dict[Key, Tensor] = {}
    made: dict[Key, Tensor] = {}
    totals: dict[Key, Tensor] = {}
    for i, chunk in enumerate(chunks):

        def output(name: str, run: int, _: Tensor, y: Tensor, i: int = i) -> None:
            there = places(y, layers[name], most, generator)
            where[name, run, i] = there
            made[name, run, i] = made_at(y, layers[name], there)[..., rows[name]]

        def total(name: str, run: int, t: Tensor, i: int = i) -> None:
            totals[name, run, i] = made_at(t, layers[name], where[name, run, i])[..., rows[name]]

        watch(dense, chunk, layers, Probe(output=output, total=total))
        if i == 0:
            _require_memory([*where.values(), *made.values(), *totals.values()], chunks, memory)
    return Goals(where, made, totals)


def _require_memory(first: Sequence[Tensor], chunks: Sequence[Tensor], memory: int) -> None:
    samples = sum(map(len, chunks))
    need = sum(t.nbytes for t in first) * samples // len(chunks[0])
    if need > memory:
        raise IsopruneError(
            f"What the dense network's layers make of {samples} samples takes {need:,} bytes; memory = "
            f"{memory:,}. Lower samples or places, or raise memory."
        )


def kept_rows(
    dense: nn.Module, small: Mapping[str, Tensor], plan: Plan, example: Tensor
) -> dict[str, Tensor]:
    """Return, per layer of ``small`` (its weights in the pruned network), which of its outputs were kept.

    Raises:
        IsopruneError: If ``plan`` is not the one by which the dense network became the pruned one.
    """
    graph = trace(dense, example)
    kept = graph.kept_ids(plan.removed)
    rows = {}
    for name, weight in small.items():
        full = dense.get_submodule(name).weight
        assert isinstance(full, Tensor)
        index = torch.arange(len(full)).reshape(-1, *[1] * (full.ndim - 1)).expand(full.shape)
        planes = graph.tensors.get(f"{name}.weight", ((),))[0]
        left = restrict(index, planes, kept)
        if left.shape != weight.shape:
            raise IsopruneError(
                f"{name}: the plan leaves a weight of shape {tuple(left.shape)} of the dense network's "
                f"{tuple(full.shape)}, and the pruned one has {tuple(weight.shape)}. Pass the plan and the "
                "dense network that it was pruned from."
            )
        rows[name] = left.flatten(1)[:, 0].clone()
    return rows
