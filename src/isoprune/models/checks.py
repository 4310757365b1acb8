"""Checks of the arguments that all networks share, before they are built."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from isoprune.types.errors import IsopruneError, pick

MOST = 10**6  # of any one size
DEEPEST = 10**4  # layers: more are built for minutes before memory ends

ACTIVATIONS: dict[str, type[nn.Module]] = {"linear": nn.Identity, "relu": nn.ReLU}


def activation_named(name: str) -> type[nn.Module]:
    """Return the module class of an activation."""
    return pick(ACTIVATIONS, name, "activation")


def check_sizes(**sizes: int) -> None:
    """Raise unless every size (a width, a depth, a number of blocks) is at least one."""
    for name, size in sizes.items():
        if size < 1:
            raise IsopruneError(f"{name} = {size}, and a network needs at least 1. Raise it.")
        most = DEEPEST if name == "depth" else MOST
        if size > most:
            raise IsopruneError(f"{name} = {size}, and no network here has more than {most:,}. Lower it.")


def check_classes(classes: int) -> None:
    """Raise unless there are at least two classes."""
    if classes < 2:
        raise IsopruneError(
            f"classes = {classes}, and a classifier needs at least 2. Look at the labels of the data."
        )


def check_image(name: str, in_shape: Sequence[int], *, least: int = 1) -> None:
    """Raise unless ``in_shape`` is (channels, height, width) with sides of at least ``least`` pixels."""
    if len(in_shape) != 3 or min(in_shape) < 1:
        raise IsopruneError(
            f"{name} takes images, in_shape (channels, height, width), and got {tuple(in_shape)}. "
            "For other inputs take mlp_7."
        )
    if min(in_shape[1:]) < least:
        raise IsopruneError(
            f"{name} needs images of at least {least} x {least} pixels, and in_shape is {tuple(in_shape)}. "
            f"Load the data with size = {least}, or take mlp_7."
        )
