"""A second opinion on any pruned module: every element that went is zero in the dense one, and both are run.

Nothing of isoprune is called: of a result only the plan and the places of its channels are read. Weights
that another computes (masks, weight and spectral norm) are made plain first, so that a norm is the dense one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from pruning.oracle import gone_elements, zeroed_reads

_ENDS = ("_orig", "_v")


def leaves(value, at="output"):
    """Yield (place, tensor or number) of all that can be reached in an output, whatever holds it."""
    if value is None or isinstance(value, Tensor | bool | int | float | str):
        yield at, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{at}[{key!r}]")
    elif isinstance(value, list | tuple) or hasattr(value, "popleft"):
        for i, item in enumerate(value):
            yield from leaves(item, f"{at}[{i}]")
    else:
        slots = getattr(type(value), "__slots__", ())
        held = {name: getattr(value, name) for name in slots} if slots else vars(value)
        for name, item in held.items():
            if not name.startswith("_"):
                yield from leaves(item, f"{at}.{name}")


def plain_(model):
    """Make plain parameters of all weights that are computed from others, in place."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, torch_prune.BasePruningMethod):
                torch_prune.remove(module, hook._tensor_name)
            elif isinstance(hook, WeightNorm):
                nn.utils.remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                nn.utils.remove_spectral_norm(module, hook.name)
    return model


def _plain_name(name, shapes):
    """Return what a stored tensor is called in a plain module; None if it is none of its tensors."""
    if name in shapes:
        return name
    if ".parametrizations." in name:
        owner, _, rest = name.partition(".parametrizations.")
        weight, _, end = rest.partition(".")
        return f"{owner}.{weight}" if end in ("original", "original1") else None
    return next((name.removesuffix(end) for end in _ENDS if name.removesuffix(end) in shapes), None)


def without(dense, graph, plan):
    """Return the plain copy of a dense module of which all that makes or reads a removed channel is zero.

    What makes them is zero beside what reads them only where that says the same: a norm over channels sees
    the ones that stay.
    """
    plain_(dense)
    shapes = {name: t.shape for name, t in [*dense.named_parameters(), *dense.named_buffers()]}
    groups = []
    for group in graph.groups:
        named = [(m, _plain_name(m.tensor, shapes)) for m in group.members]
        members = tuple(
            SimpleNamespace(tensor=name, role=m.role, channels=m.channels)
            for m, name in named
            if name is not None and m.channels.dim() == len(shapes[name])
        )
        groups.append(SimpleNamespace(name=group.name, members=members))
    plain = SimpleNamespace(groups=tuple(groups))
    zeroed = zeroed_reads(dense, plain, plan)
    tensors = dict(zeroed.named_parameters())
    with torch.no_grad():
        for role in ("out", "other"):
            for name, mask in gone_elements(plain, plan, role).items():
                if name in tensors:
                    tensors[name].masked_fill_(mask, 0)
    return zeroed


def silence_(model):
    """Set the noise along channels to zero: it is drawn by their number, which differs."""
    for module in model.modules():
        if hasattr(module, "noise"):
            module.noise = 0.0


def unequal(dense, small, inputs, call="__call__", seed=0):
    """Return the first place where two modules' answers differ by more than 1e-6 of its size, or None."""
    answers = []
    for model in (dense, small):
        torch.manual_seed(seed)
        with torch.no_grad():
            named = inputs if isinstance(inputs, dict) else {}
            args = () if isinstance(inputs, dict) else inputs
            answers.append(list(leaves(getattr(model, call)(*args, **named))))
    if [at for at, _ in answers[0]] != [at for at, _ in answers[1]]:
        return f"places {answers[0]} and {answers[1]}"
    for (at, want), (_, got) in zip(*answers, strict=True):
        if not isinstance(want, Tensor):
            if want != got:
                return f"{at}: {got} is not {want}"
        elif want.shape != got.shape or want.dtype != got.dtype:
            return f"{at}: {got.dtype} {tuple(got.shape)} is not {want.dtype} {tuple(want.shape)}"
        elif not want.is_floating_point():
            if not torch.equal(want, got):
                return f"{at}: {int((want != got).sum())} of {want.numel()} {want.dtype} differ"
        elif not float((want - got).abs().max()) <= 1e-6 * max(float(want.abs().max()), 1e-3):
            return f"{at}: {float((want - got).abs().max()):.3g} off, of {float(want.abs().max()):.3g}"
    return None


def state_of(model):
    """Return all that a call could have changed of the user's: tensors, flags, counters, random numbers."""
    tensors = {name: t.clone() for name, t in model.state_dict().items()}
    plain = [
        (name, key, value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, bool | int | float | str)
    ]
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()
    ]
    flags = [(p.requires_grad, p.grad is None, p.data_ptr()) for p in model.parameters()]
    # Python's own generator is left out: the checks of types that tests run under draw from it.
    drawn = (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist())
    return tensors, (plain, hooks, flags, *drawn)


def changed(before, after):
    """Return what differs between two states of a module, or None."""
    for name, tensor in before[0].items():
        if not torch.equal(tensor, after[0][name]):
            return name
    kinds = ("attributes", "hooks", "parameters", "torch.random", "numpy.random")
    return next((k for k, a, b in zip(kinds, before[1], after[1], strict=True) if a != b), None)
