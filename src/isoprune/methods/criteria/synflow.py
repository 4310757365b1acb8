"""Synaptic flow: what goes through each weight when nothing cancels, round after round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_map_only

from isoprune.graph.cloning import runnable_copy
from isoprune.graph.outputs import tensors_of
from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.types import IsopruneError, Scores, Units
from isoprune.types.method import method
from isoprune.types.task import forward
from isoprune.types.units import GRAINS

_FAR = 100.0  # powers of ten beyond which the flow is brought back
_ROUNDING = 1e-12  # of all flow: what softmax leaves of none
_MOST = 300.0  # that float64 holds


@method(
    "criterion",
    grains=GRAINS,
    comparable=True,
    label="SynFlow",
    source="Tanaka, Kunin, Yamins & Ganguli, NeurIPS 2020, arXiv 2006.05467",
)
def synflow(
    signals: Signals, units: Sequence[Units], *, generator: Generator, rounds: int = 100, ratio: float = 0.99
) -> Scores:
    r"""Order of going by the least flow: :math:`|\theta_j|\, \partial R / \partial |\theta_j|`, in rounds.

    :math:`R = \mathbf{1}^\top \prod_l |\theta_l|\, \mathbf{1}` is the sum of the outputs for an input of ones
    when weights are their absolute values, biases are zero and norms are their scales (a BatchNorm's divided
    by its running deviation). The flow through every layer of a chain of such layers is R. All units compete;
    after round k of n a part :math:`(1 - r)^{k / n}` of them is left, and what is left is scored anew, so
    that no layer is emptied while others are wide. A score is the unit's place in the order of going, the
    last ones by the flow of the last round. ``allocation="global"`` is the paper's choice.

    No data is read, only the shape of the inputs. In float64; a flow too large or too small for it is brought
    back at the input and the output, which changes no order where activations are ReLU or none. Queries and
    keys have no flow (for equal inputs attention is a mean): zero.

    Args:
        rounds: n.
        ratio: r, of all units: the paper's schedule for this ratio. The order up to a lower ratio is that of
            the first rounds.

    Cost: a forward and a backward of one sample a round. Memory: a copy of the weights and their gradients
    in float64.

    Raises:
        IsopruneError: If no flow arrives, or more than float64 holds.
    """
    if rounds < 1 or not 0 < ratio < 1:
        raise IsopruneError(f"synflow has rounds >= 1 and a ratio in (0, 1), not {rounds} and {ratio}.")
    if not units:
        return {}
    flow, sizes = Flow(signals), [u.size for u in units]
    total, gone = sum(sizes), 0
    place = torch.zeros(total, dtype=torch.float64)
    still = torch.ones(total, dtype=torch.bool)
    reached: list[bool] = []
    for number in range(1, rounds + 1):
        if number > 1 and flow.power() is None:  # so few are left that nothing passes: their order stands
            break
        found = score_units(flow.scores(), units, lambda sums, _: sums)
        reached = reached or [float(found[u.name].sum()) > _ROUNDING for u in units]
        left = still.nonzero().flatten()
        order = left[torch.cat([found[u.name].flatten() for u in units])[left].argsort(stable=True)]
        place[order] = torch.arange(gone + 1, total + 1, dtype=torch.float64)
        most = round(total * (1 - (1 - ratio) ** (number / rounds)))
        still[order[: max(most - gone, 0)]] = False
        gone = int(total - still.sum())
        flow.cut_(units, dict(zip((u.name for u in units), still.split(sizes), strict=True)))
    parts = zip(units, place.split(sizes), reached, strict=True)
    return {u.name: part.reshape(u.shape) * flows for u, part, flows in parts}


@dataclass(frozen=True)
class Flow:
    """A network in which nothing cancels, in float64: no weight is negative, nothing is added or centred."""

    signals: Signals

    @cached_property
    def network(self) -> nn.Module:
        return positive(self.signals.network)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        named = dict(self.network.named_parameters(remove_duplicate=False))
        return {name: named[name] for name in self.signals.weights}

    def scores(self) -> dict[str, Tensor]:
        """Return which part of the flow goes through each weight: in every layer of a chain they sum to 1."""
        if (power := self.power()) is None:
            arrives = float(self.total(0.0).detach())
            raise IsopruneError(
                f"synflow: outputs for an input of ones add up to {arrives:g}: a layer is zero, norms in the "
                "forward centre, or weights hold NaN. Take another criterion, such as 'snip'."
            )
        total = self.total(power)
        slopes = torch.autograd.grad(total, list(self.weights.values()), 1 / total, allow_unused=True)
        return {
            name: torch.zeros_like(w) if g is None else (w * g).detach()
            for (name, w), g in zip(self.weights.items(), slopes, strict=True)
        }

    def total(self, power: float) -> Tensor:
        """Return the sum of the outputs for an input of ones times ten to this power."""
        given = self.signals.example_inputs()

        def ones(t: Tensor) -> Tensor:
            return torch.full_like(t, 10.0**power, dtype=torch.float64) if t.is_floating_point() else t

        outputs = tensors_of(forward(self.network, tree_map_only(Tensor, ones, given)))
        return torch.stack([t.sum() for t in outputs if t.is_floating_point()]).sum()

    @torch.no_grad()
    def power(self) -> float | None:
        """Return the power of ten of an input for which forward and backward stay within float64.

        What a network multiplies by is passed forward and backward: half of it is taken off at either end.
        None: no flow arrives.
        """
        for power in (0.0, -_MOST, _MOST):
            total = float(self.total(power))
            if 0 < total < math.inf:
                gain = math.log10(total) - power
                return 0.0 if abs(gain) <= _FAR else -gain / 2
        return None

    @torch.no_grad()
    def cut_(self, units: Sequence[Units], still: Mapping[str, Tensor]) -> None:
        """Take units out of the network that are no longer there (bool, flat)."""
        for u in units:
            for member in u.members:
                if (weight := self.weights.get(member.tensor)) is None:
                    continue
                there = still[u.name].to(weight.device)
                if member.unit is None:
                    weight.mul_(there.reshape(weight.shape))
                else:
                    unit = member.unit.to(weight.device)
                    weight.mul_((unit < 0) | there[unit.clamp_min(0)])


@torch.no_grad()
def positive(network: nn.Module) -> nn.Module:
    """Return a copy in float64 with absolute weights, zero biases, and norms that only scale."""
    made = runnable_copy(
        network, lambda t: t.to(torch.float64 if t.is_floating_point() else t.dtype, copy=True)
    )
    for name, tensor in [*made.named_parameters(), *made.named_buffers()]:
        own = name.rpartition(".")[2]
        if "bias" in own or own == "running_mean":
            tensor.zero_()
        elif tensor.is_floating_point():
            tensor.abs_()
    made.requires_grad_(True)
    for module in made.modules():
        statistics = isinstance(module, _NormBase) and module.running_var is not None
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.RMSNorm | _NormBase) and not statistics:
            module.forward = partial(_scaled, module)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def _scaled(norm: nn.Module, x: Tensor) -> Tensor:
    scale = norm.weight
    if not isinstance(scale, Tensor):
        return x
    last = isinstance(norm, nn.LayerNorm | nn.RMSNorm)  # of the others channels are the second dimension
    return x * (scale if last else scale.view(-1, *[1] * (x.ndim - 2)))
