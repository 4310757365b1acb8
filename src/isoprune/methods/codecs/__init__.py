"""Networks in files that are smaller than their numbers: weights shared, coded, and read back."""

from collections.abc import Callable
from typing import Any

from isoprune.methods.codecs.clusters import cluster
from isoprune.methods.codecs.deep_compression import Compressed, coded_bytes, compress, decompress

CODECS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (cluster, compress)}

__all__ = ["CODECS", "Compressed", "cluster", "coded_bytes", "compress", "decompress"]
