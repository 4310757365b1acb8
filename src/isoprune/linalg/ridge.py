"""Least squares on a stream: sums of products in, weights out, near to given ones as far as data allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from isoprune.types import IsopruneError

# Strengths tried, relative to the mean eigenvalue of the inputs' covariance. At the last one nothing moves.
STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 1e6)
WIDE = (
    1024  # inputs above which strengths are solved for one by one: an eigendecomposition costs as 20 of them
)
_ROUNDING = 1e-6  # of a float32 sum of squares, relative to it
_ROWS = 2048  # whose products are taken at once
_TENSORS = ("x", "y", "xx", "xy", "yy")
_WORSE = 2  # strengths in a row, after which no weaker one is tried
_TOLERANCE = 1e-12  # of the squared residual of the masked solver, relative


@dataclass(frozen=True)
class Moments:
    """Sums over samples of what least squares of y on x needs, in float64: memory does not grow with them."""

    n: int
    x: Float[Tensor, "inputs"]
    y: Float[Tensor, "outputs"]
    xx: Float[Tensor, "inputs inputs"]
    xy: Float[Tensor, "inputs outputs"]
    yy: Float[Tensor, "outputs"]

    @staticmethod
    def of(X: Float[Tensor, "samples inputs"], Y: Float[Tensor, "samples outputs"]) -> Moments:
        """Return the sums over the rows of X and Y; products in their type, sums in float64."""
        return Moments(
            len(X),
            X.double().sum(0),
            Y.double().sum(0),
            (X.mT @ X).double(),
            (X.mT @ Y).double(),
            Y.double().square().sum(0),
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, *(getattr(self, p) + getattr(other, p) for p in _TENSORS))

    def centred(self, intercept: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return means per sample of x x^T, x y^T and y^2, about the means of x and y if ``intercept``."""
        xx, xy, yy = self.xx / self.n, self.xy / self.n, self.yy / self.n
        if intercept:
            x, y = self.x / self.n, self.y / self.n
            xx, xy, yy = xx - torch.outer(x, x), xy - torch.outer(x, y), yy - y.square()
        return xx, xy, yy

    def of_output(self, W: Float[Tensor, "outputs inputs"]) -> tuple[Tensor, Tensor]:
        """Return mean and variance of W x."""
        return W @ (self.x / self.n), ((W @ self.centred(True)[0]) * W).sum(1).clamp_min(0)

    def error(self, W: Float[Tensor, "outputs inputs"], b: Float[Tensor, "outputs"]) -> float:
        """Return the sum over samples and outputs of (y - W x - b)^2."""
        squares = self.yy - 2 * (W * self.xy.mT).sum(1) + ((W @ self.xx) * W).sum(1)
        shifts = b * (self.n * b - 2 * self.y + 2 * (W @ self.x))
        return float((squares + shifts).sum())


