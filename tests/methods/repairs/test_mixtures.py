"""Mixtures of samples: where they lie, how much of each they hold, and what is not mixed."""

from __future__ import annotations

import pytest
import torch
from repair_networks import inputs

from isoprune.methods.repairs.mixtures import blended, patched


def numbered(samples, *shape):
    """Samples whose elements are their number."""
    return [torch.full((1, *shape), float(i)) for i in range(samples)]


def test_every_blend_lies_between_two_samples_in_all_its_parts_alike():
    a, b = torch.eye(6, dtype=torch.float64), 2 * torch.eye(6, dtype=torch.float64).view(6, 1, 6)
    batch = blended([{"x": a[i : i + 1], "y": b[i : i + 1], "scale": 0.5} for i in range(6)])
    x, y = batch["x"], batch["y"]
    torch.testing.assert_close(y[:, 0], 2 * x)
    torch.testing.assert_close(x.sum(1), torch.ones(6, dtype=torch.float64))
    assert ((x > 0).sum(1) <= 2).all()
    assert (x.diag() < 1).any()
    assert batch["scale"] == 0.5


@pytest.mark.parametrize("shape", [(2, 9), (2, 5, 8), (2, 3, 4, 5)])
def test_every_patch_is_a_box_of_one_other_sample_through_all_channels(shape):
    batch = patched(numbered(40, *shape))
    assert batch.shape == (40, *shape)
    assert torch.equal(batch[:, 0], batch[:, 1])
    for i, x in enumerate(batch[:, 0]):
        box = x != i
        assert len(x[box].unique()) <= 1
        sides = [box.any(tuple(e for e in range(x.dim()) if e != d)) for d in range(x.dim())]
        assert box.sum() == torch.tensor([side.sum() for side in sides]).prod()
        for side in sides:
            at = side.nonzero().flatten()
            assert not len(at) or at[-1] - at[0] == len(at) - 1
    assert (batch[:, 0].flatten(1) != torch.arange(40)[:, None]).any()


def test_a_box_holds_every_part_of_the_positions_alike_often():
    """Mean 1/2 and variance 1/12 of a uniform part; four standard errors."""
    n = 4000
    part = (patched(numbered(n, 1, 40, 40))[:, 0] != torch.arange(n)[:, None, None]).double().mean((1, 2))
    assert abs(part.mean() - 1 / 2) < 4 * (1 / 12 / n) ** 0.5
    assert abs(part.var() - 1 / 12) < 4 * (1 / 180 / n) ** 0.5


def test_tensors_of_one_sample_are_patched_at_the_same_place():
    """Where a position of the coarse one is the middle of three times three of the fine one."""
    fine, coarse = numbered(16, 3, 12, 12), numbered(16, 1, 4, 4)
    batch = patched([{"fine": a, "coarse": b} for a, b in zip(fine, coarse, strict=True)])
    assert torch.equal(batch["fine"][:, :1, 1::3, 1::3], batch["coarse"])


@pytest.mark.parametrize("mix", [blended, patched])
def test_what_is_not_of_floats_is_not_mixed(mix):
    ids = torch.arange(6).view(6, 1)
    samples = [{"values": inputs(1, 3, 4, 4, seed=i), "ids": ids[i : i + 1]} for i in range(6)]
    batch = mix(samples)
    assert torch.equal(batch["ids"], ids)
    assert torch.equal(batch["values"], torch.cat([one["values"] for one in samples]))


@pytest.mark.parametrize("mix", [blended, patched])
def test_masks_of_infinities_are_not_mixed(mix):
    mask = torch.full((6, 1, 4, 4), -torch.inf).triu(1)
    samples = [{"values": inputs(1, 3, 4, 4, seed=i), "mask": mask[i : i + 1]} for i in range(6)]
    batch = mix(samples)
    assert torch.equal(batch["mask"], mask)
    assert torch.equal(batch["values"], torch.cat([one["values"] for one in samples]))


def test_what_has_no_positions_is_not_patched():
    samples = list(inputs(6, 3).split(1))
    assert torch.equal(patched(samples), torch.cat(samples))
