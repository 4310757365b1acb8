"""What is raised when a comparison would not be fair."""

from __future__ import annotations

from isoprune.types.errors import IsopruneError


class UnfairComparison(IsopruneError):
    """Two runs share less than the comparison asks for: the message says what, and what to do."""
