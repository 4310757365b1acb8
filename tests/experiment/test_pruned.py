"""Pruning by training: what goes, what is left of it, what the record says, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from isoprune.comparison import Setup, setup_of
from isoprune.experiment import Store, networks
from isoprune.experiment import run as run_experiment
from isoprune.experiment.config import experiment
from isoprune.experiment.pipeline import splits_of
from isoprune.experiment.resolve import resolve
from isoprune.pruning.mask import masks_of
from isoprune.training import checkpoint
from isoprune.types import IsopruneError

from .tiny import bits, role_digest, tiny

# Three steps an epoch. The growth takes 20 of 30 steps.
TPP = {"name": "tpp", "growth": 0.1, "interval": 2, "stabilise": 10, "zero_every": 1, "gram": 10.0}
GREG_1 = {"name": "greg_1", "growth": 0.1, "interval": 2, "stabilise": 10}
GREG_2 = GREG_1 | {"name": "greg_2", "interval": 1, "pick_growth": 0.001, "pick_ceiling": 0.01}
INCREG, BALANCED = GREG_1 | {"name": "increg"}, GREG_1 | {"name": "auto_balanced"}
TRAIN = {"epochs": 10, "lr": 0.05, "batch": 50, "jsv_samples": 0}


def pressed(penalty=None, **more):
    train = TRAIN | ({} if penalty is None else {"penalty": penalty}) | more
    return tiny(prune={"ratio": 0.5, "train": train})


@pytest.mark.matrix
@pytest.mark.parametrize("penalty", [TPP, GREG_1, GREG_2, None], ids=["tpp", "greg_1", "greg_2", "none"])
def test_the_record_says_what_pruning_took(tmp_path, penalty):
    record = run_experiment(pressed(penalty), Store(tmp_path))
    rows = record.network("pruned").history
    assert [row["epoch"] for row in rows] == list(range(11))
    assert all(("penalty" in row) == (penalty is not None) for row in rows[1:])
    dense, pruned = (record.network(role).flops for role in ("dense", "pruned"))
    assert pruned < dense
    # It is the whole network that is trained.
    samples = record.network("pruned").training.samples
    assert record.network("pruned").training.multiply_adds == 3 * samples * dense
    assert samples == 10 * len(splits_of(resolve(tiny())).train)
    assert record.network("pruned").seconds > sum(row["seconds"] for row in rows)


def test_what_was_pushed_out_can_go_without_harm(tmp_path):
    """Held at zero to the end, its channels change nothing: the trained network and the small one agree."""
    record = run_experiment(pressed(TPP), Store(tmp_path))
    one_shot = run_experiment(tiny(prune={"ratio": 0.5}), Store(tmp_path))
    after = record.network("pruned").history[-1]["validation_accuracy"]
    assert record.network("pruned").metrics["validation_accuracy"] == pytest.approx(after, abs=1e-9)
    assert record.removals[0].proof["max_abs_error"] <= 1e-4 * max(record.removals[0].proof["scale"], 1)
    before = one_shot.network("dense").history[-1]["validation_accuracy"]
    assert one_shot.network("pruned").metrics["validation_accuracy"] < before


@pytest.mark.parametrize(("prune", "penalty"), [({"grain": "weight"}, GREG_1), ({"mask": True}, TPP)])
def test_what_was_pushed_out_is_held_by_masks_where_masks_are_asked_for(tmp_path, prune, penalty):
    store = Store(tmp_path)
    made = tiny(prune={"ratio": 0.5, **prune, "train": {**TRAIN, "penalty": penalty}})
    record = run_experiment(made, store)
    assert record.network("pruned").parameters == record.network("dense").parameters
    assert record.network("pruned").nonzero < 0.7 * record.network("dense").nonzero
    model, facts = networks.load_network(store.folder(record.network("retrained").digest))
    assert masks_of(model)
    assert facts["plan"].grain == prune.get("grain", "channel")


def test_tpp_and_greg_1_remove_what_the_dense_scores_chose_and_the_control_need_not(tmp_path):
    store, removed = Store(tmp_path), {}
    for name, made in {"shot": tiny(), "tpp": pressed(TPP), "greg_1": pressed(GREG_1)}.items():
        run_experiment(made, store)
        folder = store.folder(role_digest(resolve(made).as_dict(), "pruned"))
        removed[name] = networks.load_network(folder)[1]["plan"].removed
    assert removed["tpp"] == removed["greg_1"] == removed["shot"]


@pytest.mark.matrix
@pytest.mark.parametrize("penalty", [TPP, GREG_1, GREG_2, INCREG, BALANCED], ids=lambda p: p["name"])
def test_interrupted_at_any_step_it_ends_on_the_same_bits(tmp_path, monkeypatch, penalty):
    """GReg-2's choice, and how far the growth is, are in the checkpoint."""
    made = pressed(penalty, checkpoint_steps=1)
    pruned = role_digest(made.as_dict(), "pruned")
    want = bits(run_experiment(made, Store(tmp_path / "whole")))
    write, seen = checkpoint.write, set()

    class Killed(BaseException):
        pass

    def killed_at_some(path, tensors, facts):
        write(path, tensors, facts)
        place = (path.parts[-3], len(facts["history"]), facts.get("step", 0))
        if place not in seen and place[0] == pruned and facts.get("step", 0) == 2:
            seen.add(place)
            raise Killed

    for _ in range(20):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write", killed_at_some)
            try:
                got = run_experiment(made, Store(tmp_path / "broken"))
                break
            except Killed:
                continue
    assert len(seen) >= 9
    assert bits(got) == want


