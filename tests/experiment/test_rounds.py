"""Rounds: what goes in each, what is rewound to, and the same bits after any interruption."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from experiment.rounds import TRAINING, ticket
from experiment.tiny import CONFIG, bits, one_thread
from isoprune.experiment import step_result
from isoprune.experiment.config import experiment
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.recipe_steps import placed
from isoprune.experiment.resolve import resolve
from isoprune.experiment.steps.rewind import kept_path
from isoprune.experiment.store import Store
from isoprune.pruning.mask import harden, masks_of
from isoprune.types import IsopruneError
from isoprune.types.record import Record

TESTS = Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures("_one_thread")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    """Return the store and the record of three rounds of masks."""
    with one_thread():
        store = Store(tmp_path_factory.mktemp("store"))
        return store, run(ticket(3), store)


def files(store: Store) -> dict[str, bytes]:
    return {file.parent.name: file.read_bytes() for file in store.root.rglob("model.safetensors")}


def tensors(store: Store, digest: str) -> dict[str, torch.Tensor]:
    return dict(harden(load_network(store.folder(digest))[0]).state_dict())


def rewound_and_kept(store: Store, record: Record) -> Iterator[tuple[nn.Module, dict[str, torch.Tensor]]]:
    dense = record.network("dense")
    assert dense is not None
    kept = load_file(kept_path(store.folder(dense.digest), 1))
    for network in record.networks:
        if network.role == "rewound":
            yield load_network(store.folder(network.digest))[0], kept


def test_the_record_has_every_network_of_every_round(whole: tuple[Store, Record]):
    _, record = whole
    roles = ["pruned", "rewound", "retrained"]
    assert [(n.role, n.round) for n in record.networks] == [
        ("dense", 0),
        *((role, number) for number in (1, 2, 3) for role in roles),
    ]
    assert [n.step for n in record.networks] == list(range(10))
    assert [(r.step, r.round, r.grain) for r in record.removals] == [
        (1, 1, "weight"), (4, 2, "weight"), (7, 3, "weight")
    ]  # fmt: skip


def test_each_round_removes_its_part_of_what_is_left(whole: tuple[Store, Record]):
    _, record = whole
    left = [1.0, *(1 - removal.ratios["units"] for removal in record.removals)]
    each = 1 - 0.2 ** (1 / 3)
    for before, after in itertools.pairwise(left):
        assert 1 - after / before == pytest.approx(each, abs=0.01)  # whole weights of three small layers
    assert left[-1] == pytest.approx(0.2, abs=0.01)
    sizes = [network.nonzero for network in record.networks if network.role == "retrained"]
    assert sizes == sorted(sizes, reverse=True)
    assert {network.parameters for network in record.networks} == {record.networks[0].parameters}


def test_a_rewound_network_has_the_weights_of_that_epoch_where_it_has_any(whole: tuple[Store, Record]):
    for network, kept in rewound_and_kept(*whole):
        masks = masks_of(network)
        assert masks
        for name, tensor in harden(network).state_dict().items():
            assert torch.equal(tensor, torch.where(masks.get(name, torch.tensor(True)), kept[name], 0.0)), (
                name
            )


def test_what_went_stays_zero_through_the_trainings_of_later_rounds(whole: tuple[Store, Record]):
    store, record = whole
    gone: dict[str, torch.Tensor] = {}
    for network in record.networks[1:]:
        model, facts = load_network(store.folder(network.digest))
        plan = facts["plan"]
        now = {name: ~kept for name, kept in masks_of(model).items()}
        assert sum(int(mask.sum()) for mask in now.values()) == sum(map(len, plan.removed.values()))
        state = harden(model).state_dict()
        for name, mask in now.items():
            assert not state[name][mask].any()
            assert not (gone.get(name, torch.zeros_like(mask)) & ~mask).any()
        gone = now


@pytest.mark.parametrize(
    "how", [{"grain": "channel"}, {"grain": "channel", "mask": True}], ids=["gone", "zero"]
)
def test_rounds_of_channels_compose_however_they_are_made_real(how: dict[str, Any], tmp_path: Path):
    store = Store(tmp_path)
    record = run(ticket(2, ratio=0.6, **how), store)
    plans = [load_network(store.folder(n.digest))[1]["plan"] for n in record.networks if n.role == "pruned"]
    for name, earlier in plans[0].removed.items():
        assert set(earlier) < set(plans[1].removed[name])
    assert [unit.size for unit in record.removals[1].units] == [CONFIG["model"]["width"]] * 2
    last = record.networks[-1]
    assert (last.parameters < record.networks[0].parameters) == ("mask" not in how)
    assert last.nonzero < record.networks[0].nonzero


def test_rounds_share_what_recipes_have_in_common(whole: tuple[Store, Record], tmp_path: Path):
    """One round of the cadence of three is the first of three: nothing of it is made again."""
    first, more = placed(resolve(ticket(3))), placed(resolve(ticket(3, ratio=0.8)))
    assert [step.digest for step in first] == [step.digest for step in more]
    assert len({step.digest for step in first}) == len(first) == 10
    assert first[0].digest == placed(resolve(ticket(5)))[0].digest
    assert [step.round for step in first] == [0, *[1] * 3, *[2] * 3, *[3] * 3]
    assert len({step.stream() for step in first}) == len(first)


@pytest.mark.matrix
@pytest.mark.parametrize("place", [0, 1, 3, 5, 8])
def test_interrupted_after_any_network_it_ends_with_the_same_bits(
    place: int, whole: tuple[Store, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    save, made = step_result.save_step, []

    def dying(*args: Any, **known: Any) -> None:
        save(*args, **known)
        made.append(args)
        if len(made) == place + 1:
            raise Killed

    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(step_result, "save_step", dying)
        with pytest.raises(Killed):
            run(ticket(3), store)
    assert bits(run(ticket(3), store)) == bits(whole[1])
    assert files(store) == files(whole[0])


def life(root: Path, flushes: int) -> subprocess.CompletedProcess[str]:
    path = f"{TESTS}{os.pathsep}{TESTS.parent / 'src'}"
    command = [sys.executable, "-m", "experiment.rounds", str(root), str(flushes)]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "seed", [pytest.param(0, marks=pytest.mark.matrix), pytest.param(1, marks=pytest.mark.long)]
)
def test_five_rounds_killed_ten_times_end_with_the_same_bits(seed: int, tmp_path: Path):
    """kill -9 wherever something goes to the disk, half-way through a file or between two."""
    straight, broken = Store(tmp_path / "straight"), Store(tmp_path / "broken")
    done = life(straight.root, 0)
    assert done.returncode == 0, done.stderr
    flushes, chance = int(done.stdout), random.Random(seed)
    for _ in range(10):
        killed = life(broken.root, chance.randint(1, flushes // 15))
        assert killed.returncode == -9
    assert life(broken.root, 0).returncode == 0
    assert files(broken) == files(straight)
    records = [run(ticket(5), store) for store in (straight, broken)]
    assert bits(records[0]) == bits(records[1])
    assert not list(broken.root.rglob("*.part"))


def recipe(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"data": "digits", "model": "mlp_7", "steps": [{"kind": "train", "epochs": 2, "lr": 0.1}, *steps]}


def repeat(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return recipe({"kind": "repeat", "rounds": 2, "steps": list(steps), **more})


BY_CYCLE = {"name": "by_cycle", "ratio": 0.5}
REFUSED = {
    "an unknown kind": (
        recipe({"kind": "tran"}),
        r"steps\[1\]\.kind is 'tran'\. Did you mean 'train'\? Known: ",
    ),
    "no kind": (recipe({"epochs": 1}), r"steps\[1\] has no kind\. Add one of: train, prune"),
    "a key of another kind": (
        recipe({"kind": "rewind", "epochs": 1}),
        r"Unknown key 'steps\[1\]\.epochs'\. Did you mean 'steps\[1\]\.epoch'",
    ),
    "a key of the short form": (recipe() | {"dense": {"epochs": 1}}, r"Unknown key 'dense'"),
    "a round without a ratio": (
        repeat({"kind": "prune"}),
        r"Missing key 'steps\[1\]\.steps\[0\]\.ratio'.*or a cadence of the repeat",
    ),
    "a ratio beside a cadence": (
        repeat({"kind": "prune", "ratio": 0.5}, cadence=BY_CYCLE),
        r"steps\[1\]\.steps\[0\]\.ratio and steps\[1\]\.cadence do not go together",
    ),
    "a repeat in a repeat": (
        repeat({"kind": "repeat", "rounds": 2, "steps": []}),
        r"steps\[1\]\.steps\[0\]\.kind is 'repeat'",
    ),
    "no rounds": (
        recipe({"kind": "repeat", "rounds": 0, "steps": []}),
        r"steps\[1\]\.rounds is 0, but must be at least 1",
    ),
    "an epoch that there is not": (
        recipe({"kind": "rewind", "epoch": 3}),
        r"steps\[1\]\.epoch is 3, but the dense network is trained for 2 epochs",
    ),
    "a training of what was pruned": (
        recipe({"kind": "prune", "ratio": 0.5}, {"kind": "train", "epochs": 1, "lr": 0.1}),
        r'steps\[2\] trains anew what was pruned\. Write kind = "retrain"',
    ),
    "nothing to begin with": (
        {**recipe(), "steps": [{"kind": "prune", "ratio": 0.5}]},
        r"steps\[0\] has no network to begin with",
    ),
    "an unknown cadence": (
        repeat({"kind": "prune"}, cadence={"name": "by_cycl", "ratio": 0.5}),
        r"Unknown cadence 'by_cycl'\. Did you mean 'by_cycle'",
    ),
    "a cadence that removes all": (
        repeat({"kind": "prune"}, cadence={"name": "by_cycle", "ratio": 1.0}),
        r"ratio is 1, outside \[0, 1\)",
    ),
    "an unknown grain": (
        recipe({"kind": "prune", "ratio": 0.5, "grain": "wieght"}),
        r"steps\[1\]\.grain: Unknown grain 'wieght'\. Did you mean 'weight'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_recipe_that_cannot_work_is_refused_in_one_line(case: str):
    table, message = REFUSED[case]
    with pytest.raises(IsopruneError, match=message) as caught:
        resolve(experiment(table))
    assert "\n" not in str(caught.value)


def test_a_recipe_survives_its_own_json(whole: tuple[Store, Record]):
    record = whole[1]
    assert resolve(experiment(record.config)).as_dict() == record.config
    assert record.config["steps"][0]["epochs"] == TRAINING["epochs"]
