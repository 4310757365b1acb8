"""Which inputs of least-squares problems can go: backward elimination with exact refits, and swaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

_WORTH = 1e-9  # a swap must lower the error by more than this part of it: less is rounding
_ROWS = 128  # of downdates that wait until they are subtracted in one product


@dataclass
class Reader:
    r"""A linear map that reads units, refit whenever some go so that its outputs change least.

    What is lost is :math:`\mathrm{tr}\,(A - A_0)\, G\, (A - A_0)^\top` over all A that are zero at the inputs
    that are gone; A and the inverse of G are kept up to date by exact updates, in float64.

    Attributes:
        G: Second moments of the inputs, positive definite.
        A: The map; rows are outputs, weighted by how much they matter.
        units: Which unit each input belongs to; -1: to none, and it stays.
    """

    G: Float[Tensor, "inputs inputs"]
    A: Float[Tensor, "outputs inputs"]
    units: Int[Tensor, "inputs"]
    target: Tensor = field(init=False)  # A0 G
    _left: Tensor = field(init=False)  # bool: the inputs that are there
    _inverse: Tensor = field(init=False)  # H, but for the downdates that wait: H + Z^T Z
    _waiting: Tensor = field(init=False)  # room for the rows of Z
    _number: int = field(init=False, default=0)  # of rows that wait
    _columns: dict[int, Tensor] = field(init=False)
    _alike: list[tuple[Tensor, Tensor]] = field(init=False)  # units of equally many inputs, those inputs

    def __post_init__(self) -> None:
        self.target = self.A @ self.G
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(self.G))
        self._left = torch.ones(len(self.G), dtype=torch.bool)
        self.A = self.A.clone()
        of_unit: dict[int, list[int]] = {}
        for column, unit in enumerate(self.units.tolist()):
            if unit >= 0:
                of_unit.setdefault(unit, []).append(column)
        self._columns = {unit: torch.tensor(columns) for unit, columns in of_unit.items()}
        sizes: dict[int, list[int]] = {}
        for unit, columns in of_unit.items():
            sizes.setdefault(len(columns), []).append(unit)
        self._alike = [
            (torch.tensor(units), torch.stack([self._columns[u] for u in units])) for units in sizes.values()
        ]
        self._waiting = self.G.new_empty(max([_ROWS, *sizes]), len(self.G))

    @property
    def H(self) -> Tensor:
        """The inverse of G on the inputs that are there, zero elsewhere."""
        self._subtract_()
        return self._inverse

    def _subtract_(self) -> None:
        """Subtract the downdates that wait."""
        if self._number:
            Z = self._waiting[: self._number]
            self._inverse.addmm_(Z.mT, Z, alpha=-1)
            self._number = 0
            self._inverse[~self._left] = 0
            self._inverse[:, ~self._left] = 0

    def losses(self, there: Tensor) -> Tensor:
        """Return by how much each unit that is ``there`` (bool) would raise the error if it went next."""
        found = torch.zeros(len(there), dtype=self.A.dtype)
        for units, columns in self._present(there):
            Z = self._waiting[: self._number, columns].movedim(1, 0)  # [units, rows, inputs of a unit]
            H = self._inverse[columns[:, :, None], columns[:, None, :]] - Z.mT @ Z
            A = self.A[:, columns].transpose(0, 1)  # [units, outputs, inputs of a unit]
            found[units] = _explained(H, A)
        return found

    def gains(self, there: Tensor) -> Tensor:
        """Return by how much each unit that is not ``there`` would lower the error if it came back."""
        found = torch.zeros(len(there), dtype=self.A.dtype)
        for units, columns in self._present(~there):
            flat = columns.flatten()
            P = (self.H @ self.G[:, flat]).unflatten(1, columns.shape)  # [inputs, units, inputs of a unit]
            T = self.G[:, flat].unflatten(1, columns.shape)
            S = self.G[columns[:, :, None], columns[:, None, :]] - torch.einsum("nus,nut->ust", T, P)
            lacking = (self.target[:, flat] - self.A @ self.G[:, flat]).unflatten(1, columns.shape)
            found[units] = _explained(S, lacking.transpose(0, 1))
        return found

    def remove_(self, unit: int) -> None:
        """Take a unit's inputs away and refit."""
        columns = self._columns.get(unit)
        if columns is None:
            return
        waiting = self._waiting[: self._number]
        rows = self._inverse[columns] - waiting[:, columns].mT @ waiting
        rows[:, ~self._left] = 0
        # By a factor of the block, not its inverse, whose rounding the large entries of H would multiply.
        L = torch.linalg.cholesky(rows[:, columns])
        Z = torch.linalg.solve_triangular(L, rows, upper=False)
        self.A.addmm_(torch.linalg.solve_triangular(L, self.A[:, columns].mT, upper=False).mT, Z, alpha=-1)
        self.A[:, columns] = 0
        self._left[columns] = False
        if self._number + len(Z) > len(self._waiting):
            self._subtract_()
        self._waiting[self._number : self._number + len(Z)] = Z
        self._number += len(Z)

    def restore_(self, unit: int) -> None:
        """Give a unit's inputs back and refit."""
        columns = self._columns.get(unit)
        if columns is None:
            return
        T, H = self.G[:, columns], self.H
        P = H @ T
        S = torch.cholesky_inverse(torch.linalg.cholesky(T[columns] - T.mT @ P))
        step = (self.target[:, columns] - self.A @ T) @ S
        self.A -= step @ P.mT
        self.A[:, columns] = step
        H += P @ S @ P.mT
        H[:, columns] = -P @ S
        H[columns] = -(P @ S).mT
        H[columns[:, None], columns] = S
        self._left[columns] = True

    def keep_(self, there: Tensor) -> None:
        """Refit anew to the units that are ``there`` (bool), whatever went before."""
        self._left, self._number = (self.units < 0) | there[self.units.clamp_min(0)], 0
        left = self._left.nonzero().flatten()
        within = torch.linalg.cholesky(self.G[left][:, left])
        self._inverse = torch.zeros_like(self.G)
        self._inverse[left[:, None], left] = torch.cholesky_inverse(within)
        self.A = self.target @ self._inverse

    def _present(self, there: Tensor) -> list[tuple[Tensor, Tensor]]:
        found = [(units, columns, there[units]) for units, columns in self._alike]
        return [(units[here], columns[here]) for units, columns, here in found if bool(here.any())]


