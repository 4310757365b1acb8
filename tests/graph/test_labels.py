"""Label planes against their definition: an element goes when any of its planes says so."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isoprune.graph.labels import (
    Plane,
    box_size,
    compress,
    core,
    distinct,
    keep_mask,
    restrict,
    spread,
    varying,
)


def plane(ids, shape, dims, row=False):
    return Plane(spread(torch.as_tensor(ids), shape, dims), row)


def stays(planes, kept, index):
    """The definition, element by element."""
    return all(bool(kept[p.ids[index]]) for p in planes)


@st.composite
def drawings(draw):
    """A shape of two or three dimensions, those that have ids of their own, and which of the ids stay."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=2, max_size=3)))
    dims = draw(st.lists(st.sampled_from(range(len(shape))), unique=True))
    number = sum(shape[d] for d in dims)
    return shape, dims, [True, *draw(st.lists(st.booleans(), min_size=number, max_size=number))]


def labelled(drawn):
    """Return shape, planes and kept. (Not in the strategy: beartype draws from `random`.)"""
    shape, dims, kept = drawn
    planes, first = [], 1
    for d in dims:
        planes.append(plane(torch.arange(first, first + shape[d]), shape, (d,)))
        first += shape[d]
    return shape, distinct(planes), torch.tensor(kept)


@given(drawings())
@settings(deadline=None)
def test_restrict_keeps_the_elements_that_stay_in_their_order(drawn):
    shape, planes, kept = labelled(drawn)
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)
    want = [x[i].item() for i in itertools.product(*map(range, shape)) if stays(planes, kept, i)]
    got = restrict(x, planes, kept)
    assert got.flatten().tolist() == want
    assert tuple(got.shape) == box_size(planes, shape, kept)


@given(drawings())
@settings(deadline=None)
def test_keep_mask_is_the_definition(drawn):
    shape, planes, kept = labelled(drawn)
    mask = keep_mask(planes, kept)
    whole = torch.ones(shape, dtype=torch.bool) if mask is None else mask.expand(shape)
    for index in itertools.product(*map(range, shape)):
        assert bool(whole[index]) == stays(planes, kept, index)


def test_a_grid_may_keep_other_columns_in_each_row():
    x = torch.arange(12.0).reshape(3, 4)
    grid = plane(torch.arange(1, 13).reshape(3, 4), (3, 4), (0, 1))
    kept = torch.ones(13, dtype=torch.bool)
    kept[[1, 3, 6, 7, 9, 12]] = False  # two of each row
    torch.testing.assert_close(restrict(x, (grid,), kept), torch.tensor([[1.0, 3], [4, 7], [9, 10]]))


def test_a_grid_that_lost_a_whole_row_is_shorter():
    x = torch.arange(12.0).reshape(3, 4)
    grid = plane(torch.arange(1, 13).reshape(3, 4), (3, 4), (0, 1))
    rows = plane(torch.arange(13, 16), (3, 4), (0,), row=True)
    kept = torch.ones(16, dtype=torch.bool)
    kept[[5, 6, 7, 8, 14]] = False
    torch.testing.assert_close(restrict(x, (grid, rows), kept), x[[0, 2]])
    assert box_size((grid, rows), (3, 4), kept) == (2, 4)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
@settings(deadline=None)
def test_compress_changes_strides_and_no_value(shape, data):
    dims = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True))
    own = torch.Size([shape[d] for d in dims])
    ids = spread(torch.arange(1, 1 + own.numel()).reshape(own), shape, dims)
    materialised = ids.contiguous()
    again = compress(materialised)
    assert torch.equal(again, materialised)
    assert varying(again) == tuple(sorted(d for d in dims if shape[d] > 1))
    assert torch.equal(core(again).expand(tuple(shape)), materialised)


def test_a_row_that_its_elements_already_cover_is_dropped():
    element = plane(torch.arange(1, 4), (3, 2), (0,))
    row = plane(torch.arange(4, 7), (3, 2), (0,), row=True)
    assert distinct([row, element]) == (element,)


def test_planes_that_are_constant_are_dropped():
    assert distinct([plane(torch.zeros((), dtype=torch.int64), (3, 2), ())]) == ()


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3)])
def test_restrict_without_anything_gone_is_the_tensor_itself(shape):
    x = torch.randn(shape, dtype=torch.float64)
    ids = plane(torch.arange(1, 1 + shape[-1]), shape, (len(shape) - 1,))
    assert restrict(x, (ids,), torch.ones(1 + shape[-1], dtype=torch.bool)) is x


def test_a_large_weight_cut_in_blocks_is_the_same():
    x = torch.randn(1030, 1025, 2)
    planes = (plane(torch.arange(1, 1031), x.shape, (0,)), plane(torch.arange(1031, 2056), x.shape, (1,)))
    kept = torch.rand(2056, generator=torch.Generator().manual_seed(0)) < 0.5
    assert torch.equal(restrict(x, planes, kept), x[kept[1:1031]][:, kept[1031:]])
