"""What running takes: the estimate against counts of the whole, and refusals that say what is accepted."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.pruning.grains import units_of
from isoprune.signals import Signals
from isoprune.signals.products import hessian
from isoprune.signals.work import forward_work, gradient_work, require_work, samples_in_memory, saved_by
from isoprune.types import IsopruneError

NETS = ("mlp", "flattened", "residual", "grouped", "joined", "multihead")


def data(name, sizes=(2, 2)):
    """Return signals of a network on batches of these sizes."""
    model, x = network(name)
    x = torch.cat([x] * sum(sizes))[: sum(sizes)]
    y = torch.arange(len(x)) % 3
    return Signals(model, list(zip(x.split(list(sizes)), y.split(list(sizes)), strict=True))), model, x


def scored(criterion, signals, model, x, **options):
    units = units_of(trace(model, x), "filter")
    return scores_of(criterion, signals, units, generator=torch.Generator().manual_seed(0), **options)


@pytest.mark.parametrize("name", NETS)
def test_the_work_of_a_sample_is_a_part_of_that_of_a_batch(name):
    signals, model, x = data(name, (5,))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    assert forward_work(signals) == max(counter.get_total_flops() / 2 / 5, weights)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(
    ("criterion", "options"), [("obd", {"draws": 3}), ("edge_popup", {"train_samples": 12, "batch": 3})]
)
def test_what_is_counted_afterwards_is_the_estimate(name, criterion, options, monkeypatch):
    signals, model, x = data(name)
    signals = replace(signals, memory=1)  # one by one: of samples side by side torch counts convolutions anew
    estimates = []
    module = sys.modules[f"isoprune.methods.criteria.{criterion}"]
    monkeypatch.setattr(module, "require_work", lambda *given: estimates.append(given[1]))
    with FlopCounterMode(display=False) as counter:
        scored(criterion, signals, model, x, **options)
    # Beside it, a few runs of one sample for the estimate itself.
    more = 2 * (forward_work(signals) + gradient_work(signals))
    counted = counter.get_total_flops() / 2
    assert 0.9 * estimates[0] <= counted <= 1.1 * estimates[0] + more


@pytest.mark.parametrize(
    ("criterion", "options", "share", "option"),
    [
        ("obd", {}, 0.9, r"Give (draws) \(at (\S+) it is"),
        ("obd", {"draws": 5}, 0.9, r"Lower (draws) \(at (\S+) it is"),
        ("edge_popup", {"train_samples": 20, "batch": 4}, 0.6, r"Lower (train_samples) \(at (\S+) it is"),
    ],
)
@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_what_the_refusal_names_is_accepted_and_one_more_is_not(criterion, options, share, option, name):
    signals, model, x = data(name)
    with pytest.raises(IsopruneError) as refused:
        scored(criterion, signals, model, x, work=1, **options)
    work = share * float(re.search(r"takes (\S+) multiply-adds", str(refused.value))[1])
    with pytest.raises(IsopruneError, match=option) as refused:
        scored(criterion, signals, model, x, work=work, **options)
    key, value = re.search(option, str(refused.value)).groups()
    options = {**options, key: int(value)}
    assert scored(criterion, signals, model, x, work=work, **options)
    with pytest.raises(IsopruneError, match=re.escape(f"work={work:.0e}. Lower {key} (at {value} ")):
        scored(criterion, signals, model, x, work=work, **{**options, key: int(value) + 1})


def test_where_one_draw_of_all_samples_is_too_much_the_samples_that_fit_are_named():
    signals, model, x = data("mlp")
    work = 2.5 * (forward_work(signals) + gradient_work(signals))
    with pytest.raises(IsopruneError, match=r"Give draws=1 and fewer samples \(of 2 it is"):
        scored("obd", signals, model, x, work=work)
    assert scored("obd", signals.taking(2), model, x, work=work, draws=1)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("second", [False, True])
def test_the_graph_of_as_many_samples_as_fit_does_fit_and_of_twice_as_many_does_not(name, second):
    """What is per batch and not per sample is counted with the one that is looked at."""
    signals = data(name, (16,))[0]
    beside = frozenset(w.untyped_storage().data_ptr() for w in signals.weights.values())

    def taken(samples):
        batch = next(signals.first(samples))
        of = partial(hessian, signals, batch)
        return sum(saved_by(of if second else partial(signals.loss, batch, signals.leaves()), beside)[1])

    bound = taken(8)
    fit = samples_in_memory(signals, bound / 1e9, second=second)
    assert 1 <= fit <= 8
    assert taken(fit) <= bound < taken(16)


def test_a_sample_whose_graph_is_too_large_is_refused_and_what_it_takes_is_accepted():
    signals, model, x = data("residual")
    with pytest.raises(IsopruneError, match=r"one sample's gradient takes (\S+) GB, more than") as refused:
        scored("grasp", signals, model, x, statistics="network", gigabytes=1e-9)
    takes = float(re.search(r"takes (\S+) GB", str(refused.value))[1])
    assert scored("grasp", signals, model, x, statistics="network", gigabytes=1.1 * takes)
    with pytest.raises(IsopruneError, match="one sample's loss takes"):
        scored("edge_popup", signals, model, x, gigabytes=1e-9)


@pytest.mark.parametrize("name", ["mlp", "residual", "multihead"])
@pytest.mark.parametrize(
    ("criterion", "options"),
    [("grasp", {"statistics": "network"}), ("edge_popup", {"train_samples": 12, "batch": 4})],
)
def test_batches_that_are_cut_to_fit_give_the_same(name, criterion, options):
    signals, model, x = data(name, (4, 3))
    one = next(signals.first(1))
    beside = frozenset(w.untyped_storage().data_ptr() for w in signals.weights.values())
    size = sum(saved_by(partial(hessian, signals, one), beside)[1])
    whole, cut = (scored(criterion, signals, model, x, gigabytes=g, **options) for g in (4, 1.5e-9 * size))
    for key, scores in whole.items():
        torch.testing.assert_close(cut[key], scores)


def test_a_batch_that_batchnorm_normalises_by_is_not_cut_but_refused_with_the_size_that_is_accepted():
    signals, model, x = data("residual", (8, 8))
    bound = 6 / samples_in_memory(replace(signals, batch_statistics=True), 1.0, second=True)  # of six samples
    with pytest.raises(
        IsopruneError, match=r"of a batch of 8 samples .* Give batches of \d+ samples"
    ) as refused:
        scored("grasp", signals, model, x, gigabytes=bound)
    fit = int(re.search(r"Give batches of (\d+)", str(refused.value))[1])
    y = torch.arange(16) % 3
    smaller = Signals(model, list(zip(x.split(fit), y.split(fit), strict=True)))
    assert 2 <= fit < 8
    assert scored("grasp", smaller, model, x, gigabytes=bound)
    assert scored("grasp", signals, model, x, gigabytes=bound, statistics="network")  # cut


@pytest.mark.parametrize("criterion", ["thinet", "channel_lasso", "reconstruction", "osscar"])
def test_moments_that_do_not_fit_are_refused_and_what_they_take_is_accepted(criterion):
    model, x = network("residual")
    signals = Signals(model, [(x, torch.zeros(len(x), dtype=torch.long))])
    units = units_of(trace(model, x), "channel")
    score = partial(scores_of, criterion, signals, units, generator=torch.Generator().manual_seed(0))
    with pytest.raises(IsopruneError, match=r"of \S+ alone .* or take criterion 'taylor' or 'fisher'"):
        score(gigabytes=1e-6)
    assert score(gigabytes=1e-2)


def test_work_is_refused_with_the_remedy():
    require_work("It takes", 5e6, 5e6, "Lower it")
    with pytest.raises(IsopruneError, match=r"It takes 5e\+06 .* work=4e\+06\. Lower it, or raise work\."):
        require_work("It takes", 5e6, 4e6, "Lower it")
