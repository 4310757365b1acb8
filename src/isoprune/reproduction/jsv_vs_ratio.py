"""How the mean Jacobian singular value falls with the ratio, and what OrthP makes of it."""

from __future__ import annotations

import itertools

from isoprune.comparison.records.frame import numbers_of
from isoprune.comparison.statistics import summarize
from isoprune.reproduction.claims import (
    CONFIRMED,
    NOT_CONFIRMED,
    NOT_TESTABLE,
    Cells,
    Claim,
    Flat,
    Place,
    Published,
    Reproduction,
    Value,
    Verdict,
    ratio_of,
)
from isoprune.reproduction.judges import above

_RATIOS = ("0", "0.1", "0.3", "0.5", "0.7", "0.9")
_LINEAR = "mlp_7 linear"
_SOURCE = (
    "authors' plotting script (MingSun-Tse/Smile-Pruning); 2.4987 and 0.0004 are in the paper, "
    "arXiv 2105.05916"
)
_MNIST = {
    _LINEAR: (2.4987, 1.7132, 0.5325, 0.1180, 0.0151, 0.0004),
    "mlp_7 relu": (1.8265, 1.6664, 1.2583, 0.6295, 0.1334, 0.0055),
    "lenet_5 linear": (3.7455, 3.3744, 2.5529, 1.5176, 0.4221, 0.1126),
    "lenet_5 relu": (3.0128, 2.8606, 2.5970, 1.8385, 0.6943, 0.1847),
}
_FALL = 1000.0
_EXACT = 1e-4


def _place(flat: Flat) -> Place | None:
    rows = {"none": "L1", "orthp": "L1 + OrthP"}
    row = rows.get(str(flat.get("repair.name", "none")))
    panel = f"{flat['model.name']} {flat.get('model.activation')}"
    return None if row is None else Place(panel, row, ratio_of(flat))


def _thousandth(_: Reproduction, cells: Cells) -> Verdict:
    """Judge by the interval of the logarithm of the fall, over seeds."""
    ends = [cells.get(Place(_LINEAR, "L1", column), {}) for column in ("0", "0.9")]
    both = sorted(ends[0].keys() & ends[1].keys())
    falls = summarize(_JSV.compared(ends[0][s]) - _JSV.compared(ends[1][s]) for s in both)
    if falls.n < len(both):
        return Verdict(NOT_TESTABLE, "a mean JSV is missing, or is zero: it has no ratio to another")
    if falls.n < 2:
        return Verdict(NOT_TESTABLE, "one seed has no interval: run more seeds")
    low, high = (10**end for end in falls.interval)
    told = f"{10**falls.mean:,.0f} times smaller (95 % interval {low:,.0f} to {high:,.0f}, n = {falls.n})"
    if low >= _FALL:
        return Verdict(CONFIRMED, told)
    return Verdict(NOT_CONFIRMED if high < _FALL else NOT_TESTABLE, told)


def _exact(_: Reproduction, cells: Cells) -> Verdict:
    """Judge every seed by its mean and its spread: all singular values are 1 if they are 1 and 0."""
    records = [
        record
        for place, seeds in cells.items()
        if (place.panel, place.row) == (_LINEAR, "L1 + OrthP")
        for record in seeds.values()
    ]
    if not records:
        return Verdict(NOT_TESTABLE, "no finished runs to judge it by")
    means = [abs(_JSV.of(record) - 1) for record in records]
    spreads = [numbers_of(record).get("repaired.jsv.std") or 0.0 for record in records]
    worst = max(*means, *spreads)
    told = f"largest distance of a mean from 1, and largest spread, {worst:.1e} in {len(records)} networks"
    return Verdict(CONFIRMED if worst < _EXACT else NOT_CONFIRMED, told)


_JSV = Value("mean JSV before retraining", "repaired.jsv.mean", percent=False, log=True)

JSV_VS_RATIO = Reproduction(
    name="jsv-vs-ratio",
    title="Mean JSV against the pruning ratio",
    question="What does removing filters do to the singular values of a network’s input-output Jacobian, "
    "and what does OrthP make of them?",
    value=_JSV,
    claims=(
        Claim(
            "The more filters go, the lower the mean JSV, in linear and in ReLU networks.",
            "2105.05916",
            above(
                *((("L1", a), ("L1", b)) for a, b in itertools.pairwise(_RATIOS)),
            ),
        ),
        Claim(
            "At a ratio of 0.9 the mean JSV of the linear perceptron is less than a thousandth of before.",
            "2105.05916: 2.4987 to 0.0004",
            _thousandth,
        ),
        Claim(
            "On the linear perceptron OrthP makes every singular value 1, at every ratio.",
            "2105.05916",
            _exact,
        ),
        Claim(
            "On ReLU networks OrthP raises the mean JSV of the pruned network, from a ratio of 0.5 on.",
            "2105.05916",
            above(
                ("L1 + OrthP", "L1"),
                columns=("0.5", "0.7", "0.9"),
                panels=("mlp_7 relu", "lenet_5 relu"),
            ),
        ),
    ),
    place=_place,
    published={
        name: Published(f"{name.replace('_', '-').upper()} on MNIST", _SOURCE, _RATIOS, {"L1": row})
        for name, row in _MNIST.items()
    },
    notes=(
        "The papers prune the convolutions of LeNet-5 alone; our sizes prune its first linear layer too.",
        "The authors measure on training batches; here on fixed validation images, in eval mode.",
    ),
)
