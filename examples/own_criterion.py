"""A criterion of your own, beside two of the library, judged by what is left after pruning alone.

    python examples/own_criterion.py

A criterion is a function: it reads signals of the network (weights, gradients, activations, curvature) and
gives every unit a score. `score_units` adds up a number a weight over the unit, whatever its grain.
"""

import torch

import isoprune
from isoprune.methods.criteria import score_units


def weight_times_gradient_squared(signals, units, *, generator):  # noqa: ARG001
    """The square of how much the loss would change, to first order, weight by weight."""
    products = {name: w * signals.gradients[name] for name, w in signals.weights.items()}
    return score_units(products, units, lambda total, number: total / number, each=torch.square)


def main(epochs: int = 6) -> dict[str, list[float]]:
    splits = isoprune.data.load("digits", seed=0, size=32)
    generator = torch.Generator().manual_seed(0)
    start = isoprune.models.lenet_5(splits.in_shape, splits.classes, activation="relu", generator=generator)
    dense = isoprune.retrain(start, splits, lr=0.05, epochs=epochs, schedule="one_cycle", batch=32)
    batches = list(splits.train.batches(torch.arange(512).split(64)))
    ratios = (0.3, 0.5, 0.7)
    print(f"dense: {isoprune.evaluate(dense, splits.test)['accuracy']:.1%} of the test images")
    print("ratio                          " + "".join(f"{ratio:8.0%}" for ratio in ratios))
    found = {}
    for criterion in ("l1_norm", "taylor", weight_times_gradient_squared):
        name = criterion if isinstance(criterion, str) else criterion.__name__
        found[name] = []
        for ratio in ratios:
            small = isoprune.prune(dense.model, batches[0][0], ratio, criterion=criterion, batches=batches)
            found[name].append(isoprune.evaluate(small, splits.test)["accuracy"])
        print(f"{name:31}" + "".join(f"{value:8.1%}" for value in found[name]))
    return found


if __name__ == "__main__":
    main()
