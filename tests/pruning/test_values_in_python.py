"""Branches on what Python makes of a tensor: arrays, lists, lengths, numbers that other functions take."""

from __future__ import annotations

import math
import operator
import statistics

import numpy as np
import pytest
import torch

from isoprune import prune
from isoprune.types import IsopruneError
from pruning import deciding_helpers as helpers
from pruning.oracle import assert_right
from pruning.test_branches import Branching

LIMIT = 0.1

ARRAYS = {
    "a number of numpy": lambda x: x.mean().numpy() > 0.1,
    "a float of it": lambda x: float(x.mean().numpy()) > 0.1,
    "statistic of an array": lambda x: x.numpy().mean() > 0.1,
    "detached": lambda x: x.detach().cpu().numpy().sum() > 3,
    "asarray": lambda x: np.asarray(x).mean() > 0.1,
    "array": lambda x: np.array(x).max() > 2,
    "__array__": lambda x: x.__array__().max() > 2,
    "any": lambda x: np.any(x.numpy() > 2),
    "of a mask": lambda x: (x > -2).numpy().all(),
    "argmax": lambda x: int(np.argmax(x.numpy())) % 2 == 0,
    "argsort": lambda x: np.argsort(x[0].numpy())[0] < 4,
    "where": lambda x: len(np.where(x.numpy() > 1.5)[0]) > 1,
    "norm": lambda x: np.linalg.norm(x.numpy()) > 4,
    "spread": lambda x: x.numpy().std() > 1.5,
    "percentile": lambda x: np.percentile(x.numpy(), 90) > 1.5,
    "of two": lambda x: x[0].mean().numpy() > x[1].mean().numpy(),
    "memory": lambda x: memoryview(x.numpy()).tolist()[0][0] > 0,
    "operator": lambda x: operator.gt(x.mean().numpy(), 0.1),
}

LISTS = {
    "any": lambda x: any(v > 2 for v in x.flatten().tolist()),
    "nested": lambda x: x.tolist()[0][0] > 0.1,
    "sorted": lambda x: sorted(x[0].tolist())[-1] > 1.5,
    "mean": lambda x: statistics.mean(x.flatten().tolist()) > 0.1,
    "first of many": lambda x: next((i for i, v in enumerate(x[0].tolist()) if v > 1), None) is not None,
    "pairs": lambda x: sum(a > b for a, b in zip(*x[:2].tolist(), strict=True)) > 4,
    "unlike ones": lambda x: len(set(x.round().flatten().tolist())) > 4,
    "empty": lambda x: bool(x[x > 2].tolist()),
}

LENGTHS = {
    "of a mask": lambda x: len(x[x > 1]) > 3,
    "shape": lambda x: x[x > 1].shape[0] > 3,
    "numel": lambda x: x.masked_select(x > 1).numel() >= 3,
    "rows": lambda x: len(x[x.sum(1) > 0]) == 2,
    "nonzero": lambda x: len((x > 1.5).nonzero()) > 1,
    "where": lambda x: torch.where(x > 1)[0].numel() >= 3,
    "none": lambda x: not len(x[x > 2]),
    "unique": lambda x: len(torch.unique(x.round())) > 5,
    "bincount": lambda x: len(torch.bincount((x[0].abs() * 2).long())) > 4,
}

NUMBERS = {
    "sqrt": lambda x: math.sqrt(x.abs().sum().item()) > 3.5,
    "sqrt of numpy": lambda x: np.sqrt(x.abs().sum().item()) > 3.5,
    "isclose": lambda x: math.isclose(x.mean().item(), 0, abs_tol=0.3),
    "power": lambda x: x.mean().item() ** 2 > 0.04,
    "complex": lambda x: complex(x.mean()).real > 0.1,
    "format": lambda x: f"{x.mean().item():.1f}".startswith("-"),
    "text": lambda x: str(x.mean().item())[0] == "-",
    "key": lambda x: {0: True, 1: False}[int(x.sum()) % 2],
    "position": lambda x: (True, False)[(x.sum() > 1).long()],
    "allclose": lambda x: torch.allclose(x, x.abs()),
    "name of the file": lambda x: float(x.mean()) > LIMIT,
    "inner function": lambda x: (lambda v: v > 0.1)(float(x.mean())),
    "of a list": lambda x: max([float(v) for v in x[0]]) > 1.5,
}

