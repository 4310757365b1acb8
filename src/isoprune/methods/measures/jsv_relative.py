"""The Jacobian's singular values, as a part of the dense network's."""

from __future__ import annotations

from torch import Generator

from isoprune.methods.measures.decades import log10
from isoprune.methods.measures.jsv import SAMPLES, singular_values
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method


@method("measure", "data", "dense", source="Wang, Qin, Bai & Fu, 2023, arXiv 2301.05219")
def jsv_relative(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = SAMPLES
) -> dict[str, float]:
    r"""Mean singular value over the dense network's, :math:`\bar\sigma / \bar\sigma_{dense}`.

    ``log_jsv_relative``, to base ten: 0 where pruning lost nothing, negative where signals got weaker.

    Cost: a backward of the samples for each output, through both networks. Memory: Jacobians [outputs,
    inputs] and the graphs of some samples at a time, within a quarter of the free memory.

    Raises:
        IsopruneError: If the dense network passes on nothing.
    """
    mine, dense = (
        float(singular_values(s, samples).double().mean()) for s in (signals, signals.of(pruned.dense))
    )
    if dense == 0:
        raise IsopruneError("jsv_relative is a part of the dense network's JSV, and these are all zero.")
    return {"log_jsv_relative": log10(mine / dense)}
