"""ATen operations as a dispatch mode is given them."""

from __future__ import annotations

from typing import Any


def operation_name(func: Any) -> str:
    """Return an operation's name without namespace and overload, such as "addmm"."""
    return func._schema.name.split("::")[1]
