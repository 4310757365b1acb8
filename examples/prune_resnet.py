"""Halve the filters of torchvision's ResNet-18, prove it, save it, load it, and export it to ONNX.

    python examples/prune_resnet.py            writes to small/

No pickle is written or read: the directory holds safetensors and JSON, and loads into torchvision's class.
"""

import sys
from pathlib import Path

import torch
import torchvision

import isoprune
from isoprune.export import export_onnx, load, save


def make_model() -> torch.nn.Module:
    return torchvision.models.resnet18(weights=None)  # or your own, with the weights that you trained


def main(directory: Path, size: int = 224) -> None:
    dense = make_model().eval()
    images = torch.randn(2, 3, size, size)

    result = isoprune.prune(dense, images, ratio=0.5, round_to=8)
    print(f"filters removed: {result.costs.ratios['filters']:.0%}, FLOPs: {result.costs.ratios['flops']:.0%}")
    error = result.proof.max_abs_error
    print(f"largest difference from the dense network with those filters zeroed: {error:.1e}")
    for frozen in result.graph.frozen:
        print(f"left alone: {frozen.tensor}, {frozen.channels} channels: {frozen.reason}")

    save(result, directory, dense=dense)
    small = load(directory, build=make_model)
    with torch.no_grad():
        assert torch.equal(small(images), result.model(images))
    print(f"saved and loaded with equal bits: {directory}")

    done = export_onnx(small, directory / "model.onnx", images)
    print(f"onnxruntime differs from torch by {done['max_abs_error']:.1e}: {done['path']}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "small"))
