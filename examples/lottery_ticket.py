"""Iterative magnitude pruning with rewinding: five rounds that leave a fifth of the weights.

    python examples/lottery_ticket.py

Frankle, Dziugaite, Roy & Carbin, ICML 2020. After every round the weights that stay go back to what they
were after the first epoch, and are trained again: does what is left of the network still train well?
"""

import torch

import isoprune
from isoprune.methods.cadences import by_cycle, of_what_is_left


def main(rounds: int = 5, epochs: int = 6) -> list[float]:
    splits = isoprune.data.load("digits", seed=0)
    how = {"lr": 1e-2, "schedule": "constant", "batch": 20}
    generator = torch.Generator().manual_seed(0)
    start = isoprune.models.mlp_7(splits.in_shape, splits.classes, activation="relu", generator=generator)

    early = isoprune.retrain(start, splits, epochs=1, **how)
    network = isoprune.retrain(early, splits, epochs=epochs, **how)
    right = [network.history[-1]["rows"][-1]["validation_accuracy"]]
    cadence = by_cycle(rounds=rounds, ratio=0.8)
    for number in range(1, rounds + 1):
        ratio = of_what_is_left(cadence, number)
        network = isoprune.prune(network, splits.validation.inputs[:2], ratio, grain="weight")
        network = isoprune.retrain(isoprune.rewind(network, early.model), splits, epochs=epochs, **how)
        right.append(network.history[-1]["rows"][-1]["validation_accuracy"])
        print(f"{network.costs.pruned.nonzero:,} weights left: {right[-1]:.1%} of validation are right")
    return right


if __name__ == "__main__":
    main()