HELPERS = {
    "function": helpers.mean_is_large,
    "with names": helpers.is_wide,
    "length": helpers.many_are_large,
    "dict": lambda x: helpers.statistics_of(x)["mean"] > 0.1,
    "object": lambda x: helpers.Gate(0.1)(x),
    "module": lambda x: helpers.GateModule()(x),
}

ALL = {
    f"{kind}: {name}": way
    for kind, ways in [
        ("array", ARRAYS), ("list", LISTS), ("length", LENGTHS), ("number", NUMBERS), ("helper", HELPERS)
    ]
    for name, way in ways.items()
}  # fmt: skip


FAST = {"array: asarray", "list: nested", "length: of a mask", "number: sqrt", "helper: object"}


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept")  # torch's own, of np.array
@pytest.mark.parametrize(
    "way", [pytest.param(w, marks=() if n in FAST else pytest.mark.matrix, id=n) for n, w in ALL.items()]
)
def test_both_ways_are_right(way):
    torch.manual_seed(0)
    model, x = Branching(lambda x, _: way(x)).eval(), torch.randn(2, 8)
    pruned = prune(model, x, ratio=0.5)
    others = [torch.randn(2, 8) * scale + shift for scale in (0.5, 3) for shift in (-1, 0.2, 1)]
    others += [x.abs(), x.sort(0).values, x.sort(0, descending=True).values]
    with torch.no_grad():
        assert {bool(way(other)) for other in others} == {False, True}
    assert len(pruned.graph.recording.passes) == 2
    assert_right(model, pruned, (x,), *((other,) for other in others))


OF_CHANNELS = {
    "array": (lambda u: u.mean().numpy() > 0.5, "branches on them"),
    "list": (lambda u: max(u[0].tolist()) > 1, "tolist reads its values"),
    "number": (lambda u: math.sqrt(u.sum().item()) > 1, "branches on them"),
    "length": (lambda u: len(u[u > 1]) > 4, "picks by values"),
}


@pytest.mark.parametrize(("way", "why"), OF_CHANNELS.values(), ids=OF_CHANNELS)
def test_channels_that_python_decides_by_stay(way, why):
    torch.manual_seed(0)
    model, x = Branching(lambda _, u: way(u)).eval(), torch.randn(2, 8)
    with pytest.raises(IsopruneError, match=rf"Nothing was removed.*{why}"):
        prune(model, x, ratio=0.5)


UNFOLLOWED = {
    "text": (lambda x: "-" in str(x.mean()), "decides by the text of a tensor"),
    "memory": (lambda x: x.untyped_storage().tolist()[3] > 63, "reads memory through untyped_storage"),
    "dlpack": (lambda x: np.from_dlpack(x).mean() > 0.1, "reads memory through __dlpack__"),
}


@pytest.mark.parametrize(("way", "what"), UNFOLLOWED.values(), ids=UNFOLLOWED)
def test_what_cannot_be_followed_is_refused_by_name(way, what):
    model = Branching(lambda x, _: way(x)).eval()
    with pytest.raises(IsopruneError, match=rf"{what}, at test_values_in_python\.py:\d+\..*\.numpy\(\)"):
        prune(model, torch.randn(2, 8), ratio=0.5)


def test_a_log_of_values_decides_nothing(capsys):
    def logged(x):
        print(f"seen {x.mean():.2f}", x)  # noqa: T201
        return x.mean() > 0.1

    torch.manual_seed(0)
    model, x = Branching(lambda x, _: logged(x)).eval(), torch.randn(2, 8)
    assert_right(model, prune(model, x, ratio=0.5), (x,), (x + 1,), (x - 1,))
    assert "seen" in capsys.readouterr().out
