"""The exact singular values of the input-output Jacobian, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from isoprune.isometry.chain import chain_jacobians
from isoprune.isometry.function import SampleFunction, require_finite, sample_function
from isoprune.isometry.memory import Footprint, default_memory
from isoprune.isometry.path import Link, Path
from isoprune.isometry.picks import InputPick, Inputs, OutputPick
from isoprune.isometry.products import pull_back
from isoprune.isometry.thin_convolutions import cheaper_convolutions
from isoprune.types import IsopruneError, Network, module_of

# Tensors of the largest activation's size that a backward holds at once, convolution work space included.
_LIVE = 8
# Bytes that kernels take for themselves (oneDNN's buffers), and the checks before the first chunk.
_SCRATCH = 8 * 10**6
# Few samples are repeated until this many rows go through a backward together: below, reading a large
# network's weights takes the time, not the arithmetic (ResNet-18 at 64x64: 22 ms a row alone, 4.5 ms in 32).
_ROWS = 32
# Beyond this the cotangents of a chunk leave the caches and nothing is gained (measured on LeNet-5 and
# ResNets).
_CHUNK_BYTES = 2**22


def jacobian_singular_values(
    network: Network,
    inputs: Inputs,
    *,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "samples min_dim"]:
    r"""Return the singular values of :math:`J_n = \partial y_n / \partial x_n`, descending, per sample.

    Where x goes through a chain of Linear layers and elementwise functions, J is a product of matrices.
    Otherwise one batched backward gives the rows of many outputs at once (few samples are repeated so that it
    has enough to do). No value is lost that its type can tell from zero: pruning makes small ones.

    The network, its ``.grad``, buffers and flags, and the random generators stay as they were.

    Args:
        network: A module, or what holds one as ``model``, such as a `Pruned`; measured in eval mode.
        inputs: Samples along dimension 0; a tensor, or a tuple or mapping of them.
        input: What x is, `sample_function`; for integers, the name of a module, whose output is taken.
        output: What y is, `sample_function`: a key, an index, or a function of the output.
        memory: Bound in bytes. None: a quarter of the free memory of the network's device.
        dtype: float32 or float64; None: float64 if the network or the inputs are, else float32.

    Returns:
        ``min(outputs, inputs)`` values a sample, on the network's device.

    Raises:
        IsopruneError: In train mode, for integers, outputs that do not depend on the input, NaN, a forward
            that is not deterministic, and if one sample's Jacobian does not fit into ``memory``.
    """
    path = Path()
    model = module_of(network)
    with sample_function(model, inputs, input=input, output=output, dtype=dtype, path=path) as f:
        values = min(f.outputs, f.x[0].numel())
        sigma = []
        for n, J in _jacobians_for_values(f, path, cheaper_convolutions(model), memory):
            sigma.append(_singular_values(J).expand(n, -1))
        found = torch.cat(sigma)
    # A first Linear narrower than the outputs bounds the rank: the rest is zero.
    return F.pad(found, (0, values - found.shape[1])) if found.shape[1] < values else found


def jacobian(
    network: Network,
    inputs: Inputs,
    *,
    input: InputPick = None,
    output: OutputPick = None,
    memory: int | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "samples outputs inputs"]:
    """Return every Jacobian, inputs and outputs flattened; arguments as in `jacobian_singular_values`."""
    model = module_of(network)
    with sample_function(model, inputs, input=input, output=output, dtype=dtype) as f:
        J = torch.cat(list(_jacobians(f, cheaper_convolutions(model), memory)))
    require_finite(J, "The Jacobian holds")
    return J


def _singular_values(J: Tensor) -> Tensor:
    r"""Return the singular values of matrices [n, rows, columns], descending.

    Of float32, the roots of the eigenvalues of the Gram matrix in float64: its rounding moves a value
    :math:`\sigma` by :math:`10^{-16} \sigma_{\max}^2 / \sigma`, which is below float32's own
    :math:`10^{-7} \sigma_{\max}` wherever float32 says anything, and it takes half the time. Of float64 there
    is no wider type to do so; a QR leaves a small triangle with the same singular values.
    """
    tall = J if J.shape[1] > J.shape[2] else J.mT
    if J.dtype == torch.float32:
        tall = tall.double()
        gram = tall.mT @ tall
        require_finite(gram, "The Jacobian holds")  # as J does, at a fraction of the price
        return torch.linalg.eigvalsh(gram).flip(-1).clamp_min(0).sqrt().float()
    R = torch.linalg.qr(tall, mode="r")[1]
    require_finite(R, "The Jacobian holds")
    return torch.linalg.svdvals(R)


def _jacobians_for_values(
    f: SampleFunction, path: Path, ops: AbstractContextManager, memory: int | None
) -> Iterator[tuple[int, Tensor]]:
    """Yield, chunk by chunk, how many samples, and what has their Jacobians' singular values, zeros aside.

    One matrix may stand for all samples of a chunk.
    """
    bound = default_memory(f.x.device) if memory is None else memory
    room = bound - f.kept - _SCRATCH
    chain = chain_jacobians(path.links, f.x, f.outputs, room) if path.complete else None
    if chain is not None:
        for y, J in chain:
            require_finite(y, "The outputs hold")
            yield len(y), J
        return
    short = through_first_linear(f, path, room)
    if short is not None:
        for number, J in enumerate(_jacobians(short.inner, ops, bound)):
            if number == 0 and not short.agrees(J[0]):
                break
            # Outputs come first in memory: no copy.
            yield len(J), (J.transpose(0, 1) @ short.rest).transpose(0, 1)
        else:
            return
    for J in _jacobians(f, ops, bound):
        yield len(J), J


def _jacobians(f: SampleFunction, ops: AbstractContextManager, memory: int | None) -> Iterator[Tensor]:
    """Yield the Jacobians [n, outputs, inputs] of consecutive chunks of samples."""
    bound = default_memory(f.x.device) if memory is None else memory
    chunk = _chunk(
        f.alone.cost, f.kept + _SCRATCH, len(f.x), f.outputs, f.x[0].numel(), f.x.element_size(), bound
    )
    for start in range(0, len(f.x), chunk.samples):
        yield _jacobian(f, f.rows(start, start + chunk.samples), ops, chunk)


@dataclass(frozen=True)
class _Chunk:
    """So many samples at once, each so many times, and so many cotangents a row in one backward."""

    samples: int
    copies: int
    cotangents: int

    def bytes(self, cost: Footprint, jacobian: int) -> int:
        rows = self.samples * self.copies
        # J, its parts and the copies that its values are taken from, what the forward keeps, and what a
        # backward has under way.
        return 3 * self.samples * jacobian + rows * (cost.saved + _LIVE * self.cotangents * cost.largest)


def _chunk(
    cost: Footprint, kept: int, samples: int, outputs: int, inputs: int, element: int, memory: int
) -> _Chunk:
    """Return the fastest chunk that stays within ``memory`` bytes, of which ``kept`` are taken already."""
    cost = Footprint(cost.saved, max(cost.largest, inputs * element))
    jacobian = outputs * inputs * element
    at_once = max(_CHUNK_BYTES // cost.largest, 1)
    n = min(samples, at_once)
    copies = min(outputs, max(min(_ROWS, at_once) // n, 1))
    chunk = _Chunk(n, copies, min(max(at_once // (n * copies), 1), -(-outputs // copies)))
    while kept + chunk.bytes(cost, jacobian) > memory and chunk != _Chunk(1, 1, 1):
        if chunk.cotangents > 1:
            chunk = replace(chunk, cotangents=chunk.cotangents // 2)
        elif chunk.samples > 1:
            chunk = replace(chunk, samples=chunk.samples // 2)
        else:
            chunk = replace(chunk, copies=chunk.copies // 2)
    if kept + chunk.bytes(cost, jacobian) > memory:
        raise IsopruneError(
            f"One sample's {outputs} x {inputs} Jacobian, its backward, parameters and inputs take "
            f"{kept + chunk.bytes(cost, jacobian):,} bytes; memory = {memory:,}. Raise memory, pick fewer "
            "outputs with output=, or use estimate_jacobian_singular_values."
        )
    return chunk


def _jacobian(f: SampleFunction, rows: Tensor, ops: AbstractContextManager, chunk: _Chunk) -> Tensor:
    """Return dy/dx [n, outputs, inputs] of the samples ``rows``, each ``chunk.copies`` times there."""
    n, r = len(rows), chunk.copies
    repeated = rows.repeat(r) if r > 1 else rows
    x = f.leaf(repeated)
    with ops:
        y = f(x, repeated)
    parts = []
    for start in range(0, f.outputs, r * chunk.cotangents):
        stop = min(start + r * chunk.cotangents, f.outputs)
        k = -(-(stop - start) // r)
        cotangents = y.new_zeros(k * r, n, f.outputs)
        cotangents[range(stop - start), :, range(start, stop)] = 1
        g = pull_back(y, x, cotangents.view(k, r * n, f.outputs))
        parts.append(g.reshape(k * r, n, -1)[: stop - start])
    return (torch.cat(parts) if len(parts) > 1 else parts[0]).transpose(0, 1)


_AGREEMENT = {torch.float32: 1e-4, torch.float64: 1e-10}


@dataclass(frozen=True)
class ShortWay:
    """``inner``: a network as a function of its first Linear's output h; ``rest``: the L of W = L Q."""

    inner: SampleFunction
    rest: Tensor
    weight: Tensor
    cotangent: Tensor
    pulled: Tensor

    def agrees(self, J: Tensor) -> bool:
        """Tell whether the first sample's dy/dh leads to its dy/dx.

        It does not if x is used where no path sees it, in an operation from outside torch.
        """
        want = self.pulled.flatten(1)
        off = (self.cotangent @ J @ self.weight - want).abs().max()
        return float(off) <= _AGREEMENT[J.dtype] * float(want.abs().max())


