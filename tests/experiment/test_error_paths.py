"""Lines to networks that were retrained: closed forms, the verb by hand, the same bits however measured."""

from __future__ import annotations

import copy
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs
from torch import nn

import isoprune
from experiment.rounds import TRAINING, ticket
from experiment.tiny import CONFIG, SQUARES, bits, one_thread, tiny
from isoprune.comparison.records.frame import numbers_of, records
from isoprune.experiment.config import Experiment, experiment
from isoprune.experiment.digests import run_digest
from isoprune.experiment.grid import Study
from isoprune.experiment.pipeline import make_bench, results, run
from isoprune.experiment.recipe_steps import placed
from isoprune.experiment.resolve import resolve
from isoprune.experiment.step_types import Measuring
from isoprune.experiment.store import Store
from isoprune.experiment.study import plan_work
from isoprune.pruning.mask import masks_of
from isoprune.types import IsopruneError, Task
from isoprune.types.record import ErrorPath, Record

pytestmark = pytest.mark.usefixtures("_one_thread")
HERE = __name__
POINTS = 5


def measuring(chosen: Experiment, **more: Any) -> Experiment:
    return structs.replace(chosen, measure=Measuring(4, 8, **more))


def paths(record: Record, name: str = "barrier") -> list[ErrorPath]:
    return [path for network in record.networks if (path := getattr(network, name)) is not None]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    """Return a run of two rounds of which no line is measured; its store is not written to."""
    return _done(tmp_path_factory, ticket(2))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    """Return the same run with both lines, in a store of its own."""
    return _done(tmp_path_factory, BOTH)


def _done(folders: pytest.TempPathFactory, chosen: Experiment) -> tuple[Store, Record]:
    with one_thread():
        store = Store(folders.mktemp("lines"))
        return store, run(chosen, store)


def one_layer(in_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network whose loss is convex in its weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(in_shape[0] * in_shape[1] * in_shape[2], classes))


BOTH = measuring(ticket(2), barrier=POINTS, instability=POINTS)
CONVEX = Task(loss=SQUARES.loss, metrics={}, name="convex")  # judged by its loss


