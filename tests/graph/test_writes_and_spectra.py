"""Writing into parts of a tensor, Fourier transforms, weights of groups computed or transposed."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isoprune
from graph.test_operations import WIDTH, made
from pruning.oracle import difference, zeroed_reads


def shifted(h, f):
    """Temporal shift (Lin et al., 2019): a part of the channels moves on, a part back, the rest stays."""
    y = torch.zeros_like(h)
    y[:, :f, 1:] = h[:, :f, :-1]
    y[:, f : 2 * f, :-1] = h[:, f : 2 * f, 1:]
    y[:, 2 * f :] = h[:, 2 * f :]
    return y


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.fold = WIDTH // 4

    def forward(self, h):
        return shifted(h, self.fold)


def interleaved(h):
    y = torch.empty_like(h)
    y[:, :, ::2], y[:, :, 1::2] = h[:, :, 1::2], h[:, :, ::2]
    return y


def summed_on(h):
    y = h.clone()
    y[:, :, 0] = 0
    y[:, :, 1:] += h[:, :, :-1]
    return y


def framed(h):
    y = h.new_zeros(h.size(0), h.size(1), 10, 10)
    y[:, :, 1:-1, 1:-1] = h
    return y


def exchanged(h):
    y = torch.zeros(h.shape, dtype=h.dtype)
    y[0], y[1] = h[1], h[0]
    return y


def copied(h):
    y = torch.zeros_like(h)
    y.narrow(2, 0, 4).copy_(h.narrow(2, 4, 4))
    return y


WRITES = {
    "shift by a quarter": lambda h: shifted(h, h.size(1) // 4),
    "shift by an eighth": lambda h: shifted(h, h.size(1) // 8),
    "shift by an attribute": Shift,
    "rows in turn": interleaved,
    "added in place": summed_on,
    "a frame": framed,
    "samples": exchanged,
    "copy_ into a narrow": copied,
}


def pruned(function):
    model, x = made(function)
    small = isoprune.prune(model, x, 0.5, criterion="random")
    assert small.proof.relative_error < 1e-12
    return model, x, small


@pytest.mark.parametrize("name", WRITES)
def test_a_part_that_is_written_has_the_channels_of_what_is_written(name):
    model, x, small = pruned(WRITES[name])
    assert small.model.first.out_channels == WIDTH // 2
    assert small.attempts == ()
    assert difference(zeroed_reads(model, small.graph, small.plan), small.model, x) < 1e-12


def test_channels_before_a_cut_at_a_written_number_stay_and_the_others_go():
    model, x, small = pruned(lambda h: shifted(h, 4))
    assert small.model.first.out_channels == 12
    assert torch.equal(small.model.first.weight[:8], model.first.weight[:8])
    frozen = [f for f in small.graph.frozen if f.tensor == "first.weight"]
    assert sum(f.channels for f in frozen) == 8
    assert all("cut at a number written into the forward" in f.reason for f in frozen)
    assert difference(zeroed_reads(model, small.graph, small.plan), small.model, x) < 1e-12


def test_channels_that_are_written_one_place_on_are_one_and_stay():
    def moved(h):
        y = torch.zeros_like(h)
        y[:, 1:] = h[:, :-1]
        return y

    _, _, small = pruned(moved)
    assert small.model.first.out_channels == WIDTH
    assert any("none would be left" in f.reason for f in small.graph.frozen if f.tensor == "first.weight")


class Spectral(nn.Module):
    """A layer of a Fourier neural operator (Li et al., 2020): a matrix a low frequency."""

    def __init__(self, pairs=False):
        super().__init__()
        shape = (WIDTH, WIDTH, 3, 3)
        self.weight = nn.Parameter(
            torch.randn(*shape, 2) if pairs else torch.randn(shape, dtype=torch.cdouble)
        )
        self.out_channels, self.pairs = WIDTH, pairs

    def forward(self, h):
        spectrum = torch.fft.rfft2(h)
        weight = torch.view_as_complex(self.weight) if self.pairs else self.weight
        out = torch.zeros(len(h), self.out_channels, *spectrum.shape[2:], dtype=spectrum.dtype)
        out[:, :, :3, :3] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :3, :3], weight)
        return torch.fft.irfft2(out, s=h.shape[2:])


class GlobalFilter(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, 8, 5, 2))

    def forward(self, h):
        spectrum = torch.fft.rfft2(h, norm="ortho") * torch.view_as_complex(self.weight)
        return torch.fft.irfft2(spectrum, s=h.shape[2:], norm="ortho")


SPECTRA = {
    "real part": lambda h: torch.fft.fft2(h).real,
    "imaginary part": lambda h: torch.fft.fft(h, dim=2).imag,
    "absolute value of one axis": lambda h: torch.fft.rfft(h, dim=-1).abs(),
    "there and back": lambda h: torch.fft.ifftn(torch.fft.fftn(h, dim=(2, 3)), dim=(2, 3)).real,
    "as pairs": lambda h: torch.view_as_real(torch.fft.fft2(h)).sum(-1),
    "conjugated": lambda h: torch.fft.ifft2(torch.fft.fft2(h).conj() * torch.fft.fft2(h)).real,
    "filter of every channel": GlobalFilter,
    "operator of complex weights": Spectral,
    "operator of pairs": partial(Spectral, pairs=True),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_channels_go_through_a_transform_over_positions(name):
    model, x, small = pruned(SPECTRA[name])
    assert small.model.first.out_channels == small.model.last.out_channels == WIDTH // 2
    assert difference(zeroed_reads(model, small.graph, small.plan), small.model, x) < 1e-12


def test_a_transform_over_channels_mixes_them_all():
    _, _, small = pruned(lambda h: torch.fft.fft(torch.fft.fft(h, dim=1), dim=2).real)
    assert small.model.first.out_channels == WIDTH
    reasons = {f.reason for f in small.graph.frozen if f.tensor == "first.weight"}
    assert reasons == {"_fft_r2c in the network mixes all that it runs over"}


class Standardised(nn.Module):
    """A grouped convolution whose weights are standardised, as in networks without normalisation (nfnet)."""

    def __init__(self, by="batch_norm"):
        super().__init__()
        self.weight, self.gain = (
            nn.Parameter(torch.randn(WIDTH, 4, 3, 3)),
            nn.Parameter(torch.ones(WIDTH, 1, 1, 1)),
        )
        self.bias, self.out_channels, self.by = nn.Parameter(torch.zeros(WIDTH)), WIDTH, by

    def forward(self, h):
        weight, gain = self.weight, self.gain * 0.3
        if self.by == "batch_norm":
            flat = weight.reshape(1, self.out_channels, -1)
            weight = F.batch_norm(flat, None, None, gain.view(-1), training=True, momentum=0.0).reshape_as(
                weight
            )
        elif self.by == "mean":
            weight = gain * (weight - weight.mean((1, 2, 3), keepdim=True))
        elif self.by == "deviation":
            deviation, mean = torch.std_mean(weight, (1, 2, 3), keepdim=True)
            weight = gain * (weight - mean) / (deviation + 1e-5)
        else:
            weight = weight * gain
        return F.conv2d(h, weight, self.bias, padding=1, groups=4)


@pytest.mark.parametrize("by", ["batch_norm", "mean", "deviation", "gain"])
def test_the_computed_weight_of_a_grouped_convolution_keeps_its_groups(by):
    model, x, small = pruned(partial(Standardised, by))
    assert small.model.function.weight.shape == (WIDTH // 2, 2, 3, 3)
    assert small.model.first.out_channels == WIDTH // 2
    if by == "gain":
        assert difference(zeroed_reads(model, small.graph, small.plan), small.model, x) < 1e-12
    else:
        assert all("in function" in s for s in small.proof.statistics)


@pytest.mark.parametrize(("groups", "wide", "made_by_each"), [(4, 4, 4), (2, 8, 8), (16, 1, 1), (8, 2, 2)])
def test_a_transposed_convolution_in_groups_loses_equally_many_of_every_group(groups, wide, made_by_each):
    widths = groups * wide, groups * made_by_each
    model, x, small = pruned(partial(nn.ConvTranspose2d, *widths, 3, padding=1, groups=groups))
    kept = small.model.function
    assert (kept.in_channels, kept.out_channels) == (WIDTH // 2, WIDTH // 2)
    assert kept.groups == (groups // 2 if wide == 1 else groups)
    assert difference(zeroed_reads(model, small.graph, small.plan), small.model, x) < 1e-12
