from __future__ import annotations

import pytest
import torch

from isoprune.training import evaluate, trainability_accuracy
from isoprune.types import IsopruneError
from isoprune.types.samples import Split

from .small import small_net, small_splits


@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_evaluate_matches_one_sample_at_a_time(batch):
    split, net = small_splits().train, small_net().eval()
    right, loss = 0, 0.0
    for x, y in zip(split.inputs, split.targets, strict=True):
        logits = net(x[None])[0]
        right += int(logits.argmax() == y)
        loss += (logits.logsumexp(0) - logits[y]).item()
    got = evaluate(net, split, batch=batch)
    assert got == pytest.approx({"accuracy": right / 23, "loss": loss / 23}, rel=1e-12)


@pytest.mark.parametrize(
    ("in_shape", "batch"),
    [
        ((1, 28, 28), 1000),  # 3.1 MB
        ((16_000,), 1000),  # 64 MB to the byte
        ((16_001,), 999),
        ((3, 224, 224), 106),
        ((20_000_000,), 1),  # one alone is more
    ],
)
def test_by_default_at_once_go_64_megabytes_of_inputs_and_at_most_1000(in_shape, batch):
    """The samples share their memory, so that they are large for the split alone."""
    parts: list[int] = []

    class Large(Split):
        def batches(self, given, **_):
            for part in given:
                parts.append(len(part))
                yield torch.zeros(len(part), 2), self.targets[part]

    split = Large(torch.zeros(1).expand(1100, *in_shape), torch.zeros(1100, dtype=torch.long))
    assert evaluate(torch.nn.Identity(), split)["accuracy"] == 1
    assert max(parts) == batch
    assert sum(parts) == 1100


def test_evaluate_leaves_modes_buffers_and_gradients():
    net = small_net().train()
    net[2].eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    evaluate(net, small_splits().train)
    assert [m.training for m in net] == [True, True, False, True, True]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_evaluate_restores_the_mode_after_an_error():
    net = small_net().train()
    with pytest.raises(RuntimeError):
        evaluate(net, Split(torch.zeros(2, 7, dtype=torch.float64), torch.tensor([0, 1])))
    assert all(m.training for m in net.modules())


def test_an_empty_split_has_no_accuracy():
    with pytest.raises(IsopruneError, match="holds no sample"):
        evaluate(small_net(), Split(torch.zeros(0, 6, dtype=torch.float64), torch.zeros(0, dtype=torch.long)))


def rows(*accuracies: float) -> list[dict]:
    return [{"epoch": i, "validation_accuracy": a} for i, a in enumerate(accuracies)]


def test_tangent_kernel_is_the_mean_over_the_first_stage():
    history = rows(0.1, 0.5, 0.7, 0.9, 0.95)
    assert trainability_accuracy(history, epochs=1) == 0.5
    assert trainability_accuracy(history, epochs=3) == pytest.approx(0.7)
    assert trainability_accuracy(history[1:], epochs=4) == pytest.approx((0.5 + 0.7 + 0.9 + 0.95) / 4)


@pytest.mark.parametrize("epochs", [0, -1, 3])
def test_tangent_kernel_needs_its_epochs(epochs):
    with pytest.raises(IsopruneError, match=f"over {epochs} epochs cannot be read off a history of"):
        trainability_accuracy(rows(0.1, 0.5, 0.7), epochs=epochs)
