"""predict.py: ten lines beside an ONNX file that classify images; the preprocessing is in the file."""

from __future__ import annotations

import json
from dataclasses import asdict

from isoprune.types import Splits

KEY = "isoprune"  # of the ONNX file's metadata

PROGRAM = '''\
"""Say what images show: python predict.py IMAGE ... It needs numpy, pillow and onnxruntime."""
import json, sys
from pathlib import Path
import numpy as np, onnxruntime
from PIL import Image

network = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"))
about = json.loads(network.get_modelmeta().custom_metadata_map["isoprune"])
size, how = about["in_shape"][-1], about["preprocessing"]
for name in sys.argv[1:]:
    image = Image.open(name).convert("RGB" if len(how["mean"]) == 3 else "L")
    shorter = min(image.size)  # is brought to "resize" pixels, and the middle is cut out
    sides = [max(int(how["resize"] * side / shorter), size) for side in image.size]
    left, top = (round((side - size) / 2) for side in sides)
    image = image.resize(sides, Image.Resampling[how["interpolation"].upper()])
    image = image.crop((left, top, left + size, top + size))
    pixels = np.asarray(image, "float32").reshape(size, size, -1) / 255
    batch = ((pixels - how["mean"]) / how["std"]).transpose(2, 0, 1)[None].astype("float32")
    [scores] = network.run(None, {network.get_inputs()[0].name: batch})[0]
    print(name, about["classes"][scores.argmax()])
'''


def about(splits: Splits) -> dict[str, str]:
    """Return the metadata of an ONNX file: the shape of an input, classes, how images become inputs."""
    how = None if splits.preprocessing is None else asdict(splits.preprocessing)
    facts = {"in_shape": list(splits.in_shape), "classes": list(splits.names), "preprocessing": how}
    return {KEY: json.dumps(facts)}
