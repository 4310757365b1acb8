"""What is saved comes back with equal bits, in the user's own class; and nothing else ever comes back."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

import isoprune
from isoprune.export import load, manifest, save
from isoprune.pruning.stored_sizes import sizes_of
from isoprune.types import IsopruneError

from .networks import NETWORKS, Attention, Convolutions, bits, images, seeded, tensors, tokens


def pruned(name: str, ratio: float = 0.4, **options):
    make, inputs = NETWORKS[name]
    dense = seeded(make)
    return dense, isoprune.prune(dense, inputs(), ratio, **options)


def all_sizes(model: nn.Module):
    return {name: sizes_of(m) for name, m in model.named_modules()}


@pytest.mark.parametrize("with_dense", [False, True])
@pytest.mark.parametrize("whole", [False, True], ids=["module", "result"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equal_bits_sizes_and_outputs(tmp_path, name, whole, with_dense):
    make, inputs = NETWORKS[name]
    dense, result = pruned(name)
    assert bits(result.model) != bits(dense)
    place = save(result if whole else result.model, tmp_path / "small", dense=dense if with_dense else None)
    back = load(place, build=make)
    assert type(back) is make
    assert bits(back) == bits(result.model)
    assert all_sizes(back) == all_sizes(result.model)
    assert torch.equal(back(inputs()), result.model(inputs()))
    assert sorted(p.name for p in place.iterdir()) == ["model.safetensors", "plan.json"]


class Normed(nn.Module):
    """Spectral norm goes on with its power iteration at each look at a weight in train mode."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.first, self.second = norm(nn.Linear(8, 16)), norm(nn.Linear(16, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).relu())


@pytest.mark.parametrize("training", [False, True])
def test_the_vectors_of_a_spectral_norm_come_back_as_they_were_saved(tmp_path, training):
    dense = seeded(Normed).train(training)
    before = bits(dense)
    result = isoprune.prune(dense, torch.randn(3, 8), 0.5)
    kept = bits(result.model)
    back = load(save(result, tmp_path / "s"), build=Normed)
    assert bits(dense) == before
    assert bits(back) == bits(result.model) == kept


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_type_of_the_numbers_is_that_of_the_file(tmp_path, dtype):
    _, result = pruned("convolutions")
    small = result.model.to(dtype)
    assert bits(load(save(small, tmp_path / "s"), build=Convolutions)) == bits(small)


def test_a_dense_network_and_a_twice_pruned_one(tmp_path):
    dense, result = pruned("convolutions")
    assert bits(load(save(dense, tmp_path / "a"), build=Convolutions)) == bits(dense)
    again = isoprune.prune(result.model, images(), 0.5)
    back = load(save(again, tmp_path / "b", dense=dense), build=Convolutions)
    assert bits(back) == bits(again.model)


def test_a_retrained_network_keeps_the_plan_beside_it(tmp_path):
    _, result = pruned("convolutions")
    with torch.no_grad():
        result.model.stem.weight.add_(1)
    place = save(dataclasses.replace(result, model=result.model), tmp_path / "s")
    facts = json.loads((place / "plan.json").read_text())
    assert {k: tuple(v) for k, v in facts["plan"]["removed"].items()} == dict(result.plan.removed)
    assert facts["costs"]["pruned"]["parameters"] == result.costs.pruned.parameters
    assert bits(load(place, build=Convolutions)) == bits(result.model)
    assert manifest.read(place).plan == result.plan
    assert manifest.read(place).source is None
    assert manifest.read(save(result.model, tmp_path / "t", source="nets:make")).source == "nets:make"
    assert manifest.read(tmp_path / "t").plan is None


def test_tied_weights_are_one_tensor_and_stored_once(tmp_path):
    _, result = pruned("attention")
    back = load(save(result, tmp_path / "s"), build=Attention)
    assert back.head.weight is back.words.weight
    assert sum(p.numel() for p in back.parameters()) == sum(p.numel() for p in result.model.parameters())
    with safe_open(tmp_path / "s" / "model.safetensors", "pt") as file:
        assert set(tensors(result.model)) - set(file.keys()) == {"head.weight"}


def test_dense_leaves_only_what_changed_in_the_plan(tmp_path):
    dense, result = pruned("convolutions")
    facts = json.loads((save(result, tmp_path / "s", dense=dense) / "plan.json").read_text())
    assert facts["attributes"] == {
        "stem": {"out_channels": 9},
        "norm": {"num_features": 9},
        "each": {"in_channels": 9, "out_channels": 9, "groups": 9},
        "head": {"in_features": 9},
    }


def test_a_build_without_weights_costs_no_weights(tmp_path):
    _, result = pruned("convolutions")
    with torch.device("meta"):
        hollow = Convolutions()
    back = load(save(result, tmp_path / "s"), build=lambda: hollow)
    assert bits(back) == bits(result.model)
    assert all(t.is_meta for t in tensors(hollow).values())


def test_the_network_that_build_hands_out_is_left_as_it_was(tmp_path):
    dense, result = pruned("convolutions")
    before, sizes = bits(dense), all_sizes(dense)
    back = load(save(result, tmp_path / "s"), build=lambda: dense)
    with torch.no_grad():
        back.stem.weight.zero_()
    assert bits(dense) == before
    assert all_sizes(dense) == sizes


def test_modes_come_back_and_requires_grad_is_builds(tmp_path):
    _, result = pruned("convolutions")
    result.model.train()
    result.model.norm.eval()  # BatchNorm kept still, as is usual in retraining

    def build():
        made = Convolutions()
        made.head.requires_grad_(False)
        return made

    back = load(save(result, tmp_path / "s"), build=build)
    modes = {name: m.training for name, m in back.named_modules()}
    assert modes == {"": True, "stem": True, "norm": False, "each": True, "head": True}
    assert [p.requires_grad for p in back.head.parameters()] == [False, False]


