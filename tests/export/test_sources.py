"""Networks by name: what is found, what is drawn, and what is said when it is not found."""

from __future__ import annotations

import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from isoprune.export import open_source
from isoprune.export.sources import wake_
from isoprune.export.weights import load_weights_
from isoprune.types import IsopruneError

from .networks import Convolutions, bits, seeded

OWN = """
import torch
from torch import nn

def plain():
    return nn.Linear(3, 2)

def pair():
    return nn.Linear(3, 2), torch.ones(4, 3)

def lightning():
    made = nn.Linear(3, 2)
    made.example_input_array = torch.zeros(5, 3)
    return made

class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)

ready = nn.Linear(3, 2)
number = 3

def needs(width, depth=2):
    return nn.Linear(width, depth)

def wrong():
    return {"weight": 1}

def breaks():
    raise KeyError("the user's own mistake")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_nets", None)


def refused(text: str, **options) -> str:
    with pytest.raises(IsopruneError) as error:
        open_source(text, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "shape"),
    [("torchvision:squeezenet1_1", (1, 3, 224, 224)), ("timm:test_vit", (1, 3, 160, 160))],
)
def test_images_of_the_size_that_the_library_says(text, shape):
    source = open_source(text)
    assert tuple(source.example_inputs.shape) == shape
    assert not source.model.training
    assert source.drawn
    assert source.name == text.partition(":")[2]


def test_the_same_seed_draws_the_same_network_and_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    a, b, c = (open_source("torchvision:squeezenet1_1", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    state_a, state_b, state_c = (s.model.state_dict() for s in (a, b, c))
    assert all(torch.equal(state_a[k], state_b[k]) for k in state_a)
    assert not all(torch.equal(state_a[k], state_c[k]) for k in state_a)
    assert torch.equal(a.example_inputs, b.example_inputs)
    assert not torch.equal(a.example_inputs, c.example_inputs)


def test_the_code_makes_the_same_class():
    import torchvision

    source = open_source("torchvision:squeezenet1_1")
    again = eval(source.code, {"torchvision": torchvision})
    assert type(again) is type(source.model)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in source.model.state_dict().items()
    }


def test_no_output_is_constant_at_random_weights():
    """A head that starts at zero would make every network equal to every other."""
    source = open_source("timm:test_vit")
    with torch.no_grad():
        assert source.model(source.example_inputs).std() > 0
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    nn.init.zeros_(model[1].weight)
    first = model[0].weight.clone()
    wake_(model, torch.Generator().manual_seed(0))
    assert model[1].weight.all()
    assert torch.equal(model[0].weight, first)


LLAMA = "num_hidden_layers=1,hidden_size=32,num_attention_heads=4,num_key_value_heads=2,intermediate_size=48"


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("transformers:bert,num_hidden_layers=1,hidden_size=32,num_attention_heads=4,vocab_size=99", (1, 2)),
        ("transformers:GPT2Config,n_layer=1,n_embd=32,n_head=4,vocab_size=99", (1, 32, 99)),
        (f"transformers:llama,{LLAMA},vocab_size=99", (1, 32, 99)),
        ("transformers:vit,num_hidden_layers=1,hidden_size=32,num_attention_heads=4,image_size=32", (1, 2)),
    ],
)
def test_transformers_from_a_config(text, output, monkeypatch):
    import transformers

    source = open_source(text)
    with torch.no_grad():
        assert tuple(source.model(**source.example_inputs).logits.shape) == output
    again = eval(source.code, {"transformers": transformers})
    assert type(again) is type(source.model)
    assert [p.shape for p in again.parameters()] == [p.shape for p in source.model.parameters()]
    longer = open_source(text, shape=[2, 3, 32, 32] if "vit" in text else [2, 7])
    (given,) = longer.example_inputs.values()
    assert given.shape[0] == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet18", "Did you mean torchvision:resnet18?"),
        ("torchvision:", "does not say where the network comes from"),
        ("torchvision:resnet81", "torchvision has no network 'resnet81'. Did you mean resnet18"),
        (
            "timm:vit_tiny_patch16_225",
            "timm has no network 'vit_tiny_patch16_225'. Did you mean vit_tiny_patch16_224",
        ),
        (
            "transformers:bertt",
            "no model type or config class 'bertt', and there is no such directory. Did you mean bert",
        ),
        ("transformers:bert,layers=2", "BertConfig has no option 'layers'."),
        ("transformers:bert,num_layers=2", "Did you mean num_hidden_layers?"),
        ("transformers:bert,small", "'small' is no option. Write key=value"),
        ("transformers:llama", "has 6.7 billion parameters. Ask for a smaller one"),
        ("torchvisio:resnet18", "Cannot import 'torchvisio'"),
        ("torchvisio:resnet18", "Did you mean torchvision:resnet18?"),
        ("own_nets:plian", "own_nets has no function 'plian'. Did you mean plain"),
        ("own_nets:number", "own_nets has no function 'number'"),
        ("own_nets:needs", "own_nets:needs needs width. Give a function without arguments"),
        ("own_nets:wrong", "own_nets:wrong returned a dict, not a module"),
        ("own_nets:plain", "own_nets:plain does not say what its forward takes. Give --shape 1,3,224,224"),
    ],
)
def test_what_cannot_be_found_is_said_with_the_nearest_that_can(own, text, words):
    assert words in refused(text)


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_library_that_is_not_installed(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    assert refused(f"{library}:x") == f"{library} is not installed: pip install 'isoprune[zoo]'"


@pytest.mark.parametrize(("name", "samples"), [("pair", 4), ("lightning", 5)])
def test_a_function_of_ones_own_says_its_inputs(own, name, samples):
    source = open_source(f"own_nets:{name}")
    assert tuple(source.example_inputs.shape) == (samples, 3)
    assert not source.drawn
    assert tuple(open_source(f"own_nets:{name}", shape=[2, 3]).example_inputs.shape) == (2, 3)


@pytest.mark.parametrize("name", ["plain", "Net", "ready"])
def test_a_function_a_class_or_a_network(own, name):
    source = open_source(f"own_nets:{name}", shape=[2, 3])
    assert isinstance(source.model, nn.Linear)
    assert source.name == name


def test_the_users_own_mistake_is_shown_as_it_is(own):
    with pytest.raises(KeyError, match="the user's own mistake"):
        open_source("own_nets:breaks")


def wrapped(state, how):
    return {
        "plain": state,
        "nested": {"epoch": 3, "state_dict": state},
        "parallel": {f"module.{k}": v for k, v in state.items()},
        "both": {"model": {f"module.{k}": v for k, v in state.items()}, "lr": 0.1},
    }[how]


@pytest.mark.parametrize("how", ["plain", "nested", "parallel", "both", "safetensors"])
def test_weights_as_training_scripts_leave_them(tmp_path, how):
    trained, fresh = seeded(Convolutions, seed=5), Convolutions().eval()
    if how == "safetensors":
        file = tmp_path / "w.safetensors"
        save_file(trained.state_dict(), file)
    else:
        file = tmp_path / "w.pth"
        torch.save(wrapped(trained.state_dict(), how), file)
    load_weights_(fresh, file)
    assert bits(fresh) == bits(trained)


class Canary:
    fired: list[str] = []  # noqa: RUF012

    def __reduce__(self):
        return Canary.fired.append, ("code ran",)


def test_pickled_code_is_not_run(tmp_path):
    torch.save({"weight": Canary()}, tmp_path / "a.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "b.pth")  # a whole module
    (tmp_path / "c.pth").write_bytes(pickle.dumps(Canary()))
    for name in "abc":
        with pytest.raises(
            IsopruneError, match=r"isoprune runs no code of a file\. Save the weights alone"
        ) as error:
            load_weights_(nn.Linear(2, 2), tmp_path / f"{name}.pth")
        assert "\n" not in str(error.value)
    assert Canary.fired == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.safetensors", b"\0\1", "is damaged, or no file of weights"),
        ("w.pth", b"PK\3\4 no zip", "is damaged, or no file of weights"),
        ("w.pth", b"", "is damaged, or no file of weights"),
    ],
)
def test_damaged_weights(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IsopruneError, match=words) as error:
        load_weights_(nn.Linear(2, 2), tmp_path / name)
    assert "\n" not in str(error.value)


def test_weights_that_are_missing_or_of_another_network(tmp_path):
    model = nn.Linear(2, 2)
    with pytest.raises(IsopruneError, match=r"No .*nowhere.pth. Give a .safetensors file"):
        load_weights_(model, tmp_path / "nowhere.pth")
    for state, words in (
        (
            {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)},
            r"weight has shape \(3, 2\), but \(2, 2\) in Linear",
        ),
        ({"weight": torch.zeros(2, 2)}, r"bias has shape none, but \(2,\) in Linear"),
        ({**model.state_dict(), "more": torch.zeros(1)}, r"more has shape \(1,\), but none in Linear"),
        ({"epoch": 3}, "holds no weights by name"),
        ([torch.zeros(2)], "holds no weights by name"),
    ):
        torch.save(state, tmp_path / "w.pth")
        before = bits(model)
        with pytest.raises(IsopruneError, match=words):
            load_weights_(model, tmp_path / "w.pth")
        assert bits(model) == before