def with_norms(in_shape: tuple[int, ...], classes: int) -> nn.Module:
    layers = [nn.Conv2d(in_shape[0], 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(6 * (in_shape[1] - 2) * (in_shape[2] - 2), classes))


def steps(*named: dict[str, Any], **more: Any) -> Experiment:
    common = {key: CONFIG[key] for key in ("data", "model", "measure")}
    return experiment({**common, **more, "steps": [{"kind": "train", **TRAINING}, *named]})


def under_masks(before: nn.Module, last: nn.Module) -> nn.Module:
    """Return ``before`` with the masks of ``last``, tensor by tensor."""
    made, masks = copy.deepcopy(last), masks_of(last)
    for name, tensor in made.named_parameters():
        plain = name.replace("parametrizations.", "").removesuffix(".original")
        owner, _, key = plain.rpartition(".")
        value = getattr(before.get_submodule(owner), key)
        tensor.data.copy_(value * masks[plain] if plain in masks else value)
    return made


@pytest.mark.parametrize("model", ["mlp_7", f"{HERE}:with_norms"])
def test_the_number_of_a_round_is_that_of_the_verb_under_the_later_mask(
    tmp_path: Path, model: str, measured: tuple[Store, Record]
):
    chosen, (store, record) = BOTH, measured
    if model != "mlp_7":
        chosen = structs.replace(measuring(ticket(2), barrier=POINTS), model=type(BOTH.model)(model))
        store = Store(tmp_path)
        record = run(chosen, store)
    way = results(make_bench(resolve(chosen), store))
    trained = [result for result in way if result.step.role in ("dense", "retrained")]
    assert len(paths(record)) == 2
    for path, (before, last) in zip(paths(record), itertools.pairwise(trained), strict=True):
        assert path.start == before.step.digest
        splits = make_bench(resolve(chosen), store).splits
        order = torch.randperm(
            len(splits.train), generator=make_bench(resolve(chosen), store).generator("batches")
        )
        first = under_masks(before.model, last.model)
        for module, source in zip(first.modules(), last.model.modules(), strict=True):
            if isinstance(module, nn.BatchNorm2d):  # its statistics are those of the earlier network
                name = next(n for n, m in last.model.named_modules() if m is source)
                norm = before.model.get_submodule(name)
                module.running_mean, module.running_var = norm.running_mean, norm.running_var
        batches = list(splits.train.batches(order.split(50)))
        want = isoprune.error_path(first, last.model, splits.validation, points=POINTS, batches=batches)
        assert path.errors == list(want.errors)
        assert (path.barrier, path.above_line) == (want.barrier, want.above_line)
        assert path.errors[-1] == 1 - (
            next(n for n in record.networks if n.digest == last.step.digest).metrics["validation_accuracy"]
            or 0
        )
    numbers = numbers_of(record)
    assert numbers["retrained.barrier"] == paths(record)[-1].barrier
    assert numbers["retrained.barrier_above_line"] == paths(record)[-1].above_line
    assert records(store.root)["retrained.barrier"].to_list() == [paths(record)[-1].barrier]


def test_the_line_is_the_same_whether_channels_are_held_at_zero_or_gone(tmp_path: Path):
    found = [
        paths(
            run(measuring(ticket(2, ratio=0.5, grain="channel", mask=mask), barrier=POINTS), Store(tmp_path))
        )
        for mask in (True, False)
    ]
    assert [path.errors for path in found[0]] == [path.errors for path in found[1]]
    assert not any(path.refused for path in found[0])


def test_of_a_network_with_itself_the_barrier_is_zero(tmp_path: Path):
    """Retrained for no epoch it is what was pruned: the dense network under its mask."""
    again = {"kind": "retrain", "epochs": 0}
    chosen = steps({"kind": "prune", "ratio": 0.5, "grain": "weight"}, again, {**again, "role": "further"})
    found = paths(run(measuring(chosen, barrier=POINTS), Store(tmp_path)))
    assert len(found) == 2
    for path in found:
        assert len(set(path.errors)) == 1
        assert path.barrier == path.above_line == 0


def test_of_a_convex_loss_no_network_on_the_line_is_above_it(tmp_path: Path):
    chosen = measuring(ticket(2), barrier=9, instability=9)
    chosen = structs.replace(chosen, model=type(chosen.model)(f"{HERE}:one_layer"), task=f"{HERE}:CONVEX")
    record = run(chosen, Store(tmp_path))
    found = [*paths(record), *paths(record, "instability")]
    assert len(found) == 4
    for path in found:
        assert (path.metric, path.loss) == ("loss", True)
        assert path.above_line == pytest.approx(0, abs=1e-7)
        ends = path.errors[0], path.errors[-1]
        assert all(
            error <= (1 - i / 8) * ends[0] + i / 8 * ends[1] + 1e-7 for i, error in enumerate(path.errors)
        )


def test_the_instability_is_that_of_a_copy_in_another_order_and_its_samples_are_no_training_of_the_run(
    plain: tuple[Store, Record], measured: tuple[Store, Record]
):
    record = measured[1]
    found = paths(record, "instability")
    assert [path.samples for path in found] == [n.training.samples for n in record.networks if n.instability]
    assert all(path.start is None for path in found)
    assert any(path.errors[0] != path.errors[-1] for path in found), "the copy is another network"
    assert [n.training for n in record.networks] == [n.training for n in plain[1].networks]
    numbers = numbers_of(record)
    assert numbers["retrained.instability_samples"] == numbers["retrained.training.samples"]
    assert numbers["retrained.instability"] == found[-1].barrier


def test_lines_can_be_added_to_networks_that_are_trained(
    tmp_path: Path, plain: tuple[Store, Record], measured: tuple[Store, Record]
):
    shutil.copytree(plain[0].root, tmp_path, dirs_exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert len(before) == len(plain[1].networks)
    record = run(BOTH, Store(tmp_path))
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.safetensors")}
    assert record.digest != plain[1].digest
    assert bits(record) == bits(measured[1])


def test_a_run_that_is_stopped_in_the_copys_training_goes_on_to_the_same_bits(
    tmp_path: Path, measured: tuple[Store, Record]
):
    store, stages = Store(tmp_path / "stopped"), []

    def stop(event: Any) -> None:
        stages.append(event.get("stage", ""))
        if stages.count("retrained (round 2) in another order") == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(BOTH, store, on_event=stop)
    assert [*tmp_path.glob("stopped/networks/*/checkpoint")]
    assert bits(run(BOTH, store)) == bits(measured[1])
    assert not [*tmp_path.glob("stopped/networks/*/checkpoint")]


def test_weights_that_are_shared_have_no_line_and_the_record_says_why(tmp_path: Path):
    retrain = {"kind": "retrain", **TRAINING}
    cluster = {"kind": "cluster", "conv_bits": 2, "linear_bits": 2}
    prune = {"kind": "prune", "ratio": 0.5, "grain": "weight"}
    chosen = steps(prune, cluster, retrain, {**retrain, "role": "further"})
    record = run(measuring(chosen, barrier=POINTS), Store(tmp_path))
    refused, further = paths(record)
    assert "no straight line joins them" in refused.refused
    assert (refused.errors, refused.barrier) == ([], None)
    assert len(further.errors) == POINTS, "the same shared places: a line of their numbers"
    numbers = numbers_of(record)
    assert "retrained.barrier" not in numbers
    assert numbers["further.barrier"] == further.barrier


def test_a_copy_that_diverges_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from isoprune.experiment import error_paths
    from isoprune.training import Diverged

    def diverging(*_: Any, **__: Any) -> Any:
        raise Diverged("It diverged.")

    monkeypatch.setattr(error_paths, "trained", diverging)
    record = run(measuring(tiny(), instability=POINTS), Store(tmp_path))
    [path] = paths(record, "instability")
    assert path.refused == "The copy in another order: It diverged."
    assert not paths(record), "a line that nobody asked for"


def test_lines_are_a_part_of_the_run_and_of_none_of_its_networks():
    asked = [
        resolve(measuring(tiny(), **key)) for key in ({"barrier": 3}, {"barrier": 4}, {"instability": 3})
    ]
    assert len({run_digest(one.as_dict()) for one in [resolve(tiny()), *asked]}) == 4
    assert {tuple(s.digest for s in placed(one)) for one in asked} == {
        tuple(s.digest for s in placed(resolve(tiny())))
    }
    for one in asked:
        assert resolve(experiment(one.as_dict())) == one


def test_the_copys_epochs_are_counted_in_the_time_to_the_end(tmp_path: Path):
    epochs = [
        sum(plan_work(Study("s", [one], {}), Store(tmp_path)).epochs.values())
        for one in (ticket(2), measuring(ticket(2), instability=POINTS))
    ]
    assert epochs[1] - epochs[0] == 2 * 2


@pytest.mark.parametrize("key", ["barrier", "instability"])
def test_a_line_has_a_point_between_its_ends(key: str):
    with pytest.raises(IsopruneError, match=rf"^measure\.{key} is 2, but must be at least 3\.$"):
        tiny(measure={key: 2})
