"""What every network of the table promises: ratio 0 is the identity, and the shrunk one is the masked one."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

import isoprune
from isoprune.methods.criteria import l1_norm
from isoprune.models import MODELS, build
from isoprune.pruning import make_plan, shrink
from isoprune.signals import Signals
from pruning.oracle import difference, zeroed_reads

SMALL = {
    "mlp_7": ({"activation": "relu"}, (1, 8, 8)),
    "lenet_5": ({"activation": "relu"}, (1, 32, 32)),
    "resnet_small": ({"blocks": 2, "stem": 8}, (3, 16, 16)),
    "resnet56": ({"blocks": 2, "stem": 8}, (3, 16, 16)),
    "vgg_small": ({"widths": (8, 8, 0, 16)}, (3, 16, 16)),
    "vgg19": ({}, (3, 16, 16)),
    "resnet34": ({}, (3, 32, 32)),
    "resnet50": ({}, (3, 32, 32)),
}


def test_every_model_is_here():
    assert SMALL.keys() == MODELS.keys()


# ResNets of ImageNet take a second each.
LARGE = {"resnet34", "resnet50"}


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=pytest.mark.matrix) if n in LARGE else n for n in SMALL]
)
def network(request):
    """A network whose BatchNorms are not what they start as: shifts and scales of their own."""
    options, in_shape = SMALL[request.param]
    generator = Generator().manual_seed(0)
    model = build(request.param, in_shape, 5, generator=generator, **options).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.weight, 0.5), (module.running_var, 0.5)):
                nn.init.uniform_(tensor.detach(), low, 1.5, generator=generator)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor.detach(), std=0.3, generator=generator)
    x = torch.randn(2, *in_shape, dtype=torch.float64, generator=generator)
    return model, x, isoprune.trace(model, x)


def test_ratio_zero_is_the_identity(network):
    model, x, graph = network
    plan = make_plan(graph, l1_norm(Signals(model), graph.groups, generator=Generator()), ratio=0.0)
    assert not any(plan.removed.values())
    small = shrink(model, graph, plan)
    assert type(small) is type(model)
    assert torch.equal(small(x), model(x))


@pytest.mark.parametrize("scope", ["all", "internal"])
def test_the_shrunk_network_is_the_masked_one(network, scope):
    model, x, graph = network
    scores = l1_norm(Signals(model), graph.groups, generator=Generator())
    plan = make_plan(graph, scores, ratio=0.6, scope=scope)
    assert sum(map(len, plan.removed.values())) > 0
    assert difference(zeroed_reads(model, graph, plan), shrink(model, graph, plan), x) < 1e-10


@pytest.fixture(scope="module")
def padded():
    model = build("resnet56", (3, 16, 16), 5, generator=Generator().manual_seed(0), blocks=2, stem=8)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=Generator().manual_seed(1))
    return model.double().eval(), x


def test_the_zeros_of_a_padded_shortcut_stay_and_the_stream_between_them_goes_through_all_stages(padded):
    """Channel c of the first stage is channel c + 4 of the second and c + 12 of the third."""
    model, x = padded
    graph = isoprune.trace(model, x)
    (stream,) = (g for g in graph.groups if any(m.tensor == "conv.weight" for m in g.members))
    assert stream.size == 8
    where = {m.tensor: m.channels.flatten().tolist() for m in stream.members if m.role == "out"}
    assert where["conv.weight"] == list(range(8))
    assert where["stages.1.0.conv2.weight"] == [*[-1] * 4, *range(8), *[-1] * 4]
    assert where["stages.2.1.conv2.weight"] == [*[-1] * 12, *range(8), *[-1] * 12]
    frozen = {(f.tensor, f.channels) for f in graph.frozen}
    assert ("stages.1.0.conv2.weight", 8) in frozen


def test_one_channel_less_in_the_stream_leaves_each_stage_one_narrower(padded):
    model, x = padded
    graph = isoprune.trace(model, x)
    (stream,) = (g for g in graph.groups if any(m.tensor == "conv.weight" for m in g.members))
    plan = graph.removing({stream.name: (2, 5)})
    small = shrink(model, graph, plan)
    assert [stage[-1].conv2.out_channels for stage in small.stages] == [6, 14, 30]
    assert difference(zeroed_reads(model, graph, plan), small, x) < 1e-10
