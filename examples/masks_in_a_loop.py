"""Nine weights of ten held at zero in a training loop of your own: nothing in the loop knows of it.

    python examples/masks_in_a_loop.py

The masks are part of the network, so momentum and weight decay bring nothing back. `harden` makes them plain
zeros at the end, for a state dict as every tool reads it.
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import isoprune


def main(epochs: int = 4) -> list[float]:
    splits = isoprune.data.load("digits", seed=0, size=8)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    batches = list(splits.train.batches(torch.arange(len(splits.train)).split(32)))

    def train(network: nn.Module, lr: float) -> None:
        optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=1e-3)
        for _ in range(epochs):
            for x, y in batches:
                optimizer.zero_grad()
                cross_entropy(network(x), y).backward()
                optimizer.step()

    right = []

    def say(name: str, network: nn.Module) -> None:
        test = splits.test
        [(x, y)] = test.batches([torch.arange(len(test))])
        right.append(float((network(x).argmax(1) == y).float().mean()))
        weights = isoprune.harden(network)
        zeros = sum(int((p == 0).sum()) for p in weights.parameters())
        print(f"{name:10} {right[-1]:6.1%} of the test images, {zeros:,} zeros")

    train(model, 0.02)
    say("dense", model)
    masked = isoprune.prune(model, batches[0][0][:2], ratio=0.9, grain="weight")
    say("masked", masked.model)
    train(masked.model, 0.02)
    say("trained", masked.model)
    print(f"state dict: {', '.join(isoprune.harden(masked.model).state_dict())}")
    return right


if __name__ == "__main__":
    main()
