"""A plan.json with a right digest, of another content: only what shrinking derives from shapes is set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

import isoprune
from isoprune.export import load, manifest, save
from isoprune.export.checkpoint import read
from isoprune.types import IsopruneError

from .test_hostile import forge, resign


class Steps(nn.Module):
    """A network with integers of its own, of which one is a width."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.stride, self.repeats = 16, 2, 2
        self.first = nn.Conv2d(3, self.hidden, 3)
        self.norm = nn.GroupNorm(4, self.hidden)
        self.last = nn.Linear(self.hidden, 4)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()[..., :: self.stride, :: self.stride]
        for _ in range(self.repeats):
            x = x.reshape(x.shape[0], self.hidden, -1, 1).tanh()
        return self.last(x.mean((2, 3)))


def make() -> nn.Module:
    torch.manual_seed(0)
    return Steps().eval()


X = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def saved(tmp_path) -> Path:
    dense = make()
    return save(isoprune.prune(dense, X, ratio=0.5), tmp_path / "ck", dense=dense)


def refused(place: Path, build=make) -> str:
    with pytest.raises(IsopruneError) as error:
        load(place, build=build)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_was_saved_comes_back(saved):
    assert load(saved, build=make).hidden < 16


def bert() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 32}
    return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=40, **sizes)).eval()


def test_what_attention_scales_by_comes_back_and_no_other_scale(tmp_path):
    tokens = {"input_ids": torch.arange(14).reshape(2, 7)}
    small = isoprune.prune(bert(), tokens, ratio=0.5)
    place = save(small, tmp_path / "ck")
    back = load(place, build=bert)
    with torch.no_grad():
        assert torch.equal(back(**tokens).logits, small.model(**tokens).logits)
    where = "bert.encoder.layer.0.attention.self"
    assert back.get_submodule(where).scaling > bert().get_submodule(where).scaling
    forge(place, attributes=lambda known: {**known, where: {**known[where], "scaling": 0.3}})
    assert "scaling is 0.3" in refused(place, bert)


@pytest.mark.parametrize(
    ("module", "attribute", "value"),
    [
        ("first", "dilation", [2, 2]), ("first", "padding", [2, 2]), ("first", "stride", [2, 2]),
        ("first", "kernel_size", [1, 1]), ("first", "out_channels", 7), ("first", "groups", 3),
        ("norm", "num_groups", 1000), ("last", "in_features", 15), ("last", "out_features", 2),
        ("", "stride", 1), ("", "hidden", 15), ("", "hidden", 0), ("", "hidden", 32), ("", "repeats", 200),
    ],
)  # fmt: skip
def test_no_other_number_is_set(saved, module, attribute, value):
    forge(saved, attributes=lambda known: {**known, module: {**known.get(module, {}), attribute: value}})
    assert "build()" in refused(saved)


def plan(removed: dict, shapes: dict, grain: str = "channel") -> dict:
    return {"grain": grain, "removed": removed, "shapes": shapes, "request": {}}


@pytest.mark.parametrize(
    "wrong",
    [
        plan({"nosuch": [9]}, {}),
        plan({"nosuch": [9]}, {"nosuch": [16]}),
        plan({"first": [99]}, {"first": [16]}),
        plan({"first": [99]}, {"first": [100]}),
        plan({"first": [-1]}, {"first": [16]}),
        plan({"first": [0]}, {"first": [2**40]}),
        plan({"first": [0]}, {"first": [2**20, 2**20]}),
        plan({"first": [0]}, {"first": [16]}),  # all others would stay, and are not there
        plan({}, {}, grain="acre"),
        plan({"first": ["0"]}, {"first": [16]}),
        {"grain": "channel", "removed": {}, "shapes": {}, "request": 3},
    ],
    ids=repr,
)
def test_a_plan_is_of_the_units_that_there_are(saved, wrong):
    forge(saved, plan=wrong)
    refused(saved)


def rewrite(place: Path, change) -> None:
    from safetensors.torch import load_file, save_file

    file = place / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    types = {name: str(t.dtype).removeprefix("torch.") for name, t in tensors.items()}
    forge(place, tensors=lambda known: {n: {**e, "dtype": types[n]} for n, e in known.items()})
    resign(place)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(saved, value):
    rewrite(saved, lambda tensors: tensors["first.weight"].view(-1)[:1].fill_(value))
    assert "NaN or infinity in first.weight" in refused(saved)
    broken = make()
    with torch.no_grad():
        broken.last.bias[0] = value
    with pytest.raises(IsopruneError, match=r"NaN or infinity in last\.bias"):
        save(broken, saved.parent / "other")
    assert not (saved.parent / "other").exists()


def test_types_that_the_class_does_not_mix_are_refused(saved):
    rewrite(saved, lambda tensors: tensors.update({"last.weight": tensors["last.weight"].half()}))
    assert "float16" in refused(saved)


def test_a_long_or_deep_plan_is_refused_before_it_is_parsed(saved):
    file = saved / "plan.json"
    file.write_text("[" * (20 << 20))
    assert "no such file has more than 16,777,216" in refused(saved)
    file.write_text("[" * (1 << 20))
    assert "damaged" in refused(saved)


def test_the_units_that_a_masked_network_keeps_come_back(tmp_path):
    held = isoprune.prune(make(), X, ratio=0.5, grain="kernel")
    place = save(held, tmp_path / "held")
    assert read(place, make)[1].plan == held.plan
    assert manifest.read(place).bools
    facts = json.loads((place / "plan.json").read_text())
    assert facts["plan"]["removed"] == {}


@pytest.mark.parametrize("how", [{"mask": True}, {"grain": "weight"}], ids=["channels", "weights"])
def test_a_masked_network_that_was_made_plain_keeps_its_plan(tmp_path, how):
    plain = isoprune.harden(isoprune.prune(make(), X, ratio=0.5, **how))
    model, facts = read(save(plain, tmp_path / "plain"), make)
    assert facts.plan == plain.plan
    assert facts.costs == plain.costs
    assert torch.equal(model(X), plain.model(X))
