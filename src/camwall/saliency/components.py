"""The first principal component of maps over positions, and its sign: EigenCAM."""

import numpy as np
import torch
from torch import Tensor

from camwall.saliency.registry import Mechanism, Method, register
from camwall.saliency.shared import Pass


def first_component(maps: Tensor) -> Tensor:
    """Project each position's channels on their first principal axis, as grad-cam does.

    With X the [hw, V] matrix of a map, centred over positions, the projection is X v₁ = σ₁ u₁ for
    the leading singular triple. u₁ is the leading eigenvector of X Xᵀ, which is small (hw × hw),
    and is found in float64. A singular vector's sign is arbitrary: grad-cam keeps the one that
    LAPACK happens to return, and cuts the map at 0, so that the sign decides the picture. The same
    call, on the same numbers, tells it here; now and then it turns on the last bit of one of them.

    Parameters
    ----------
    maps : tensor [N, V, h, w]

    Returns
    -------
    tensor [N, h, w]
    """
    count, _, height, width = maps.shape
    rows = maps.double().flatten(2).mT
    rows = rows - rows.mean(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(rows @ rows.mT)
    projection = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
    signs = [
        _lapack_sign(each, line)
        for each, line in zip(
            maps.detach().cpu().numpy(), projection.detach().cpu().numpy(), strict=True
        )
    ]
    sign = torch.tensor(signs, dtype=projection.dtype, device=projection.device)
    return (sign[:, None] * projection).to(maps.dtype).view(count, height, width)


def _lapack_sign(maps: np.ndarray, projection: np.ndarray) -> float:
    # To the last bit the matrix that grad-cam decomposes. The thin decomposition has the same
    # first axis as the full one, which grad-cam asks for.
    rows = maps.reshape(len(maps), -1).transpose()
    rows = rows - rows.mean(axis=0)
    axis = np.linalg.svd(rows, full_matrices=False)[2][0]
    return 1.0 if float((rows @ axis) @ projection) >= 0 else -1.0


def corrected(raw: Tensor) -> Tensor:
    """Turn each raw map [N, h, w] so that its largest absolute value is positive."""
    flip = raw.amin(dim=(1, 2)).abs() > raw.amax(dim=(1, 2)).abs()
    return torch.where(flip[:, None, None], -raw, raw)


def _eigencam(shared: Pass) -> Tensor:
    return first_component(shared.maps)


_WEIGHTS = "the first principal axis of the activations over positions"

EIGENCAM = register(
    Method(
        name="EigenCAM",
        weights=f"{_WEIGHTS}, with the sign the decomposition happens to return",
        mechanism=Mechanism.ACTIVATIONS,
        sees_through=True,
        reference="muhammad2020eigencam",
        raw=_eigencam,
        package="EigenCAM",
        departs="centres the activations; keeps an arbitrary sign",
    )
)
register(
    Method(
        name="EigenCAM (corrected)",
        weights=f"{_WEIGHTS}, turned so that the largest absolute value is positive",
        mechanism=Mechanism.ACTIVATIONS,
        sees_through=True,
        reference="chung2025segeigencam",
        raw=lambda shared: corrected(_eigencam(shared)),
        variant_of="EigenCAM",
    )
)
register(
    Method(
        name="EigenCAM (flipped)",
        weights=f"{_WEIGHTS}, with the other sign than EigenCAM's",
        mechanism=Mechanism.ACTIVATIONS,
        sees_through=True,
        reference="muhammad2020eigencam",
        raw=lambda shared: -_eigencam(shared),
        variant_of="EigenCAM",
    )
)
