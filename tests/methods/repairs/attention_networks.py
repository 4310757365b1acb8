"""Networks with attention, what pruning takes of them known beforehand; reconstruction without a pull."""

from __future__ import annotations

import torch
from repair_networks import data, run, seeded
from torch import Generator, nn

import isoprune
from isoprune.methods.repairs.reconstruct import reconstruct

WIDTH, HEADS = 12, 3


def repaired(pruned, dense, x, plan, **options):
    return run(reconstruct, pruned, dense=dense, plan=plan, batches=data(x), **options)


def drawn(build):
    """Return the network with every parameter drawn, also the biases that torch starts at zero."""

    def all_drawn():
        net = build()
        for p in net.parameters():
            p.data = torch.randn_like(p) / (p[0].numel() ** 0.5 if p.ndim > 1 else 3)
        return net

    return seeded(all_drawn)


class Attends(nn.Module):
    """Attention to embeddings of the same inputs (of others for keys and values), added, and read out."""

    def __init__(self, first=True, kdim=None, vdim=None):
        super().__init__()
        self.emb = nn.Linear(8, WIDTH)
        self.keys = None if kdim is None else nn.Linear(8, kdim)
        self.values = None if vdim is None else nn.Linear(8, vdim)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, kdim=kdim, vdim=vdim, batch_first=first)
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, x):
        q = self.emb(x)
        k = q if self.keys is None else self.keys(x)
        v = q if self.values is None else self.values(x)
        if not self.attn.batch_first:
            made = self.attn(*(t.transpose(0, 1) for t in (q, k, v)))[0].transpose(0, 1)
        else:
            made = self.attn(q, k, v)[0]
        return self.head(q + made)


def last_first(signals, units, *, generator):
    """Score every second channel of a group low, whatever the weights: plans can be known beforehand."""
    return {u.name: -(torch.arange(u.size) % 2).double() for u in units}


def by_order(net, x):
    return isoprune.prune(net, x[:2], 0.5, criterion=last_first)


def combine_(net, plan):
    """Make what the plan removes a linear function of what it keeps, or (keys) nothing that scores need."""
    generator = Generator().manual_seed(5)
    gone = {name: sorted(channels) for name, channels in plan.removed.items()}
    out = net.attn.out_proj
    # One mixture for both operands of the sum.
    _mix_([(net.emb.weight, net.emb.bias), (out.weight, out.bias)], gone["emb"], range(WIDTH), generator)
    for name in ("keys", "values"):
        if name in gone:
            layer = getattr(net, name)
            _mix_([(layer.weight, layer.bias)], gone[name], range(layer.out_features), generator)
    if net.attn.in_proj_weight is not None:
        _, keys, values = net.attn.in_proj_weight.data.chunk(3)
    else:
        keys, values = net.attn.k_proj_weight.data, net.attn.v_proj_weight.data
    _, shifts, value_shifts = net.attn.in_proj_bias.data.chunk(3)
    keys[gone["attn"]], shifts[gone["attn"]] = 0, 0
    for head in torch.arange(WIDTH).chunk(HEADS):
        rows = [row for row in gone["attn:2"] if row in head]
        _mix_([(values, value_shifts)], rows, head.tolist(), generator)
    return net


def _mix_(pairs, rows, among, generator):
    """Put the same random mixture of the other rows ``among`` them into ``rows`` of each weight and bias."""
    others = [row for row in among if row not in rows]
    mix = torch.randn(len(rows), len(others), generator=generator, dtype=torch.float64) / len(others) ** 0.5
    for tensor in (t for pair in pairs for t in pair):
        tensor.data[rows] = mix @ tensor.data[others]
