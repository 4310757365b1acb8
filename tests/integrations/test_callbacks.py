"""Callbacks of Lightning and of transformers' Trainer: rounds, masks that hold, checkpoints that go on."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import isoprune
from isoprune.integrations.rounds import Rounds
from isoprune.types import IsopruneError

ROUNDS: dict[str, Any] = {"ratio": 0.75, "begin": 1, "rounds": 2, "every": 1}


def data() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(48, 8, generator=g)
    return x, x[:, :4].argmax(1)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


def zeros(network: nn.Module) -> list[float]:
    return [float((m.weight == 0).double().mean()) for m in network.modules() if isinstance(m, nn.Linear)]


def by_lightning(network: nn.Module, prune: Any, epochs: int, folder: Path, resume: str | None = None) -> Any:
    """Return what `zeros` are after every epoch."""
    import pytorch_lightning as lightning

    seen: list[list[float]] = []

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network

        def training_step(self, batch: Any, _: int) -> Tensor:
            return cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)

        def on_train_epoch_end(self) -> None:
            seen.append(zeros(self.net))

    save = lightning.callbacks.ModelCheckpoint(folder, "{epoch}", save_top_k=-1)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        callbacks=[prune, save], enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), DataLoader(TensorDataset(*data()), batch_size=16), ckpt_path=resume)
    return seen


class Labelled(nn.Module):
    """What a Trainer trains: a loss beside the outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.net = network

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(x)
        return (
            {"logits": logits}
            if labels is None
            else {"loss": cross_entropy(logits, labels), "logits": logits}
        )


def by_trainer(network: nn.Module, prune: Any, epochs: int, folder: Path, resume: str | None = None) -> Any:
    """Return what `zeros` are after every epoch."""
    import transformers

    seen: list[list[float]] = []

    class Seen(transformers.TrainerCallback):
        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            seen.append(zeros(network))

    arguments = transformers.TrainingArguments(
        str(folder), num_train_epochs=epochs, per_device_train_batch_size=16, save_strategy="epoch",
        learning_rate=0.01, weight_decay=0.1, report_to=[], use_cpu=True, disable_tqdm=True,
        logging_strategy="no", dataloader_pin_memory=False, seed=0, lr_scheduler_type="constant",
    )  # fmt: skip
    rows = [{"x": x, "labels": y} for x, y in zip(*data(), strict=True)]
    trainer = transformers.Trainer(
        Labelled(network), arguments, train_dataset=rows, callbacks=[prune, Seen()]
    )
    trainer.train(resume_from_checkpoint=resume)
    return seen


def lightning_prune(**options: Any) -> Any:
    from isoprune.integrations.lightning import Prune

    return Prune(network="net", **options)


def trainer_prune(**options: Any) -> Any:
    from isoprune.integrations.trainer import Prune

    return Prune(**options)


BOTH = pytest.mark.parametrize(
    ("train", "prune", "checkpoint"),
    [(by_lightning, lightning_prune, "epoch=1.ckpt"), (by_trainer, trainer_prune, "checkpoint-6")],
    ids=["lightning", "trainer"],
)
quiet = pytest.mark.filterwarnings(
    *(f"ignore:.*{words}" for words in ("LeafSpec", "num_workers", "litlogger", "exists and is not empty"))
)


def network_state(checkpoint: Path) -> dict[str, Tensor]:
    if checkpoint.is_dir():
        return load_file(checkpoint / "model.safetensors")
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def example_of(train: Any) -> Any:
    return data()[0][:2] if train is by_lightning else {"x": data()[0][:2]}


