"""EigenCAM: the first principal component of the maps over positions, and its sign."""

from functools import cache

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from camwall.methods.evidence import Evidence
from camwall.methods.registry import Mechanism, Method


def first_component(maps: Tensor, *, centred: bool = True) -> Tensor:
    """Project each position's channels on their first principal axis, as grad-cam does.

    With X the [hw, V] matrix of a map, centred over positions, the projection is X v₁ = σ₁ u₁ for
    the leading singular triple. A singular vector's sign is arbitrary: grad-cam keeps the one that
    LAPACK happens to return, and cuts the map at 0, so that the sign decides the picture. The same
    matrix is decomposed here, to the last bit; now and then the sign turns on the last bit of one
    of its numbers. Where a gradient is wanted, u₁ is found as the leading eigenvector of X Xᵀ.

    Parameters
    ----------
    maps : tensor [N, V, h, w]
    centred : bool
        Take each channel's mean off first: the principal axis of the covariance, not of the
        second moment.

    Returns
    -------
    tensor [N, h, w]
    """
    plain = maps.detach().cpu().to(torch.promote_types(maps.dtype, torch.float32))
    # One thread: others would wait in a busy loop for the next matrix, while the network runs.
    with _libraries().limit(limits=1, user_api="blas"):
        lines = [_projection(each, centred) for each in plain.numpy()]
    found = torch.from_numpy(np.stack(lines)).to(maps)
    if maps.requires_grad:
        rows = maps.double().flatten(2).mT
        if centred:
            rows = rows - rows.mean(dim=1, keepdim=True)
        values, vectors = torch.linalg.eigh(rows @ rows.mT)
        line = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
        sign = torch.where((line * found).sum(dim=1, keepdim=True) >= 0, 1.0, -1.0)
        found = (sign * line).to(maps.dtype)
    return found.view(len(maps), *maps.shape[2:])


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def _projection(maps: np.ndarray, centred: bool) -> np.ndarray:
    # The thin decomposition has the same first axis as the full one, which grad-cam asks for.
    rows = maps.reshape(len(maps), -1).transpose()
    if centred:
        rows = rows - rows.mean(axis=0)
    axis = np.linalg.svd(rows, full_matrices=False)[2][0]
    # Sums along memory, not a product of matrices: they have one order for all positions.
    return np.multiply(rows, axis, order="C").sum(axis=1)


def corrected(raw: Tensor) -> Tensor:
    """Turn each raw map [N, h, w] so that its largest absolute value is positive."""
    flip = raw.amin(dim=(1, 2)).abs() > raw.amax(dim=(1, 2)).abs()
    return torch.where(flip[:, None, None], -raw, raw)


def eigencam(evidence: Evidence) -> Tensor:
    """The first principal component of B over positions, its sign as it comes."""
    return evidence.once("first component", lambda: first_component(evidence.maps))


_WEIGHTS = "the first principal axis of the activations over positions"

EIGENCAM = Method(
    "EigenCAM",
    f"{_WEIGHTS}, with the sign the decomposition happens to return",
    Mechanism.ACTIVATIONS,
    "muhammad2020eigencam",
    eigencam,
    package="EigenCAM",
    departs="centres the activations; keeps an arbitrary sign",
)

EIGEN = (
    EIGENCAM,
    EIGENCAM.variant(
        "EigenCAM (corrected)",
        f"{_WEIGHTS}, turned so that the largest absolute value is positive",
        lambda evidence: corrected(eigencam(evidence)),
        reference="chung2025segeigencam",
    ),
    EIGENCAM.variant(
        "EigenCAM (flipped)",
        f"{_WEIGHTS}, with the other sign than EigenCAM's",
        lambda evidence: -eigencam(evidence),
    ),
    EIGENCAM.variant(
        "EigenCAM (paper)",
        "the first right singular vector of the activations, not centred; for activations that "
        "are never negative all its entries have one sign",
        lambda evidence: corrected(first_component(evidence.maps, centred=False)),
    ),
)
