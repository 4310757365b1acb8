"""ASR: every output channel varies as it did when dense, as far as its signal can be relied on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune.graph.cloning import clone_sharing, copied
from isoprune.methods.layers.kept_outputs import Kept, kept_outputs
from isoprune.methods.layers.passes import Reached, norms_behind, sweep_
from isoprune.methods.layers.stored import write_
from isoprune.methods.layers.weights import shared_with_tables, weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals.samples import cut
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.units import GRAINS

_ROUNDING = 1e-6  # of the greatest deviation in a layer


@method(
    "repair", "data", "dense", "plan", grains=GRAINS, label="ASR", source="Zhan, Chen & Hu, arXiv 2605.21426"
)
@torch.no_grad()
def asr(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 256, shrink: float = 0.1
) -> nn.Module:
    r"""Return a copy with filter c multiplied by :math:`s_c = 1 + \rho_c (\sigma^{dense}_c / \sigma_c - 1)`.

    .. math:: \rho_c = \frac{\sigma_c^2}{\sigma_c^2 + \kappa \bar{\sigma}^2}

    :math:`\sigma_c` is the standard deviation of what channel c makes on the data (over samples and
    positions), with all layers before it repaired; :math:`\sigma^{dense}_c` what it was in the dense network,
    :math:`\bar{\sigma}^2` the mean of :math:`\sigma_c^2` over the layer (of channels that vary).

    A channel that has almost collapsed is mostly noise of what went: it is not blown up. Biases stay.
    BatchNorm statistics are taken anew, layer by layer. Where a BatchNorm follows, that alone would bring
    every channel to its full deviation whatever its filter was multiplied by, so there the filter stays and
    the BatchNorm's scale is multiplied by what the shrinkage leaves,
    :math:`s_c \sigma_c / \sigma^{dense}_c`. A channel that does not vary stays.

    Of the paper this is the channel-wise matching of variances, shrunk for channels of a weak signal, before
    BatchNorm is re-estimated, for masks and for channels that went. Its formula of the shrinkage is not known
    here: :math:`\rho_c`, its default, and where a BatchNorm's factor goes are ours.

    An attention is scaled by its output projection. Other kinds of layers (recurrent ones), and those that
    are tied to an embedding, stay as they are. No label is read.

    Args:
        samples: How many inputs are looked at, all at once.
        shrink: :math:`\kappa`; 0: every deviation becomes the dense one.

    Cost: a forward of ``samples`` inputs through the dense network and one through the pruned one, and three
    more of each layer. Memory: a copy of the network; what one layer reads and makes of all ``samples``, in
    float64.

    Raises:
        IsopruneError: Without data; if ``shrink`` is below 0; if dense network and plan do not belong to the
            pruned network; if an output on the data is NaN or infinity.
    """
    if not shrink >= 0:
        raise IsopruneError(f"shrink is {shrink!r}. Give 0, which shrinks nothing, or more.")
    repaired = copied(pruned.model)
    if not pruned.plan:
        return repaired
    inputs = signals.inputs(samples)
    want = _deviations(clone_sharing(pruned.dense), inputs, _kept(repaired, pruned, inputs))
    norms, shared = norms_behind(repaired, cut(inputs, 0, 1)), shared_with_tables(repaired)

    def match(at: Reached) -> None:
        name = at.layer.weight.name
        if name not in want or id(at.layer.weight.parameter) in shared:
            return
        have = at.made().std(0, correction=0)
        factor = _factors(want[name], have, shrink)
        norm = norms.get(at.layer.name)
        if not isinstance(norm, _BatchNorm):
            at.layer.scale_(factor)
        elif norm.affine and norm.track_running_stats:
            left = torch.where(_varies(want[name], have), factor * have / want[name], 1.0)
            write_(norm, "weight", norm.weight * left.to(norm.weight))

    sweep_(repaired, inputs, match, settle=True)
    return repaired


def _kept(repaired: nn.Module, pruned: Pruned, inputs: Any) -> dict[str, Kept]:
    """Return which outputs of the dense network's layers are left, by the names of their weights."""
    small = weights(repaired)
    return kept_outputs(clone_sharing(pruned.dense), small, pruned, cut(inputs, 0, 1))[0]


def _deviations(dense: nn.Module, inputs: Any, kept: dict[str, Kept]) -> dict[str, Tensor]:
    """Return the standard deviation of each channel that is left, by the names of weights."""
    found: dict[str, Tensor] = {}

    def look(at: Reached) -> None:
        name = at.layer.weight.name
        if name in kept:
            found[name] = kept[name].of(at.made()).std(0, correction=0)

    sweep_(dense, inputs, look)
    return found


def _factors(want: Tensor, have: Tensor, shrink: float) -> Tensor:
    """Return the factor of every channel: toward ``want`` over ``have``, as far as ``have`` is reliable."""
    varies = _varies(want, have)
    ratio = want / torch.where(varies, have, 1.0)
    power = have.square()
    mean = power[varies].mean() if bool(varies.any()) else power.mean()
    reliability = power / (power + shrink * mean).clamp_min(1e-300)
    return torch.where(varies, 1 + reliability * (ratio - 1), 1.0)


def _varies(want: Tensor, have: Tensor) -> Tensor:
    """Return which channels vary in both networks, by more than rounding."""
    return (have > _ROUNDING * have.max()) & (want > _ROUNDING * want.max())
