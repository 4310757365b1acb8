"""What a network starts from."""

from __future__ import annotations

import hashlib
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Generator, nn

from isoprune.models import build
from isoprune.models.weights import pin
from isoprune.types import IsopruneError

SHAPE = (3, 32, 32)
OPTIONS = {"resnet56": {"blocks": 1, "stem": 4}, "resnet34": {}}


def made(name="resnet56", classes=10, seed=0, **options):
    return build(name, SHAPE, classes, generator=Generator().manual_seed(seed), **OPTIONS[name], **options)


def same(a: nn.Module, b: nn.Module, but=()) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(t, theirs[n]) for n, t in a.state_dict().items() if n not in but)


@pytest.fixture
def file(tmp_path):
    save_file(made(seed=7).state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_of_a_file_replace_those_that_are_drawn(tmp_path, suffix):
    trained, path = made(seed=7), tmp_path / f"w.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(trained.state_dict(), path)
    before = torch.get_rng_state()
    assert same(made(weights=str(path)), trained)
    assert not same(made(), trained)
    assert torch.equal(torch.get_rng_state(), before)


def test_for_other_classes_all_but_the_head_is_kept_and_the_head_is_drawn_by_the_seed(file):
    head = ("fc.weight", "fc.bias")
    model, again = (made(classes=4, weights=str(file)) for _ in range(2))
    assert model.fc.out_features == 4
    assert same(model, made(seed=7), but=head)
    assert same(model, again)
    other = made(classes=4, weights=str(file), seed=1)
    assert not torch.equal(model.fc.weight, other.fc.weight)
    assert not model.fc.bias.any()


def test_files_older_than_batchnorms_counter_are_taken(tmp_path):
    state = {n: t for n, t in made(seed=7).state_dict().items() if not n.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "old.safetensors")
    assert same(made(weights=str(tmp_path / "old.safetensors")), made(seed=7))


def test_weights_of_another_network_are_refused(file, tmp_path):
    with pytest.raises(
        IsopruneError, match=r"w\.safetensors holds the weights of another network: .*Give the"
    ):
        build("resnet56", SHAPE, 10, generator=None, blocks=2, stem=4, weights=str(file))
    save_file({"fc.weight": torch.zeros(())}, tmp_path / "odd.safetensors")
    with pytest.raises(IsopruneError, match="weights of another network"):
        made(weights=str(tmp_path / "odd.safetensors"))


@pytest.mark.parametrize("weights", ["nowhere.safetensors", "imagnet", ""])
def test_weights_that_are_not_there_are_refused(weights):
    with pytest.raises(IsopruneError, match=rf'weights = "{weights}": there is no such file\. Give "none"'):
        made(weights=weights)
    with pytest.raises(IsopruneError, match="there is no such file"):
        pin(weights)


@pytest.mark.parametrize("name", ["resnet56", "vgg19"])
def test_networks_for_small_images_have_no_weights_of_imagenet(name):
    with pytest.raises(IsopruneError, match="there are no such weights of this network"):
        build(name, SHAPE, 10, generator=None, weights="imagenet")


def test_a_pinned_file_is_that_content_and_no_other(file):
    pinned = pin(str(file))
    assert pinned == f"{file}@sha256:{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    assert pin(pinned) == pinned
    assert same(made(weights=pinned), made(seed=7))
    save_file(made(seed=8).state_dict(), file)
    assert pin(str(file)) != pinned
    with pytest.raises(IsopruneError, match=r"w\.safetensors has changed: its SHA-256 .* leave out @sha256"):
        made(weights=pinned)
    file.unlink()
    with pytest.raises(IsopruneError, match="there is no such file"):
        made(weights=pinned)
    assert pin(pinned) == pinned
    assert [pin("none"), pin("imagenet")] == ["none", "imagenet"]


@pytest.fixture
def published(monkeypatch):
    """Stands for the download: weights of a thousand classes, drawn here."""
    model = torchvision.models.resnet34(weights=None)
    asked = []

    def fake(url, *_, **options):
        asked.append((url, options["check_hash"]))
        return model.state_dict()

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fake)
    return model, asked


def test_imagenet_is_torchvisions_first_weights_with_their_checksum(published):
    model, asked = published
    assert same(made("resnet34", classes=1000, weights="imagenet"), model)
    small = made("resnet34", classes=7, weights="imagenet")
    assert same(small, model, but=("fc.weight", "fc.bias"))
    assert small(torch.zeros(2, *SHAPE)).shape == (2, 7)
    url = torchvision.models.ResNet34_Weights.IMAGENET1K_V1.url
    assert asked == [(url, True)] * 2


def test_imagenet_weights_are_of_colour_images():
    with pytest.raises(IsopruneError, match=r"those of colour images, and in_shape is \(1, 32, 32\)"):
        build("resnet34", (1, 32, 32), 10, generator=None, weights="imagenet")


def test_offline_the_error_says_what_goes_where(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_, **__):
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(IsopruneError, match=r"resnet34 cannot be downloaded or read: .*Temporary") as caught:
        made("resnet34", weights="imagenet")
    message = str(caught.value)
    assert str(tmp_path / "hub" / "checkpoints" / "resnet34-b627a593.pth") in message
    assert "https://download.pytorch.org/models/resnet34-b627a593.pth" in message
    assert "\n" not in message
