"""What a penalty is: a loss of every step, and what it keeps from one step to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from isoprune.types import Plan


class Penalty(nn.Module):
    """A loss that is added to each step's, and its state.

    The network that it was made for is not part of it: a penalty reads and pushes that network's parameters.

    Args:
        loss: Steps taken so far -> scalar, differentiable with respect to the network's parameters.
        steps: That it needs before its channels can go; 0 if there are none.
        after: Told the steps taken so far and the rate, after each one; it may change the network in place.
        state: What changes from step to step, on the network's device. `loss` and `after` change it in place;
            as buffers it is in the training's checkpoint.
        plan: Returns which channels go.
    """

    def __init__(
        self,
        loss: Callable[[int], Tensor],
        *,
        steps: int = 0,
        after: Callable[[int, float], object] | None = None,
        state: Mapping[str, Tensor] | None = None,
        plan: Callable[[], Plan] | None = None,
    ) -> None:
        super().__init__()
        self._loss, self._after, self._plan = loss, after, plan
        self.steps = steps
        for name, tensor in (state or {}).items():
            self.register_buffer(name, tensor)

    def forward(self, step: int) -> Tensor:
        return self._loss(step)

    def after_(self, step: int, lr: float = 0.0) -> None:
        """Act on the network after the step, at this rate, that follows ``step`` others."""
        if self._after is not None:
            self._after(step, lr)

    def plan(self) -> Plan | None:
        """Return which channels go by now; None for a penalty that removes nothing."""
        return None if self._plan is None else self._plan()