def test_the_control_without_a_penalty_shares_all_of_pruning(tmp_path):
    records = [
        run_experiment(made, Store(tmp_path))
        for made in (pressed(TPP), pressed(), tiny(prune={"ratio": 0.5}))
    ]
    assert setup_of(records[0], records[1]).setup is Setup.S4_2
    assert setup_of(records[0], records[2]).setup is Setup.S3_2
    assert setup_of(records[0], records[2]).key == "prune.train.epochs"


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.matrix) for s in (1, 2))])
def test_tpp_keeps_the_mean_jsv_above_that_of_l1_on_a_linear_perceptron(tmp_path, seed):
    """The claim of TPP's paper, on digits: after removal, before retraining, ten times in every seed."""
    base = {
        "data": {"name": "digits", "limit": 600, "size": 16},
        "model": {"name": "mlp_7", "width": 30, "activation": "linear"},
        "dense": {"epochs": 20, "lr": 0.01, "batch": 20, "jsv_samples": 0},
        "retrain": {"epochs": 0},
        "seed": seed,
        "measure": {"samples": 16},
    }
    train = {"epochs": 20, "lr": 0.01, "batch": 50, "jsv_samples": 0}
    grow = {"name": "tpp", "growth": 0.05, "interval": 8, "stabilise": 40, "zero_every": 5}
    plans = ({}, {"train": train}, {"train": {**train, "penalty": grow}})
    shot, longer, tpp = (
        run_experiment(experiment({**base, "prune": {"ratio": 0.8, **plan}}), Store(tmp_path)).network(
            "pruned"
        )
        for plan in plans
    )
    # Neither is it the longer training that does it.
    gains = [math.log10(tpp.jsv["mean"] / other.jsv["mean"]) for other in (shot, longer)]
    assert min(gains) > 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"retrain": {"epochs": 1, "lr": 0.1, "penalty": "tpp"}},
            r"retrain\.penalty = 'tpp' pushes channels out",
        ),
        (
            {"prune": {"ratio": 0.5, "train": {**TRAIN, "penalty": "kernel_orthogonality"}}},
            r"prune\.train\.penalty = 'kernel_orthogonality' pushes no channel out",
        ),
        (
            {"prune": {"ratio": 0.5, "train": {**TRAIN, "penalty": "tp"}}},
            r"Unknown penalty 'tp'\. Did you mean 'tpp'",
        ),
        (
            {"prune": {"ratio": 0.5, "train": {**TRAIN, "penalty": {"name": "tpp", "grow": 1.0}}}},
            r"Unknown option 'grow' of penalty 'tpp' \(prune\.train\.penalty\)",
        ),
        (
            {"prune": {"ratio": 0.5, "criterion": "reconstruction", "train": {**TRAIN, "penalty": "tpp"}}},
            r"prune\.criterion = 'reconstruction' chooses for layers that are refit",
        ),
        (
            {"prune": {"ratio": 0.5, "grain": "weight", "train": {**TRAIN, "penalty": "tpp"}}},
            r"prune\.train\.penalty = 'tpp' pushes out units of grain channel, head, filter,",
        ),
        (
            {"prune": {"ratio": 0.5, "grain": "weight", "scope": "internal"}},
            r"^prune: scope says how channels go, and the grain is weight",
        ),
        (
            {"prune": {"ratio": 0.95, "allocation": "global"}},
            r"^prune: ratio is 0\.95, and cap lets",
        ),
        ({"prune": {"ratio": 0.5, "train": {"epochs": 3}}}, r"Missing key 'prune\.train\.lr'"),
        ({"prune": {"ratio": 0.5, "train": {"epochs": 0}}}, r"prune\.train\.epochs is 0: nothing is trained"),
        (
            {"prune": {"ratio": 0.5, "train": {**TRAIN, "lr": "auto"}}},
            r'prune\.train\.lr is "auto", but short',
        ),
        (
            {"prune": {"ratio": 0.5, "train": {**TRAIN, "distill": {"weight": 0.5, "temperature": 2}}}},
            r"prune\.train\.distill: there is no network yet to learn from",
        ),
        (
            {"prune": {"ratio": 0.5, "grain": "weight"}, "repair": ["none", "merging"]},
            r"repair\[1\]: Repair 'merging' knows units of grain channel, and those .* are of grain 'weight'",
        ),
        ({"prune": {"ratio": {"layers.*": 1.5}}}, r"prune\.ratio\.layers\.\* is 1\.5, outside \[0, 1\)"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_trained(changes, said):
    with pytest.raises(IsopruneError, match=said):
        resolve(tiny(**changes))


def test_a_training_that_ends_before_its_penalty_is_refused_before_the_dense_one(tmp_path):
    short = pressed({**TPP, "stabilise": 1000})
    with pytest.raises(
        IsopruneError, match=r"needs 1,020 steps until its channels can go, and the training has 30"
    ):
        run_experiment(short, Store(tmp_path))
    assert not list(tmp_path.rglob("step.json"))


def test_ratios_by_name(tmp_path):
    record = run_experiment(tiny(prune={"ratio": {"*": 0.5}}), Store(tmp_path))
    same = run_experiment(tiny(prune={"ratio": 0.5}), Store(tmp_path))
    assert record.removals[0].request["ratio"] == {"*": 0.5}
    assert record.network("pruned").metrics == same.network("pruned").metrics
    assert record.network("pruned").jsv == same.network("pruned").jsv
    assert setup_of(record, same).setup is Setup.S4_2


def test_a_penalty_of_retraining_is_in_the_loss(tmp_path):
    plain = tiny()
    retrain = plain.as_dict()["retrain"]
    keeping = tiny(retrain={**retrain, "penalty": {"name": "kernel_orthogonality", "strength": 0.1}})
    records = [run_experiment(made, Store(tmp_path)) for made in (plain, keeping)]
    assert records[0].network("repaired").digest == records[1].network("repaired").digest
    rows = records[1].network("retrained").history
    assert rows[-1]["penalty"] < rows[1]["penalty"]
    assert "penalty" not in records[0].network("retrained").history[-1]
    trained = [
        networks.load_network(Store(tmp_path).folder(r.network("retrained").digest))[0] for r in records
    ]
    gaps = [max(_gap(m.weight) for m in net.modules() if hasattr(m, "weight")) for net in trained]
    assert gaps[1] < gaps[0]


def _gap(W: torch.Tensor) -> float:
    W = W.detach()
    gram = W @ W.T if W.shape[0] <= W.shape[1] else W.T @ W
    return float((gram - torch.eye(len(gram))).norm())
