"""Singular values of every layer: as a matrix of filters, and as the operator it is on these inputs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isoprune.isometry.function import sample_function
from isoprune.isometry.picks import InputPick, Inputs, OutputPick
from isoprune.linalg import OperatorSpectrum, convolution_spectrum, filter_matrix
from isoprune.signals.matrices import LAYERS, TRANSPOSED


@dataclass(frozen=True)
class LayerSpectrum:
    """``filters``: of the filter matrix; ``operator``: of the map from input to output."""

    name: str
    kind: str
    filters: Float[Tensor, "values"]
    operator: OperatorSpectrum


def layer_spectra(
    model: nn.Module, inputs: Inputs, *, input: InputPick = None, output: OutputPick = None
) -> list[LayerSpectrum]:
    """Return the spectra of every Linear and convolution, in the order they run, at these inputs' sizes.

    Orthonormal filters give ``filters`` of ones; only where kernels do not overlap does that make the
    operator's ones. Operators are exact, or bounds that say so: `convolution_spectrum`. Arguments as in
    `jacobian_singular_values`.
    """
    seen: dict[str, tuple[nn.Module, tuple[int, ...]]] = {}
    with contextlib.ExitStack() as stack:
        f = stack.enter_context(sample_function(model, inputs, input=input, output=output))
        for name, module in model.named_modules():
            if isinstance(module, LAYERS):

                def note(module: nn.Module, args: tuple[Any, ...], out: Tensor, name: str = name) -> None:
                    size = out.shape if isinstance(module, TRANSPOSED) else args[0].shape
                    seen.setdefault(name, (module, tuple(size[2:])))

                stack.callback(module.register_forward_hook(note).remove)
        one = f.rows(0, 1)
        with torch.no_grad():
            f(f.x[one], one)
    return [_spectrum(name, module, size) for name, (module, size) in seen.items()]


def filter_spectrum(weight: Tensor) -> Tensor:
    """Return the singular values of the filter matrix, descending, in float32 or better."""
    W = filter_matrix(weight.detach())
    return torch.linalg.svdvals(W.float() if W.dtype in (torch.float16, torch.bfloat16) else W)


def _spectrum(name: str, module: Any, size: tuple[int, ...]) -> LayerSpectrum:
    kind = type(module).__name__
    if isinstance(module, nn.Linear):
        sigma = filter_spectrum(module.weight)
        return LayerSpectrum(name, kind, sigma, OperatorSpectrum(sigma.double(), True, "the matrix itself"))
    # The filters of a transposed convolution are in its second dimension.
    stored = module.weight.transpose(0, 1) if isinstance(module, TRANSPOSED) else module.weight
    operator = convolution_spectrum(
        module.weight, size, stride=module.stride, padding=module.padding, dilation=module.dilation,
        groups=module.groups, padding_mode=module.padding_mode,
    )  # fmt: skip
    return LayerSpectrum(name, kind, filter_spectrum(stored), operator)
