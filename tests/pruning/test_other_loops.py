"""Masks hold in training loops that know nothing of them: transformers' Trainer, Lightning, accelerate."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import isoprune
from isoprune.pruning.mask import check_masks, harden, masks_of


def masked_mlp():
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randint(0, 4, (64,))
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    pruned = isoprune.prune(net, x[:2], 0.5, grain="weight")
    return pruned, DataLoader(TensorDataset(x, y), batch_size=16)


def moved(pruned):
    """Tell whether kept weights were trained, after masked ones were seen to be zero."""
    check_masks(pruned.model, masks_of(pruned.model))
    after = dict(harden(pruned.model).named_parameters())
    before = dict(pruned.dense.named_parameters())
    kept = masks_of(pruned.model)
    return all(not torch.equal(after[name][mask], before[name][mask]) for name, mask in kept.items())


def test_transformers_trainer_with_adamw_and_checkpoints(tmp_path):
    import transformers

    config = transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=16, tie_word_embeddings=False
    )
    torch.manual_seed(0)
    words = torch.randint(0, 40, (32, 8))
    model = transformers.GPT2LMHeadModel(config)
    pruned = isoprune.prune(model, {"input_ids": words[:2]}, 0.5, grain="weight")
    how = {"max_steps": 6, "per_device_train_batch_size": 8, "save_steps": 3, "learning_rate": 1e-2}
    quiet = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_strategy": "no"}
    arguments = transformers.TrainingArguments(
        str(tmp_path), **how, **quiet, weight_decay=0.1, dataloader_pin_memory=False
    )
    rows = [{"input_ids": row, "labels": row} for row in words]
    transformers.Trainer(pruned.model, arguments, train_dataset=rows).train()
    assert moved(pruned)
    assert list(tmp_path.glob("checkpoint-*/model.safetensors"))


@pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*num_workers", "ignore:.*litlogger")
def test_lightning_with_adamw():
    import pytorch_lightning as lightning

    class Module(lightning.LightningModule):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def training_step(self, batch, _):
            return cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)

    pruned, loader = masked_mlp()
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(pruned.model), loader)
    assert moved(pruned)


@pytest.mark.parametrize("optimizer", [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, weight_decay=0.1),
    lambda p: torch.optim.Adagrad(p, lr=0.1, weight_decay=0.1),
    lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5),
], ids=["sgd", "rmsprop", "adagrad", "adamw"])  # fmt: skip
def test_a_plain_loop_with_any_optimizer(optimizer):
    pruned, loader = masked_mlp()
    step = optimizer(pruned.model.parameters())
    for _ in range(3):
        for x, y in loader:
            step.zero_grad()
            cross_entropy(pruned.model(x), y).backward()
            step.step()
    assert moved(pruned)
