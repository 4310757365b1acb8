"""Weight rewinding: the dense run's tensors at that epoch, bit by bit, however they came to be kept."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from experiment.rewinding import DENSE, rewinding
from experiment.tiny import CONFIG, HERE, bits, numbers, one_thread, role_digest
from isoprune.experiment import seeds
from isoprune.experiment.config import experiment
from isoprune.experiment.digests import run_digest
from isoprune.experiment.grid import expand
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run, splits_of
from isoprune.experiment.resolve import resolve
from isoprune.experiment.steps import rewind
from isoprune.experiment.store import Store
from isoprune.experiment.study import plan_work
from isoprune.graph import trace
from isoprune.types import IsopruneError
from isoprune.types.json_files import sealed
from isoprune.types.record import Record
from isoprune.types.samples import inputs_at

NETWORKS = {
    "mlp": CONFIG["model"],
    "residual with BatchNorm": {"name": "resnet_small", "stem": 4, "blocks": 1},
}
seen: list[dict[str, torch.Tensor]] = []


def watching(pruned: Any, signals: Any, *, generator: Any) -> nn.Module:
    """A repair that looks at what it is given and doubles every parameter."""
    seen[:] = [{k: v.clone() for k, v in m.state_dict().items()} for m in (pruned.model, pruned.dense)]
    doubled = copy.deepcopy(pruned.model)
    with torch.no_grad():
        for parameter in doubled.parameters():
            parameter *= 2
    return doubled


pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    with one_thread():
        store = Store(tmp_path_factory.mktemp("store"))
        return store, run(rewinding(), store)


def folder(store: Store, record: Record, stage: str) -> Path:
    return store.folder(record.network(stage).digest)


def tensors(store: Store, record: Record, stage: str) -> dict[str, torch.Tensor]:
    return load_file(folder(store, record, stage) / "model.safetensors")


def kept(store: Store, record: Record, epoch: int = 2) -> dict[str, torch.Tensor]:
    return load_file(rewind.kept_path(folder(store, record, "dense"), epoch))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def cut(dense: nn.Module, removed: dict[str, list[int]], example: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the elements of every tensor whose channels all stay, in order: the slow way to shrink."""
    state = dense.state_dict()
    stays = {name: torch.ones_like(t, dtype=torch.bool) for name, t in state.items()}
    for group in trace(dense, example).groups:
        gone = torch.tensor(removed.get(group.name, []), dtype=torch.long)
        for member in group.members:
            stays[member.tensor] &= ~torch.isin(member.channels, gone)
    return {name: t[stays[name]] for name, t in state.items()}


@pytest.mark.matrix
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("epoch", [0, 1, 3, 4])
def test_kept_weights_are_those_of_the_dense_run_at_that_epoch(network: str, epoch: int, tmp_path: Path):
    """Weights, biases, BatchNorm's statistics and counters. At a constant rate, k epochs of 4 are k of k."""
    store, data = Store(tmp_path), {"data": {"name": "digits", "limit": 150, "size": 8}}
    record = run(rewinding(epoch, model=NETWORKS[network], retrain={"epochs": 0}, **data), store)
    facts = load_network(folder(store, record, "repaired"))[1]
    short = rewinding(None, model=NETWORKS[network], dense=DENSE | {"epochs": epoch}, retrain={"epochs": 0})
    dense, _ = load_network(folder(store, run(short, store), "dense"))
    example = inputs_at(splits_of(short).validation, torch.arange(2))
    want = cut(dense, facts["plan"].removed, example)
    got = tensors(store, record, "repaired")
    assert want.keys() == got.keys()
    for name, tensor in got.items():
        assert torch.equal(tensor.flatten(), want[name].flatten()), name
    if network != "mlp":
        assert any("running_var" in name for name in got)
    # The plan is that of the network trained to its end.
    plainly = run(rewinding(None, model=NETWORKS[network], retrain={"epochs": 0}), store)
    assert facts["plan"] == load_network(folder(store, plainly, "pruned"))[1]["plan"]
    assert same(got, tensors(store, plainly, "repaired")) == (epoch == 4)


