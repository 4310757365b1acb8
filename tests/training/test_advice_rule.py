"""Which probe is chosen: of made-up ones, and of networks whose stable rates are known or that are dead."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from isoprune.methods.schedules import constant, one_cycle
from isoprune.training.rates import (
    BROKEN,
    TOLERANCE,
    Advice,
    Probe,
    at_or_below,
    best_rate,
    check_rates,
    climb,
)
from isoprune.training.settings import Trained
from isoprune.types import IsopruneError, Splits
from isoprune.types.samples import Split
from isoprune.verbs.advise import SHARE, advise

from .small import seeded, small_net, small_splits

RATES = (0.01, 0.1, 1.0)
RECIPE = {"epochs": 20, "schedule": one_cycle(), "batch": 10, "rates": RATES}


def probes(*accuracies: float | None) -> list[Probe]:
    return [Probe(10.0**i, 8, a, None if a is None else 1.0) for i, a in enumerate(accuracies)]


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ((0.2, 0.5, 0.9, 0.4), 100.0),
        ((0.5, 0.5, 0.5), 100.0),  # a tie: the largest
        ((0.5, 0.5 + TOLERANCE / 2, 0.5), 100.0),
        ((0.75 + 2 * TOLERANCE, 0.75, 0.75), 1.0),
        ((0.75, 0.75 + 2 * TOLERANCE, 0.75), 10.0),
        ((0.5, 0.9, None, None), 10.0),
        ((None, 0.9, None, 0.9), 1000.0),  # one that diverged between two that did not
        ((0.3,), 1.0),
    ],
)
def test_largest_rate_that_is_as_good_as_the_best(accuracies, best):
    assert best_rate(probes(*accuracies)) == best


@given(st.lists(st.integers(3, 9), max_size=5), st.lists(st.integers(3, 9), max_size=5))
def test_of_accuracies_with_one_peak_no_other_rate_has_to_be_tried(ups, downs):
    """Slow oracle: the choice among all rates, which rise to the peak and fall from it by 3 to 9 points."""
    changes = [0, *ups, *(-d for d in downs)]
    curve = [0.5 + sum(changes[: i + 1]) / 100 for i in range(len(changes))]
    rates = [10.0**i for i in range(len(curve))]
    asked = dict(zip(rates, curve, strict=True))
    tried = climb(rates, asked.__getitem__)
    assert rates[len(rates) // 2] in tried
    assert tried == sorted(tried)
    every = [Probe(lr, 8, a, 1.0) for lr, a in asked.items()]
    assert best_rate([p for p in every if p.lr in tried]) == best_rate(every)


def test_rates_that_need_not_be_tried_are_not():
    def tried(*accuracies: float) -> list[float]:
        return climb([0.0, 1.0, 2.0, 3.0, 4.0], lambda lr: accuracies[int(lr)])

    assert tried(0.5, 0.7, 0.9, 0.8, 0.9) == [1, 2, 3]  # the middle is the best: one to each side
    assert tried(0.1, 0.1, 0.8, 0.9, 0.2) == [2, 3, 4]
    assert tried(0.9, 0.8, 0.5, 0.4, 0.9) == [0, 1, 2, 3]
    assert tried(0.1, 0.9, -math.inf, 0.9, 0.9) == [0, 1, 2]  # diverged: nothing larger
    assert tried(0.9, -math.inf, -math.inf, 0.9, 0.9) == [0, 1, 2]
    assert tried(0.5, 0.5, 0.5, 0.5, 0.5) == [2, 3, 4]
    assert climb([0.1], lambda _: 0.3) == [0.1]


def test_short_probes_ask_more_of_rates_above_the_middle_and_no_more_of_others():
    """0.1 is the middle: 1.7 points behind it a larger rate is refused, a smaller one is not preferred."""
    curve = {0.01: 0.898, 0.1: 0.896, 1.0: 0.879}
    found = [Probe(lr, 8, a, 1.0) for lr, a in curve.items()]
    assert best_rate(found) == 1.0
    assert best_rate(found, middle=0.1, rise=TOLERANCE / 3) == 0.1
    assert best_rate(found[1:], middle=0.1, rise=TOLERANCE) == 1.0
    near = [Probe(0.1, 8, 0.75, 1.0), Probe(1.0, 8, 0.75 - TOLERANCE / 4, 1.0)]
    assert best_rate(near, middle=0.1, rise=TOLERANCE / 4) == 1.0
    assert climb([0.01, 0.1, 1.0], curve.__getitem__) == [0.1, 1.0]
    assert climb([0.01, 0.1, 1.0], curve.__getitem__, TOLERANCE / 3) == [0.01, 0.1, 1.0]


@pytest.mark.parametrize(("share", "lr"), [(SHARE / 3, 0.1), (SHARE, 1.0), (1.0, 1.0)])
def test_the_part_of_a_training_that_a_probe_takes_sets_how_near_a_larger_rate_must_come(share, lr):
    """Probes of 0.8 of a tolerance below the best, which are known: none is run."""
    splits = small_splits()
    total = RECIPE["epochs"] * -(-len(splits.train) // RECIPE["batch"])
    ends = zip(RATES, (0.898, 0.896, 0.882), strict=True)
    done = [Probe(rate, max(round(share * total), 8), a, 1.0) for rate, a in ends]
    run: list[Probe] = []
    found = advise(small_net(), splits, share=share, done=done, on_probe=run.append, **RECIPE)
    assert (found.lr, run) == (lr, [])


def test_tolerance_counts_what_is_exactly_at_its_edge():
    best = 0.75
    edge = best - TOLERANCE
    assert best_rate(probes(best, edge)) == 10.0
    assert best_rate(probes(best, math.nextafter(edge, 0.0))) == 1.0


def test_rule_does_not_depend_on_the_order_of_the_probes():
    made = probes(0.2, 0.9, 0.9 - TOLERANCE / 2, 0.1)
    assert {best_rate([made[i] for i in torch.randperm(4, generator=seeded(k))]) for k in range(9)} == {100.0}


def test_probes_that_all_diverged_have_no_best_rate():
    with pytest.raises(IsopruneError, match=r"every rate from 1 to 100\. Look at .* give smaller rates"):
        best_rate(probes(None, None, None))


@pytest.mark.parametrize(
    "rates", [(), (0.1, 0.1), (0.1, 0.01), (0.0, 0.1), (-1.0,), (math.inf,), (math.nan,)]
)
def test_rates_that_do_not_ascend_are_refused(rates):
    with pytest.raises(IsopruneError, match=r"give one or more, above 0, each larger than the last"):
        check_rates(rates)
    with pytest.raises(IsopruneError, match="give one or more"):
        advise(small_net(), small_splits(), epochs=1, rates=rates)


def decaying() -> tuple[nn.Module, Splits]:
    """Return a network whose training is a known recursion, and its data.

    One weight matrix W on one-hot inputs, with weight decay d and no momentum: W <- (1 - r d) W - r g(W) at
    rate r. g, of three classes as frequent as each other, is bounded and its derivative in [0, 1/6]: stable
    for r < 2 / (d + 1/6), unstable for r > 2 / d. W begins at 1e4 times a matrix that is wrong on two of the
    classes, and so is its negative: only a rate that has forgotten it is right.
    """
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False)).double()
    with torch.no_grad():
        net[1].weight.copy_(1e4 * torch.tensor([[1.0], [-1.0], [0.0]]).expand(3, 3))
    targets = torch.arange(300) % 3
    split = Split(torch.eye(3, dtype=torch.float64)[targets], targets)
    return net, Splits(split, split, split, classes=3)


@pytest.mark.matrix
@pytest.mark.parametrize("decay", [1.0, 10.0, 100.0])
def test_largest_stable_rate_of_a_quadratic_is_advised(decay):
    net, splits = decaying()
    rates = [x / decay for x in (1e-3, 0.5, 1.0, 1.6, 2.1, 3.0)]
    found = advise(
        net,
        splits,
        epochs=700,
        schedule=constant(),
        rates=rates,
        batch=300,
        momentum=0.0,
        weight_decay=decay,
    )
    assert [p.lr for p in found.probes] == rates[2:5]
    assert [p.metric_value for p in found.probes[:2]] == [1.0, 1.0]
    assert found.probes[2].metric_value is None or found.probes[2].metric_value < 0.5
    assert found.lr == rates[3]
    assert found.learns


def test_rates_that_overflow_are_probes_that_diverged():
    net, splits = decaying()
    recipe = {"epochs": 100, "schedule": constant(), "batch": 300, "momentum": 0.0, "weight_decay": 1.0}
    found = advise(net.float(), as_float(splits), rates=(0.5, 1e30), **recipe)
    assert (found.probes[1].metric_value, found.probes[1].loss) == (None, None)
    assert found.lr == 0.5
    with pytest.raises(IsopruneError, match=r"diverges at every rate from 1e\+30 to 1e\+31"):
        advise(net.float(), as_float(splits), rates=(1e30, 1e31), **recipe)


def as_float(splits: Splits) -> Splits:
    split = Split(splits.train.inputs.float(), splits.train.targets)
    return Splits(split, split, split, classes=splits.classes)


def test_learning_is_more_than_two_standard_errors_above_the_most_frequent_class():
    chance, samples = 0.25, 300
    edge = chance + 2 * math.sqrt(chance * (1 - chance) / samples)  # 0.3

    def learns(accuracy: float) -> bool:
        probe = Probe(0.1, 8, accuracy, 1.0)
        return Advice(0.1, (0.1,), (probe,), 50, samples, metric_before=0.2, chance=chance, cost=0.15).learns

    assert edge == pytest.approx(0.3)
    assert not learns(0.3 - 1e-9)
    assert learns(0.3 + 1e-9)


def test_network_that_cannot_learn_is_said_not_to():
    splits, net = small_splits(train=200), small_net()
    for p in net.parameters():
        p.requires_grad_(False)
    dead = nn.Sequential(net, Cut())
    found = advise(dead, splits, **RECIPE)
    assert not found.learns
    assert found.as_dict()["learns"] is False
    assert found.lr == max(RATES)


class Cut(nn.Module):
    """Lets nothing through, forwards or back, but its bias, which stays at zero: gradients are cut."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x + 0 * self.scale


