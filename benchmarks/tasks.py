"""Five tasks pruned to half, repaired, retrained: python benchmarks/tasks.py [SEEDS [TASKS]]

Each is judged by its own metric on validation data that it was not trained on: as the dense network has it,
pruned, repaired, and retrained. All data are drawn here; every network is trained from scratch.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader, Dataset, TensorDataset

import isoprune
from isoprune.training import evaluate
from isoprune.types import CLASSIFICATION, Metric, Task


@dataclass(frozen=True)
class Case:
    """One task: its network, data, and how it is trained. ``part`` names what is pruned, "" all of it."""

    name: str
    model: nn.Module
    example_inputs: Any
    train: Any
    validation: Any
    task: Task
    lr: float
    dense_epochs: int
    epochs: int
    optimizer: str = "sgd"
    repair: str = "auto"
    part: str = ""
    part_task: Task | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


def run(case: Case, seed: int = 0) -> dict[str, float]:
    """Return the case's metric of the dense, the pruned, the repaired and the retrained network."""
    how = {"task": case.task, "optimizer": case.optimizer, "seed": seed, "lr": case.lr, **case.more}
    data = {"train": case.train, "validation": case.validation}
    metric, _ = case.task.judged_by
    batches = case.train if isinstance(case.train, DataLoader) else DataLoader(case.train, 32)

    def judged(network: Any) -> float:
        return evaluate(network, case.validation, task=case.task)[metric]

    dense = isoprune.retrain(case.model, **data, **how, epochs=case.dense_epochs)
    whole = dense.model
    part = whole.get_submodule(case.part)
    pruned = isoprune.prune(part, case.example_inputs, flops=0.5)
    task = case.part_task or case.task
    repaired = isoprune.repair(pruned, case.repair, batches=batches, task=task, seed=seed)

    def put_back(small: Any) -> nn.Module:
        """Return the whole network with the part made small."""
        return _with(whole, case.part, small.model)

    retrained = isoprune.retrain(put_back(repaired), **data, **how, epochs=case.epochs)
    row = {"dense": whole, "pruned": put_back(pruned), "repaired": put_back(repaired), "retrained": retrained}
    return {name: judged(network) for name, network in row.items()}


def _with(whole: nn.Module, name: str, part: nn.Module) -> nn.Module:
    if not name:
        return part
    import copy

    changed = copy.deepcopy(whole)
    changed.set_submodule(name, copy.deepcopy(part))
    return changed


def classification(seed: int = 0) -> Case:
    """Handwritten digits, in our own splits."""
    splits = isoprune.data.load("digits", seed=seed, size=16)
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )
    inputs = torch.randn(2, 1, 16, 16)
    return Case("classification", net, inputs, splits.train, splits.validation, CLASSIFICATION, 0.1, 4, 3)


