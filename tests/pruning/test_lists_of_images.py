"""A forward that takes a list of images of any sizes, as detectors do: one argument, one entry a sample."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isoprune
from isoprune.signals.samples import joined
from isoprune.verbs import prune


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, images):
        return self.b(torch.stack([self.a(image[None]).relu().mean((0, 2, 3)) for image in images]))


def test_a_list_is_one_argument():
    images = [torch.randn(3, 6, 6), torch.randn(3, 9, 7)]
    model = Images()
    pruned = prune(model, images, 0.5)
    assert pruned.model.a.weight.shape == (4, 3, 3, 3)
    assert pruned.plan.removed == prune(model, (images,), 0.5).plan.removed


@pytest.mark.parametrize("method", ["auto", "refit", "reconstruct"])
def test_a_loader_of_lists_repairs(method):
    images = [torch.randn(3, 6 + i % 3, 6) for i in range(24)]
    loader = [(images[i : i + 2], torch.zeros(2, dtype=torch.long)) for i in range(0, 24, 2)]
    pruned = prune(Images().eval(), loader[0][0], 0.5)
    repaired = isoprune.repair(pruned, method, batches=loader)
    want, before, after = (n(images) for n in (pruned.dense, pruned.model, repaired.model))
    assert (after - want).square().mean() < (before - want).square().mean()


def test_lists_of_images_are_joined_end_to_end_and_lists_of_inputs_field_by_field():
    images = [[torch.ones(3, 4, 5), torch.ones(3, 6, 5)], [torch.ones(3, 4, 5)]]
    assert [x.shape[1] for x in joined(images)] == [4, 6, 4]
    fields = [[torch.ones(2, 8), torch.zeros(2, 4)], [torch.ones(1, 8), torch.zeros(1, 4)]]
    assert [x.shape for x in joined(fields)] == [(3, 8), (3, 4)]


class Detector(nn.Module):
    """Takes images in a list, each alone or in a dict."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Conv2d(n, m, 3, padding=1, bias=False) for n, m in ((3, 8), (8, 4)))

    def forward(self, images):
        of = [one["image"] if isinstance(one, dict) else one for one in images]
        return self.b(self.a(torch.stack(of)).relu())


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("of", [lambda x: x, lambda x: {"image": x}])
def test_multiply_adds_of_a_list_are_those_of_one_image(number, of):
    images = [of(torch.randn(3, 6, 7)) for _ in range(number)]
    assert prune(Detector(), (images,), 0.5).costs.dense.flops == 6 * 7 * 9 * (3 * 8 + 8 * 4)


@pytest.mark.parametrize("number", [1, 5])
def test_multiply_adds_of_ids_alone_are_those_of_one_id(number):
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    assert prune(model, torch.arange(number), 0.5).costs.dense.flops == 6 * 8 + 8 * 3
