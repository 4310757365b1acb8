"""Deep compression: clusters that are k-means, a file that gives equal bits, its bytes, and forged ones."""

from __future__ import annotations

import hashlib
import json
import pickle

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

import isoprune
from isoprune.methods.codecs.clusters import shared
from isoprune.types import IsopruneError

X = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = [(X, torch.arange(6) % 3)]


def make(seed=0):
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(96, 40), nn.ReLU(), nn.Linear(40, 3),
        ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def clustered():
    return isoprune.cluster(isoprune.prune(make(), X[:2], 0.8, grain="weight"), conv_bits=4, linear_bits=3)


def test_shared_numbers_are_means_and_every_weight_has_its_nearest():
    W = torch.randn(30, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    W[W.abs() < 0.5] = 0
    index, numbers = shared(W, 8)
    assert len(numbers) == 8
    assert (index == 0).equal(W == 0)
    for i in range(8):
        torch.testing.assert_close(W[index == i + 1].mean(), numbers[i])
    own = W[index > 0]
    torch.testing.assert_close((own[:, None] - numbers).abs().argmin(1) + 1, index[index > 0].long())


def test_few_different_weights_are_kept_as_they_are():
    W = torch.tensor([[0.0, 2.0, -1.0], [2.0, 0.0, 3.0]])
    index, numbers = shared(W, 4)
    assert numbers.tolist() == [-1.0, 2.0, 3.0]
    assert index.tolist() == [[0, 2, 1], [2, 0, 3]]


def test_a_network_without_weights_is_all_zero():
    index, numbers = shared(torch.zeros(2, 3), 4)
    assert len(numbers) == 0
    assert not index.any()


def test_the_gradient_of_a_shared_number_is_the_sum_over_its_places(clustered):
    layer = clustered.model[6]
    index, plain = layer.parametrizations.weight[0].index, isoprune.harden(clustered.model)[6]
    layer(X.flatten(1)[:, :48].repeat(1, 2)).square().sum().backward()
    plain(X.flatten(1)[:, :48].repeat(1, 2)).square().sum().backward()
    want = torch.stack([plain.weight.grad[index == i + 1].sum() for i in range(8)])
    torch.testing.assert_close(layer.parametrizations.weight.original.grad, want)
    clustered.model.zero_grad()


def test_training_moves_the_shared_numbers_and_nothing_gets_apart(clustered):
    done = isoprune.retrain(clustered, train=DATA, validation=DATA, epochs=2, lr=0.1)
    before, after = (isoprune.harden(net.model)[6].weight.detach() for net in (clustered, done))
    assert not torch.equal(before, after)
    assert torch.equal(before == 0, after == 0)
    for number in before.unique():
        assert len(after[before == number].unique()) == 1
    assert [entry["step"] for entry in done.history] == ["prune", "cluster", "retrain"]


@pytest.mark.parametrize("way", ["masked", "channels gone", "whole"])
def test_the_file_gives_the_network_back_bit_by_bit(way, tmp_path):
    small = make() if way == "whole" else isoprune.prune(
        make(), X[:2], 0.5, grain="weight" if way == "masked" else "channel"
    )  # fmt: skip
    pruned = isoprune.cluster(small)
    done = isoprune.retrain(pruned, train=DATA, validation=DATA, epochs=1, lr=0.05)
    found = isoprune.compress(done, tmp_path / "net.bin")
    into = (
        isoprune.prune(make(5), X[:2], 0.5, criterion="random").model if way == "channels gone" else make(5)
    )
    back = isoprune.decompress(tmp_path / "net.bin", into)
    assert torch.equal(back.eval()(X), done.model.eval()(X))
    plain = isoprune.harden(done.model).state_dict()
    assert all(torch.equal(t, plain[name]) for name, t in back.state_dict().items())
    assert found.total == (tmp_path / "net.bin").stat().st_size
    assert found.dense == sum(t.numel() * t.element_size() for t in plain.values())


def test_a_clustered_network_is_proven_and_goes_back_to_no_earlier_one(clustered):
    for network in (clustered, isoprune.harden(clustered)):
        assert isoprune.verify(network).max_abs_error == 0
        with pytest.raises(IsopruneError, match=r"The masks of the plan of weights are gone"):
            isoprune.rewind(network, make())
    broken = isoprune.harden(clustered)
    with torch.no_grad():
        broken.model[6].weight.add_(0.1)
    with pytest.raises(IsopruneError, match=r"3072 masked elements of 6\.weight are not zero"):
        isoprune.verify(broken)


def test_its_bytes_are_told_by_layer(clustered, tmp_path):
    found = isoprune.compress(clustered, tmp_path / "net.bin")
    assert found.total == found.rest + sum(layer.total for layer in found.layers)
    linear = next(layer for layer in found.layers if layer.name == "6.weight")
    assert (linear.size, linear.weights, linear.dense) == (3840, 768, 15360)
    # At most 3 bits an index, and 5 a gap: Huffman's code is no longer.
    assert linear.parts["numbers"] == 8 * 4
    assert linear.parts["index"] <= 768 * 3 / 8 + 1
    assert linear.parts["gaps"] <= 768 * 5 / 8 + 1
    assert linear.total < linear.dense / 15
    assert f"{linear.total:,}" in repr(found)
    assert f"{found.total:,}" in repr(found)


def test_what_cannot_be_shared_or_written_is_refused(tmp_path, clustered):
    with pytest.raises(IsopruneError, match=r"No weights are shared .* isoprune\.cluster"):
        isoprune.compress(make(), tmp_path / "net.bin")
    with pytest.raises(IsopruneError, match=r"conv_bits is 9\. Give 1 to 8"):
        isoprune.cluster(make(), conv_bits=9)
    masked = isoprune.prune(make(), X[:2], 0.5, mask=True)
    with pytest.raises(IsopruneError, match=r"whole channels are held at zero.*isoprune\.shrink"):
        isoprune.cluster(masked)
    with pytest.raises(IsopruneError, match=r"The weights are shared\. Write them by isoprune\.compress"):
        isoprune.save(clustered, tmp_path / "folder")
    isoprune.save(isoprune.harden(clustered), tmp_path / "folder")


def forged(path, **changes):
    """Write a file anew as a stranger can: other tensors or facts, with the right checksum."""
    content = path.read_bytes()[32:]
    tensors = load(content)
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    facts = json.loads(head["facts"])
    change, name = changes.pop("change", lambda *_: None), changes.pop("format", head["format"])
    change(tensors, facts)
    new = save(tensors, {"format": name, "facts": json.dumps(facts)})
    path.write_bytes(hashlib.sha256(new).digest() + new)


def set_fact(key, value, name="6.weight"):
    return lambda _, facts: facts[name].update({key: value})


def set_tensor(key, value):
    return lambda tensors, _: tensors.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, f: f.pop("0.bias"), "0.bias is not there"),
        (lambda _, f: f.update({"9.bias": {}}), "9.bias is there"),
        (set_fact("shape", [2**40, 2**20]), "not (40, 96) of float32"),
        (set_fact("shape", None), "not (40, 96)"),
        (set_fact("dtype", "object"), "not (40, 96)"),
        (set_fact("width", 40), "no shared numbers"),
        (set_fact("index", 2**50), "no code of index"),
        (set_fact("index", True), "no code of index"),
        (set_fact("gaps", -1), "no code of gaps"),
        (set_fact("index", 700), "of its index, its bits are not those"),
        (set_tensor("6.weight/gaps", torch.zeros(9000, dtype=torch.uint8)), "of its gaps"),
        (set_tensor("6.weight/gaps code", torch.ones(32, dtype=torch.uint8)), "no Huffman code"),
        (set_tensor("6.weight/index code", torch.ones(300, dtype=torch.uint8)), "more than 8"),
        (set_tensor("6.weight/index", torch.zeros(9)), "no code of index"),
        (set_tensor("6.weight/numbers", torch.zeros(2, 4)), "no shared numbers"),
        (set_tensor("0.bias", torch.zeros(7)), "not as its facts"),
        (set_tensor("more", torch.zeros(7)), "more is there"),
        (lambda t, _: t.pop("6.weight/index"), "no code of index"),
    ],
)  # fmt: skip
def test_a_forged_file_is_one_line(clustered, tmp_path, change, message):
    isoprune.compress(clustered, tmp_path / "net.bin")
    forged(tmp_path / "net.bin", change=change)
    with pytest.raises(IsopruneError) as error:
        isoprune.decompress(tmp_path / "net.bin", make())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_or_foreign_file_is_one_line_and_nothing_is_unpickled(clustered, tmp_path):
    path = tmp_path / "net.bin"
    isoprune.compress(clustered, path)
    good = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for place in torch.randint(len(good), (25,), generator=generator).tolist():
        path.write_bytes(good[:place] + bytes([good[place] ^ 64]) + good[place + 1 :])
        with pytest.raises(IsopruneError, match="checksum"):
            isoprune.decompress(path, make())

    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    bomb = pickle.dumps(Bomb())
    for content in (b"", good[:-1], good + b"0", bomb, hashlib.sha256(bomb).digest() + bomb, good * 40):
        path.write_bytes(content)
        with pytest.raises(IsopruneError, match="cannot be read"):
            isoprune.decompress(path, make())
    path.write_bytes(good)
    forged(path, format="another")
    with pytest.raises(IsopruneError, match=r"not written by isoprune\.compress"):
        isoprune.decompress(path, make())
    with pytest.raises(IsopruneError, match="Give a file that"):
        isoprune.decompress(tmp_path / "nowhere", make())
