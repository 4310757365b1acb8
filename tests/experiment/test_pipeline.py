"""One run: same seed, same bits; stages shared and never made twice; killed and resumed, the same bits."""

from __future__ import annotations

import json
import re
import resource
import shutil
from pathlib import Path

import pytest
import torch
from msgspec import to_builtins
from safetensors.torch import load_file

import isoprune
from experiment.tiny import (
    CONFIG,
    HERE,
    assert_same_bits,
    bits,
    folders,
    numbers,
    role_digest,
    roles,
    tiny,
    weights,
)
from isoprune.comparison.runs import read
from isoprune.experiment import pipeline, seeds, step_result
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.record import first_stage
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store, read_step, write_step
from isoprune.isometry import jacobian_singular_values
from isoprune.training import Diverged, evaluate
from isoprune.types import IsopruneError
from isoprune.types.json_files import sealed
from isoprune.types.record import Record

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("_one_thread")


def test_record_tells_the_story(whole: tuple[Store, Record]):
    _, record = whole
    assert [n.role for n in record.networks] == ["dense", "pruned", "repaired", "retrained"]
    assert record.config == resolve(tiny()).as_dict()
    assert record.environment["threads"] == 1
    assert [row["epoch"] for row in record.network("retrained").history] == [0, 1, 2, 3]
    # 64 inputs, widths 8, 8 and 10 classes; half of the 8 go.
    assert record.network("dense").parameters == 64 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
    assert record.network("pruned").parameters == 64 * 4 + 4 + 4 * 4 + 4 + 4 * 10 + 10
    assert record.network("pruned").flops == 64 * 4 + 4 * 4 + 4 * 10
    [removal] = record.removals
    assert removal.ratios["filters"] == removal.ratios["units"] == removal.request["ratio"] == 0.5
    assert [unit.removed for unit in removal.units] == [4, 4]
    assert removal.proof["max_abs_error"] < 1e-5
    json.dumps(to_builtins(record), allow_nan=False)


def test_a_network_of_a_store_is_one_that_load_reads(whole: tuple[Store, Record]):
    """`isoprune.load` needs no step.json: what it gives is the network of the store, bit for bit."""
    model = resolve(tiny()).model
    for folder in folders(*whole).values():
        loaded = isoprune.load(folder, build=lambda: seeds.build_model(model, (1, 8, 8), 10, seed=5))
        state = load_network(folder)[0].state_dict()
        assert loaded.state_dict().keys() == state.keys()
        assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())


def test_numbers_of_a_stage_are_those_of_the_stored_network(whole: tuple[Store, Record]):
    """Everything in the record can be measured again from the store."""
    store, record = whole
    splits = pipeline.splits_of(tiny())
    inputs = seeds.jsv_inputs(splits.validation, 4, seed=0)
    for role, folder in folders(store, record).items():
        network, facts = load_network(folder)
        assert facts["role"] == role
        assert not network.training
        found = record.network(role)
        assert found.metrics["test_accuracy"] == evaluate(network, splits.test)["accuracy"]
        assert found.metrics["validation_accuracy"] == evaluate(network, splits.validation)["accuracy"]
        sigma = jacobian_singular_values(network, inputs)
        assert found.jsv["mean"] == float(sigma.double().mean())
        assert sum(found.jsv_histogram.counts) == sigma.numel()
        assert found.parameters == found.nonzero == sum(p.numel() for p in network.parameters())


def test_first_and_last_row_of_a_history_are_the_stages_around_it(whole: tuple[Store, Record]):
    _, record = whole
    found = roles(record)
    first, *_, last = found["retrained"].history
    assert first["validation_accuracy"] == found["repaired"].metrics["validation_accuracy"]
    assert first["jsv_mean"] == found["repaired"].jsv["mean"]
    assert last["validation_accuracy"] == found["retrained"].metrics["validation_accuracy"]
    assert found["dense"].history[-1]["jsv_mean"] == found["dense"].jsv["mean"]


def test_tangent_kernel_is_the_mean_over_the_first_learning_rate(whole: tuple[Store, Record]):
    _, record = whole
    rows = record.network("retrained").history[1:3]  # the milestone is epoch 2
    assert first_stage(resolve(tiny()).retrain, 3) == 2
    mean = sum(row["validation_accuracy"] for row in rows) / 2
    assert record.trainability_accuracy == pytest.approx(mean, abs=1e-15)


def test_the_same_experiment_gives_the_same_bits(whole: tuple[Store, Record], tmp_path: Path):
    torch.manual_seed(1234)  # nothing depends on the global generator
    before = torch.random.get_rng_state()
    again = run(tiny(), Store(tmp_path), name="whole")
    assert torch.equal(before, torch.random.get_rng_state())
    assert_same_bits(whole, (Store(tmp_path), again))


