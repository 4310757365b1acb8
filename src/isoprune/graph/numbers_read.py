"""Numbers that Python takes out of a tensor: their comparisons decide which branch runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Decided = Callable[[Callable[[], Any]], Any]  # what computes an answer -> the answer


def number(value: float | int, decided: Decided) -> Any:
    """Return a float or an integer whose comparisons, and those of what comes of it, are ``decided``."""
    return (Measured if type(value) is float else Counted)(value, decided)


def _compared(name: str, plain: type) -> Callable[[Any, Any], Any]:
    def compare(self: Any, other: Any) -> Any:
        out = getattr(plain(self), name)(_plain(other))
        return out if out is NotImplemented else self.decided(lambda: out)

    return compare


def _computed(name: str, plain: type) -> Callable[..., Any]:
    def compute(self: Any, *others: Any) -> Any:
        out = getattr(plain(self), name)(*map(_plain, others))
        kind = {float: Measured, int: Counted}.get(type(out))
        return kind(out, self.decided) if kind else out

    return compute


def _plain(value: Any) -> Any:
    return (
        float(value) if isinstance(value, Measured) else int(value) if isinstance(value, Counted) else value
    )


_ORDERS = ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__")
_SUMS = ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "neg", "abs", "floordiv", "mod")


def _number(name: str, plain: type) -> type:
    def new(cls: type, value: Any, decided: Decided) -> Any:
        self = plain.__new__(cls, value)
        self.decided = decided
        return self

    body: dict[str, Any] = {
        "__new__": new,
        "__hash__": plain.__hash__,
        "__bool__": lambda self: self.decided(lambda: bool(plain(self))),
        "__deepcopy__": lambda self, _: plain(self),
        "__reduce__": lambda self: (plain, (plain(self),)),
        "__doc__": f"{plain.__name__} whose comparisons are answers.",
    }
    body |= {order: _compared(order, plain) for order in _ORDERS}
    body |= {f"__{s}__": _computed(f"__{s}__", plain) for s in _SUMS if hasattr(plain, f"__{s}__")}
    return type(name, (plain,), body)


Measured = _number("Measured", float)
Counted = _number("Counted", int)
