"""The plan: which units stay. Plain data, made of bools; plans compose round after round."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from isoprune.types.errors import IsopruneError
from isoprune.types.shown import screenful, shown
from isoprune.types.units import counted

MOST = 2**28  # units in one plan of channels: a file that says more would fill the memory


@shown
@dataclass(frozen=True, repr=False)
class Plan:
    """Which units stay, of all units that lose some.

    Attributes:
        kept: Units name -> bool [units.shape], True stays. Units that are not named stay whole.
        grain: What the units are: one of `types.units.GRAINS`.
        request: What was asked for, such as {"ratio": 0.5, "allocation": "uniform"}.
    """

    kept: Mapping[str, Tensor] = field(default_factory=dict)
    grain: str = "channel"
    request: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def removing(
        cls,
        removed: Mapping[str, Sequence[int]],
        shapes: Mapping[str, Sequence[int]],
        *,
        grain: str = "channel",
        request: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Return the plan without these (flat) units, of units with these shapes.

        Raises:
            IsopruneError: For units that are not among ``shapes``, or an index out of range.
        """
        kept = {}
        if sum(math.prod(shapes[name]) for name in removed if name in shapes) > MOST:
            raise IsopruneError(f"The plan is of more than {MOST:,} units, which no network has.")
        for name, gone in removed.items():
            if name not in shapes:
                raise IsopruneError(
                    f"The plan names units '{name}', which are not among {', '.join(shapes)}."
                )
            mask = torch.ones(tuple(shapes[name]), dtype=torch.bool)
            flat, index = mask.view(-1), torch.as_tensor(list(gone), dtype=torch.long)
            if len(index) and not (int(index.min()) >= 0 and int(index.max()) < len(flat)):
                raise IsopruneError(
                    f"The plan removes unit {int(index.max())} of '{name}', which has {len(flat)}."
                )
            flat[index] = False
            kept[name] = mask
        return cls(kept, grain, request or {})

    @property
    def removed(self) -> dict[str, tuple[int, ...]]:
        """The (flat) units that go, of all units that lose some."""
        gone = {name: (~mask).flatten().nonzero().flatten() for name, mask in self.kept.items()}
        return {name: tuple(index.tolist()) for name, index in gone.items() if len(index)}

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON: read back by `from_dict`. Masks of weights are better kept as tensors."""
        shapes = {name: list(self.kept[name].shape) for name in self.removed}
        removed = {name: list(gone) for name, gone in self.removed.items()}
        return {"grain": self.grain, "removed": removed, "shapes": shapes, "request": dict(self.request)}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Plan:
        """Return the plan that `as_dict` wrote."""
        return cls.removing(
            facts["removed"], facts["shapes"], grain=facts["grain"], request=facts.get("request")
        )

    def __str__(self) -> str:
        sizes = {name: (mask.numel(), int((~mask).sum())) for name, mask in self.kept.items()}
        total, gone = (sum(numbers) for numbers in zip(*sizes.values(), strict=True)) if sizes else (0, 0)
        rows = [f"{name}  {went:,} of {size:,}" for name, (size, went) in sizes.items() if went]
        return screenful(f"Plan: {gone:,} of {total:,} {counted(self.grain)} go", rows, "plan.removed")

    def __bool__(self) -> bool:
        """Whether anything goes."""
        return any(not bool(mask.all()) for mask in self.kept.values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return self.grain == other.grain and self.removed == other.removed and self.request == other.request

    __hash__ = None  # pyright: ignore[reportAssignmentType]  it holds tensors

    def then(self, later: Plan) -> Plan:
        """Return both plans as one, numbered as in the dense network.

        ``later`` numbers the units that this plan keeps, or (of masks, where all are still there) all of
        them: then a unit stays if both keep it. Units that ``later`` alone names were whole before.

        Raises:
            IsopruneError: If the grains differ, or the numbers of units do not fit.
        """
        if later.grain != self.grain and self and later:
            raise IsopruneError(
                f"A plan of {counted(self.grain)} and one of {counted(later.grain)} do not make one plan. "
                "Prune at one grain, or shrink the network first and prune what is left."
            )
        kept = dict(self.kept)
        for name, mask in later.kept.items():
            before = kept.get(name)
            if before is None or before.shape == mask.shape:
                kept[name] = mask if before is None else before & mask
                continue
            if mask.dim() != 1 or int(before.sum()) != len(mask):
                raise IsopruneError(
                    f"The later plan is of {tuple(mask.shape)} units '{name}', and the earlier one keeps "
                    f"{int(before.sum())} of {tuple(before.shape)}: it belongs to another network."
                )
            both = before.clone()
            both[before] = mask
            kept[name] = both
        return Plan(kept, later.grain if later else self.grain, {**self.request, **later.request})
