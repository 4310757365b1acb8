"""Tiny networks in float64, data and tasks for signals, and slow oracles over explicit matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from isoprune.types.task import CLASSIFICATION, Task


class Attention(nn.Module):
    """Torch's own attention, whose fused kernels have no second derivative; takes keywords."""

    def __init__(self):
        super().__init__()
        self.attend, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, u, v):
        return {"scores": self.head((u + self.attend(u, v, v, need_weights=False)[0]).mean(1))}


def mlp():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8, 3)
    )


PAIR = Task(
    inputs=lambda batch: {"u": batch["u"], "v": batch["v"]},
    loss=lambda outputs, batch: F.mse_loss(outputs["scores"], batch["want"]),
    name="pair",
)
NETS = {
    "mlp": (mlp, CLASSIFICATION),
    "convolutional": (convolutional, CLASSIFICATION),
    "pair": (Attention, PAIR),
}


def drawn(name: str) -> tuple[nn.Module, list, Task]:
    """Return a network in train mode, two batches of unequal size, and the task."""
    make, task = NETS[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = make().double()
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.is_floating_point():
                tensor.data += 0.3 * torch.rand_like(tensor)
        if name == "pair":
            batches = [
                {key: torch.randn(n, *shape, dtype=torch.float64) for key, shape in
                 {"u": (3, 4), "v": (2, 4), "want": (3,)}.items()}
                for n in (2, 3)
            ]  # fmt: skip
        else:
            shape = (3,) if name == "mlp" else (1, 3, 3)
            batches = [(torch.randn(n, *shape, dtype=torch.float64), torch.randint(3, (n,))) for n in (2, 3)]
    return net.train(), batches, task


def singles(batches):
    """Return every sample as a batch of its own."""
    return [
        {key: t[i : i + 1] for key, t in batch.items()}
        if isinstance(batch, dict)
        else [t[i : i + 1] for t in batch]
        for batch in batches
        for i in range(len(next(iter(batch.values())) if isinstance(batch, dict) else batch[0]))
    ]


def losses(net, batches, task):
    """Return the loss of every sample, in eval mode, with a graph to the network's parameters."""
    was = net.training
    net.eval()
    out = []
    for batch in singles(batches):
        inputs = task.inputs(batch)
        out.append(task.loss(net(**inputs) if isinstance(inputs, dict) else net(inputs), batch))
    net.train(was)
    return torch.stack(out)


def rows(values, parameters):
    """Return the Jacobian of a vector by all parameters, one backward pass a row."""
    found = []
    for value in values:
        slopes = torch.autograd.grad(
            value, parameters, retain_graph=True, create_graph=True, allow_unused=True
        )
        found.append(torch.cat([(torch.zeros_like(p) if s is None else s).flatten()
                                for p, s in zip(parameters, slopes, strict=True)]))  # fmt: skip
    return torch.stack(found)


def flat(named):
    return torch.cat([t.flatten() for t in named.values()])