class Sums:
    """Moments of rows that come in parts.

    Products are taken of many rows at once: adding up [inputs, inputs] costs as much as the products of some
    hundred rows.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[Tensor, Tensor]] = []
        self._sum: Moments | None = None

    def add(self, X: Float[Tensor, "samples inputs"], Y: Float[Tensor, "samples outputs"]) -> None:
        """Add samples."""
        self._rows.append((X, Y))
        if sum(len(x) for x, _ in self._rows) >= _ROWS:
            self._multiply()

    def moments(self) -> Moments | None:
        """Return the moments of what was added; None of nothing."""
        self._multiply()
        return self._sum

    def _multiply(self) -> None:
        rows, self._rows = self._rows, []
        if not sum(len(x) for x, _ in rows):
            return
        new = Moments.of(*(torch.cat(parts) for parts in zip(*rows, strict=True)))
        self._sum = new if self._sum is None else self._sum + new


@dataclass(frozen=True)
class Fit:
    """Weights [outputs, inputs] and intercepts [outputs]; the strength chosen, and what is left.

    ``mean`` and ``variance`` [outputs] are those of W x on the data. ``left`` is the held-out squared error
    over that of a constant; None without folds.
    """

    W: Tensor
    b: Tensor
    mean: Tensor
    variance: Tensor
    strength: float
    left: float | None


def ridge(
    folds: Sequence[Moments],
    W0: Float[Tensor, "outputs inputs"],
    *,
    intercept: bool = True,
    strengths: Sequence[float] = STRENGTHS,
    give: float = 0.0,
    mask: Tensor | None = None,
) -> Fit:
    r"""Return the minimiser of :math:`\sum_n |y_n - W x_n - b|^2 / N + \lambda a \|W - W_0\|_F^2`.

    :math:`a` is the mean eigenvalue of the inputs' covariance, so ``strengths`` (:math:`\lambda`) have no
    unit. With several folds each is tried on all folds but one and judged on the one left out; the strongest
    is taken whose error leaves at most the part ``give`` of what the best one gains over not moving at all.
    (Weights that explain the last bit of data are long, and a network of long weights is sharp: it must be
    trained at a lower rate.) The last fit is on all. A pull toward the given ``W0`` rather than toward zero:
    where the data say nothing, what the weights know stays.

    Above 1,024 inputs one part is left out, not each in turn, and strengths are tried from the strongest down
    until two in a row are worse, or too weak for the rounding of the data.

    Args:
        folds: Moments of disjoint parts of the data; one: the first strength is taken.
        W0: Weights to stay near to.
        intercept: Whether b is fitted (else zero).
        strengths: Ascending.
        give: In [0, 1].
        mask: 0/1 per weight; where it is 0, W is 0. Rows are then solved by conjugate gradients.

    Cost: an eigendecomposition of [inputs, inputs] a fold, and one of all; above 1,024 inputs a Cholesky
    decomposition a strength, and one of all.
    """
    W0 = W0.double() if mask is None else W0.double() * mask
    total = _sum(folds)
    chosen, left = strengths[0], None
    if len(folds) > 1:
        judges = folds if W0.shape[1] <= WIDE or mask is not None else folds[:1]
        errors = torch.zeros(len(strengths), dtype=torch.float64)
        for fold in judges:
            rest = _sum([f for f in folds if f is not fold])
            errors += _errors(_solutions(rest, W0, intercept, strengths, mask), fold, len(strengths))
        least, still = errors.min(), errors[-1]
        best = int((errors <= least + give * (still - least)).nonzero().max())
        constant = float(total.centred(intercept)[2].sum()) * sum(f.n for f in judges)
        chosen, left = strengths[best], float(errors[best]) / constant if constant > 0 else 0.0
    ((W, b),) = _solutions(total, W0, intercept, [chosen], mask)
    return Fit(W, b, *total.of_output(W), chosen, left)


def _errors(solutions: Iterator[tuple[Tensor, Tensor]], fold: Moments, number: int) -> Tensor:
    """Return the error of each solution on a fold, the last one first; infinite for those not looked at."""
    errors = torch.full((number,), torch.inf, dtype=torch.float64)
    worse = 0
    for i, (W, b) in zip(reversed(range(number)), solutions, strict=False):
        errors[i] = fold.error(W, b)
        worse = worse + 1 if errors[i] > errors.min() else 0
        if worse == _WORSE and W.shape[1] > WIDE:
            break
    return errors


def _solutions(
    m: Moments, W0: Tensor, intercept: bool, strengths: Sequence[float], mask: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield weights and intercepts for each of ``strengths``, from the last; fewer if data are too coarse."""
    A, B, _ = m.centred(intercept)
    if not (A.isfinite().all() and B.isfinite().all()):
        raise IsopruneError("What the layers compute on the data holds NaN or infinity. Check the inputs.")
    mean = A.diagonal().mean()
    residual = B.mT - W0 @ A
    if mean <= _ROUNDING * m.xx.diagonal().mean() / m.n:
        residual = torch.zeros_like(residual)  # all inputs are constant: what is left of them is rounding
    solve = _eigen(A, residual) if mask is None and len(A) <= WIDE else None
    for strength in reversed(strengths):
        pull = strength * mean
        if not bool(residual.any()):
            W = W0
        elif solve is not None:
            W = W0 + solve(pull)
        elif mask is not None:
            W = W0 + _masked(A + pull * torch.eye(len(A)).to(A), residual, mask)
        else:
            L, failed = torch.linalg.cholesky_ex(A + pull * torch.eye(len(A)).to(A))
            if failed:
                if len(strengths) > 1:
                    return
                W = W0 + _eigen(A, residual)(pull)
            else:
                W = W0 + torch.cholesky_solve(residual.mT, L).mT
        yield W, (m.y - W @ m.x) / m.n if intercept else torch.zeros_like(m.y)


def _eigen(A: Tensor, residual: Tensor) -> Callable[[Tensor], Tensor]:
    """Return pull -> residual (A + pull I)^-1; zero in directions in which both are."""
    values, V = torch.linalg.eigh(A)
    along = residual @ V

    def solve(pull: Tensor) -> Tensor:
        whole = values.clamp_min(0) + pull
        # Inputs that are all zero have nothing to say: there W0 stays.
        return torch.where(whole > 0, along / whole, 0.0) @ V.mT

    return solve


def _masked(A: Tensor, residual: Tensor, mask: Tensor | None) -> Tensor:
    """Return D, zero outside the mask, with (D A - residual) zero inside it: a system of its own each row."""
    inside = torch.ones_like(residual) if mask is None else mask.double()
    D, r = torch.zeros_like(residual), residual * inside
    p, power = r.clone(), r.square().sum(1, keepdim=True)
    enough = _TOLERANCE * power
    for _ in range(A.shape[0]):
        if bool((power <= enough).all()):
            break
        Ap = (p @ A) * inside
        curvature = (p * Ap).sum(1, keepdim=True)
        step = torch.where((power > enough) & (curvature > 0), power / curvature, 0.0)
        D, r = D + step * p, r - step * Ap
        after = r.square().sum(1, keepdim=True)
        p = r + torch.where(power > 0, after / power, 0.0) * p
        power = after
    return D


def _sum(parts: Sequence[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
