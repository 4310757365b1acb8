"""What several processes train together: python joined.py FOLDER, alone or by `accelerate launch`."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Generator, nn

from isoprune.methods.schedules import one_cycle
from isoprune.training import Distill, Loop, Saving, Training, Watch, evaluate, fit
from isoprune.types import Splits
from isoprune.types.samples import Split


class Idle(nn.Tanh):
    """Has a parameter that no loss reads."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(2))


def network(seed: int, middle: nn.Module) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), middle, nn.Linear(5, 3))
    g = Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) / 2)
    return net


def data() -> Splits:
    g = Generator().manual_seed(0)

    def split(n: int) -> Split:
        return Split(torch.randn(n, 1, 2, 3, generator=g), torch.arange(n) % 3)

    # 21 = 4 x 5 + 1: in the last batch, one process has nothing of its own.
    return Splits(split(21), split(9), split(3), classes=3)


def main(folder: Path) -> None:
    """Write weights, buffers and history of each training, as this process has them at the end."""
    rank = 0
    told: dict[str, list] = {}
    tensors = {}
    plain = Training(3, 0.1, one_cycle(), batch=5)
    loop = Loop(accumulate=2, average=0.3, clip=1.0)
    for name, middle, training, distill in (
        ("plain", nn.Tanh(), plain, None),
        ("all", nn.Tanh(), replace(plain, loop=loop), Distill(0.4, 2.0, network(2, nn.Tanh()))),
        ("norm", nn.BatchNorm1d(5), replace(plain, batch=7), None),
        ("idle", Idle(), replace(plain, loop=loop), None),
    ):
        kept: list[int] = []
        got, history = fit(
            network(1, middle),
            data(),
            training,
            distill=distill,
            generator=Generator().manual_seed(3),
            watch=Watch(
                measure=lambda net: {"norm": float(next(net.parameters()).detach().norm())},
                keep=lambda epoch, _, kept=kept: kept.append(epoch),
            ),
            saving=Saving(folder / name, steps=2),
        )
        if torch.distributed.is_initialized():
            rank = torch.distributed.get_rank()
        tensors |= {f"{name}/{key}": t for key, t in got.state_dict().items()}
        told[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in history]
        told[f"{name} kept"] = kept
        told[f"{name} evaluated"] = [
            evaluate(got, data().validation, batch=2, share=share) for share in (False, True)
        ]
    save_file(tensors, folder / f"tensors-{rank}")
    (folder / f"told-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(Path(sys.argv[1]))
