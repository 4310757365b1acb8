"""One table of operations: of every row the family, the rule of its channels, and its algebra.

A new operation is a name in the row of those that act as it does, or a row of its own; a rule, a function of
the tracer and a call that returns the planes of each output, is only written where its algebra is new. An
operation in no row is pointwise if ATen says so; else it freezes what it touches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from isoprune.graph import shape_inference as infer
from isoprune.graph.aten import operation_name
from isoprune.graph.labels import Planes
from isoprune.graph.rules import contraction, convolution, norm, picking, pointwise, reduction, shape, spatial

if TYPE_CHECKING:
    from isoprune.graph.call import Call
    from isoprune.graph.tracer import Tracer

Family = Literal["contraction", "norm", "reduction", "spatial", "shape", "pointwise", "constant", "unknown"]
Sizes = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Operation:
    """What is known of one ATen operation.

    Attributes:
        name: ATen's, without the overload.
        family: What it does to channels.
        rule: (tracer, call) -> the planes of each output.
        factors: Of a contraction, the positions of its two factors among the tensors that come in;
            empty if it sums over no channels.
        bias: The position of what is added to the product.
        multiply_adds: (sizes in, size out, whether transposed) -> how many.
        over: Of what takes a statistic, (arguments, dimensions of the input) -> those it runs over.
        resized: (arguments) -> the arguments with sizes that are those of the tensors among them.
        zeroing: Of what takes a statistic, whether zeroing channels is the same as removing them.
        scaling: How its result is scaled with its input: "sum" with all operands at once, "factor" or "pass"
            with the first.
        per_channel: Whether a parameter [C] stands for [1, C, 1, ...].
        outputs: How many outputs are read; the further ones are statistics.
        integers: Whether a buffer of integers has one for each channel.
        shape: (arguments) -> outputs of the right size, or None: then torch is asked, which takes longer.
        in_place: Of what changes sizes in place.
        layout: Whether it runs or not depends on memory alone.
        host: Whether it reads sizes from memory, and so is run, on zeros.
        runs_as: The operation that runs in its place with another layout.
    """

    name: str
    family: Family
    rule: Callable[[Tracer, Call], list[Planes]]
    factors: tuple[int, ...] = ()
    bias: int | None = None
    multiply_adds: Callable[[Sizes, Sequence[int], bool], int] | None = None
    over: Callable[[Sequence[Any], dict[str, Any], int], set[int]] | None = None
    resized: Callable[[list[Any]], list[Any]] = list
    zeroing: bool = False
    scaling: Literal["sum", "factor", "pass"] | None = None
    per_channel: bool = False
    outputs: int | None = None
    integers: bool = False
    shape: Callable[[Sequence[Any]], Any] | None = None
    in_place: bool = False
    layout: bool = False
    host: bool = False
    runs_as: str = ""

    @property
    def reads(self) -> bool:
        """Whether its result depends on all channels of what comes in, not on one by one."""
        return self.family in ("contraction", "norm", "reduction")


def operation_of(func: Any) -> Operation:
    """Return the row of an ATen operation."""
    return _row_of(operation_name(func), torch.Tag.pointwise in func.tags)


@cache
def _row_of(name: str, tagged_pointwise: bool) -> Operation:
    if name in OPERATIONS:
        return OPERATIONS[name]
    if tagged_pointwise:
        return Operation(name, "pointwise", pointwise.pointwise)
    return Operation(name, "unknown", unknown)


def unknown(tracer: Tracer, call: Call) -> list[Planes]:
    """Freeze the channels that touch an operation without a rule: never guess."""
    for tensor in call.tensors:
        tracer.ledger.freeze(tracer.planes(tensor), f"{call.where} has no rule")
    return [() for _ in call.outs]


def _of_a_product(first: int, sizes: Sizes, out: Sequence[int], _: bool) -> int:
    return math.prod(out) * sizes[first][-1]


def _of_a_convolution(sizes: Sizes, out: Sequence[int], transposed: bool) -> int:
    # Every element of the output, or transposed of the input, meets a filter.
    return math.prod(sizes[0] if transposed else out) * math.prod(sizes[1][1:])


def _of_a_bilinear_form(sizes: Sizes, out: Sequence[int], _: bool) -> int:
    return math.prod(out) * math.prod(sizes[1][-2:])


def _last(args: Sequence[Any], _: dict[str, Any], dims: int) -> set[int]:
    return set(range(dims - len(args[1]), dims))


def _of_the_batch(args: Sequence[Any], _: dict[str, Any], dims: int) -> set[int]:
    """In train mode (weight standardisation), all but the channels."""
    return set(range(dims)) - {1} if len(args) > 5 and args[5] is True else set()


def _all_but_the_filter(args: Sequence[Any], _: dict[str, Any], dims: int) -> set[int]:
    return set(range(dims)) - {args[2] if len(args) > 2 else 0}


def _normalized(args: list[Any]) -> list[Any]:
    return [args[0], list(args[0].shape[-len(args[1]) :]), *args[2:]]


def _grouped(args: list[Any]) -> list[Any]:
    x = args[0]
    return [*args[:3], x.size(0), x.size(1), x[0, 0].numel(), *args[6:]]


def _of_the_group(args: Sequence[Any], *_: Any) -> set[int]:
    """No channels where each is a group of its own."""
    return set() if args[4] == args[6] else {1}


def _row(names: str, family: Family, rule: Any, **algebra: Any) -> dict[str, Operation]:
    return {name: Operation(name, family, rule, **algebra) for name in names.split()}


_contraction = partial(_row, family="contraction")
_product = partial(_contraction, factors=(0, 1), multiply_adds=partial(_of_a_product, 0))
_sum_product = partial(_contraction, factors=(1, 2), bias=0, multiply_adds=partial(_of_a_product, 1))
_norm = partial(_row, family="norm", outputs=1)
_batch_norm = partial(_norm, rule=norm.batch_norm, over=_of_the_batch, per_channel=True)
_reduction = partial(_row, family="reduction", rule=reduction.reduction)
_softmax = partial(_reduction, rule=reduction.softmax)
_ordered = partial(_reduction, rule=reduction.ordered)
_spatial = partial(_row, family="spatial", rule=spatial.spatial)
_shape = partial(_row, family="shape", rule=shape.move, scaling="pass")
_cut = partial(_shape, rule=shape.cut)
_pointwise = partial(_row, family="pointwise", rule=pointwise.pointwise)
_accumulated = partial(_pointwise, rule=pointwise.accumulated, scaling="sum")
_activation = partial(_pointwise, shape=infer.like_first)

_at_1, _at_2 = (partial(reduction.over, at) for at in (1, 2))

OPERATIONS: dict[str, Operation] = {
    # Contractions: labels along the summed dimension meet, the others go on.
    **_product("mm bmm matmul", rule=contraction.matrix),
    **_product("mv dot vdot", rule=contraction.vector),
    **_product("linear", rule=contraction.linear, bias=2),
    **_sum_product("addmm baddbmm _sparse_addmm", rule=contraction.matrix_plus),
    **_contraction(
        "convolution", rule=convolution.convolution, factors=(0, 1), bias=2,
        multiply_adds=_of_a_convolution, shape=infer.convolved,
    ),
    **_contraction(
        "deform_conv2d", rule=convolution.deformed_convolution, factors=(0, 1), bias=4,
        multiply_adds=_of_a_convolution,
    ),
    **_contraction(
        "_trilinear", rule=contraction.bilinear, factors=(1, 0), multiply_adds=_of_a_bilinear_form,
    ),
    **_contraction("embedding", rule=contraction.embedding),
    # Normalisations: labels pass, parameters join them, the statistic loses what is cut.
    **_batch_norm("native_batch_norm", shape=partial(infer.batch_normalized, 5)),
    **_batch_norm("_native_batch_norm_legit_no_training", shape=partial(infer.batch_normalized, None)),
    **_batch_norm("_native_batch_norm_legit _batch_norm_with_update _batch_norm_no_update cudnn_batch_norm"),
    **_norm(
        "native_layer_norm", rule=norm.layer_norm, over=_last, resized=_normalized,
        shape=infer.layer_normalized,
    ),
    **_norm("_fused_rms_norm", rule=norm.layer_norm, over=_last, resized=_normalized),
    **_norm("_weight_norm_interface", rule=norm.weight_norm, over=_all_but_the_filter),
    **_norm(
        "native_group_norm", rule=norm.group_norm, over=_of_the_group, resized=_grouped, per_channel=True
    ),
    # Quantisation in training: rounded element by element, by steps of the tensor or of its channels.
    **_pointwise(
        "fake_quantize_per_tensor_affine fake_quantize_per_tensor_affine_cachemask "
        "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams "
        "_fake_quantize_learnable_per_tensor_affine fake_quantize_per_channel_affine "
        "fake_quantize_per_channel_affine_cachemask _fake_quantize_learnable_per_channel_affine",
        rule=partial(norm.fake_quantized, axis=3), integers=True,
    ),
    **_pointwise(
        "_fused_moving_avg_obs_fq_helper fused_moving_avg_obs_fake_quant",
        rule=norm.observed, integers=True,
    ),
    # Reductions and softmax: what they run over may be channels.
    **_reduction("mean", over=_at_1, scaling="pass", shape=infer.averaged),
    **_reduction("sum", over=_at_1, scaling="pass", zeroing=True),
    **_reduction("amax amin", over=_at_1, scaling="pass"),
    **_reduction("norm linalg_vector_norm", over=_at_2, zeroing=True),
    **_reduction("var std var_mean std_mean logsumexp aminmax", over=_at_1),
    **_reduction("any all _is_all_true _is_any_true", over=_at_1),
    **_softmax("_softmax _safe_softmax _log_softmax softmax log_softmax", over=_at_1),
    **_reduction("max min median nanmedian", rule=reduction.extreme, over=_at_1),
    **_ordered("cumsum cumprod cummax cummin logcumsumexp sort argmax argmin prod mode", over=_at_1),
    **_ordered("topk kthvalue", over=_at_2),
    # Pooling, resampling, folding: channels pass, positions are mixed.
    **_spatial("max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d", scaling="pass"),
    **_spatial("upsample_bilinear2d upsample_nearest2d", scaling="pass"),
    **_spatial("max_pool3d_with_indices max_pool1d max_pool2d mkldnn_max_pool2d avg_pool1d avg_pool3d"),
    **_spatial("adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool3d"),
    **_spatial("adaptive_max_pool2d adaptive_max_pool3d"),
    **_spatial("upsample_nearest1d upsample_nearest3d _upsample_nearest_exact2d upsample_linear1d"),
    **_spatial("_upsample_bilinear2d_aa upsample_bicubic2d _upsample_bicubic2d_aa upsample_trilinear3d"),
    **_spatial("reflection_pad1d reflection_pad2d reflection_pad3d"),
    **_spatial("replication_pad1d replication_pad2d replication_pad3d"),
    **_spatial("grid_sampler_2d grid_sampler_3d roi_align roi_pool", rule=spatial.sampled),
    **_spatial("_fft_r2c _fft_c2r _fft_c2c", rule=spatial.transformed),
    **_spatial("affine_grid_generator ps_roi_align ps_roi_pool", rule=spatial.by_place),
    **_spatial("im2col", rule=spatial.unfold),
    **_spatial("col2im", rule=spatial.fold),
    # Moves: the same operation runs on the labels.
    **_shape("unfold permute transpose t expand squeeze unsqueeze flip rot90 repeat movedim tile expand_as"),
    **_shape("swapaxes swapdims broadcast_to pixel_shuffle pixel_unshuffle numpy_T mT adjoint select unbind"),
    **_shape("transpose_ t_ squeeze_ unsqueeze_ swapaxes_ swapdims_", in_place=True),
    **_cut("split split_with_sizes chunk unsafe_split unsafe_split_with_sizes unsafe_chunk"),
    **_cut("slice narrow tensor_split"),
    **_shape("index index_select gather take_along_dim _unsafe_index", rule=picking.index),
    **_shape("view reshape flatten unflatten view_as", rule=shape.view),
    **_shape("_unsafe_view _reshape_alias", rule=shape.view, runs_as="view"),
    **_shape("_pack_padded_sequence", rule=picking.pack, scaling="pass", host=True),
    **_shape("cat", rule=shape.cat, scaling="sum"),
    **_shape("stack", rule=shape.stack, scaling="sum"),
    **_shape("channel_shuffle native_channel_shuffle", rule=shape.shuffled),
    **_shape("glu", rule=shape.glu),
    **_shape("constant_pad_nd", rule=shape.pad),
    **_shape("as_strided_", rule=shape.restride, layout=True),
    **_shape("view_as_real", rule=shape.as_real),
    **_shape("view_as_complex", rule=shape.as_complex),
    **_shape("roll", rule=shape.roll),
    # Pointwise: what meets is one channel. Only those that ATen does not tag so, or that more is known of.
    **_pointwise("add sub", scaling="sum", shape=infer.broadcast),
    **_pointwise("add_ sub_ where masked_fill masked_fill_", scaling="sum"),
    **_pointwise("mul div", scaling="factor", shape=infer.broadcast),
    **_pointwise("mul_ div_", scaling="factor"),
    **_pointwise("clone alias detach contiguous", scaling="pass", layout=True),
    **_pointwise("_to_copy relu_", scaling="pass"),
    **_activation("relu leaky_relu neg", scaling="pass"),
    **_activation("silu gelu mish elu hardswish hardsigmoid hardtanh sigmoid tanh"),
    **_pointwise("_conj _neg_view resolve_conj resolve_neg conj_physical", scaling="pass", layout=True),
    **_pointwise("detach_ lift_fresh dropout native_dropout alpha_dropout bernoulli bernoulli_ tril triu"),
    **_pointwise("normal normal_ uniform_ exponential_ cauchy_ log_normal_ geometric_ random_"),
    **_pointwise("fill fill_ zero_ zeros_like ones_like full_like empty_like rand_like randn_like"),
    **_pointwise("silu_ gelu_ mish_ elu_ leaky_relu_ hardtanh_ hardswish_ hardsigmoid_ threshold_ clamp_"),
    **_pointwise("log_sigmoid_forward prelu _prelu_kernel rrelu_with_noise nan_to_num complex polar"),
    **_accumulated("index_add index_add_ index_copy index_copy_ index_fill index_fill_ index_reduce"),
    **_accumulated("scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ index_reduce_"),
    **_pointwise("index_put index_put_ _index_put_impl_ _unsafe_index_put", rule=picking.put),
    **_pointwise("copy_", rule=pointwise.copy_into, scaling="sum"),
    # They take an activation only for its size, type or device: their values are constants, made for real.
    **_row("new_zeros new_ones new_full new_empty new_empty_strided sym_size", "constant", unknown),
}  # fmt: skip
