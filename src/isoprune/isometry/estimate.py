"""Estimated Jacobian singular values: matrix-free, for networks with too many outputs to do exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from isoprune.isometry.exact import jacobian_singular_values
from isoprune.isometry.function import SampleFunction, sample_function
from isoprune.isometry.jacobian_operator import jacobian_operator
from isoprune.isometry.memory import default_memory, footprint
from isoprune.isometry.picks import InputPick, Inputs, OutputPick
from isoprune.isometry.trace_estimate import TraceEstimate, mean_singular_value
from isoprune.types import IsopruneError

PROBES, BLOCK, STEPS = 56, 5, 8
_SURE = 2.0  # half-widths are two standard deviations
# Tensors of the largest activation's size that J v and J^T u hold at once, and copies of what the forward
# keeps: the graph of the backward is kept too.
_LIVE, _GRAPHS = 8, 3


@dataclass(frozen=True)
class JsvEstimate:
    """Estimates for every sample; each error is a half-width that holds the exact value 19 times of 20.

    ``noise`` (of the random directions: independent between samples) and ``bias`` (of stopping after few
    steps: the same for all) are the standard deviations behind ``mean_error``. ``products`` counts J v and
    J^T u of a sample.
    """

    mean: Float[Tensor, "samples"]
    mean_error: Float[Tensor, "samples"]
    max: Float[Tensor, "samples"]
    max_error: Float[Tensor, "samples"]
    rms: Float[Tensor, "samples"]
    noise: Float[Tensor, "samples"]
    bias: Float[Tensor, "samples"]
    products: int

    def summary(self) -> dict[str, float]:
        """Return mean, std, max and distance as `isometry.summary` does, and the errors of two of them."""
        mean, square = float(self.mean.mean()), float(self.rms.square().mean())
        spread = (self.noise.square().sum().sqrt() / len(self.noise)).square() + self.bias.mean().square()
        top = int(self.max.argmax())
        return {
            "mean": mean,
            "mean_error": _SURE * float(spread.sqrt()),
            "std": max(square - mean**2, 0.0) ** 0.5,
            "max": float(self.max[top]),
            "max_error": float(self.max_error[top]),
            "distance": square - 2 * mean + 1,
        }


def estimate_jacobian_singular_values(
    model: nn.Module,
    inputs: Inputs,
    *,
    generator: Generator,
    probes: int = PROBES,
    block: int = BLOCK,
    steps: int = STEPS,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
) -> JsvEstimate:
    r"""Return mean and largest singular value of every sample's Jacobian from products with J and J^T only.

    ``block`` random orthonormal directions go through ``steps`` steps of block Golub-Kahan, which finds the
    largest values and brackets the mean of the others (`quadrature`); ``probes`` directions, those included,
    go through J^T once, which is cheap and takes most of the randomness out (`trace`). With fewer singular
    values than that costs, all of them are computed instead, with error zero.

    The default costs 131 products a sample. More ``probes`` shrink the noise, as one over the square root;
    more ``steps`` the bias; a larger ``block`` both a little.

    Args:
        generator: Draws the directions, on any device: the same one gives the same directions everywhere.

    Other arguments, and what raises, as in `jacobian_singular_values`; besides, an operation without a second
    derivative raises (J v is one).
    """
    if not (1 <= block <= probes and steps >= 2):
        raise IsopruneError(
            f"probes, block, steps are {probes}, {block}, {steps}; they must satisfy 1 <= block <= probes, "
            "steps >= 2."
        )
    parts: list[TraceEstimate] = []
    products = products_of(probes, block, steps)
    with sample_function(
        model, inputs, input=input, output=output, dtype=dtype, differentiable_twice=True
    ) as f:
        size = min(f.outputs, f.x[0].numel())
        few = size <= products
        if not few:
            chunk = _samples(f, block, steps, size, memory)
            for start in range(0, len(f.x), chunk):
                rows = f.rows(start, start + chunk)
                start_block = _directions(len(rows), size, probes, generator).to(f.x)
                with jacobian_operator(f, rows, block) as J:
                    parts.append(mean_singular_value(J.push, J.pull, start_block, block, steps))
    if few:
        return _exact(
            jacobian_singular_values(model, inputs, input=input, output=output, memory=memory, dtype=dtype)
        )
    gathered = {
        key: torch.cat([getattr(part, key) for part in parts]) for key in TraceEstimate.__dataclass_fields__
    }
    spread = (gathered["noise"].square() + gathered["bias"].square()).sqrt()
    return JsvEstimate(**gathered, mean_error=_SURE * spread, products=products)


def products_of(probes: int = PROBES, block: int = BLOCK, steps: int = STEPS) -> int:
    """Return how many products with J and J^T the estimate of a sample takes."""
    return probes - block + 2 * block * steps


def _samples(f: SampleFunction, block: int, steps: int, size: int, memory: int | None) -> int:
    """Return how many samples go together within the bound."""
    bound = default_memory(f.x.device) if memory is None else memory
    one = f.rows(0, 1)
    cost = footprint(lambda: f(f.leaf(one), one), f.constants)
    bases = 4 * (f.x[0].numel() + size) * block * steps * f.x.element_size()
    each = (
        block * (_GRAPHS * cost.saved + _LIVE * max(cost.largest, f.x[0].numel() * f.x.element_size()))
        + bases
    )
    bound -= f.kept
    if each > bound:
        raise IsopruneError(
            f"One sample's estimate takes {each + f.kept:,} bytes; memory = {bound + f.kept:,}. Raise "
            "memory, or lower block or steps."
        )
    return min(bound // each, len(f.x))


def _directions(samples: int, size: int, probes: int, generator: Generator) -> Tensor:
    """Return random orthonormal columns [samples, size, probes], drawn one by one: the same in any chunks."""
    where = {"device": generator.device, "dtype": torch.float64}
    noise = [torch.randn(size, probes, generator=generator, **where) for _ in range(samples)]
    return torch.linalg.qr(torch.stack(noise))[0]


def _exact(sigma: Tensor) -> JsvEstimate:
    zero = sigma.new_zeros(len(sigma))
    return JsvEstimate(
        mean=sigma.mean(1), mean_error=zero, max=sigma.amax(1), max_error=zero,
        rms=sigma.square().mean(1).sqrt(), noise=zero, bias=zero, products=sigma.shape[1],
    )  # fmt: skip
