"""The modules of a network while its forward is recorded: which one runs, and what it sets on itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from torch import nn

from isoprune.graph.cloning import named_modules


@contextmanager
def module_names(model: nn.Module, running: list[str]) -> Iterator[None]:
    """Keep ``running`` the stack of the modules that are running.

    A forward of the module's own is put over that of its class, and taken off: hooks cost more.
    """
    named = [(name, module) for name, module in named_modules(model) if type(module) is not nn.Identity]
    before = [(vars(module), vars(module).get("forward", module)) for _, module in named]

    def announced(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            running.append(name)
            try:
                return forward(*args, **kwargs)
            finally:
                running.pop()

        return run

    try:
        for name, module in named:
            vars(module)["forward"] = announced(name, module.forward)
        yield
    finally:
        for (attributes, forward), (_, module) in zip(before, named, strict=True):
            if forward is module:
                attributes.pop("forward", None)
            else:
                attributes["forward"] = forward


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Undo what a forward sets on modules (a cache that it fills the first time it runs)."""
    tables = [vars(module) for _, module in named_modules(model)]
    before = [(table, table.copy(), table["_buffers"], table["_buffers"].copy()) for table in tables]
    try:
        yield
    finally:
        for table, old, buffers, own in before:
            table.clear()
            table.update(old)
            buffers.clear()
            buffers.update(own)