@quiet
@BOTH
def test_rounds_prune_when_due_and_a_resumed_training_ends_with_the_bits_of_an_unbroken_one(
    train: Any, prune: Any, checkpoint: str, tmp_path: Path
):
    whole, first = net(), prune(example_inputs=example_of(train), **ROUNDS)
    seen = train(whole, first, 4, tmp_path)
    # Nothing in epoch 0, half in epoch 1 (by cycle: half of what is left, twice), three quarters from 2 on.
    assert seen == [[0.0, 0.0], [0.5, 0.5], [0.75, 0.75], [0.75, 0.75]]
    assert zeros(whole) == [0.75, 0.75]
    assert not any("parametrizations" in name for name in whole.state_dict())
    assert isoprune.verify(first.pruned).max_abs_error == 0
    assert [step["step"] for step in first.pruned.history] == ["prune", "prune"]
    kept = first.pruned.model.get_submodule("0" if train is by_lightning else "net.0").weight
    assert torch.equal(kept, whole[0].weight)

    # A checkpoint loads into the plain class, without isoprune.
    state = network_state(tmp_path / checkpoint)
    plain = net()
    plain.load_state_dict({name.removeprefix("net."): tensor for name, tensor in state.items()})
    assert zeros(plain) == [0.5, 0.5]

    broken, second = net(), prune(example_inputs=example_of(train), **ROUNDS)
    seen = train(broken, second, 4, tmp_path, str(tmp_path / checkpoint))
    assert seen == [[0.75, 0.75], [0.75, 0.75]]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, broken.state_dict()[name]), name
    assert second.pruned.plan.removed == first.pruned.plan.removed


@quiet
@BOTH
def test_channels_are_held_and_shrink_afterwards(train: Any, prune: Any, checkpoint: str, tmp_path: Path):
    network, held = net(), prune(ratio=0.5, grain="channel", example_inputs=example_of(train))
    train(network, held, 2, tmp_path)
    small = isoprune.shrink(held.pruned).model
    layer = small.get_submodule("0" if train is by_lightning else "net.0")
    assert layer.out_features == 8
    x = data()[0]
    found = small(x) if train is by_lightning else small(x)["logits"]
    torch.testing.assert_close(found, network.eval()(x))


def test_a_network_under_masks_loads_a_plain_state_dict_and_keeps_them():
    rounds, network = Rounds(0.5, example_inputs=data()[0][:2]), net()
    before, parameters = copy.deepcopy(network.state_dict()), list(network.parameters())
    rounds.start_(network, 1)
    rounds.advance_(network, 0)
    network.load_state_dict(before)
    assert zeros(network) == [0.5, 0.5]
    rounds.end_(network)
    assert [id(p) for p in network.parameters()] == [id(p) for p in parameters]


def test_the_trainer_is_told_where_no_masks_are(tmp_path: Path):
    again, folder = trainer_prune(**ROUNDS), SimpleNamespace(output_dir=tmp_path, resume_from_checkpoint=None)
    resumed = SimpleNamespace(global_step=6, epoch=2.0)
    with pytest.raises(IsopruneError, match=r"checkpoint-6 has no isoprune.safetensors, so which units"):
        again.on_train_begin(folder, resumed, None, model=net())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 0.5, "begin": -1}, "begin is -1, every is 1"),
        ({}, "ratio= is missing"),
        ({"ratio": 0.5, "grain": "2:4"}, "2:4 says itself how much goes"),
        ({"grain": "2:4", "rounds": 2}, "2:4 goes in one round"),
        ({"ratio": 0.5, "cadence": "by_cicle"}, "Did you mean 'by_cycle'"),
        ({"ratio": 0.5, "rounds": 0}, "rounds is 0"),
    ],
)
def test_what_names_no_round_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(IsopruneError, match=message):
        Rounds(**options)


def test_a_training_too_short_for_the_rounds_is_refused():
    rounds = Rounds(0.5, begin=3, rounds=2, every=2, example_inputs=data()[0][:2])
    assert [rounds.due(epoch) for epoch in range(7)] == [0, 0, 0, 1, 1, 2, 2]
    rounds.start_(net(), 6)
    with pytest.raises(IsopruneError, match=r"before epoch 5 .*, and training ends after 5"):
        rounds.start_(net(), 5)
    with pytest.raises(IsopruneError, match="Give example_inputs="):
        Rounds(0.5).advance_(net(), 0)
    with pytest.warns(UserWarning, match="0 of 2 rounds were due"):
        rounds.end_(net())


@pytest.mark.parametrize(
    ("module", "packages"),
    [("trainer", ["transformers"]), ("lightning", ["pytorch_lightning", "lightning.pytorch"])],
)
def test_a_missing_package_is_an_import_error_too(monkeypatch, module, packages):
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    name = f"isoprune.integrations.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match="is not installed: pip install") as caught:
        importlib.import_module(name)
    assert isinstance(caught.value, IsopruneError)
