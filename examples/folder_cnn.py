"""A network of your own and a folder of images: pruned to three tenths of its FLOPs, repaired, retrained.

    python examples/folder_cnn.py              paints 360 images into shapes/

The folder has one sub-folder a class, as yours would. Test images are cut off first and looked at only here,
where the numbers are printed.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

import isoprune

KINDS = ("disc", "square", "triangle")


def paint(folder: Path, each: int = 120) -> None:
    rng = np.random.default_rng(0)
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            image = Image.fromarray(rng.integers(0, 120, (32, 32, 3), dtype=np.uint8))
            x, y, r = rng.integers(10, 22), rng.integers(10, 22), rng.integers(5, 9)
            box, colour = (x - r, y - r, x + r, y + r), tuple(rng.integers(120, 256, 3).tolist())
            draw = ImageDraw.Draw(image)
            if kind == "disc":
                draw.ellipse(box, colour)
            elif kind == "square":
                draw.rectangle(box, colour)
            else:
                draw.polygon([(x - r, y + r), (x + r, y + r), (x, y - r)], colour)
            image.save(folder / kind / f"{number}.png")


def make_model() -> nn.Module:
    def block(width_in: int, width: int) -> list[nn.Module]:
        return [nn.Conv2d(width_in, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]

    layers = [*block(3, 16), *block(16, 32), *block(32, 64)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(KINDS)))


def main(folder: Path) -> dict[str, float]:
    paint(folder)
    splits = isoprune.data.load("image_folder", root=folder, seed=0, size=32, test=0.25, augment=False)
    torch.manual_seed(0)
    how = {"schedule": "one_cycle", "batch": 20}
    images = splits.validation.batches([torch.arange(2)])
    example = next(images)[0]

    dense = isoprune.retrain(make_model(), splits, lr=0.05, epochs=12, **how)
    pruned = isoprune.prune(dense.model, example, flops=0.3)
    batches = list(splits.train.batches(torch.arange(160).split(40)))
    repaired = isoprune.repair(pruned, batches=batches)
    retrained = isoprune.retrain(repaired, splits, lr=0.05, epochs=6, **how)

    networks = {"dense": dense, "pruned": pruned, "repaired": repaired, "retrained": retrained}
    right = {name: isoprune.evaluate(network, splits.test)["accuracy"] for name, network in networks.items()}
    for name, value in right.items():
        print(f"{name:10} {value:6.1%} of {len(splits.test)} test images")
    cost = retrained.costs
    print(f"{cost.dense.parameters:,} parameters before, {cost.pruned.parameters:,} after")
    return right


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "shapes"))
