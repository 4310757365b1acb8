"""What the dense network's layers make of data, at sampled places: what `reconstruct` wants back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor, nn

from isoprune.methods.repairs.kept_outputs import Kept
from isoprune.methods.repairs.probe import Callbacks, made_at, places, watch
from isoprune.types import IsopruneError
from isoprune.types.task import samples_in

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
    kept: Mapping[str, Kept],
    chunks: Sequence[Any],
    *,
    most: int,
    generator: Generator,
    memory: int,
) -> Goals:
    """Return the goals of the dense network's ``layers``: one forward of all ``chunks``.

    Args:
        kept: Per layer, the outputs that are left.
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
            made[name, run, i] = kept[name].of(made_at(y, layers[name], there))

        def total(name: str, run: int, t: Tensor, i: int = i) -> None:
            left = kept[name].of(made_at(t, layers[name], where[name, run, i]))
            totals[name, run, i] = left * kept[name].norm.to(left)

        watch(dense, chunk, layers, Callbacks(output=output, total=total))
        if i == 0:
            _require_memory([*where.values(), *made.values(), *totals.values()], chunks, memory)
    return Goals(where, made, totals)


def _require_memory(first: Sequence[Tensor], chunks: Sequence[Any], memory: int) -> None:
    samples = sum(map(samples_in, chunks))
    need = sum(t.nbytes for t in first) * samples // samples_in(chunks[0])
    if need > memory:
        raise IsopruneError(
            f"What the dense network's layers make of {samples} samples takes {need:,} bytes; memory = "
            f"{memory:,}. Lower samples or places, or raise memory."
        )
