"""What every layer does to the gradient that goes back through it."""

from __future__ import annotations

from torch import Generator

from isoprune.isometry import layer_gains
from isoprune.methods.measures.decades import log10
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method


@method("measure", "data", source="Glorot & Bengio, AISTATS 2010; Xiao et al., ICML 2018")
def gains(pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 32) -> dict[str, float]:
    r"""Worst gain of a layer, and the product of all: :math:`\|g_{in}\|_F / \|g_{out}\|_F` of gradients g.

    g are the gradients of all outputs by what a layer reads and by what it makes.


    - ``log_gain_worst``: :math:`\log_{10}` of the smallest gain of a layer;
    - ``log_gain_product``: sum of all :math:`\log_{10}` gains, in a chain of layers :math:`\log_{10}` of the
      root mean square of the Jacobian's singular values (outputs <= inputs).

    A residual network's layers are each taken along their own path.

    Cost: a backward of the samples for each output, for 32 random sums of them where there are more. Memory:
    the graph of ``samples`` inputs, and a gradient by what every layer reads and makes, of some outputs at a
    time within 1 GiB.

    Raises:
        IsopruneError: If there are no layers to tell apart.
    """
    found = [
        log10(gain.backward)
        for gain in layer_gains(signals.network, signals.inputs(samples), memory=signals.memory)
    ]
    if not found:
        raise IsopruneError("gains needs a network of several modules, and this is one layer or a function.")
    return {"log_gain_worst": min(found), "log_gain_product": sum(found)}
