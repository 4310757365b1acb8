"""Options of training steps: those that make it fast, and the few that change its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from isoprune.types.errors import IsopruneError, check_known

PRECISIONS = ("full", "bf16")


@dataclass(frozen=True)
class Loop:
    """Options of the steps; the defaults are plain SGD in the network's own precision.

    Attributes:
        precision: "full": the type of the network's parameters. "bf16": matrix products in bfloat16, weights,
            momentum and losses in float32 (autocast); evaluation stays in full precision.
        accumulate: Parts in which a step's batch passes through the network, one after the other; the
            gradient is that of the whole batch, the memory that of a part. BatchNorm sees each part alone.
        channels_last: Lay images and convolutions out channel by channel, which is faster where matrix units
            want it so.
        compile: Train by ``torch.compile``; evaluation stays as it is.
        clip: Largest norm of the gradient of all parameters together; a longer one is shortened to it.
        sync_batchnorm: With several processes on GPUs, BatchNorm sees the whole batch and not each its slice.
        nesterov: Nesterov's momentum, of SGD.
        label_smoothing: Of a classification: fraction of a label that is spread over all classes, in [0, 1).
        average: The returned weights are the mean of those after each of this last fraction of the steps
            (stochastic weight averaging: Izmailov et al., 2018, arXiv 1803.05407), with the statistics of
            BatchNorm estimated anew on 1,024 samples of the training data; 0: those after the last step.
    """

    precision: str = "full"
    accumulate: int = 1
    channels_last: bool = False
    compile: bool = False
    clip: float | None = None
    sync_batchnorm: bool = False
    nesterov: bool = False
    label_smoothing: float = 0.0
    average: float = 0.0

    def in_words(self) -> str:
        """Return how steps are taken: precision and memory format."""
        words = ["in bfloat16"] * (self.precision == "bf16") + ["channels last"] * self.channels_last
        return ", ".join(words) or "as the network is"

    def changed(self) -> dict[str, Any]:
        """Return the options that are not at their defaults."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}


PLAIN = Loop()


def read_loop(given: Loop | Mapping[str, Any]) -> Loop:
    """Return ``given`` as a Loop: of a mapping, the options that it names.

    Raises:
        IsopruneError: For an option that there is not, or what is no mapping.
    """
    if isinstance(given, Loop):
        return given
    if not isinstance(given, Mapping):
        raise IsopruneError(f"loop is {given!r}. Give its options, such as {{'precision': 'bf16'}}.")
    for name in given:
        check_known(str(name), [f.name for f in fields(Loop)], "option of loop")
    return Loop(**given)
