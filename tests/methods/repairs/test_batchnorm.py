"""BatchNorm statistics of what each layer reads."""

from __future__ import annotations

import copy

import torch
from repair_networks import data, run
from torch import Generator, nn

from isoprune.methods.repairs.batchnorm import batchnorm


def network():
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5),
            nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3, momentum=0.3), nn.Flatten(),
            nn.Linear(27, 5), nn.BatchNorm1d(5, affine=False),
        )  # fmt: skip
    return net.double().eval()


def images(n):
    return torch.randn(n, 2, 5, 5, dtype=torch.float64, generator=Generator().manual_seed(1)) * 3 + 1


def call(net, x, **options):
    return run(batchnorm, net, batches=data(x), **options)


def test_every_layer_normalises_these_data():
    """Of one chunk the statistics are those of what is read, layer after layer: mean 0 and variance 1."""
    x = images(200)
    new = call(network(), x)
    made = {}
    for i in (1, 5, 8):
        new[i].register_forward_hook(lambda *call, i=i: made.update({i: call[2]}))
    with torch.no_grad():
        new(x)
    for out in made.values():  # fresh scales are 1, shifts 0
        flat = out.transpose(0, 1).flatten(1)
        ones = torch.ones(len(flat), dtype=torch.float64)
        # To eps, and n / (n - 1) of the variances before: torch normalises by the biased one in train mode.
        torch.testing.assert_close(flat.mean(1), 0 * ones, rtol=0, atol=1e-3)
        torch.testing.assert_close(flat.var(1, correction=1), ones, rtol=1e-2, atol=0)


def test_chunks_count_alike_and_nothing_else_changes():
    x = images(512)
    net = network()
    new = call(net, x)
    parts = [call(net, part) for part in x.split(256)]
    first = [p[1].running_mean for p in parts]
    torch.testing.assert_close(new[1].running_mean, (first[0] + first[1]) / 2)
    for a, b in zip(net.parameters(), new.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in ((net[1], new[1]), (net[5], new[5])):
        assert (a.momentum, a.training, a.num_batches_tracked) == (
            b.momentum,
            b.training,
            b.num_batches_tracked,
        )
    again = call(new, x)
    torch.testing.assert_close(again[5].running_var, new[5].running_var)


def test_a_last_chunk_of_one_sample_is_left_out_and_a_net_without_norms_comes_back():
    net = nn.Sequential(nn.Flatten(), nn.Linear(50, 3), nn.BatchNorm1d(3)).double().eval()
    x = images(257)
    assert torch.equal(call(net, x)[2].running_var, call(net, x[:256])[2].running_var)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(50, 3)).double()
    assert torch.equal(call(plain, x)[1].weight, plain[1].weight)
    assert copy.deepcopy(plain)[1].weight is not plain[1].weight
