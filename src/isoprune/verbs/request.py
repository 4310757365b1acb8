"""How much is to go: by a ratio, a budget, a grain such as "2:4", or what is zero; exactly one of them."""

from __future__ import annotations

from typing import Any

from isoprune.graph.outputs import tensors_of
from isoprune.pruning.allocation import CAP, Number
from isoprune.pruning.grains import Grain
from isoprune.types import IsopruneError, Network, module_of


def requested(grain: Grain, zeros: bool, mask: bool, **targets: Any) -> tuple[str, Any]:
    """Return which argument says how much goes, and its value."""
    given = {name: value for name, value in targets.items() if value is not None}
    if zeros:
        if given or mask or grain.name != "channel":
            raise IsopruneError(
                "criterion='zeros' removes exactly the channels that are zero: give no "
                f"{', '.join(given) or ('mask' if mask else 'grain')}."
            )
        return "zeros", None
    if grain.name == "n:m":
        if given:
            raise IsopruneError(f"The grain {grain} says how much goes: give no {' or '.join(given)}.")
        return "ratio", None
    if len(given) != 1:
        raise IsopruneError(
            f"Give one of ratio, flops, parameters and latency; got {', '.join(given) or 'none'}."
        )
    what, target = next(iter(given.items()))
    if what != "ratio" and grain.name != "channel":
        raise IsopruneError(
            f"A budget of {what} is met by removing channels, not {grain}s. Give ratio=, or grain='channel'."
        )
    return what, target


def check_options(
    grain: Grain, ratio: Any, *, allocation: str, scope: str, round_to: int, cap: Number
) -> None:
    """Raise for options that the grain does not take, and for a ratio that ``cap`` would cut.

    Raises:
        IsopruneError: Naming the option.
    """
    if grain.name != "channel":
        given = {"scope": (scope, "all"), "round_to": (round_to, 1), "cap": (cap, CAP)}
        if idle := [name for name, (value, default) in given.items() if value != default]:
            say, them = ("says", "it") if len(idle) == 1 else ("say", "them")
            raise IsopruneError(
                f"{' and '.join(idle)} {say} how channels go, and the grain is {grain}. Leave {them} out, or "
                "take grain='channel'."
            )
    elif allocation in ("global", "error") and isinstance(ratio, int | float) and cap < ratio < 1:
        raise IsopruneError(
            f"ratio is {ratio:g}, and cap lets no group lose more than {cap:g} of its channels. Give "
            f"cap={ratio:g} or more, or a smaller ratio."
        )


def check_numbers(network: Network, example_inputs: Any) -> None:
    """Raise for a network, or inputs, on the meta device: nothing can be scored or proven of them.

    Raises:
        IsopruneError: Naming which.
    """
    on_meta = [name for name, t in module_of(network).named_parameters() if t.is_meta]
    if not on_meta and any(t.is_meta for t in tensors_of(example_inputs)):
        on_meta = ["example_inputs"]
    if on_meta:
        raise IsopruneError(
            f"{on_meta[0]} lies on the meta device, which holds no numbers. Load it onto a device first, as "
            'by model.to_empty(device="cpu") and model.load_state_dict(...); `isoprune.trace` needs none.'
        )
