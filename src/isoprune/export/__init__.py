"""Keep and ship: save and load, ONNX, latency; and networks by name."""

from isoprune.export.checkpoint import load as load
from isoprune.export.checkpoint import save as save
from isoprune.export.latency import LatencyReport as LatencyReport
from isoprune.export.latency import Timing as Timing
from isoprune.export.latency import latency as latency
from isoprune.export.model_card import model_card as model_card
from isoprune.export.onnx import export_onnx as export_onnx
from isoprune.export.pretrained import follow_config as follow_config
from isoprune.export.sources import Source as Source
from isoprune.export.sources import check_source as check_source
from isoprune.export.sources import open_source as open_source
from isoprune.export.target import prune_in_time as prune_in_time
from isoprune.export.target import prune_to_latency as prune_to_latency
from isoprune.export.target import share_of_time as share_of_time
