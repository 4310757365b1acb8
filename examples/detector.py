"""A detector of torchvision: half of its channels go, head included, and it learns to find shapes again.

    python examples/detector.py                writes detector.png: dense, pruned, retrained

A task says what a batch means: in train mode torchvision's detectors return their losses, in eval mode boxes.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou
from torchvision.utils import draw_bounding_boxes, make_grid, save_image

import isoprune
from isoprune.types import Metric


def scene(seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A bright square on a dark ground, and its box."""
    g = torch.Generator().manual_seed(seed)
    image = (0.4 * torch.rand(3, 1, 1, generator=g)).expand(3, 64, 64).clone()
    side = int(torch.randint(12, 28, (), generator=g))
    y, x = torch.randint(0, 64 - side, (2,), generator=g).tolist()
    image[:, y : y + side, x : x + side] = 0.5 + 0.5 * torch.rand(3, 1, 1, generator=g)
    box = torch.tensor([[x, y, x + side, y + side]], dtype=torch.float32)
    return image, {"boxes": box, "labels": torch.ones(1, dtype=torch.long)}


def batches(number: int, first: int) -> list[tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]]:
    scenes = [scene(first + i) for i in range(number)]
    parts = [scenes[i : i + 8] for i in range(0, number, 8)]
    return [([image for image, _ in part], [target for _, target in part]) for part in parts]


def make_model() -> nn.Module:
    widths = [(3, 16, 2), (16, 32, 2), (32, 64, 1), (64, 64, 2)]
    layers = [nn.Sequential(nn.Conv2d(a, b, 3, s, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b, s in widths]
    backbone = nn.Sequential(*layers)
    backbone.out_channels = 64
    anchors = AnchorGenerator(((8,),), ((1.0,),))
    return FCOS(backbone, 2, min_size=64, max_size=64, anchor_generator=anchors, topk_candidates=50)


def found(outputs, targets) -> torch.Tensor:
    """Whether the surest box of each image overlaps the square by more than half."""
    best = [(o["boxes"][:1], t["boxes"]) for o, t in zip(outputs, targets[1], strict=True)]
    return torch.tensor(float(sum(len(box) and bool(box_iou(box, true) > 0.5) for box, true in best)))


def main(file: Path, epochs: int = 8) -> list[float]:
    torch.manual_seed(0)
    task = isoprune.Task(
        inputs=lambda batch: batch, loss=lambda outputs, _: sum(outputs.values()), loss_in_train_mode=True,
        metrics={"found": Metric(found, lambda hits, images: float(hits) / images)}, name="detection",
    )  # fmt: skip
    train, test = batches(160, 0), batches(40, 1000)
    how = {"train": train, "validation": test, "task": task, "optimizer": "adamw", "lr": 2e-3}
    dense = isoprune.retrain(make_model(), epochs=epochs, **how)
    pruned = isoprune.prune(dense.model, test[0][0][:2], ratio=0.5)
    retrained = isoprune.retrain(pruned, epochs=epochs // 2, **how)

    rows, right = [], []
    for name, network in {"dense": dense, "pruned": pruned, "retrained": retrained}.items():
        right.append(isoprune.evaluate(network, test, task=task)["found"])
        print(f"{name:10} {right[-1]:6.1%} of 40 squares found")
        with torch.no_grad():
            boxes = [o["boxes"][:1] for o in network.model.eval()(test[0][0])]
        rows += [draw_bounding_boxes(i, b, colors="red") for i, b in zip(test[0][0], boxes, strict=True)]
    save_image(make_grid(torch.stack(rows), nrow=8), file)
    print(f"parameters removed: {retrained.costs.ratios['parameters']:.0%}")
    return right


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "detector.png"))
