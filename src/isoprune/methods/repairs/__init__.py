"""Network -> network before retraining, one method a file."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from isoprune.methods.repairs.approximate_isometry import approximate_isometry
from isoprune.methods.repairs.asr import asr
from isoprune.methods.repairs.auto import auto
from isoprune.methods.repairs.balance import balance
from isoprune.methods.repairs.batchnorm import batchnorm
from isoprune.methods.repairs.chain import chain
from isoprune.methods.repairs.data_dependent import data_dependent
from isoprune.methods.repairs.delta_orthogonal import delta_orthogonal
from isoprune.methods.repairs.exact_orthogonal_sparse import exact_orthogonal_sparse
from isoprune.methods.repairs.folding import folding
from isoprune.methods.repairs.grail import grail
from isoprune.methods.repairs.intra_fusion import intra_fusion
from isoprune.methods.repairs.lbyl import lbyl
from isoprune.methods.repairs.lsuv import lsuv
from isoprune.methods.repairs.merging import merging
from isoprune.methods.repairs.none import none
from isoprune.methods.repairs.orthogonal_conv import orthogonal_conv
from isoprune.methods.repairs.orthp import orthp
from isoprune.methods.repairs.polar import polar
from isoprune.methods.repairs.polish import polish
from isoprune.methods.repairs.reconstruct import reconstruct, refit
from isoprune.methods.repairs.rescale import rescale
from isoprune.methods.repairs.scratch import scratch
from isoprune.methods.repairs.spectrum import spectrum
from isoprune.methods.repairs.two_stage import two_stage
from isoprune.types.methods import Repaired

REPAIRS: dict[str, Callable[..., nn.Module | Repaired]] = {
    f.__name__: f
    for f in (
        none, orthp, polar, spectrum, rescale, lsuv, data_dependent, delta_orthogonal, orthogonal_conv,
        approximate_isometry, exact_orthogonal_sparse,
        merging, lbyl, folding, grail, intra_fusion, asr, two_stage,
        reconstruct, refit, balance, batchnorm, polish, auto, chain, scratch,
    )
}  # fmt: skip