def test_another_seed_gives_other_bits(whole: tuple[Store, Record], tmp_path: Path):
    other = run(tiny(seed=1), Store(tmp_path))
    for a, b in zip(weights(*whole).values(), weights(Store(tmp_path), other).values(), strict=True):
        assert not any(torch.equal(a[name], b[name]) for name in a)


def test_repair_that_draws_does_not_change_the_order_of_the_data(tmp_path: Path):
    """Retraining sees the same batches whatever the repair drew, if it changed nothing."""
    store = Store(tmp_path)
    plainly = run(tiny(repair="none"), store)
    for draws in (1, 1000):
        noisy = run(tiny(repair={"name": f"{HERE}:noisy", "draws": draws}), store)
        assert numbers(noisy) == numbers(plainly)
        assert noisy.digest != plainly.digest


def test_a_repair_that_trains_is_counted_as_training_and_gives_the_same_bits(tmp_path: Path):
    polish = {"name": "polish", "train_samples": 200, "images": 40, "batch": 10}
    first, again = (
        run(tiny(repair=["reconstruct", polish]), Store(tmp_path / name), name="polished") for name in "ab"
    )
    assert bits(first) == bits(again)
    cost, sizes = first.network("repaired").training, [first.network(r).flops for r in ("repaired", "dense")]
    assert 0 < cost.samples <= 200
    # Held out are 5 of 40; a pass is of 30, three whole batches, and judged like the start.
    judged = 5 * (1 + -(-cost.samples // 30))
    trained = cost.samples * (3 * sizes[0] + sizes[1])
    assert cost.multiply_adds == trained + judged * sum(sizes)
    assert first.labels["polish"] == "polish (trains)"
    closed = run(tiny(repair="reconstruct"), Store(tmp_path / "a"), name="closed")
    assert closed.network("repaired").training is None


def test_a_criterion_that_trains_its_scores_is_counted_as_training_of_the_dense_network(tmp_path: Path):
    criterion = {"name": "edge_popup", "train_samples": 100, "batch": 16}
    record = run(tiny(prune={"ratio": 0.5, "criterion": criterion}), Store(tmp_path))
    cost = record.network("pruned").training
    assert cost is not None
    assert cost.samples == 100
    assert cost.multiply_adds == 100 * 3 * record.network("dense").flops
    assert read(record).budget.samples is not None
    assert read(record.config).budget.epochs is None  # a config alone does not say how many epochs those are


def test_finished_stages_are_not_made_again(
    whole: tuple[Store, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = Store(tmp_path / "copy")
    shutil.copytree(whole[0].root, store.root)
    made: list[str] = []
    save = step_result.save_step
    monkeypatch.setattr(
        step_result,
        "save_step",
        lambda f, m, facts, **known: (made.append(facts["role"]), save(f, m, facts, **known)),
    )
    run(tiny(), store)
    assert made == []
    run(tiny(retrain={"epochs": 1, "lr": 0.01}), store)
    assert made == ["retrained"]
    run(tiny(repair="none"), store)
    assert made == ["retrained", "repaired", "retrained"]
    run(tiny(measure={"samples": 2}), store)
    assert made == ["retrained", "repaired", "retrained"]


def test_run_without_its_record_is_put_together_from_the_stages(whole: tuple[Store, Record], tmp_path: Path):
    store = Store(tmp_path / "copy")
    shutil.copytree(whole[0].root, store.root)
    shutil.rmtree(store.root / "runs")
    assert bits(run(tiny(), store, name="whole")) == bits(whole[1])


def test_measurement_only_has_no_retrained_stage(tmp_path: Path):
    record = run(tiny(retrain={"epochs": 0}), Store(tmp_path))
    assert [n.role for n in record.networks] == ["dense", "pruned", "repaired"]
    assert record.trainability_accuracy is None


def test_a_task_of_ones_own_goes_through_every_step(tmp_path: Path):
    """Its loss trains, its metric is in the record, and classification's is not."""
    record = run(tiny(task=f"{HERE}:SQUARES", prune={"ratio": 0.5, "criterion": "taylor"}), Store(tmp_path))
    dense, last = record.network("dense"), record.network("retrained")
    assert dense is not None
    assert last is not None
    assert set(last.metrics) == {"validation_distance", "test_distance"}
    assert last.history[-1]["validation_loss"] == pytest.approx(last.metrics["validation_distance"])
    assert dense.history[-1]["loss"] < dense.history[1]["loss"]
    assert record.trainability_accuracy is None
    plainly = resolve(tiny(prune={"ratio": 0.5, "criterion": "taylor"})).as_dict()
    assert role_digest(plainly, "dense") != dense.digest
    with pytest.raises(IsopruneError, match=r"task is 'math:pi', which is no isoprune\.Task\. Write \"class"):
        resolve(tiny(task="math:pi"))


def test_ratio_zero_removes_nothing(tmp_path: Path):
    record = run(tiny(prune={"ratio": 0.0}, repair="none", retrain={"epochs": 0}), Store(tmp_path))
    dense, pruned, repaired = ((n.metrics, n.jsv, n.parameters, n.flops) for n in record.networks)
    assert dense == pruned == repaired
    assert record.removals[0].ratios["parameters"] == 0


def test_untrained_dense_network_is_the_drawn_one(tmp_path: Path):
    store = Store(tmp_path)
    record = run(tiny(dense={"epochs": 0}, retrain={"epochs": 0}), store)
    drawn = seeds.build_model(resolve(tiny()).model, (1, 8, 8), 10, seed=0)
    stored = weights(store, record)["dense"]
    assert all(torch.equal(t, stored[name]) for name, t in drawn.state_dict().items())


def test_outsiders_network_without_a_generator_follows_the_seed(tmp_path: Path):
    model = f"{HERE}:plain"
    torch.manual_seed(1)
    a = run(tiny(model=model), Store(tmp_path / "a"))
    torch.manual_seed(2)
    b = run(tiny(model=model), Store(tmp_path / "b"))
    assert_same_bits((Store(tmp_path / "a"), a), (Store(tmp_path / "b"), b))


def test_diverged_training_says_where_and_keeps_the_last_good_state(tmp_path: Path):
    store = Store(tmp_path)
    wild = {"epochs": 4, "lr": 0.1, "batch": 50, "schedule": f"{HERE}:explode"}
    with pytest.raises(
        Diverged, match=r"^retrained [0-9a-f]{16}, seed 0: The loss is .* epoch 3.*kept in"
    ) as caught:
        run(tiny(retrain=wild), store)
    assert caught.value.epoch == 3
    config = resolve(tiny(retrain=wild)).as_dict()
    folder = store.folder(role_digest(config, "retrained"))
    assert read_step(folder) is None
    kept = load_file(folder / "checkpoint" / "state.safetensors")
    assert all(torch.isfinite(t).all() for name, t in kept.items() if name.startswith("model/"))
    assert read_step(store.folder(role_digest(config, "dense"))) is not None


def test_tensors_of_another_network_are_refused(whole: tuple[Store, Record], tmp_path: Path):
    """Someone copied weights by hand, checksum and all: the shapes still tell."""
    store = Store(tmp_path / "copy")
    shutil.copytree(whole[0].root, store.root)
    places = folders(store, whole[1])
    shutil.copy(places["pruned"] / "model.safetensors", places["dense"])
    named = json.loads((places["dense"] / "plan.json").read_text())
    named["sha256"] = json.loads((places["pruned"] / "plan.json").read_text())["sha256"]
    (places["dense"] / "plan.json").write_bytes(sealed(named))
    facts = json.loads((places["dense"] / "step.json").read_text())
    write_step(places["dense"], facts)
    message = r"model\.safetensors is damaged: it has [\d,]+ bytes, its tensors [\d,]+\. Run its experiment"
    with pytest.raises(IsopruneError, match=message):
        load_network(places["dense"])
    said: list[str] = []
    run(tiny(repair="none"), store, on_event=lambda event: said.append(str(event.get("say", ""))))
    assert any(re.search(rf"{message}.*made again", line) for line in said)
    made, want = (
        load_network(place)[0].state_dict() for place in (places["dense"], folders(*whole)["dense"])
    )
    assert all(torch.equal(made[name], tensor) for name, tensor in want.items())


def test_folder_without_a_network_is_refused(tmp_path: Path):
    with pytest.raises(IsopruneError, match=r"holds no finished network .*runs/networks/<digest>"):
        load_network(tmp_path)


@pytest.mark.parametrize("most", [500, 2500, 4000])
def test_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    whole: tuple[Store, Record], tmp_path: Path, most: int
):
    """A real limit on the size of files; the system says EFBIG where it would say ENOSPC."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with pytest.raises(IsopruneError, match=r"No space left for the store|Cannot write the checkpoint"):
            run(tiny(), Store(tmp_path), name="whole")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.rglob("record.json"))
    assert not list(tmp_path.rglob("*.part"))
    assert_same_bits(whole, (Store(tmp_path), run(tiny(), Store(tmp_path), name="whole")))


def test_constants_of_this_file_cover_every_key(whole: tuple[Store, Record]):
    assert set(CONFIG) <= set(whole[1].config)
