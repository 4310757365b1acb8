"""Networks in files that are smaller than their numbers: weights shared, coded, and read back."""

from isoprune.methods.codecs.clusters import cluster
from isoprune.methods.codecs.deep_compression import Compressed, coded_bytes, compress, decompress

__all__ = ["Compressed", "cluster", "coded_bytes", "compress", "decompress"]
