"""What a linear classifier makes of the penultimate features."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from isoprune.methods.measures.features import last_features
from isoprune.methods.measures.labels import class_labels
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types.method import method

# Of the ridge, relative to the mean eigenvalue of the features' kernel.
STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@method("measure", "data", "labels", source="Alain & Bengio, 2017, arXiv 1610.01644")
def linear_probe(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 1000
) -> dict[str, float]:
    r"""Accuracy of a linear classifier of what the last layer reads: what the features still tell apart.

    ``linear_probe_accuracy``, in [0, 1]. Least squares of the labels (one-hot) on the features of one half of
    the samples (drawn), with a ridge of the least leave-one-out error, judged on the other half.

    Cost: a forward of the samples, and an eigenvalue problem of half as many rows. Memory: what every layer
    reads of a batch; ``samples`` rows of features, and kernels [samples / 2, samples / 2] in float64.

    Raises:
        IsopruneError: If there is no hidden layer, or the labels are no classes, or all of one.
    """
    few = signals.taking(samples)
    labels, X = class_labels(few), last_features(few)
    fit, judge = torch.randperm(len(X), generator=generator).to(X.device).chunk(2)
    found = ridge_outputs(X[fit], labels[fit], X[judge]).argmax(1)
    return {"linear_probe_accuracy": float((found == labels[judge]).double().mean())}


def ridge_outputs(
    X: Float[Tensor, "rows features"], labels: Int[Tensor, "rows"], U: Float[Tensor, "others features"]
) -> Float[Tensor, "others classes"]:
    r"""Return what the ridge regression of one-hot labels on X says of U.

    In its dual form: with K the kernel of the centred features and :math:`C = K + \lambda a I`, a the mean
    eigenvalue of K, the coefficients are :math:`C^{-1} Y`, and the error at a row that is left out is
    :math:`[C^{-1} Y]_i / [C^{-1}]_{ii}`; the strength :math:`\lambda` of the least sum of squares is taken.
    """
    X, U = X.double(), U.double()
    Y = one_hot(labels).double()
    centre, mean = X.mean(0), Y.mean(0)
    values, V = torch.linalg.eigh((X - centre) @ (X - centre).mT)
    along = V.mT @ (Y - mean)
    best, chosen = float("inf"), torch.zeros_like(Y)
    for strength in STRENGTHS:
        inverse = 1 / (values.clamp_min(0) + strength * values.mean())
        coefficients = V @ (inverse[:, None] * along)
        error = float((coefficients / (V.square() @ inverse)[:, None]).square().sum())
        if error < best:
            best, chosen = error, coefficients
    return (U - centre) @ ((X - centre).mT @ chosen) + mean
