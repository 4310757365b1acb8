"""Keep and ship: save and load, ONNX, latency; and networks by name."""

from isoprune.export.checkpoint import load, save
from isoprune.export.latency import LatencyReport, Timing, latency
from isoprune.export.model_card import model_card
from isoprune.export.onnx import export_onnx
from isoprune.export.pretrained import follow_config
from isoprune.export.sources import Source, check_source, open_source
from isoprune.export.target import prune_in_time, prune_to_latency, share_of_time

__all__ = [
    "LatencyReport",
    "Source",
    "Timing",
    "check_source",
    "export_onnx",
    "follow_config",
    "latency",
    "load",
    "model_card",
    "open_source",
    "prune_in_time",
    "prune_to_latency",
    "save",
    "share_of_time",
]