def _explained(H: Tensor, A: Tensor) -> Tensor:
    """Return tr A H^-1 A^T of every unit: H [units, n, n], A [units, outputs, n]."""
    if H.shape[-1] == 1:
        return A.square().sum((1, 2)) / H[:, 0, 0]
    L = torch.linalg.cholesky(H)
    return torch.linalg.solve_triangular(L, A.mT, upper=False).square().sum((1, 2))


@dataclass(frozen=True)
class Elimination:
    """What `eliminate` chose.

    Attributes:
        kept: Bool [units].
        order: The units that went one by one, the first first; swaps come after them.
        errors: The error after each.
        loss: By how much each unit that is kept would raise the error, [units]; zero elsewhere.
        gain: By how much each unit that went would lower it, [units]; zero elsewhere.
    """

    kept: Tensor
    order: list[int]
    errors: list[float]
    loss: Tensor
    gain: Tensor


def eliminate(readers: Sequence[Reader], units: int, keep: int, *, swaps: int | None = None) -> Elimination:
    """Take units away, always the one that is missed least, until ``keep`` are left; then swap.

    A swap brings a unit back that lowers the error most and takes another away, if that lowers the error in
    the end; of several candidates the next one is tried where the first gives nothing. Readers are left as
    refit to what is kept. Of equals the last goes.

    Args:
        readers: All that read the units.
        units: How many there are.
        keep: How many stay.
        swaps: At most so many; None: as many as units are kept.

    Cost: per unit and reader a few products of its inputs squared with the inputs of a unit.
    """
    there = torch.ones(units, dtype=torch.bool)
    order: list[int] = []
    errors: list[float] = []
    error = 0.0
    while int(there.sum()) > keep:
        losses = _total([r.losses(there) for r in readers], units)
        unit = _last_least(losses, there)
        for reader in readers:
            reader.remove_(unit)
        there[unit] = False
        error += float(losses[unit])
        order.append(unit)
        errors.append(error)
    if order and keep:
        for _ in range(keep if swaps is None else swaps):
            if not _swapped_(readers, there, error_scale=error):
                break
    loss = _total([r.losses(there) for r in readers], units)
    gain = _total([r.gains(there) for r in readers], units)
    return Elimination(there, order, errors, loss, gain)


_CANDIDATES = 4


def _swapped_(readers: Sequence[Reader], there: Tensor, *, error_scale: float) -> bool:
    """Swap one pair of units if that lowers the error; tell whether it did."""
    gains = _total([r.gains(there) for r in readers], len(there))
    candidates = torch.argsort(torch.where(there, -1.0, gains), descending=True, stable=True)
    for unit in candidates[: min(_CANDIDATES, int((~there).sum()))].tolist():
        if not float(gains[unit]) > _WORTH * error_scale:
            return False
        for reader in readers:
            reader.restore_(unit)
        there[unit] = True
        losses = _total([r.losses(there) for r in readers], len(there))
        worst = _last_least(losses, there)
        better = float(losses[worst]) < float(gains[unit]) - _WORTH * error_scale
        goes = worst if better else unit
        for reader in readers:
            reader.remove_(goes)
        there[goes] = False
        if better:
            return True
    return False


def _last_least(losses: Tensor, there: Tensor) -> int:
    masked = torch.where(there, losses, torch.inf)
    return int((masked == masked.min()).nonzero().max())


def _total(each: Sequence[Tensor], units: int) -> Tensor:
    return torch.stack(list(each)).sum(0) if each else torch.zeros(units, dtype=torch.float64)
