"""Scales of BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.types import IsopruneError, Scores, Units
from isoprune.types.method import method


@method(
    "criterion",
    "batchnorm",
    comparable=True,
    label="BN scale",
    source="Liu, Li, Shen, Huang, Yan & Zhang, ICCV 2017, arXiv 1708.06519",
)
def bn_scale(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    r"""Scale of the BatchNorm that a channel goes through: :math:`s_i = |\gamma_i|`.

    Of channels that go through several, the mean over those. The paper ("network slimming") trains with an L1
    penalty on the scales first, and takes one threshold for all layers: ``allocation="global"``. Channels
    that no BatchNorm with a scale follows get no score, and stay whole there.

    Raises:
        IsopruneError: If none of the channels go through a BatchNorm with a scale.

    Memory: a number a channel.
    """
    norms = [name for name, module in signals.network.named_modules() if isinstance(module, _BatchNorm)]
    known = [t for name in norms if (t := f"{name}.weight".lstrip(".")) in signals.weights]
    scales = {t: signals.weights[t].abs() for t in known}
    followed = [u for u in units if any(m.tensor in scales for m in u.members)]
    if units and not followed:
        raise IsopruneError(
            "The criterion 'bn_scale' reads the scales of BatchNorm layers, and no BatchNorm with a scale "
            f"follows {', '.join(u.name for u in units[:4])}. Take another criterion, such as 'l1_norm'."
        )
    return score_units(scales, followed, lambda total, n: total / n)
