"""Lightning: three rounds of pruning inside `trainer.fit`, then the network without the channels.

    python examples/lightning_callback.py      pip install 'isoprune[lightning]'

The callback holds the masks, checkpoints go on with it, and the LightningModule knows nothing of it.
"""

import tempfile

import pytorch_lightning as lightning
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import isoprune
from isoprune.integrations.lightning import Prune


class Digits(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = torch.randn(2, 1, 8, 8)
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        return cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)


def main() -> list[float]:
    splits = isoprune.data.load("digits", seed=0, size=8)
    [images] = splits.train.batches([torch.arange(len(splits.train))])
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(*images), batch_size=32, shuffle=True)
    module = Digits()

    prune = Prune(ratio=0.7, begin=2, rounds=3, every=2, grain="channel")
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=9, accelerator="cpu", callbacks=[prune], logger=False, default_root_dir=folder,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, loader)
    small = isoprune.shrink(prune.pruned)

    right = [isoprune.evaluate(network, splits.test)["accuracy"] for network in (module, small)]
    print(f"under masks: {right[0]:.1%} of the test images, {small.costs.dense.parameters:,} parameters")
    print(f"shrunk:      {right[1]:.1%} of the test images, {small.costs.pruned.parameters:,} parameters")
    return right


if __name__ == "__main__":
    main()
