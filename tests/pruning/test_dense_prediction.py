"""torchvision's detection, segmentation and video models lose half of their channels, and are right."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from isoprune import prune
from pruning.oracle import zeroed_reads

DETECTION = [
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
]
SEGMENTATION = [
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "fcn_resnet50",
    "fcn_resnet101",
    "lraspp_mobilenet_v3_large",
]
VIDEO = [
    "r3d_18",
    "mc3_18",
    "r2plus1d_18",
    "s3d",
    "mvit_v1_b",
    "mvit_v2_s",
    "swin3d_t",
    "swin3d_s",
    "swin3d_b",
]
QUICK = {
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "ssdlite320_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
    "deeplabv3_mobilenet_v3_large",
    "r3d_18",
}


def detector(name: str) -> nn.Module:
    """Return a detector of 4 classes that keeps boxes of any score."""
    import torchvision

    options = {"min_size": 64, "max_size": 64} if not name.startswith("ssd") else {}
    threshold = {"box_score_thresh": 0.0} if "rcnn" in name else {"score_thresh": 0.0}
    classes = {"num_classes": 4} if not name.startswith("keypoint") else {}
    if "rcnn" in name:
        options |= {"rpn_post_nms_top_n_test": 8, "box_detections_per_img": 4}
    return torchvision.models.get_model(
        name, weights=None, weights_backbone=None, **options, **threshold, **classes
    )


def built(name: str) -> tuple[nn.Module, tuple]:
    """Return a network in eval mode, of which nothing is zero, and its example inputs."""
    import torchvision

    torch.manual_seed(0)
    if name in DETECTION:
        model, x = detector(name), ([torch.rand(3, 64, 64), torch.rand(3, 64, 64)],)
    elif name in SEGMENTATION:
        model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4)
        x = (torch.rand(2, 3, 64, 64),)
    else:
        model = torchvision.models.get_model(name, weights=None, num_classes=4)
        frames = 16 if name.startswith(("mvit", "s3d")) else 8
        size = 224 if name.startswith(("mvit", "s3d")) else 64
        x = (torch.rand(1, 3, frames, size, size),)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.05 * torch.rand_like(p))
    return model.eval(), x


def outputs(model: nn.Module, x: tuple) -> list[torch.Tensor]:
    with torch.no_grad():
        return tree_leaves(copy.deepcopy(model).double()(*copy.deepcopy(x)))


def head_outputs(model: nn.Module, x: tuple) -> list[torch.Tensor]:
    """Return what a detector says of every anchor: which of 300 boxes of equal scores stay is rounding."""
    network = copy.deepcopy(model).double()
    images = nn.functional.interpolate(torch.stack(x[0]), size=(320, 320))
    with torch.no_grad():
        return tree_leaves(network.head(list(network.backbone(images).values())))


def targets_for(name: str, images: list) -> list[dict]:
    target = {"boxes": torch.tensor([[4.0, 6.0, 40.0, 50.0]]), "labels": torch.tensor([1])}
    if name.startswith("mask"):
        target["masks"] = torch.ones(1, 64, 64, dtype=torch.uint8)
    if name.startswith("keypoint"):
        target["keypoints"] = torch.full((1, 17, 3), 20.0)
    return [dict(target) for _ in images]


def a_training_step(name: str, model: nn.Module, x: tuple) -> None:
    """Run forward and backward in train mode."""
    model.train()
    if name in DETECTION:
        losses = model(*x, targets_for(name, x[0])).values()
    else:
        losses = [t.square().mean() for t in tree_leaves(model(*x))]
    sum(losses).backward()
    assert sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.matrix if name in QUICK else pytest.mark.long)
        for name in (*DETECTION, *SEGMENTATION, *VIDEO)
    ],
)
def test_a_network_of_dense_prediction_loses_half_of_its_channels(name):
    model, x = built(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the networks' own code
        pruned = prune(model, x, ratio=0.5)
        assert pruned.costs.ratios["filters"] > 0.45
        other = copy.deepcopy(x)
        if name in DETECTION:
            other = ([image.flip(1).double() for image in x[0]],)
        else:
            other = (x[0].flip(-1).double(),)
        if name == "ssd300_vgg16":  # a norm runs over channels that go: zeroing readers is not enough
            assert pruned.proof.relative_error < 1e-9
        else:
            read = head_outputs if name.startswith("ssd") else outputs
            whole = zeroed_reads(model, pruned.graph, pruned.plan, makers=name == "mvit_v2_s")
            want, got = read(whole, other), read(pruned.model, other)
            assert sum(t.numel() for t in want) > 0
            for a, b in zip(got, want, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
        a_training_step(name, pruned.model, x)
