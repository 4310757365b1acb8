"""The diagonal of the Gauss-Newton matrix: exact, or from draws."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor
from torch.func import jacrev
from torch.utils._pytree import tree_flatten, tree_unflatten

from isoprune.linalg.pivoted_cholesky import pivoted_cholesky
from isoprune.signals import products
from isoprune.types import IsopruneError
from isoprune.types.seeded import lent_generators
from isoprune.types.task import Task

if TYPE_CHECKING:
    from isoprune.signals.signals import Signals

_MOST = 4096  # numbers of one sample's outputs, whose Hessian is square in them
# Of a thousand outputs of which one is sure the Hessian is nearly zero, and LAPACK's eigenvalues of it do not
# converge or are NaN. The other root cannot be taken of samples side by side (vmap): few outputs keep those.
_MANY = 100


def gauss_newton(signals: Signals, draws: int | None, generator: Generator | None) -> dict[str, Tensor]:
    r"""Return the mean over samples of diag :math:`J^\top H J`, H the Hessian of the loss by the outputs.

    With :math:`H = S S^\top` it is the sum over columns s of S of the squared gradients of :math:`s^\top f`:
    a backward pass for every output and sample. With ``draws``, s is instead a sum of all columns with drawn
    signs, whose square has that sum as its mean.

    Raises:
        IsopruneError: If one sample has more than 4,096 outputs, or the loss is not finite.
    """
    outputs = outputs_of_sample(signals)
    products.require_finite(signals)
    task, total = signals.task, None
    seed = int(torch.randint(2**31, (), generator=generator)) if draws else None
    with lent_generators(seed, signals.device):
        for column in range(draws or outputs):
            along = _along(task, None if draws else column)
            squares = replace(signals, task=along).sample_mean(
                lambda g: {name: t.square().sum(0) for name, t in g.items()}
            )
            total = squares if total is None else {name: total[name] + t for name, t in squares.items()}
    assert total is not None
    return {name: t / draws for name, t in total.items()} if draws else total


def outputs_of_sample(signals: Signals) -> int:
    """Return how many numbers the outputs of one sample are.

    Raises:
        IsopruneError: If they are more than 4,096.
    """
    with torch.no_grad():
        outputs = signals.outputs(next(signals.first(1)), signals.weights)
    number = sum(t.numel() for t in tree_flatten(outputs)[0] if _counts(t))
    _require_few(number)
    return number


def _require_few(outputs: int) -> None:
    if outputs > _MOST:
        raise IsopruneError(
            f"One sample has {outputs:,} outputs, and the Hessian of the loss by them is square in that: "
            f"more than {_MOST:,} are too many. Take a criterion of gradients, such as 'fisher'."
        )


def _along(task: Task, column: int | None) -> Task:
    """Return a task whose loss is the outputs of one sample times a column of S, or all with drawn signs."""

    def loss(outputs: Any, batch: Any) -> Tensor:
        leaves, structure = tree_flatten(outputs)
        counted = [leaf for leaf in leaves if _counts(leaf)]
        o = torch.cat([leaf.flatten() for leaf in counted])
        _require_few(len(o))

        def of_outputs(flat: Tensor) -> Tensor:
            parts = iter(flat.split([leaf.numel() for leaf in counted]))
            again = [next(parts).view(leaf.shape) if _counts(leaf) else leaf for leaf in leaves]
            return task.loss(tree_unflatten(again, structure), batch)

        S = _root(jacrev(jacrev(of_outputs))(o.detach()))
        if column is None:
            s = S @ torch.where(torch.rand(len(o), dtype=o.dtype, device=o.device) < 0.5, 1.0, -1.0).to(o)
        else:
            s = S[:, column]
        return (o * s.detach()).sum()

    return Task(
        task.inputs, loss, {}, task.name, loss_in_train_mode=task.loss_in_train_mode, samples=task.samples
    )


def _root(H: Tensor) -> Tensor:
    r"""Return S with :math:`S S^\top = H`, of a matrix with no eigenvalue below zero."""
    if len(H) > _MANY:
        return pivoted_cholesky(H.double()).to(H.dtype)
    values, V = torch.linalg.eigh(H)
    return V * values.clamp_min(0).sqrt()


def _counts(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
