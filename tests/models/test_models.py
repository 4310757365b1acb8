from __future__ import annotations

import inspect
from itertools import pairwise

import pytest
import torch
from torch import Generator, nn
from torch.nn.functional import relu

from isoprune.models import (
    MODELS,
    build,
    lenet_5,
    mlp_7,
    resnet34,
    resnet50,
    resnet56,
    resnet_small,
    vgg19,
    vgg_small,
)
from isoprune.types import IsopruneError

EVERY = [
    ("mlp_7", {"activation": "linear"}),
    ("mlp_7", {"activation": "relu", "width": 17, "depth": 3}),
    ("lenet_5", {"activation": "linear"}),
    ("lenet_5", {"activation": "relu"}),
    ("resnet_small", {"blocks": 1, "stem": 4}),
    ("resnet_small", {}),
    ("resnet56", {"blocks": 2}),
    ("vgg19", {}),
    ("resnet34", {}),
]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def inputs(n: int, in_shape, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(n, *in_shape, generator=seeded(1), dtype=dtype)


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_the_weights_are_torchs_own_for_that_seed(name, options):
    """Slow reference: torch's global generator at the same seed, through torch's own constructors."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        want = build(name, (2, 32, 32), 7, generator=None, **options)
    before = torch.get_rng_state()
    got = build(name, (2, 32, 32), 7, generator=seeded(5), **options)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(got.state_dict()) == list(want.state_dict())
    for key, tensor in want.state_dict().items():
        assert torch.equal(got.state_dict()[key], tensor), key
    assert all(p.requires_grad and p.is_leaf and p.device.type == "cpu" for p in got.parameters())


@pytest.mark.parametrize("in_shape", [(1, 32, 32), (3, 40, 33)])
@pytest.mark.parametrize(("name", "options"), EVERY)
def test_in_eval_mode_samples_do_not_see_each_other(name, options, in_shape):
    model = build(name, in_shape, 5, generator=seeded(), **options).double().eval()
    x = inputs(4, in_shape)
    together = model(x)
    assert together.shape == (4, 5)
    torch.testing.assert_close(together, torch.cat([model(one[None]) for one in x]))


def test_linear_mlp_is_the_product_of_its_matrices():
    model = mlp_7((1, 4, 5), 3, generator=seeded()).double()
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [m.weight.shape for m in layers] == [(100, 20), *[(100, 100)] * 5, (3, 100)]
    product = torch.eye(20, dtype=torch.float64)
    for layer in layers:
        product = layer.weight @ product
    x = inputs(6, (1, 4, 5))
    torch.testing.assert_close(model(x) - model(torch.zeros_like(x)), x.flatten(1) @ product.T)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_relu_mlp_matches_the_recursion(depth):
    model = mlp_7((6,), 4, activation="relu", width=9, depth=depth, generator=seeded()).double()
    x = inputs(5, (6,))
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert len(layers) == depth
    h = x
    for layer in layers[:-1]:
        h = relu(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(model(x), h @ layers[-1].weight.T + layers[-1].bias)


def test_lenet_has_the_published_number_of_parameters():
    # 6 (25 + 1) + 16 (6 25 + 1) + 120 (16 25 + 1) + 84 (120 + 1) + 10 (84 + 1)
    assert sum(p.numel() for p in lenet_5((1, 32, 32), 10).parameters()) == 61_706


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_lenet_without_biases_is_positively_homogeneous(activation):
    """max-pooling and ReLU keep positive factors; linear layers keep every factor."""
    model = lenet_5((1, 36, 33), 4, activation=activation, generator=seeded()).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.mul_(not name.endswith("bias"))
    x = inputs(3, (1, 36, 33))
    torch.testing.assert_close(model(2.5 * x), 2.5 * model(x))
    assert not torch.allclose(model(-x), -model(x))


def test_linear_lenet_is_nonlinear_in_its_pooling_only():
    model = lenet_5((1, 32, 32), 4, generator=seeded()).double()
    model.pool = nn.AvgPool2d(2)
    x, y = inputs(2, (2, 1, 32, 32))
    zero = model(torch.zeros_like(x))
    torch.testing.assert_close(model(x + y) - zero, (model(x) - zero) + (model(y) - zero))


def test_resnet_has_six_convolutions_a_block_and_projections_where_the_shape_changes():
    model = resnet_small((3, 32, 32), 10, stem=8, blocks=2)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert sum(m.kernel_size == (3, 3) for m in convolutions) == 6 * 2 + 1
    projections = [(m.in_channels, m.out_channels, m.stride) for m in convolutions if m.kernel_size == (1, 1)]
    assert projections == [(8, 16, (2, 2)), (16, 32, (2, 2))]


def test_resnet_blocks_whose_branch_is_silent_are_their_shortcuts():
    model = resnet_small((3, 16, 16), 10, stem=4, blocks=2, generator=seeded()).double().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "bn2" in name:
                p.zero_()
    x = inputs(2, (4, 16, 16))
    same, halved, _ = model.stages
    torch.testing.assert_close(same(x.abs()), x.abs())
    torch.testing.assert_close(halved(x), relu(halved[0].shortcut(x)))
    x = inputs(2, (3, 16, 16))
    stem = relu(model.bn(model.conv(x)))
    features = relu(model.stages[2][0].shortcut(relu(model.stages[1][0].shortcut(stem))))
    torch.testing.assert_close(model(x), model.fc(features.mean(dim=(2, 3))))


@pytest.mark.parametrize(("blocks", "layers"), [(3, 20), (5, 32), (9, 56), (18, 110)])
def test_cifar_resnets_have_the_published_layers_and_parameters(blocks, layers):
    """3 x 3 convolutions only: a shortcut of option A has no weight."""
    model = resnet56((3, 32, 32), 10, blocks=blocks)
    weights = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weights) == layers
    widths = [3, 16, *[16] * 2 * blocks, *[32] * 2 * blocks, *[64] * 2 * blocks]
    convolutions = sum(9 * a * b for a, b in pairwise(widths))
    norms = 2 * sum(widths[1:])
    assert sum(p.numel() for p in model.parameters()) == convolutions + norms + 64 * 10 + 10


def test_resnet56_has_the_size_of_the_paper():
    # He et al., table 6: 0.85 million.
    assert round(sum(p.numel() for p in resnet56((3, 32, 32), 10).parameters()) / 1e6, 2) == 0.85


def test_vgg19_has_sixteen_convolutions_and_twenty_million_parameters():
    model = vgg19((3, 32, 32), 100)
    widths = [3, 64, 64, 128, 128, *[256] * 4, *[512] * 8]
    convolutions = sum(9 * a * b for a, b in pairwise(widths))
    total = convolutions + 2 * sum(widths[1:]) + 512 * 100 + 100
    assert sum(p.numel() for p in model.parameters()) == total
    assert round(total / 1e6, 2) == 20.08
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 4


def test_the_small_vgg_has_the_widths_that_are_given():
    model = vgg_small((3, 8, 8), 10, widths=(4, 0, 6, 0, 5))
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [c.weight.shape for c in convolutions] == [(4, 3, 3, 3), (6, 4, 3, 3), (5, 6, 3, 3)]
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 2
    assert model.features(inputs(1, (3, 8, 8), torch.float32)).shape == (1, 5, 2, 2)


def test_resnet50_is_torchvisions():
    model = resnet50((3, 32, 32), 1000)
    assert sum(p.numel() for p in model.parameters()) == 25_557_032
    assert type(model).__module__ == "torchvision.models.resnet"


def test_option_a_blocks_whose_branch_is_silent_pad_every_second_pixel():
    model = resnet56((3, 9, 8), 10, stem=4, blocks=2, generator=seeded()).double().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "bn2" in name:
                p.zero_()
    x = inputs(2, (4, 9, 8)).abs()
    want = torch.zeros(2, 8, 5, 4, dtype=torch.float64)
    for channel in range(4):
        for row in range(5):
            for column in range(4):
                want[:, channel + 2, row, column] = x[:, channel, 2 * row, 2 * column]
    torch.testing.assert_close(model.stages[1](x), want)
    assert not list(model.stages[1][0].shortcut.parameters())


@pytest.mark.parametrize(
    ("name", "fan"),
    [("resnet56", "in"), ("vgg19", "in"), ("vgg_small", "in"), ("resnet34", "out")],
)
def test_kaiming_keeps_the_second_moment(name, fan):
    r"""Weights have mean 0 and variance 2 / fan, within five deviations of the sample's; biases are zero."""
    model = build(name, (3, 32, 32), 10, generator=seeded())
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            w = module.weight.detach().double()
            per = w[0].numel() if fan == "in" else len(w) * w[0, 0].numel()
            z = w * (per / 2) ** 0.5
            assert abs(z.mean()) < 5 / z.numel() ** 0.5
            assert abs(z.square().mean() - 1) < 5 * (2 / z.numel()) ** 0.5
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()
    if fan == "in":
        assert not next(m for m in model.modules() if isinstance(m, nn.Linear)).bias.any()


def test_grey_images_reach_torchvisions_networks():
    model = resnet34((1, 40, 40), 3, generator=seeded()).double().eval()
    x = inputs(2, (1, 40, 40))
    colour = resnet34((3, 40, 40), 3, generator=seeded(1)).double().eval()
    colour.load_state_dict({n: t for n, t in model.state_dict().items() if n != "conv1.weight"}, strict=False)
    with torch.no_grad():
        colour.conv1.weight.copy_(model.conv1.weight.expand(-1, 3, -1, -1) / 3)
    torch.testing.assert_close(colour(x.expand(-1, 3, -1, -1)), model(x))


def test_narrowed_networks_run_as_they_are():
    """What shrink does: the same class with smaller tensors; no size may be written into forward."""
    model = lenet_5((1, 32, 40), 10).double().eval()
    x = inputs(2, (1, 32, 40))
    keep = torch.tensor([0, 3, 77])
    with torch.no_grad():
        model.conv3.weight[[i for i in range(120) if i not in keep]] = 0
        model.conv3.bias[[i for i in range(120) if i not in keep]] = 0
    want = model(x)
    pixels = model.fc1.in_features // 120
    columns = (keep[:, None] * pixels + torch.arange(pixels)).flatten()
    model.conv3.weight, model.conv3.bias = (nn.Parameter(p[keep]) for p in model.conv3.parameters())
    model.fc1.weight = nn.Parameter(model.fc1.weight[:, columns])
    torch.testing.assert_close(model(x), want)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: lenet_5((1, 31, 32), 10), r"at least 32 x 32 pixels, and in_shape is \(1, 31, 32\)"),
        (lambda: lenet_5((1024,), 10), r"takes images, .* got \(1024,\)\. For other inputs take mlp_7"),
        (lambda: resnet_small((3, 0, 8), 10), "takes images"),
        (lambda: resnet_small((3, 8, 8), 10, blocks=0), "blocks = 0, and a network needs at least 1"),
        (lambda: resnet56((3, 8, 8), 10, stem=0), "stem = 0"),
        (lambda: resnet56((9,), 10), "resnet56 takes images"),
        (lambda: vgg19((3, 15, 32), 10), r"vgg19 needs images of at least 16 x 16 .* size = 16"),
        (lambda: vgg_small((3, 3, 8), 10), r"vgg_small needs images of at least 4 x 4"),
        (lambda: vgg_small((3, 8, 8), 10, widths=(0,)), "depth = 0, and a network needs at least 1"),
        (
            lambda: vgg_small((3, 8, 8), 10, widths=(4, -1)),
            r"widths\[1\] = -1, and a network needs at least 1",
        ),
        (lambda: resnet50((3, 32), 10), "resnet50 takes images"),
        (lambda: resnet34((3, 32, 32), 1), "classes = 1"),
        (lambda: mlp_7((4,), 1), "classes = 1, and a classifier needs at least 2"),
        (lambda: mlp_7((4,), 0), "classes = 0"),
        (lambda: mlp_7((4, 0), 2), "inputs = 0"),
        (lambda: mlp_7((4,), 2, width=0), "width = 0"),
        (lambda: mlp_7((4,), 2, depth=0), "depth = 0"),
        (lambda: mlp_7((4,), 2, activation="tanh"), "Unknown activation 'tanh'. Known: linear, relu"),
        (lambda: build("mlp7", (4,), 2, generator=None), "Unknown model 'mlp7'. Did you mean 'mlp_7'?"),
    ],
)
def test_impossible_networks_are_refused_in_words(make, why):
    with pytest.raises(IsopruneError, match=why):
        make()


def test_the_least_image_of_lenet_is_the_least_that_works():
    assert lenet_5((1, 32, 32), 2)(torch.zeros(1, 1, 32, 32)).shape == (1, 2)


def test_every_model_says_its_options_by_keyword():
    for model in MODELS.values():
        first, second, *options = inspect.signature(model).parameters.values()
        assert (first.name, second.name) == ("in_shape", "classes")
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
