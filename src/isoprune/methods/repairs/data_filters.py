"""Filters made of what a layer reads: its principal components, or the centres of its clusters."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from isoprune.linalg import haar_matrix
from isoprune.types import IsopruneError

_RTOL = 1e-6  # of a standard deviation, relative to the largest: less is rounding
# Added to each variance, of their mean: whitened in full, directions of next to no variance, known from few
# samples or from rounding, would make clusters and fill the filters.
_SOFT = 0.01


def principal_filters(rows: Tensor, filters: int, *, generator: Generator) -> Tensor:
    """Return principal components of the rows [points, fan_in] as filters, strongest first.

    Where more are asked for than there are, the rest are random mixtures of whitened components, so that
    all directions of the data count about alike.
    """
    components = _whitening(rows)
    if filters <= len(components):
        return components[:filters]
    more = filters - len(components)
    mix = haar_matrix(more, len(components), generator=generator).to(rows)
    return torch.cat([components, torch.nn.functional.normalize(mix, dim=1) @ components])


def cluster_filters(rows: Tensor, filters: int, *, generator: Generator) -> Tensor:
    """Return the centres of k-means on the whitened rows [points, fan_in], as filters on the rows.

    Raises:
        IsopruneError: If there are fewer different rows than filters.
    """
    from sklearn.cluster import KMeans  # a second to import, and this start alone needs it

    components = _whitening(rows)
    white = (rows - rows.mean(0)) @ components.mT
    different = len(white.unique(dim=0))
    if different < filters:
        raise IsopruneError(
            f"k-means finds {filters} filters among as many different inputs at least, and the layer reads "
            f'{different}. Pass more samples, or take start = "pca".'
        )
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    kmeans = KMeans(filters, n_init=1, random_state=seed)  # pyright: ignore[reportArgumentType]
    found = kmeans.fit(white.double().cpu().numpy())
    return torch.from_numpy(found.cluster_centers_).to(rows) @ components


def _whitening(rows: Tensor) -> Tensor:
    """Return the principal directions over their standard deviations, softened, [rank, fan_in]."""
    centred = (rows - rows.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.mT @ centred / len(rows))
    values, vectors = values.flip(0), vectors.flip(1)
    there = values > (_RTOL**2) * values[0]
    if not bool(there.any()):  # the layer reads the same everywhere: nothing to look for
        return torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return (vectors[:, there] / (values[there] + _SOFT * values.mean()).sqrt()).mT.to(rows)