def through_first_linear(f: SampleFunction, path: Path, room: int) -> ShortWay | None:
    r"""Return f as a function of its first Linear's output h, and L: (dy/dh) L stands for dy/dx.

    If :math:`h = W x + b` is all that x goes into, dy/dx = (dy/dh) W, and with :math:`W = L Q`, Q orthonormal
    rows, the singular values are those of (dy/dh) L: 100 columns in place of 1024, say. Where x goes into
    anything else, or W is not wide, there is no such way. Nor is it taken where factoring W takes longer than
    what it saves (it has more rows than all the Jacobians), or more than ``room`` bytes.
    """
    link, pulled = path.first_linear, f.alone.pulled
    if link is None or link.weight is None or pulled is None or f.x[0].numel() != link.weight.shape[1]:
        return None
    W = link.weight
    if not len(W) < W.shape[1] or len(W) > len(f.x) * f.outputs or 2 * W.nbytes > room:
        return None

    def evaluate(z: Tensor, rows: Tensor) -> Tensor:
        return f(Path(z).follow(f.x.index_select(0, rows)), rows)

    L = torch.linalg.qr(W.mT, mode="r")[1].mT
    inner = _Inner(f.x, evaluate, f.outputs, f.constants, f.kept + L.nbytes, f.alone, link)
    return ShortWay(inner, L, W, f.alone.cotangent, pulled)


@dataclass(frozen=True)
class _Inner(SampleFunction):
    link: Link

    def leaf(self, rows: Tensor) -> Tensor:
        return self.link.apply(self.x.index_select(0, rows).flatten(1)).requires_grad_()
