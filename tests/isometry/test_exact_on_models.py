"""On the networks of the paper: exact values are those of the loops, linear ones those of the product."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isoprune.isometry import jacobian_singular_values
from isoprune.models import build
from reference import jsv_by_loops

NETWORKS = {
    "mlp_7 linear": ("mlp_7", {"activation": "linear"}, (1, 32, 32)),
    "mlp_7 relu": ("mlp_7", {"activation": "relu"}, (1, 32, 32)),
    "lenet_5 linear": ("lenet_5", {"activation": "linear"}, (1, 32, 32)),
    "lenet_5 relu": ("lenet_5", {"activation": "relu"}, (1, 32, 32)),
    "resnet_small": ("resnet_small", {}, (3, 16, 16)),
}


def make(name):
    kind, options, shape = NETWORKS[name]
    generator = torch.Generator().manual_seed(0)
    model = build(kind, shape, 10, generator=generator, **options).double().eval()
    return model, torch.randn(2, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_jsv_is_that_of_one_backward_per_output_and_numpy(name):
    model, x = make(name)
    want = jsv_by_loops(model, x)
    torch.testing.assert_close(
        jacobian_singular_values(model, x), want, rtol=1e-10, atol=1e-10 * float(want.max())
    )


def test_linear_mlp_7_has_the_singular_values_of_the_product_of_its_weights():
    model, x = make("mlp_7 linear")
    product = torch.eye(1024, dtype=torch.float64)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            product = layer.weight.detach() @ product
    want = torch.linalg.svdvals(product)
    torch.testing.assert_close(jacobian_singular_values(model, x), want.expand(2, 10), rtol=1e-10, atol=0)


def test_linear_mlp_7_with_orthonormal_weights_is_an_isometry():
    model, x = make("mlp_7 linear")
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                U, _, Vh = torch.linalg.svd(layer.weight, full_matrices=False)
                layer.weight.copy_(U @ Vh)
    sigma = jacobian_singular_values(model, x)
    torch.testing.assert_close(sigma, torch.ones_like(sigma), rtol=0, atol=1e-12)