def test_epoch_0_is_the_network_as_it_was_drawn(tmp_path: Path):
    store = Store(tmp_path)
    record = run(rewinding(0, retrain={"epochs": 0}), store)
    made = resolve(rewinding(None)).model
    drawn = seeds.build_model(made, (1, 8, 8), 10, seed=0)
    assert same(kept(store, record, 0), dict(drawn.state_dict()))


def test_retraining_replays_the_dense_rates_from_that_epoch(tmp_path: Path):
    schedule = {"name": "step_decay", "milestones": [1, 3], "gamma": 0.5}
    record = run(rewinding(2, dense=DENSE | {"schedule": schedule}), Store(tmp_path))
    dense, retrained = ([row.get("lr") for row in record.network(s).history] for s in ("dense", "retrained"))
    assert retrained[1:] == dense[3:]
    assert len(set(dense[1:])) == 3
    told = record.config["retrain"]["schedule"]
    assert told == {"name": "lr_rewinding", "dense_epochs": 4, "gamma": 0.1, "milestones": None} | {
        "schedule": record.config["dense"]["schedule"]
    }
    # A record's config is the experiment again.
    assert resolve(experiment(record.config)).as_dict() == record.config


@pytest.mark.matrix
def test_a_repair_works_on_the_rewound_network_beside_the_dense_one_of_that_epoch(
    whole: tuple[Store, Record], tmp_path: Path
):
    repair = f"{__name__}:watching"
    store = Store(tmp_path)
    record = run(rewinding(2, repair=repair, retrain={"epochs": 0}), store)
    rewound, reference = seen
    assert same(rewound, tensors(*whole, "repaired"))
    assert same(reference, kept(store, record))
    assert same({k: v / 2 for k, v in tensors(store, record, "repaired").items()}, rewound)


def test_only_what_is_rewound_to_is_kept(whole: tuple[Store, Record], tmp_path: Path):
    store, record = whole
    found = sorted(p.name for p in folder(store, record, "dense").glob("epoch-*"))
    assert found == ["epoch-2.safetensors"]
    run(rewinding(None, retrain={"epochs": 0}), Store(tmp_path))
    assert list(tmp_path.rglob("epoch-*")) == []


def test_digests_tell_rewinding_from_the_first_network_that_it_changes():
    plainly, rewound = (resolve(rewinding(e, retrain={"epochs": 0})).as_dict() for e in (None, 2))
    assert rewound | {"rewind": None} == plainly
    other = rewound | {"rewind": 1}
    for stage in ("dense", "pruned"):
        assert role_digest(rewound, stage) == role_digest(plainly, stage) == role_digest(other, stage)
    for stage in ("repaired",):  # nothing is retrained
        assert len({role_digest(config, stage) for config in (plainly, rewound, other)}) == 3
    assert len({run_digest(config) for config in (plainly, rewound, other)}) == 3


def test_a_dense_network_that_kept_nothing_is_trained_again_to_the_same_bits(
    whole: tuple[Store, Record], tmp_path: Path
):
    store = Store(tmp_path)
    first = run(rewinding(None, retrain={"epochs": 0}), store)
    again = run(rewinding(), store)
    assert again.network("dense").digest == first.network("dense").digest
    assert bits(again) == bits(whole[1])
    for stage in ("repaired", "retrained"):
        assert same(tensors(store, again, stage), tensors(*whole, stage))
    assert same(kept(store, again), kept(*whole))


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint"])
def test_a_damaged_state_is_made_again(damage: bytes, whole: tuple[Store, Record], tmp_path: Path):
    store = Store(tmp_path)
    record = run(rewinding(retrain={"epochs": 0}), store)
    path = rewind.kept_path(folder(store, record, "dense"), 2)
    path.write_bytes(damage or path.read_bytes()[:-1])
    run(rewinding(repair="orthp", retrain={"epochs": 0}), store)
    assert same(kept(store, record), kept(*whole))