def test_wrapped_networks_are_saved_as_what_they_wrap(tmp_path):
    _, result = pruned("convolutions")
    for i, wrap in enumerate((torch.compile, nn.DataParallel, lambda m: nn.DataParallel(torch.compile(m)))):
        assert bits(load(save(wrap(result.model), tmp_path / str(i)), build=Convolutions)) == bits(
            result.model
        )


def test_tensors_that_share_memory_are_stored_each(tmp_path):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            table = torch.arange(6.0)
            for name, view in {"whole": table, "part": table[2:4], "row": table.expand(3, 6)}.items():
                self.register_buffer(name, view)

    model = Shared()
    assert bits(load(save(model, tmp_path / "s"), build=Shared)) == bits(model)


def test_loading_is_independent_of_the_file_afterwards(tmp_path):
    _, result = pruned("convolutions")
    place = save(result, tmp_path / "s")
    back = load(place, build=Convolutions)
    (place / "model.safetensors").write_bytes(b"\0" * 10)
    assert bits(back) == bits(result.model)


class Wider(Convolutions):
    def __init__(self):
        super().__init__(width=20)


class FewerClasses(Convolutions):
    def __init__(self):
        super().__init__(classes=4)


class Deeper(Convolutions):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(2, 2)


class Untied(Attention):
    def __init__(self):
        super().__init__()
        self.head.weight = nn.Parameter(self.words.weight.detach().clone())


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (Wider, "stem.weight is 16x3x3x3 before pruning in the file and 20x3x3x3 in build()"),
        (FewerClasses, "head.weight is 5x16 before pruning in the file and 4x16 in build()"),
        (Deeper, "only build() has more.weight"),
        (lambda: nn.Linear(3, 3), "only build() has weight"),
    ],
)
def test_another_network_names_its_first_tensor_that_differs(tmp_path, build, problem):
    dense, result = pruned("convolutions")
    for i, given in enumerate((result, dataclasses.replace(result, model=result.model))):
        place = save(given, tmp_path / str(i), dense=dense if i else None)
        with pytest.raises(IsopruneError) as error:
            load(place, build=build)
        assert problem in str(error.value)
        assert "\n" not in str(error.value)


def test_another_network_without_known_dense_shapes(tmp_path):
    _, result = pruned("convolutions")
    place = save(result.model, tmp_path / "s")
    with pytest.raises(IsopruneError, match=r"head.weight is 5x9 in the file, which is no part of 4x16"):
        load(place, build=FewerClasses)
    with pytest.raises(IsopruneError, match=r"tint is torch.float32 in the file and torch.int64"):
        load(place, build=lambda: _with_whole_numbers(Convolutions()))


def _with_whole_numbers(model):
    model.tint = model.tint.long()
    return model


def test_ties_must_be_those_of_the_build(tmp_path):
    place = save(seeded(Attention), tmp_path / "tied")
    with pytest.raises(IsopruneError, match=r"only build\(\) has head.weight"):
        load(place, build=Untied)
    place = save(seeded(Untied), tmp_path / "untied")
    with pytest.raises(IsopruneError, match=r"only the file has head.weight"):
        load(place, build=Attention)


@pytest.mark.parametrize("built", [None, Convolutions, {"a": 1}])
def test_a_build_that_returns_no_module(tmp_path, built):
    place = save(seeded(Convolutions), tmp_path / "s")
    with pytest.raises(IsopruneError, match=f"build\\(\\) returned a {type(built).__name__}, not a module"):
        load(place, build=lambda: built)


def test_an_error_in_build_is_the_users_own(tmp_path):
    place = save(seeded(Convolutions), tmp_path / "s")

    def build():
        raise FileNotFoundError("my own file")

    with pytest.raises(FileNotFoundError, match=r"my own file"):
        load(place, build=build)


def test_dense_of_another_network_is_refused(tmp_path):
    _, result = pruned("convolutions")
    with pytest.raises(IsopruneError, match=r"dense is another network: only dense has bias"):
        save(result, tmp_path / "s", dense=nn.Linear(2, 2))
    assert not (tmp_path / "s").exists()


def test_a_type_that_cannot_be_stored(tmp_path):
    model = nn.Linear(2, 2)
    model.register_buffer("odd", torch.zeros(2, dtype=torch.complex128))
    with pytest.raises(IsopruneError, match=r"odd is of type complex128, which cannot be stored"):
        save(model, tmp_path / "s")


def test_outputs_of_words_after_heads_went(tmp_path):
    dense, result = pruned("attention", ratio=0.5)
    back = load(save(result, tmp_path / "s", dense=dense), build=Attention)
    assert back.num_heads * back.head_dim == back.out.in_features < 24
    assert torch.equal(back(tokens()), result.model(tokens()))


class Unrun(nn.Sequential):
    """Layers that nobody may run."""

    def forward(self, *_):
        raise AssertionError


def test_saving_and_loading_run_no_forward(tmp_path):
    """So they are quick beside pruning: no second trace, bytes only."""
    model = Unrun(nn.Linear(64, 64), nn.Linear(64, 4))
    back = load(save(model, tmp_path / "s"), build=lambda: Unrun(nn.Linear(64, 64), nn.Linear(64, 4)))
    assert all(torch.equal(back.state_dict()[name], value) for name, value in model.state_dict().items())
