"""Their data, their preprocessing: the dense accuracy is the one that the user knows; what is kept of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import transforms

import isoprune
from experiment.tiny import one_thread
from isoprune.data.images import images_below
from isoprune.experiment.named_data import open_inputs
from isoprune.experiment.named_network import open_network
from isoprune.export import manifest
from recipes import network, own_networks, record, refused, told

NETS = """
import torch
from torch import nn

class Light(nn.Module):
    '''Says whether an image is lighter than the middle of ITS normalisation: another one flips answers.'''

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)
        with torch.no_grad():
            self.a.weight.copy_(torch.tensor([1.0, -1.0, 0.01, 0.01]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
            self.a.bias.zero_()
            self.b.weight.copy_(torch.tensor([[0.0, 3.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]]))
            self.b.bias.zero_()

    def forward(self, x):
        return self.b(self.a(x.mean((2, 3), keepdim=True)).relu().flatten(1))

def net():
    return Light().eval(), torch.zeros(1, 3, 12, 12)
"""
MEAN, STD = (0.75, 0.75, 0.75), (0.1, 0.2, 0.3)
NUMBERS = "mean = [0.75, 0.75, 0.75], std = [0.1, 0.2, 0.3]"
SAID = f'{{root = "photos", resize = 16, interpolation = "bicubic", {NUMBERS}, validation = 12, test = 8}}'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with one_thread(), own_networks(tmp_path, monkeypatch):
        Path("own_light.py").write_text(NETS)
        for name, low in (("dark", 120), ("light", 196)):
            for i in range(20):
                at = Path("photos") / name / f"{i}.png"
                at.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20, 14), (low + 2 * i,) * 3).save(at)
        yield
    sys.modules.pop("own_light", None)


@pytest.mark.matrix
def test_the_dense_accuracy_is_that_of_the_networks_own_preprocessing(capsys):
    own = transforms.Compose([
        transforms.Resize(16, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(12),
        transforms.ToTensor(), transforms.Normalize(MEAN, STD),
    ])  # fmt: skip
    common = ("--ratio", "0.5", "--epochs", "1", "--set", "retrain.lr=0.001")
    told(capsys, "own_light:net", "--data", SAID, *common)
    splits = isoprune.data.load("image_folder", root=Path("photos"), seed=0, size=12, validation=12, test=8)
    right = []
    model = __import__("own_light").net()[0]
    for file, target in zip(splits.test.files, splits.test.targets.tolist(), strict=True):
        scores = model(own(Image.open(Path("photos") / file).convert("RGB"))[None])
        right.append(int(scores.argmax()) == target)
    known = sum(right) / len(right)
    assert known == 1
    assert network(record(), "dense")["metrics"]["test_accuracy"] == known
    # With another normalisation it is not the network that the user knows, and it is refused as untrained.
    assert "no trained network" in refused(capsys, "own_light:net", "--data", "photos", *common, out="other")
    # What is kept: in the folder, and in the config.
    kept = manifest.read(Path("o/network"))
    assert kept.classes == ("dark", "light")
    assert kept.preprocessing == isoprune.types.data.Preprocessing(16, MEAN, STD, "bicubic")
    assert record()["config"]["data"]["@content"]
    # The next command on the folder takes it from there.
    opened = open_network("o/network", build="own_light:net")
    (seen, _), *_ = open_inputs("photos", opened, samples=5, seed=0).measured
    want = images_below(Path("photos"), (3, 12, 12), samples=5, seed=0, how=kept.preprocessing)
    assert torch.equal(seen, want)
    assert not torch.equal(seen, images_below(Path("photos"), (3, 12, 12), samples=5, seed=0))


def test_a_changed_folder_is_another_recipe(capsys):
    common = ("own_light:net", "--data", SAID, "--ratio", "0.5", "--epochs", "1", "--set", "retrain.lr=0.001")
    told(capsys, *common)
    Image.new("RGB", (20, 14), (250, 250, 250)).save("photos/light/0.png")
    line = refused(capsys, *common)
    assert "o holds another recipe: data.@content is" in line


def test_all_that_cannot_be_read_is_said_before_anything_is_trained(capsys):
    for name in ("dark/x.png", "light/y.jpg"):
        (Path("photos") / name).write_bytes(b"no image")
    line = refused(capsys, "own_light:net", "--data", "photos", "--ratio", "0.5")
    assert "2 of 42 images" in line
    assert "dark/x.png" in line
    assert "light/y.jpg" in line
