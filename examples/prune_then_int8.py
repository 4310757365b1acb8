"""Prune, then quantise: the ONNX file of the pruned network goes through onnxruntime's static quantisation.

    python examples/prune_then_int8.py         pip install 'isoprune[export]'

Bytes multiply. Times depend on the machine's int8 kernels: benchmarks/int8.py takes them.
"""

import tempfile
from pathlib import Path

import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quant_pre_process, quantize_static

import isoprune


class Images(CalibrationDataReader):
    """Training images, under the name of the network's input."""

    def __init__(self, images: torch.Tensor, name: str) -> None:
        self.batches = iter([{name: part.numpy()} for part in images.split(64)])

    def get_next(self):
        return next(self.batches, None)


def main(epochs: int = 4) -> dict[str, tuple[float, int]]:
    splits = isoprune.data.load("digits", seed=0, size=16)
    generator = torch.Generator().manual_seed(0)
    start = isoprune.models.resnet_small(splits.in_shape, splits.classes, generator=generator)
    how = {"lr": 0.05, "epochs": epochs, "schedule": "one_cycle", "batch": 32}
    dense = isoprune.retrain(start, splits, **how)
    [(images, _)] = splits.train.batches([torch.arange(128)])
    small = isoprune.retrain(isoprune.prune(dense.model, images[:2], 0.5), splits, **how)

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, network in {"dense": dense, "pruned": small}.items():
            plain, ready, int8 = (
                Path(folder) / f"{name}.{kind}.onnx" for kind in ("float32", "ready", "int8")
            )
            isoprune.export_onnx(network, plain, images[:2])
            entry = session(plain).get_inputs()[0].name
            quant_pre_process(str(plain), str(ready))
            kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
            quantize_static(str(ready), str(int8), Images(images, entry), per_channel=True, **kinds)
            for kind, file in {"float32": plain, "int8": int8}.items():
                found[f"{name}, {kind}"] = (accuracy(session(file), splits.test), file.stat().st_size)
    for name, (right, size) in found.items():
        print(f"{name:16} {right:6.1%} of the test images  {size:9,} bytes")
    return found


def session(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def accuracy(run: onnxruntime.InferenceSession, test) -> float:
    [(inputs, targets)] = test.batches([torch.arange(len(test))])
    outputs = run.run(None, {run.get_inputs()[0].name: inputs.numpy()})[0]
    return float((outputs.argmax(1) == targets.numpy()).mean())


if __name__ == "__main__":
    main()
