"""The Jacobian of a chain of Linear layers and elementwise functions, as the product that it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from isoprune.isometry.path import Link

# Beyond this a chunk's matrices leave the caches and nothing is gained.
_CHUNK_BYTES = 2**22


def run(links: Sequence[Link], x: Tensor) -> Tensor:
    """Return the outputs [samples, outputs] of the chain."""
    for link in links:
        x = link.apply(x)
    return x.flatten(1)


def chain_jacobians(
    links: Sequence[Link], x: Tensor, outputs: int, room: int
) -> Iterator[tuple[Tensor, Tensor]] | None:
    r"""Return, chunk by chunk, the outputs [n, outputs] and what has the singular values of the Jacobians.

    That is :math:`J_n = W_k D_{k-1}(x_n) W_{k-1} \cdots D_1(x_n) W_1`, the D diagonal: derivatives of what
    acts element by element. Where no D depends on the sample, there is one J [1, outputs, columns] for all.
    With :math:`W_1 = L Q`, Q orthonormal rows, L stands for a wide :math:`W_1` that comes first, where
    factoring it takes less than it saves.

    Args:
        room: Bytes. Where one sample takes more: None.
    """
    first = next(link for link in links if link.kind != "reshape")
    widths = [len(link.weight) for link in links if link.weight is not None]
    wide, W = x[0].numel(), first.weight
    if W is not None and len(W) < wide and len(W) <= len(x) * outputs and 2 * W.nbytes <= room:
        room -= 2 * W.nbytes
        W = torch.linalg.qr(W.mT, mode="r")[1].mT
    widest = max(*widths, W.shape[1] if W is not None else wide)
    jacobian = outputs * widest * x.element_size()
    # J, the product under way and the copy that QR works on; values and derivatives of the forward.
    each = 4 * jacobian + 3 * len(links) * max(*widths, wide) * x.element_size()
    if each > room:
        return None
    chunk = max(min(room // each, _CHUNK_BYTES // jacobian), 1)
    return _chunks(links, x.split(chunk), first, W)


def _chunks(
    links: Sequence[Link], parts: Sequence[Tensor], first: Link, W: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    for part in parts:
        y, diagonals = _forward(links, part)
        J: Tensor | None = None
        for link, D in zip(reversed(links), reversed(diagonals), strict=True):
            if D is not None:
                J = torch.diag_embed(D) if J is None else _scaled(J, D)
            elif link.weight is not None:
                factor = W if link is first and W is not None else link.weight
                J = factor[None] if J is None else (J.flatten(0, 1) @ factor).view(*J.shape[:2], -1)
        assert J is not None
        yield y, J


def _scaled(J: Tensor, D: Tensor) -> Tensor:
    """Return J D; in J's own memory if it fits there, since fresh memory takes longer than the product."""
    return J.mul_(D[:, None]) if J.is_contiguous() and len(J) >= len(D) > 1 else J * D[:, None]


def _forward(links: Sequence[Link], x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """Return the outputs, and the derivatives [samples or 1, features] of each link that is elementwise."""
    diagonals: list[Tensor | None] = []
    for link in links:
        D = None
        if link.derivative is not None:
            D = link.derivative(x)
            x = link.apply(x)
        elif link.kind == "elementwise":
            h = x.detach().requires_grad_()
            y = link.apply(h.clone())  # a function may work in place
            (D,) = torch.autograd.grad(y, h, torch.ones_like(y))
            x = y.detach()
        else:
            x = link.apply(x)
        diagonals.append((D[:1] if link.constant else D).flatten(1) if D is not None else None)
    return x.flatten(1), diagonals
