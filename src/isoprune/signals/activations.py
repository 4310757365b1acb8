"""Inputs and outputs of modules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from isoprune.signals.losses import loss_of
from isoprune.signals.products import finite_or_raise
from isoprune.types import IsopruneError
from isoprune.types.errors import did_you_mean

if TYPE_CHECKING:
    from isoprune.signals.signals import Signals


@dataclass(frozen=True)
class Activation:
    """One run of a module on a batch.

    Attributes:
        read: Its positional arguments; mostly one tensor.
        made: What it returned.
        gradient: Of the batch's mean loss by what it returned (by its first tensor); None if not requested.
    """

    read: tuple[Any, ...]
    made: Any
    gradient: Tensor | None = None


def watched(
    signals: Signals, modules: Sequence[str], *, samples: int | None, gradients: bool
) -> Iterator[dict[str, list[Activation]]]:
    """Yield, batch by batch, the runs of each module, in the order of the first run; those that did not last.

    Raises:
        IsopruneError: For a name that is no module's; without data; if a loss is not finite.
    """
    known = dict(signals.network.named_modules())
    for name in modules:
        if name not in known:
            raise IsopruneError(f"There is no module {name!r}.{did_you_mean(name, [n for n in known if n])}")
    for batch in signals.data() if samples is None else signals.first(samples):
        yield _of_batch(signals, {name: known[name] for name in modules}, batch, gradients)


def _of_batch(
    signals: Signals, modules: dict[str, nn.Module], batch: Any, gradients: bool
) -> dict[str, list[Activation]]:
    runs: dict[str, list[tuple[tuple[Any, ...], Any]]] = {}
    with contextlib.ExitStack() as stack:
        for name, module in modules.items():

            def ran(_: nn.Module, args: tuple[Any, ...], made: Any, name: str = name) -> None:
                runs.setdefault(name, []).append((args, made))

            stack.callback(module.register_forward_hook(ran).remove)
        if not gradients:
            with torch.no_grad():
                signals.forward(signals.task.inputs_of(batch))
            found = {name: [Activation(*run) for run in each] for name, each in runs.items()}
            return found | {name: [] for name in modules if name not in found}
        outputs = signals.outputs(batch, signals.leaves())
        loss = loss_of(signals.task, outputs, batch)
        finite_or_raise(loss.detach())
    runs |= {name: [] for name in modules if name not in runs}
    made = [_first(out) for found in runs.values() for _, out in found]
    slopes = torch.autograd.grad(loss, made, allow_unused=True) if made else ()
    slope = iter(torch.zeros_like(m) if g is None else g for m, g in zip(made, slopes, strict=True))
    return {
        name: [Activation(_detached(args), _detached(out), next(slope)) for args, out in found]
        for name, found in runs.items()
    }


def _first(out: Any) -> Tensor:
    return out[0] if isinstance(out, tuple | list) else out


def _detached(value: Any) -> Any:
    from torch.utils._pytree import tree_map

    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, value)
