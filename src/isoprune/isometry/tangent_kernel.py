"""The tangent kernel: how unevenly fast a network learns what it is shown."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from isoprune.isometry import picks
from isoprune.isometry.function import require_finite, require_running_statistics, with_gradients
from isoprune.isometry.memory import default_memory
from isoprune.isometry.picks import Inputs, OutputPick
from isoprune.isometry.products import pull_back_to
from isoprune.signals.modes import in_eval_mode
from isoprune.types import IsopruneError, Network, module_of
from isoprune.types.network import device_of


def tangent_kernel(
    network: Network, inputs: Inputs, *, output: OutputPick = None, memory: int | None = None
) -> Float[Tensor, "rows rows"]:
    r"""Return the tangent kernel :math:`G G^\top`, :math:`G = \partial y / \partial\theta`, in float64.

    A row is an output of a sample, outputs fastest: samples x outputs of them. In eval mode; frozen
    parameters do not take part.

    Args:
        output: What y is, as in `jacobian_singular_values`.
        memory: Bound on G in bytes; where it does not fit, as many parameters at a time as do, with one
            backward each. None: a quarter of the free memory.

    Cost: a backward an output of a sample; rows squared products of gradients.

    Raises:
        IsopruneError: In train mode, without trainable parameters, for NaN or infinity, or if the rows of a
            single parameter tensor do not fit into ``memory``.
    """
    parts = (G.flatten(0, 1) for G in _gradients(network, inputs, output, memory))
    return _gram(parts)


def output_mean_kernel(
    network: Network, inputs: Inputs, *, output: OutputPick = None, memory: int | None = None
) -> Float[Tensor, "samples samples"]:
    r"""Return the mean over outputs c of :math:`G_c G_c^\top`: the kernel between samples, in float64.

    :math:`G_c` [samples, parameters] are the gradients of output c. A part 1 / outputs squared of
    `tangent_kernel`'s products; arguments, and what raises, as there.
    """
    return _gram(G.flatten(1) / G.shape[1] ** 0.5 for G in _gradients(network, inputs, output, memory))


def _gram(parts: Iterable[Tensor]) -> Tensor:
    theta = torch.stack([G @ G.mT for G in parts]).sum(0)
    require_finite(theta, "The tangent kernel holds")
    return theta


def _gradients(network: Network, inputs: Inputs, output: OutputPick, memory: int | None) -> Iterator[Tensor]:
    """Yield G [samples, outputs, parameters] of some of the parameters at a time, in float64."""
    with differentiable(module_of(network)) as (leaves, run):
        flat, structure = pytree.tree_flatten(inputs)
        samples = len(next(t for t in flat if isinstance(t, Tensor)))

        def outputs(i: int) -> Tensor:
            one = pytree.tree_unflatten([picks.cut(t, torch.tensor([i]), samples) for t in flat], structure)
            return picks.pick_output(run(one), output).flatten()

        size = len(outputs(0))
        each = torch.eye(size, dtype=leaves[0].dtype, device=leaves[0].device)
        bound = default_memory(leaves[0].device) if memory is None else memory
        for part in _parts(leaves, samples * size, bound):
            yield torch.stack(
                [
                    torch.cat([g.flatten(1) for g in pull_back_to(y, part, each.to(y))], dim=1)
                    for y in map(outputs, range(samples))
                ]
            ).double()


def kernel_condition(theta: Float[Tensor, "rows rows"]) -> float:
    """Return the condition number of a tangent kernel: how unevenly fast its modes are learned.

    The largest eigenvalue over the smallest; that counts as at least eps of the largest, eps of float32, so
    that a singular kernel (a class without a gradient, two equal samples) has condition 1 / eps.
    """
    values = torch.linalg.eigvalsh(theta)
    eps = torch.finfo(torch.float32).eps
    largest = float(values[-1])
    return largest / max(float(values[0]), eps * largest) if largest > 0 else 1 / eps


@contextlib.contextmanager
def differentiable(model: nn.Module) -> Iterator[tuple[list[Tensor], Callable[[Inputs], Any]]]:
    """Yield copies of the trainable parameters, and the forward as a function of inputs that uses them."""
    require_running_statistics(model)
    named = dict(model.named_parameters())
    if not any(p.requires_grad for p in named.values()):
        raise IsopruneError(
            "The model has no trainable parameter. Call model.requires_grad_(True) on what is to be trained."
        )
    device = device_of(model)

    def copied(t: Tensor) -> Tensor:
        wide = t.dtype if t.dtype == torch.float64 or not t.is_floating_point() else torch.float32
        return t.detach().to(wide).clone()

    with with_gradients(device), in_eval_mode(model):
        state = {name: copied(t) for name, t in model.named_buffers()}
        state |= {name: copied(p).requires_grad_(p.requires_grad) for name, p in named.items()}
        leaves = [t for t in state.values() if t.requires_grad]
        work = next((t.dtype for t in state.values() if t.is_floating_point()), torch.float32)

        def run(inputs: Inputs) -> Any:
            moved = pytree.tree_map_only(
                Tensor, lambda t: t.detach().to(device, work if t.is_floating_point() else t.dtype), inputs
            )
            args, kwargs = picks.arguments(moved)
            return torch.func.functional_call(model, state, args, kwargs)

        yield leaves, run


def _parts(leaves: list[Tensor], rows: int, memory: int) -> Iterator[list[Tensor]]:
    """Yield the parameters in runs whose rows, in their type and in float64, stay within ``memory`` bytes."""
    part: list[Tensor] = []
    used = 0
    for leaf in leaves:
        each = 2 * rows * leaf.numel() * 8
        if each > memory:
            raise IsopruneError(
                f"The {rows} gradients of one parameter of shape {tuple(leaf.shape)} take {each:,} bytes; "
                f"memory = {memory:,}. Raise memory, or pass fewer samples."
            )
        if part and used + each > memory:
            yield part
            part, used = [], 0
        part.append(leaf)
        used += each
    yield part
