"""Random modules with all that surrounds a trunk: pruned right, or refused in one line that says why."""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter

import pytest
import torch
from torch import nn

from isoprune.types import IsopruneError
from isoprune.verbs import prune
from pruning.module_oracle import changed, silence_, state_of, unequal, without
from pruning.random_modules import called_with, drawn

ORACLE_KNOWS = ("native_layer_norm", "native_group_norm")


@pytest.fixture(scope="module", autouse=True)
def group_of_one():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


CONTEXTS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "float64 default": lambda: default_dtype(torch.float64),
    "meta": lambda: torch.device("meta"),
}
WRAPPERS = {
    "parallel": nn.DataParallel,
    "distributed": nn.parallel.DistributedDataParallel,
    "wrapped": lambda model: torch.compile(model, backend="eager"),
}


def reason(error):
    """Return a refusal without the names and numbers of one module."""
    text = re.sub(r"(stages\.\d+|stem|scores|boxes|extra|side)[\w.]*", "LAYER", str(error).split(". ")[0])
    return f"{type(error).__name__}: {re.sub(r'[0-9][0-9.]*', 'N', text)}"


def compared(seed, draw, pruned):
    """Return where the small module differs from the oracle's: other inputs, twice, and in train mode."""
    dense, small = drawn(seed).model, pruned.model.double()
    for model in (dense, small):
        silence_(model)
    dense = without(dense.double(), pruned.graph, pruned.plan).double()
    torch.manual_seed(seed + 1)
    moments = [(n, shift, scale) for n in (2, 4) for shift, scale in ((0, 1), (2, 1), (-1.5, 2))]
    for n, shift, scale in moments:
        with torch.random.fork_rng():
            torch.manual_seed(hash((seed, n, shift)) % 2**31)
            inputs = called_with(draw.model, n, torch.float64, shift, scale)
        if (found := unequal(dense, small, inputs)) is not None:
            return f"{n} samples + {shift}: {found}"
        if draw.also:
            args = tuple(inputs[0].values()) if draw.model.inputs == "batch" else inputs
            if (found := unequal(dense, small, args, "embed")) is not None:
                return f"embed, {n} samples + {shift}: {found}"
    # Spectral norm takes a step in train mode, and a normalisation over a batch of constants none: the flag
    # of the whole module alone runs its extra head.
    dense.training = small.training = True
    if (found := unequal(dense, small, inputs)) is not None:
        return f"train flag: {found}"
    if not any("spectral" in part or "by hand" in part for part in draw.model.made_of):
        dense.train()
        small.train()
        if (found := unequal(dense, small, inputs)) is not None:
            return f"train mode: {found}"
    return None


def outcome(seed):
    """Return what became of a seed: "right", "counted as a changed statistic", a refusal; else raise."""
    draw = drawn(seed)
    given = WRAPPERS.get(draw.context, lambda m: m)(draw.model)
    before = state_of(draw.model)
    try:
        with CONTEXTS.get(draw.context, contextlib.nullcontext)():
            pruned = prune(given, draw.inputs, also=draw.also, **draw.options)
    except IsopruneError as error:
        pruned, refused = None, reason(error)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {draw}: {type(error).__name__}: {error}") from error
    if (found := changed(before, state_of(draw.model))) is not None:
        raise AssertionError(f"seed {seed}: {draw}: {found} of the user's changed")
    if pruned is None:
        return refused
    assert pruned.plan.removed
    assert pruned.dense is draw.model
    if any(not s.startswith(ORACLE_KNOWS) for s in pruned.proof.statistics):
        return "listed: a statistic over channels that went"
    if (found := compared(seed, draw, pruned)) is not None:
        raise AssertionError(f"seed {seed}: {draw}: {found}; statistics {pruned.proof.statistics}")
    return "right"


def all_right(seeds):
    """Run seeds, tell the share of each outcome, and fail with all that are wrong."""
    found, wrong = Counter(), []
    for seed in seeds:
        try:
            found[outcome(seed)] += 1
        except AssertionError as error:
            wrong.append(str(error))
    total = len(seeds)
    told = [f"{100 * n / total:5.1f} %  {what}" for what, n in found.most_common()]
    sys.stdout.write("\n".join((f"{total} random modules, {len(wrong)} wrong", *told, "")))
    assert not wrong, "\n\n".join(wrong)
    return found


def test_no_random_module_is_wrong():
    assert all_right(range(12))["right"] > 6


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_none_of_two_thousand_random_modules_is_wrong(part):
    assert all_right(range(500 * part, 500 * part + 500))["right"] > 250
