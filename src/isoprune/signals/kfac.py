"""Kronecker factors of the Fisher matrix, by curvlinops."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from isoprune.types import IsopruneError
from isoprune.types.task import CLASSIFICATION, samples_in

if TYPE_CHECKING:
    from isoprune.signals.signals import Signals


@dataclass(frozen=True)
class Factors:
    r"""A layer's block of the Fisher matrix, :math:`A \otimes G`.

    Attributes:
        inputs: A = E[a a^T] of what the filters read, [fan_in, fan_in].
        gradients: G = E[g g^T] of the loss by what the filters make, [filters, filters].
    """

    inputs: Tensor
    gradients: Tensor


def factors(
    signals: Signals,
    loss: nn.Module | None,
    *,
    fisher_type: str = "mc",
    kfac_approx: str = "expand",
    seed: int = 0,
) -> dict[str, Factors]:
    """Return the factors of every Linear layer and Conv2d, by name: Martens & Grosse, 2015.

    Args:
        signals: Batches must be (inputs, targets).
        loss: `nn.CrossEntropyLoss`, `nn.MSELoss` or `nn.BCEWithLogitsLoss`; None: that of classification.
        fisher_type: "mc" (labels drawn from the network's outputs), "type-2" (all outputs, exact) or
            "empirical" (the data's labels).
        kfac_approx: "expand" or "reduce", for weights that are shared over places: Eschenhagen et al., 2023.
        seed: Of the labels that are drawn.

    Raises:
        IsopruneError: If curvlinops is not installed, or the loss is not known.
    """
    if loss is None and signals.task is not CLASSIFICATION:
        raise IsopruneError(
            f"K-FAC factors of the task {signals.task.name!r}: its loss is a function of its own. Pass "
            "loss=torch.nn.MSELoss(), CrossEntropyLoss() or BCEWithLogitsLoss()."
        )
    operator_class = _curvlinops().KFACLinearOperator
    # curvlinops fits its hooks to parameters of the network, which are the user's.
    network = copy.deepcopy(signals.network)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    operator = operator_class(
        network,
        loss or nn.CrossEntropyLoss(),
        [module.weight.requires_grad_() for module in layers.values()],
        [(signals.task.inputs_of(batch), batch[1]) for batch in signals.data()],
        fisher_type=fisher_type,
        kfac_approx=kfac_approx,
        seed=seed,
        check_deterministic=False,
        batch_size_fn=samples_in,
    )
    operator.compute_kronecker_factors()
    found = operator.state_dict()
    return {
        name: Factors(found["input_covariances"][name], found["gradient_covariances"][name])
        for name in layers
        if name in found["gradient_covariances"]
    }


def _curvlinops() -> Any:
    try:
        with warnings.catch_warnings():
            # Of torch.jit, which a library that it imports calls.
            warnings.simplefilter("ignore", FutureWarning)
            import curvlinops
    except ImportError as error:
        raise IsopruneError(
            "K-FAC factors are computed by curvlinops, which is not installed: pip install "
            '"isoprune[curvature]".'
        ) from error
    return curvlinops
