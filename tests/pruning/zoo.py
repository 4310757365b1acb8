"""The networks of the matrix: name, builder, example inputs; and weights that make a proof mean something."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from isoprune.pruning import Pruned
from isoprune.verbs import prune

TORCHVISION = (
    "resnet50 vgg16_bn densenet121 vit_b_16 swin_t regnet_y_400mf shufflenet_v2_x1_0 googlenet squeezenet1_1 "
    "inception_v3 mnasnet1_0 efficientnet_v2_s maxvit_t"
)
TIMM = (
    "vit_tiny_patch16_224 convnextv2_tiny mobilevit_s ghostnet_100 coatnet_0_rw_224 repvgg_b0 mixer_s32_224 "
    "res2net50_26w_4s hrnet_w18_small dla34 edgenext_small poolformer_s12 resnest50d beit_base_patch16_224"
)
RESOLUTION = {"inception_v3": 299, "mobilevit_s": 256}
# Transformers and mixers: the goal is 1.8 times fewer FLOPs at ratio 0.5, for conv networks 3 times.
ATTENTION = (
    "vit_b_16 swin_t maxvit_t vit_tiny_patch16_224 coatnet_0_rw_224 mixer_s32_224 beit_base_patch16_224"
)


# Where less than the goal can go, and why.
BELOW_GOAL = dict.fromkeys(
    ("shufflenet_v2_x1_0", "shufflenet_v2_x0_5"),
    (2.7, "eight channel shuffles in a row bind the stream of stage 3 (232 channels) into one"),
)


@dataclass(frozen=True)
class Entry:
    """One network: ``build()`` gives it in eval mode, ``inputs()`` what its forward takes."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    attention: bool = False


def torchvision_network(name: str, **options: Any) -> nn.Module:
    import torchvision

    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # seconds of scipy otherwise
    return torchvision.models.get_model(name, weights=None, **options)


def timm_network(name: str, **options: Any) -> nn.Module:
    import timm

    return timm.create_model(name, **options)


def image(size: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(3))


def words(batch: int = 2, vocabulary: int = 500) -> torch.Tensor:
    return torch.randint(0, vocabulary, (batch, 24), generator=torch.Generator().manual_seed(3))


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(
            hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512, vocab_size=500
        )
    )


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_embd=128, n_layer=3, n_head=4, vocab_size=500, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config)


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=128, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2,
            intermediate_size=384, vocab_size=500,
        )
    )  # fmt: skip


def images() -> Iterator[Entry]:
    for build, names in ((torchvision_network, TORCHVISION), (timm_network, TIMM)):
        for name in names.split():
            size = RESOLUTION.get(name, 224)
            yield Entry(
                name,
                lambda b=build, n=name: b(n),
                lambda s=size: image(s),
                attention=name in ATTENTION.split(),
            )


MATRIX = (
    *images(),
    Entry("bert", bert, lambda: {"input_ids": words()}, attention=True),
    Entry("gpt2", gpt2, lambda: {"input_ids": words(), "use_cache": False}, attention=True),
    Entry("llama", llama, lambda: {"input_ids": words(), "use_cache": False}, attention=True),
)

QUICK = (
    Entry("resnet18", lambda: torchvision_network("resnet18", num_classes=10), lambda: image(64)),
    MATRIX[-3],
)


def made(entry: Entry, seed: int = 0) -> nn.Module:
    """Return the network in eval mode as after some training: nothing is zero, BatchNorm knows its inputs.

    A fresh network may compute the same for every input (residual branches whose last scale is zero,
    BatchNorm statistics at 0 and 1); then a proof on it says nothing.
    """
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        model = entry.build()
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.dim() <= 1:
                    p.add_(0.2 * torch.randn_like(p))
                    if name.endswith("gamma") or p.abs().max() < 0.2:  # layer scales start at 1e-5
                        p.add_(0.3)
                elif float(p.std()) < 0.03:
                    p.normal_(0, p[0].numel() ** -0.5)
            _settle_norms(model, entry.inputs())
    return model.eval()


def _settle_norms(model: nn.Module, inputs: Any) -> None:
    """Let every BatchNorm take the statistics of a forward on the example inputs and their like."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # the plain average of what is seen
    model(torch.cat([inputs, inputs.flip(-1) + 0.3]))
    for norm in norms:
        norm.eval()
        norm.momentum = 0.1
        norm.running_var.clamp_min_(1e-3)


def output(model: nn.Module, inputs: Any) -> torch.Tensor:
    """Return the logits."""
    out = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    return out if isinstance(out, torch.Tensor) else out.logits


@dataclass(frozen=True)
class Halved:
    """A network of the zoo before and after: ``before`` is a copy of its tensors as they were."""

    entry: Entry
    dense: nn.Module
    before: Mapping[str, torch.Tensor]
    result: Pruned


def halved(entry: Entry) -> Halved:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the networks' own code
        dense = made(entry)
        before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
        return Halved(entry, dense, before, prune(dense, entry.inputs(), 0.5))


def check(case: Halved) -> None:
    """Assert what the matrix asks of a network at ratio 0.5; the pruned network is trained by one step."""
    entry, result, x = case.entry, case.result, case.entry.inputs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert all(torch.equal(v, case.before[k]) for k, v in case.dense.state_dict().items())
        assert result.proof.relative_error < 1e-4
        assert type(result.model) is type(case.dense)
        with torch.no_grad():
            dense, small = output(case.dense, x), output(result.model, x)
        assert small.shape == dense.shape
        assert (small - dense).abs().max() > 1e-3 * dense.abs().max()  # what went had mattered
        learns(copy.deepcopy(result.model), x)
        goal, _ = BELOW_GOAL.get(entry.name, (1.8 if entry.attention else 3.0, ""))
        assert 1 / (1 - result.costs.ratios["flops"]) >= goal


def learns(model: nn.Module, x: Any) -> None:
    """One small step of SGD lowers the loss on the batch."""
    for p in model.parameters():
        p.requires_grad_(True)
    target = torch.zeros(output(model, x).shape[:-1], dtype=torch.long).flatten()

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(output(model, x).flatten(0, -2), target)

    first = loss()
    first.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    square = sum(float(g.double().square().sum()) for g in gradients)
    assert square > 0
    with torch.no_grad():  # a step so small that the loss falls as its linear approximation does
        for p in model.parameters():
            if p.grad is not None:
                p -= (0.01 * float(first) / square) * p.grad
        assert loss() < first
