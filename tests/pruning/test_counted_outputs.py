"""outputs=: which outputs of a forward count; channels of the others may go."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from isoprune import load, prune, save, verify
from isoprune.graph import trace
from isoprune.pruning.prune import NothingRemoved
from isoprune.types import IsopruneError
from pruning.oracle import zeroed_reads

Pair = namedtuple("Pair", "logits hidden")


@dataclass
class Answer:
    logits: Any
    hidden: Any


CONTAINERS = {
    "dict": (dict, ["logits"], lambda out: out["logits"]),
    "dataclass": (Answer, ["logits"], lambda out: out.logits),
    "named tuple": (Pair, ["logits"], lambda out: out.logits),
    "namespace": (SimpleNamespace, ["logits"], lambda out: out.logits),
    "tuple": (lambda logits, hidden: (logits, hidden), [0], lambda out: out[0]),
    "list, from its end": (lambda logits, hidden: [logits, hidden], [-2], lambda out: out[-2]),
}


class Streams(nn.Module):
    """Gives its answer and the stream behind it, as networks of transformers do."""

    def __init__(self, container=dict):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.container = container

    def forward(self, x):
        h = self.a(x)
        h = h + self.b(h.relu())
        return self.container(logits=self.c(h), hidden=h)


@pytest.mark.parametrize(("container", "outputs", "part"), CONTAINERS.values(), ids=CONTAINERS)
def test_the_stream_of_an_output_that_does_not_count_goes(container, outputs, part):
    torch.manual_seed(0)
    model, x = Streams(container).eval(), torch.randn(2, 8)
    with pytest.raises(NothingRemoved, match="the network's output"):
        prune(model, x, ratio=0.5)
    pruned = prune(model, x, ratio=0.5, outputs=outputs)
    assert pruned.model.a.out_features == 8
    assert pruned.proof.tensors == 1
    assert pruned.model.c.out_features == 4
    x = torch.randn(3, 8)
    with torch.no_grad():
        want = part(zeroed_reads(model, pruned.graph, pruned.plan)(x))
        torch.testing.assert_close(part(pruned.model(x)), want)


def test_a_further_round_and_a_proof_count_the_same_outputs(tmp_path):
    torch.manual_seed(0)
    model, x = Streams().eval(), torch.randn(2, 8)
    pruned = prune(prune(model, x, ratio=0.5, outputs=["logits"]), ratio=0.5)
    assert pruned.model.a.out_features == 4
    assert verify(pruned).tensors == 1
    save(pruned, tmp_path / "small")
    loaded = load(tmp_path / "small", build=lambda: Streams())
    torch.testing.assert_close(loaded(x)["logits"], pruned.model(x)["logits"])


def test_several_outputs_count_and_other_calls_keep_theirs():
    class Three(Streams):
        def forward(self, x):
            out = super().forward(x)
            return {**out, "scores": self.c(out["hidden"]).sigmoid()}

        def embed(self, x):
            return self.a(x)

    model, x = Three().eval(), torch.randn(2, 8)
    assert prune(model, x, ratio=0.5, outputs=["logits", "scores"]).proof.tensors == 2
    graph = trace(model, x, outputs=["logits"], also=[("embed", x)])
    assert "the output of embed" in {f.reason for f in graph.frozen}


def test_outputs_that_there_are_none_of_are_refused():
    model, x = Streams().eval(), torch.randn(2, 8)
    with pytest.raises(
        IsopruneError, match=r"names 'logit', which the dict that Streams.*'logits', 'hidden'\."
    ):
        prune(model, x, ratio=0.5, outputs=["logit"])
    with pytest.raises(IsopruneError, match=r"outputs= takes a list of keys.*not 'logits'"):
        prune(model, x, ratio=0.5, outputs="logits")
    with pytest.raises(IsopruneError, match=r"outputs= takes a list of keys.*not None"):
        prune(model, x, ratio=0.5, outputs=None)
    pair = Streams(lambda logits, hidden: (logits, hidden)).eval()
    with pytest.raises(IsopruneError, match=r"names 2, which the tuple .* it has 0, 1\."):
        prune(pair, x, ratio=0.5, outputs=[2])


def test_a_loss_of_an_output_that_is_one_tensor_is_told_so():
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval(), torch.randn(2, 8)
    batches = [(x, torch.tensor([0, 1]))]
    with pytest.raises(IsopruneError, match=r"output='logits' names a part.*returns a Tensor\. Leave"):
        prune(model, x, ratio=0.5, criterion="taylor", batches=batches, output="logits")


def test_further_calls_that_do_not_run_are_named_as_such():
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval(), torch.randn(2, 8)
    with pytest.raises(IsopruneError, match=r"does not run on what also= gives it: RuntimeError"):
        prune(model, x, ratio=0.5, also=[torch.randn(2, 9)])


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["T5", "CLIP"])
def test_streams_that_transformers_hand_out_beside_their_answer_go(kind):
    import transformers as T

    torch.manual_seed(0)
    words = torch.randint(5, 90, (2, 7))
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    if kind == "T5":
        config = T.T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4)
        model, counted = T.T5ForConditionalGeneration(config).eval(), "logits"
        inputs = {"input_ids": words, "decoder_input_ids": words}
    else:
        text = {"vocab_size": 100, "max_position_embeddings": 16, "eos_token_id": 99, "bos_token_id": 1}
        vision = {"image_size": 16, "patch_size": 8}
        config = T.CLIPConfig(text_config=sizes | text, vision_config=sizes | vision, projection_dim=16)
        model, counted = T.CLIPModel(config).eval(), "logits_per_image"
        inputs = {"input_ids": words, "pixel_values": torch.randn(2, 3, 16, 16)}
    every = prune(model, inputs, ratio=0.5)
    one = prune(model, inputs, ratio=0.5, outputs=[counted])
    assert one.costs.ratios["parameters"] > 0.6 > every.costs.ratios["parameters"]
    assert one.proof.tensors == 1
    assert one.proof.relative_error < 1e-9
