"""What a method needs and supports, declared by a decorator on its function and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

# A repair or criterion that takes training steps has one of these options: where it is set, it does. So a
# comparison, which loads no method, sees it in a config.
TRAINS = ("train_samples", "retrain_budget")


@dataclass(frozen=True)
class Method:
    """The declared facts of a method.

    Attributes:
        kind: "criterion", "repair", "penalty", "schedule", "cadence", "check", "measure", "allocation",
            "structure", "codec".
        needs: Of "data", "labels", "gradients", "dense", "plan", "batchnorm", "history".
        grains: The grains of units that it knows.
        updates_weights: Whether it changes the weights that stay.
        repair: Of a criterion, the name of the repair that its choice is made for and that must follow it.
            Such a criterion takes ``keep``, as any may: how many of which units are to stay.
        follows_order: Whether its result is the same, permuted, when filters are permuted.
        comparable: Of a criterion, whether scores of different layers are numbers of one unit: then all
            channels compete by them as they are where the allocation is "global".
        removes: Whether units go when it is done (penalties).
        grows: Of each strength that grows before they can go, its options (size, interval, ceiling).
        label: How tables and figures call it; "": its name.
        source: Paper.
    """

    kind: str
    needs: frozenset[str] = frozenset()
    grains: tuple[str, ...] = ("channel",)
    updates_weights: bool = False
    repair: str = ""
    follows_order: bool = True
    comparable: bool = False
    removes: bool = False
    grows: tuple[tuple[str, str, str], ...] = ()
    label: str = ""
    source: str = ""


def method(kind: str, *needs: str, **facts: Any) -> Callable[[F], F]:
    """Declare that a function is a method: `@method("criterion", "data", "labels", source="...")`."""

    def mark(function: F) -> F:
        function.method = Method(kind, frozenset(needs), **facts)  # pyright: ignore[reportFunctionMemberAccess]
        return function

    return mark


def method_of(function: Callable[..., Any]) -> Method:
    """Return what is known of a method; a user's own function without a mark needs nothing."""
    while not hasattr(function, "method") and hasattr(function, "func"):  # a functools.partial
        function = function.func  # pyright: ignore[reportFunctionMemberAccess]
    return getattr(function, "method", Method("own"))


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a method, also of one whose options are bound with functools.partial."""
    return getattr(getattr(function, "func", function), "__name__", "own")


def takes_steps(function: Callable[..., Any]) -> bool:
    """Whether a repair trains by itself, with no option given: see `TRAINS`."""
    options = signature(function).parameters
    return any(options[name].default is not None for name in TRAINS if name in options)
