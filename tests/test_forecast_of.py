"""`isoprune.diagnose(..., retrain_samples=...)`: the forecast of a network, or why there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import isoprune
from forecast.by_hand import by_hand
from isoprune.forecast.fitted import Feature
from isoprune.training import evaluate
from isoprune.types import IsopruneError
from isoprune.types.task import CLASSIFICATION
from isoprune.verbs.forecast import forecast_of, left_of


@pytest.fixture
def dense():
    generator = torch.Generator().manual_seed(0)
    return isoprune.models.mlp_7(
        activation="relu", in_shape=(1, 8, 8), classes=10, width=16, generator=generator
    ).eval()


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(20, 1, 8, 8, generator=generator), torch.arange(20) % 10) for _ in range(2)]


@pytest.fixture
def pruned(dense, batches):
    return isoprune.prune(dense, batches[0][0], ratio=0.5)


def test_it_is_the_formula_on_what_was_measured(pruned, dense, batches):
    found = forecast_of(pruned, batches, samples=1000, fitted=by_hand())
    accuracy = evaluate(pruned, batches)["accuracy"]
    left = pruned.costs.pruned.parameters / pruned.costs.dense.parameters
    # No number counts for more than four scales from its centre.
    below = 5 - 0.2 * min(10 * (math.log10(left) + 1), 4) - 2 * max((accuracy - 0.5) / 0.2, -4)
    assert found.dense == pytest.approx(evaluate(dense, batches)["accuracy"])
    assert found.accuracy == pytest.approx(max(found.dense - below / 100, 0), abs=1e-9)
    assert found.seconds > 0


def test_batches_that_come_only_once_give_the_same(pruned, batches):
    once, again = (
        forecast_of(pruned, data, samples=9, fitted=by_hand()) for data in (iter(batches), batches)
    )
    assert once.accuracy is not None
    assert replace(once, seconds=0) == replace(again, seconds=0)


def test_diagnose_has_it_where_it_was_asked_for(pruned, batches):
    told = isoprune.diagnose(pruned, batches, repairs=[], retrain_samples=1000, fitted=by_hand())
    assert told.forecast is not None
    assert told.forecast.accuracy is not None
    assert str(told).endswith(told.forecast.sentences[-1])
    assert isoprune.diagnose(pruned, batches, repairs=[]).forecast is None


def test_the_dense_accuracy_is_that_of_validation_data(pruned, dense, batches):
    other = [(batches[0][0], dense(batches[0][0]).argmax(1))]
    assert forecast_of(pruned, batches, samples=9, fitted=by_hand(), validation=other).dense == 1.0


@pytest.mark.parametrize("ratio", [0.5, 0.9])
@pytest.mark.parametrize("grain", ["channel", "weight"])
def test_what_is_left_is_counted_as_pruning_counts_it(dense, batches, ratio, grain):
    made = isoprune.prune(dense, batches[0][0], ratio=ratio, grain=grain)
    parameters, flops = left_of(made.dense, made.model, batches[0][0])
    assert parameters == pytest.approx(1 - made.costs.ratios["parameters"])
    assert flops == pytest.approx(1 - made.costs.ratios["flops"])


def test_where_there_is_none_it_says_why(pruned, dense, batches):
    inputs_alone = [x for x, _ in batches]
    task = isoprune.Task(inputs=lambda batch: batch[0], loss=nn.functional.mse_loss)
    far = by_hand(furthest=0.0)
    gone = by_hand(features=[Feature("log_no", "hessian", 0.0, 1.0, 0.0, 1.0, weight=1.0)], precision=[[1.0]])
    for network, data, kind, fitted, reason in (
        (pruned, inputs_alone, CLASSIFICATION, by_hand(), "needs batches of (inputs, labels)"),
        (pruned, batches, task, by_hand(), "is of the accuracy of a classification"),
        (isoprune.prune(dense, batches[0][0], ratio=0.5), batches, CLASSIFICATION, far, "is unlike the 10"),
    ):
        found = forecast_of(network, data, samples=9, task=kind, fitted=fitted)
        assert found.accuracy is None
        assert reason in found.refused
    with pytest.raises(IsopruneError, match="Unknown measure 'hessian'"):
        forecast_of(pruned, batches, samples=9, fitted=gone)
    alone = isoprune.diagnose(dense, batches, repairs=[], retrain_samples=9, fitted=by_hand())
    assert alone.forecast is not None
    assert "against the dense network" in alone.forecast.refused


def test_a_retraining_of_no_samples_is_refused(pruned, batches):
    with pytest.raises(IsopruneError, match="retrain_samples is 0"):
        forecast_of(pruned, batches, samples=0, fitted=by_hand())
