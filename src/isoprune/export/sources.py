"""A network by name: torchvision:resnet50, timm:NAME, transformers:MODEL_TYPE, my_package.module:function."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn

from isoprune.export.weights import load_weights_
from isoprune.types.errors import SOURCES, IsopruneError, guess
from isoprune.types.importing import imported
from isoprune.types.seeded import lent_generators, seeded


@dataclass(frozen=True)
class Source:
    """A network, what its forward takes, and the Python that makes it anew.

    ``drawn``: its weights are random, not trained ones.
    """

    text: str
    model: nn.Module
    example_inputs: Any
    code: str
    drawn: bool

    @property
    def imports(self) -> str:
        """What ``code`` needs imported."""
        return self.code.partition("(")[0].rpartition(".")[0]

    @property
    def name(self) -> str:
        """A short name, for a directory."""
        return short_name(self.text)


@dataclass(frozen=True)
class _Made:
    model: nn.Module
    code: str
    inputs: Callable[[], Any] | None
    shaped: Callable[[Sequence[int]], Any]


def open_source(
    text: str,
    *,
    shape: Sequence[int] | None = None,
    weights: str | Path | None = None,
    seed: int = 0,
    with_inputs: bool = True,
) -> Source:
    """Return the network that ``text`` names, in eval mode, with inputs that its forward takes.

    Args:
        text: ``torchvision:NAME``, ``timm:NAME``, ``transformers:MODEL_TYPE`` (or a config class, or a
            directory with a config.json; options of the config after commas:
            ``transformers:llama,num_hidden_layers=4``), or ``my_package.module:function``, called without
            arguments, which returns a module or a pair (module, example inputs).
        shape: Of the input, batch first; None for what the library says of the network.
        weights: A .safetensors file, or a torch file that holds tensors only. None leaves the weights random
            (for the first three) or as the function made them.
        seed: For random weights and inputs.
        with_inputs: Whether inputs must be known; if not, they may come back as None.

    Raises:
        IsopruneError: For a name that is not known, a package that is not installed, a function that does
            not return a module, inputs that cannot be guessed, weights of another network.
    """
    kind, colon, name = text.partition(":")
    if not colon or not name:
        hint = f" Did you mean torchvision:{text}?" if text in _torchvision_names() else ""
        raise IsopruneError(f"{text!r} does not say where the network comes from.{hint} Write {SOURCES}.")
    generator = seeded(seed)
    own = kind not in _LIBRARIES
    with lent_generators(seed), warnings.catch_warnings():
        if not own:
            warnings.simplefilter("ignore")  # of the library, about itself
        made = _own(kind, name) if own else _LIBRARIES[kind](name, generator)
    if weights is not None:
        load_weights_(made.model, weights)
    elif not own:
        wake_(made.model, generator)
    known = with_inputs or shape is not None or made.inputs is not None
    inputs = _inputs(text, made, shape) if known else None
    return Source(text, made.model.eval(), inputs, made.code, not own and not weights)


@functools.cache
def short_name(text: str) -> str:
    """Return what a source, or a network by its name alone, is called in the name of a directory."""
    name = (text.partition(":")[2] or text).partition(",")[0]
    return re.sub(r"[^\w.-]+", "_", name).strip("_.") or "network"


def check_source(text: str) -> None:
    """Raise early, before the network is made, if torchvision or timm has none of that name.

    Raises:
        IsopruneError: With the nearest names; also if the package is not installed.
    """
    kind, _, name = text.partition(":")
    if kind == "torchvision":
        _check_name(name, _torchvision_names(), kind)
    elif kind == "timm":
        _check_name(name.partition(".")[0], _installed("timm").list_models(), kind)


def wake_(model: nn.Module, generator: Generator) -> None:
    """Draw weights that start at zero, as some heads do: they would hide every difference in the proof."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and not parameter.any():
                parameter.normal_(std=0.02, generator=generator)


