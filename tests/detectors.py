"""Small detectors of torchvision, whose scores differ from each other as after training."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD


def backbone() -> nn.Sequential:
    widths = [(3, 8, 2), (8, 16, 2), (16, 32, 2)]
    made = nn.Sequential(
        *(nn.Sequential(nn.Conv2d(a, b, 3, s, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b, s in widths)
    )
    made.out_channels = 32
    return made


def fcos() -> nn.Module:
    torch.manual_seed(0)
    anchors = AnchorGenerator(((8,),), ((1.0,),))
    options = {"min_size": 64, "max_size": 64, "score_thresh": 0.01, "topk_candidates": 20}
    return uneven(FCOS(backbone(), 3, anchor_generator=anchors, **options))


def retinanet() -> nn.Module:
    torch.manual_seed(0)
    anchors = AnchorGenerator(((8, 16),), ((0.5, 1.0),))
    options = {"min_size": 64, "max_size": 64, "score_thresh": 0.01, "topk_candidates": 20}
    return uneven(RetinaNet(backbone(), 3, anchor_generator=anchors, **options))


def ssd() -> nn.Module:
    torch.manual_seed(0)
    options = {"score_thresh": 0.01, "topk_candidates": 20}
    features = backbone()
    features.out_channels = [32]  # one a map: of others it has a number
    return uneven(SSD(features, DefaultBoxGenerator([[2]]), (64, 64), 3, **options))


def faster_rcnn() -> nn.Module:
    return of_regions(FasterRCNN)


def mask_rcnn() -> nn.Module:
    return of_regions(MaskRCNN, mask_roi_pool=pool(14))


def keypoint_rcnn() -> nn.Module:
    return of_regions(KeypointRCNN, keypoint_roi_pool=pool(14))


def of_regions(kind: type[FasterRCNN], **pools: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    options = {"min_size": 64, "max_size": 64, "box_score_thresh": 0.01, "rpn_post_nms_top_n_test": 20}
    anchors = AnchorGenerator(((8, 16, 32),), ((1.0,),))
    return uneven(kind(backbone(), 3, rpn_anchor_generator=anchors, box_roi_pool=pool(7), **pools, **options))


def pool(size: int) -> nn.Module:
    return torchvision.ops.MultiScaleRoIAlign(["0"], size, 2)


def uneven(model: nn.Module) -> nn.Module:
    """Return a network with weights of the size that training gives them: the heads' are drawn near zero."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1 and not name.startswith("backbone"):
                p.copy_(torch.randn_like(p) * (1.5 / p[0].numel()) ** 0.5)
    return model


def scenes(number: int, first: int = 0) -> list[Tensor]:
    """Return images of 64 pixels."""
    draw = torch.Generator().manual_seed(first)
    return [torch.rand(3, 64, 64, generator=draw) for _ in range(number)]


def with_targets(number: int, first: int = 0) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return images and the box of each."""
    box = torch.tensor([[8.0, 8.0, 40.0, 40.0]])
    return scenes(number, first), [{"boxes": box, "labels": torch.ones(1, dtype=torch.long)}] * number