@pytest.mark.parametrize(
    ("before", "ended", "taken"),
    [
        (0.8, 0.9 - BROKEN + 0.01, True),
        (0.8, 0.9 - BROKEN - 0.01, False),
        (0.86, 0.9 - BROKEN - 0.01, True),  # it knew the samples of the probes before any step
        (0.86, 0.9 - BROKEN - 0.07, False),
        (0.95, 0.8 - BROKEN + 0.01, True),
        (0.95, 0.8 - BROKEN - 0.01, False),  # below where it began, whatever it remembers
        (0.7, 0.9 - BROKEN + 0.01, True),  # nothing is remembered: what is worse there counts as nothing
        (0.7, 0.9 - BROKEN - 0.01, False),
    ],
)
def test_what_a_network_remembers_of_the_samples_of_probes_breaks_no_training(before, ended, taken):
    """Before any step it has 0.8 of the validation data right and ``before`` of the probes' samples."""
    advice = {
        "metric": "accuracy", "higher_is_better": True, "metric_before": before,
        "lr": 0.1, "rates": [0.01, 0.1], "probes": [{"lr": 0.1, "metric_value": 0.9}],
    }  # fmt: skip
    rows = [{"epoch": epoch, "validation_accuracy": a} for epoch, a in enumerate((0.8, 0.2, ended))]
    lr, _, given_up = at_or_below(advice, lambda _: Trained(nn.Identity(), rows))
    assert (lr, given_up) == ((0.1, []) if taken else (0.01, [0.1]))