def _inputs(text: str, made: _Made, shape: Sequence[int] | None) -> Any:
    if shape is not None:
        return made.shaped(shape)
    if made.inputs is None:
        raise IsopruneError(
            f"{text} does not say what its forward takes. Give --shape 1,3,224,224, or let the function "
            "return (model, example_inputs)."
        )
    return made.inputs()


def _images(generator: Generator) -> Callable[[Sequence[int]], Any]:
    return lambda shape: torch.randn(*shape, generator=generator)


def _torchvision_names() -> list[str]:
    import torchvision

    return torchvision.models.list_models()


def _torchvision(name: str, generator: Generator) -> _Made:
    import torchvision

    _check_name(name, _torchvision_names(), "torchvision")
    model = torchvision.models.get_model(name, weights=None)
    preset = torchvision.models.get_model_weights(name)
    best = next(iter(preset), None)
    crop = getattr(best.transforms(), "crop_size", [224]) if best is not None else [224]
    video = type(model).__module__.startswith("torchvision.models.video")
    shape = [1, 3, *([16] if video else []), crop[0], crop[-1]]
    draw = _images(generator)
    code = f'torchvision.models.get_model("{name}", weights=None)'
    return _Made(model, code, lambda: draw(shape), draw)


def _timm(name: str, generator: Generator) -> _Made:
    timm = _installed("timm")
    _check_name(name.partition(".")[0], timm.list_models(), "timm")
    model = timm.create_model(name, pretrained=False)
    shape = [1, *model.pretrained_cfg.get("input_size", (3, 224, 224))]
    draw = _images(generator)
    return _Made(model, f'timm.create_model("{name}", pretrained=False)', lambda: draw(shape), draw)


def _transformers(name: str, generator: Generator) -> _Made:
    _installed("transformers")
    from isoprune.export.text_models import make

    model, code, inputs, shaped = make(name, generator)
    return _Made(model, code, inputs, shaped)


_LIBRARIES: dict[str, Callable[[str, Generator], _Made]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "transformers": _transformers,
}


def _own(module_name: str, function_name: str) -> _Made:
    try:
        module = imported(module_name)
    except ImportError as error:
        hint = guess(module_name, _LIBRARIES, write=lambda library: f"{library}:{function_name}")
        raise IsopruneError(
            f"Cannot import {module_name!r}: {error}.{hint} Start isoprune where it can be imported, or "
            f"write {SOURCES}."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        public = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        raise IsopruneError(
            f"{module_name} has no function {function_name!r}.{_close(function_name, public)}"
        )
    required = [] if isinstance(function, nn.Module) else _required(function)
    if required:
        raise IsopruneError(
            f"{module_name}:{function_name} needs {', '.join(required)}. Give a function without arguments "
            "that returns the network."
        )
    made, code = function, f"{module_name}.{function_name}"
    if not isinstance(function, nn.Module):
        made, code = function(), f"{code}()"
    inputs = getattr(made, "example_input_array", None)
    if isinstance(made, tuple) and len(made) == 2:
        (made, inputs), code = made, f"{code}[0]"
    if not isinstance(made, nn.Module):
        raise IsopruneError(
            f"{module_name}:{function_name} returned a {type(made).__name__}, not a module. Return the "
            "network, or (network, example_inputs)."
        )
    draw = _images(seeded(0))
    return _Made(made, code, None if inputs is None else lambda: inputs, draw)


def _required(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def _check_name(name: str, known: Iterable[str], library: str) -> None:
    known = list(known)
    if name not in known:
        raise IsopruneError(f"{library} has no network {name!r}.{_close(name, known)}")


def _close(name: str, known: Sequence[str]) -> str:
    return guess(name, known, most=3, write=str) or f" It has: {', '.join(known[:5])} ..."


def _installed(package: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(package)
        except ImportError as error:
            raise IsopruneError(f"{package} is not installed: pip install 'isoprune[zoo]'") from error
