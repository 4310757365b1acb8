"""Networks of other libraries, and of the user's own functions, as the model of an experiment."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Generator, nn

from isoprune.models.weights import NONE, pinned_path

LIBRARIES = ("torchvision", "timm", "transformers")


def network_maker(name: str, function: Callable[..., Any] | None = None) -> Callable[..., nn.Module]:
    """Return the function that makes the network called ``name``; its option ``weights`` is a file's path.

    Args:
        name: ``torchvision:NAME``, ``timm:NAME``, ``transformers:MODEL_TYPE``, or ``module:function``.
        function: What ``module:function`` names. One that takes ``in_shape`` and ``classes`` stays as it is;
            one that takes nothing returns the network, or a pair of it and its inputs.

    Raises:
        IsopruneError: If the library has no such network.
    """
    if function is None:
        from isoprune.export import check_source

        check_source(name)
    elif _takes_shapes(function):
        return function
    return functools.partial(_open, name)


def is_network_maker(function: Callable[..., Any]) -> bool:
    """Return whether `network_maker` made the function, and not a user's own function of shapes."""
    return isinstance(function, functools.partial) and function.func is _open


def _takes_shapes(function: Callable[..., Any]) -> bool:
    if isinstance(function, nn.Module):
        return False
    try:
        signature = inspect.signature(function)
    except ValueError:  # no signature to be had: the function itself judges
        return True
    if _accepts(signature.bind):
        # Its options have defaults, of which the first two need not be what is given here.
        return "in_shape" in signature.parameters
    return _accepts(signature.bind_partial, (1, 8, 8), 10)


def _accepts(bind: Callable[..., Any], *given: Any) -> bool:
    try:
        bind(*given)
    except TypeError:
        return False
    return True


def _open(
    name: str,
    in_shape: Sequence[int],
    classes: int,  # noqa: ARG001  the network brings its own; training refuses one with fewer than the data
    *,
    weights: str = NONE,
    generator: Generator,
) -> nn.Module:
    from isoprune.export import open_source

    file = None if weights == NONE else pinned_path(weights)
    # A seed for libraries that draw from torch's own generator.
    seed = generator.initial_seed()
    # A name may be that of a network of the user's, which is not to be written into.
    return copy.deepcopy(open_source(name, shape=(1, *in_shape), weights=file, seed=seed).model)