def regression(seed: int = 0) -> Case:
    """A wavy function of eight numbers, in a Dataset of tensors."""
    x = torch.rand(3000, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    y = torch.sin(3 * x[:, :4]).sum(1, keepdim=True) + x[:, 4:5] * x[:, 5:6]
    train, validation = TensorDataset(x[:2500], y[:2500]), TensorDataset(x[2500:], y[2500:])
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    task = Task(loss=mse_loss, metrics={"r2": Metric(_moments, _r2)}, name="regression")
    return Case("regression", net, x[:2], train, validation, task, 0.05, 20, 15, more={"batch": 50})


def _moments(outputs: Tensor, batch: Any) -> Tensor:
    y = batch[1].double()
    return torch.stack([(outputs - y).square().sum(), y.square().sum(), y.sum()])


def _r2(sums: Tensor, samples: int) -> float:
    residual, squares, total = sums.tolist()
    return 1 - residual / (squares - total**2 / samples)


class Shapes(Dataset):
    """Discs and squares on noise: the image, which pixel is what, and the box of each shape."""

    def __init__(self, samples: int, size: int, seed: int, shapes: int = 1) -> None:
        self.samples, self.size, self.seed, self.shapes = samples, size, seed, shapes

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        g = torch.Generator().manual_seed(self.seed * 1_000_003 + place)
        image = 0.3 * torch.rand(3, self.size, self.size, generator=g)
        mask = torch.zeros(self.size, self.size, dtype=torch.long)
        rows, columns = torch.meshgrid(*[torch.arange(self.size)] * 2, indexing="ij")
        boxes, labels = [], []
        for _ in range(self.shapes):
            radius = int(torch.randint(self.size // 6, self.size // 3, (), generator=g))
            y, x = torch.randint(radius, self.size - radius, (2,), generator=g).tolist()
            kind = int(torch.randint(1, 3, (), generator=g))
            far = (rows - y).abs(), (columns - x).abs()
            inside = torch.maximum(*far) < radius if kind == 1 else far[0] ** 2 + far[1] ** 2 < radius**2
            image[kind, inside] = 0.6 + 0.4 * float(torch.rand((), generator=g))
            mask[inside] = kind
            boxes.append([x - radius, y - radius, x + radius, y + radius])
            labels.append(kind)
        target = {"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels)}
        return image, mask, target


def segmentation(seed: int = 0) -> Case:
    """torchvision's DeepLab: every pixel is ground, square or disc."""
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large as deeplab

    net = deeplab(weights=None, weights_backbone=None, num_classes=3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3  # at torchvision's 0.01, statistics need some hundred steps to arrive
    task = Task(
        loss=lambda outputs, batch: cross_entropy(outputs["out"], batch[1]),
        metrics={"iou": Metric(_confusion, _mean_iou)},
        name="segmentation",
    )
    train = DataLoader(Shapes(64, 64, seed), 8, shuffle=True)
    validation = DataLoader(Shapes(24, 64, seed + 1), 8)
    return Case(
        *("segmentation", net, torch.randn(2, 3, 64, 64), train, validation, task, 5e-4, 6, 2),
        optimizer="adamw",
        repair="batchnorm",
    )


def _confusion(outputs: Any, batch: Any) -> Tensor:
    """Return the counts [true class, class] of all pixels."""
    return torch.bincount(3 * batch[1].flatten() + outputs["out"].argmax(1).flatten(), minlength=9).view(3, 3)


def _mean_iou(counts: Tensor, _: int) -> float:
    both = counts.diagonal()
    return float((both / (counts.sum(0) + counts.sum(1) - both).clamp(min=1)).mean())


class Backbone(nn.Module):
    """Five convolutions, to an eighth of the size."""

    def __init__(self, out_channels: int = 48) -> None:
        super().__init__()
        self.out_channels = out_channels
        widths, strides = (3, 16, 32, 48, 48, out_channels), (2, 2, 1, 2, 1)
        layers = [
            nn.Sequential(nn.Conv2d(a, b, 3, s, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b, s in zip(widths, widths[1:], strides, strict=False)
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def detection(seed: int = 0) -> Case:
    """torchvision's Faster R-CNN, of which the backbone is pruned: the rest draws and sorts boxes."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    net = FasterRCNN(
        backbone := Backbone(),
        rpn_anchor_generator=AnchorGenerator(((16, 24, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 5, 2),
        box_head=TwoMLPHead(backbone.out_channels * 25, 64),
        box_predictor=FastRCNNPredictor(64, 3),
        **{"min_size": 64, "max_size": 64, "box_batch_size_per_image": 32},
        **{f"rpn_{place}_nms_top_n_{mode}": 40 for place in ("pre", "post") for mode in ("train", "test")},
    )
    task = Task(
        inputs=lambda batch: (batch[0], batch[1]),
        loss=lambda outputs, _: sum(outputs.values()),
        metrics={"f1": Metric(_hits, lambda sums, _: 2 * float(sums[0] / (sums[1] + sums[2])))},
        name="detection",
        loss_in_train_mode=True,
    )
    train = DataLoader(Shapes(160, 64, seed), 8, shuffle=True, collate_fn=_listed)
    validation = DataLoader(Shapes(32, 64, seed + 1), 8, collate_fn=_listed)
    images = replace(task, inputs=lambda batch: torch.stack(batch[0]))
    return Case(
        *("detection", net, torch.rand(2, 3, 64, 64), train, validation, task, 1e-3, 6, 3),
        optimizer="adamw",
        repair="batchnorm",
        part="backbone",
        part_task=images,
    )


def _listed(samples: list[Any]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    return [image for image, *_ in samples], [target for *_, target in samples]


def _hits(outputs: Any, batch: Any) -> Tensor:
    """Return the counts of shapes that are found, of all shapes, and of all detections."""
    from torchvision.ops import box_iou

    counts = torch.zeros(3, dtype=torch.float64)
    for found, target in zip(outputs, batch[1], strict=True):
        sure = found["scores"] > 0.5
        same = found["labels"][sure, None] == target["labels"]
        near = box_iou(found["boxes"][sure], target["boxes"]) > 0.5
        hits = (same & near).any(0).sum()
        counts += torch.stack([hits, torch.tensor(len(target["labels"])), sure.sum()])
    return counts


def drawn_text(sentences: int, length: int, seed: int) -> Tensor:
    """Return sentences [n, length] over 24 words, of a chain in which two words decide the next."""
    g = torch.Generator().manual_seed(7)
    likely = torch.rand(24, 24, 24, generator=g).pow(12)
    own = torch.Generator().manual_seed(seed)
    text = torch.randint(24, (sentences, 2), generator=own)
    for _ in range(length - 2):
        following = torch.multinomial(likely[text[:, -2], text[:, -1]], 1, generator=own)
        text = torch.cat([text, following], 1)
    return text


class Text(Dataset):
    """Sentences as transformers' models take them."""

    def __init__(self, sentences: int, seed: int) -> None:
        self.words = drawn_text(sentences, 24, seed)

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return {"input_ids": self.words[place]}


def language(seed: int = 0) -> Case:
    """A causal language model of transformers, trained by AdamW."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **{"vocab_size": 24, "hidden_size": 48, "intermediate_size": 128, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "max_position_embeddings": 24, "bos_token_id": 0, "eos_token_id": 0},
        **{"tie_word_embeddings": False, "use_cache": False},
    )
    words = Text(1000, seed), Text(200, seed + 1)
    task = Task(
        inputs=dict,
        loss=_next_word,
        metrics={
            "perplexity": Metric(
                _surprise, lambda sums, _: math.exp(sums[0] / sums[1]), higher_is_better=False
            )
        },
        name="language",
    )
    example = {"input_ids": words[0].words[:2]}
    return Case(
        "language", LlamaForCausalLM(config), example, *words, task, 3e-3, 7, 4, "adamw", more={"batch": 40}
    )


def _next_word(outputs: Any, batch: Any, reduction: str = "mean") -> Tensor:
    logits, words = outputs.logits[:, :-1], batch["input_ids"][:, 1:]
    return cross_entropy(logits.flatten(0, 1), words.flatten(), reduction=reduction)


def _surprise(outputs: Any, batch: Any) -> Tensor:
    count = torch.tensor(float(batch["input_ids"][:, 1:].numel()), dtype=torch.float64)
    return torch.stack([_next_word(outputs, batch, "sum").double(), count])


CASES: dict[str, Callable[[int], Case]] = {
    f.__name__: f for f in (classification, regression, segmentation, detection, language)
}


def main(seeds: int, names: Sequence[str] = ()) -> None:
    torch.set_num_threads(1)
    print(
        f"{'task':16}{'seed':>5}{'metric':>12}{'dense':>10}{'pruned':>10}{'repaired':>10}{'retrained':>11}{'s':>6}"
    )
    for name, make in CASES.items():
        if names and name not in names:
            continue
        for seed in range(seeds):
            torch.manual_seed(seed)
            case, began = make(seed), time.process_time()
            row = run(case, seed)
            numbers = "".join(
                f"{value:{width}.3f}" for value, width in zip(row.values(), (10, 10, 10, 11), strict=True)
            )
            print(
                f"{name:16}{seed:5}{case.task.judged_by[0]:>12}{numbers}{time.process_time() - began:6.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1, sys.argv[2:])
