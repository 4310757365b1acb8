"""The paper's story on handwritten digits: pruning breaks trainability, OrthP repairs it.

    python examples/diagnose_digits.py

A seven-layer linear network loses 80 % of its filters. The mean singular value of its input-output
Jacobian collapses, so a small learning rate retrains it badly; after OrthP the learning rate hardly matters.
"""

import torch

import isoprune


def main(epochs: int = 8) -> dict[tuple[str, float], float]:
    splits = isoprune.data.load("digits", seed=0)
    generator = torch.Generator().manual_seed(0)
    start = isoprune.models.mlp_7(
        in_shape=splits.in_shape, classes=splits.classes, activation="linear", generator=generator
    )
    dense = isoprune.retrain(start, splits, schedule="constant", lr=1e-2, epochs=epochs)
    print(f"dense: {accuracy(dense):.1%} of the validation images are right")

    inputs = splits.validation.inputs[:64]
    batches = [(inputs, splits.validation.targets[:64])]
    result = isoprune.prune(dense, inputs, ratio=0.8, criterion="l1_norm")
    error = isoprune.verify(result).max_abs_error
    print(f"pruned: proven to {error:.1e}; weights removed: {result.costs.ratios['parameters']:.0%}")

    right = {}
    for method in ("none", "orthp"):
        repaired = isoprune.repair(result, method=method, batches=batches)
        sigma = isoprune.jacobian_singular_values(repaired, inputs)
        print(f"\nrepair {method}: mean Jacobian singular value {float(sigma.mean()):.3g}")
        print(isoprune.diagnose(repaired, batches, repairs=()))
        for lr in (1e-2, 1e-3):
            retrained = isoprune.retrain(repaired, splits, schedule="constant", lr=lr, epochs=epochs)
            right[method, lr] = accuracy(retrained)
            print(f"retrained with learning rate {lr}: {right[method, lr]:.1%}")
    return right


def accuracy(trained) -> float:
    return trained.history[-1]["rows"][-1]["validation_accuracy"]


if __name__ == "__main__":
    main()