def test_a_dense_network_from_elsewhere_cannot_be_trained_again(tmp_path: Path):
    """Its losses tell: another version, another machine."""
    store = Store(tmp_path)
    record = run(rewinding(None, retrain={"epochs": 0}), store)
    path = folder(store, record, "dense") / "step.json"
    facts = json.loads(path.read_text())
    facts["history"][1]["loss"] += 1e-9
    path.write_bytes(sealed(facts))
    why = r"did not keep its state after epoch 2, and when it is trained again its loss after epoch 1 is"
    with pytest.raises(IsopruneError, match=why):
        run(rewinding(), store)
    assert list(tmp_path.rglob("epoch-*")) == []


@pytest.mark.parametrize("when", ["before the checkpoint", "after the checkpoint", "two epochs later"])
def test_interrupted_where_it_is_kept_it_ends_on_the_same_bits(
    when: str, whole: tuple[Store, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = Store(tmp_path)
    keeper = rewind.keeper

    def dying(*args: Any) -> Any:
        keep = keeper(*args)

        def last(epoch: int, model: nn.Module) -> None:
            keep(epoch, model)
            if epoch == 2:
                raise KeyboardInterrupt

        return last

    def stop(event: Any) -> None:
        if event["epoch"] == (2 if when == "after the checkpoint" else 4):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if when == "before the checkpoint":
            patched.setattr(rewind, "keeper", dying)
        with pytest.raises(KeyboardInterrupt):
            run(rewinding(), store, on_event=stop)
    again = run(rewinding(), store)
    assert bits(again) == bits(whole[1])
    for stage in ("dense", "repaired", "retrained"):
        assert same(tensors(store, again, stage), tensors(*whole, stage))
    assert same(kept(store, again), kept(*whole))


def test_a_study_trains_each_dense_network_once_and_keeps_what_all_its_runs_rewind_to(tmp_path: Path):
    table = CONFIG | {"dense": DENSE, "retrain": {"epochs": 0}, "study": {"rewind": [0, 3], "seed": [0, 1]}}
    work = plan_work(expand(table, name="rewinds"), Store(tmp_path))
    dense = [task for task in work.tasks if task.work["do"] == "dense"]
    assert [task.work["keep"] for task in dense] == [[0, 3], [0, 3]]
    assert len(work.runs) == 4


def test_nothing_of_a_rewound_network_depends_on_who_draws(tmp_path: Path):
    draws = {"name": f"{HERE}:noisy", "draws": 5}
    store = Store(tmp_path)
    a, b = (run(rewinding(repair=repair), store) for repair in ("none", draws))
    assert numbers(a) == numbers(b)


def test_rewinding_to_a_step_is_to_the_start_of_a_second_training(tmp_path: Path):
    """Epoch 0 of the second is step k, where the first ended: kept, or trained again from there."""
    training = {"lr": 0.05, "batch": 50, "jsv_samples": 0}
    steps = [
        {"kind": "train", **training, "epochs": 1, "steps": 2, "role": "early"},
        {"kind": "train", **training, "epochs": 2},
        {"kind": "prune", "ratio": 0.5, "grain": "weight"},
        {"kind": "rewind", "epoch": 0},
        {"kind": "retrain", "epochs": 0},
    ]
    made = experiment({**{key: CONFIG[key] for key in ("data", "model", "measure")}, "steps": steps})
    store = Store(tmp_path)
    record = run(made, store)
    got = tensors(store, record, "rewound")
    model, _ = load_network(folder(store, record, "rewound"))
    for name, parameter in load_network(folder(store, record, "early"))[0].named_parameters():
        owner, _, key = name.rpartition(".")
        now = getattr(model.get_submodule(owner), key)
        assert torch.equal(now, torch.where(now != 0, parameter, 0))
    assert record.network("rewound").nonzero < record.network("early").nonzero
    rewind.kept_path(folder(store, record, "dense"), 0).unlink()
    again = Store(tmp_path / "again")
    for role in ("early", "dense", "pruned"):
        target = again.folder(record.network(role).digest)
        shutil.copytree(folder(store, record, role), target)
    assert same(tensors(again, run(made, again), "rewound"), got)
