"""The first principal component of maps over positions, with the sign that grad-cam gets."""

import numpy as np
import torch
from torch import Tensor


def first_component(maps: Tensor, *, centred: bool = True) -> Tensor:
    """Project each position's channels on their first principal axis, as grad-cam does.

    With X the [hw, V] matrix of a map, centred over positions, the projection is X v₁ = σ₁ u₁ for
    the leading singular triple. u₁ is the leading eigenvector of X Xᵀ, which is small (hw × hw),
    and is found in float64. A singular vector's sign is arbitrary: grad-cam keeps the one that
    LAPACK happens to return, and cuts the map at 0, so that the sign decides the picture. The same
    call, on the same numbers, tells it here; now and then it turns on the last bit of one of them.

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
    count, _, height, width = maps.shape
    rows = maps.double().flatten(2).mT
    if centred:
        rows = rows - rows.mean(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(rows @ rows.mT)
    projection = vectors[:, :, -1] * values[:, -1:].clamp(min=0).sqrt()
    signs = [
        _lapack_sign(each, line, centred)
        for each, line in zip(
            maps.detach().cpu().numpy(), projection.detach().cpu().numpy(), strict=True
        )
    ]
    sign = torch.tensor(signs, dtype=projection.dtype, device=projection.device)
    return (sign[:, None] * projection).to(maps.dtype).view(count, height, width)


def _lapack_sign(maps: np.ndarray, projection: np.ndarray, centred: bool) -> float:
    # To the last bit the matrix that grad-cam decomposes. The thin decomposition has the same
    # first axis as the full one, which grad-cam asks for.
    rows = maps.reshape(len(maps), -1).transpose()
    if centred:
        rows = rows - rows.mean(axis=0)
    axis = np.linalg.svd(rows, full_matrices=False)[2][0]
    return 1.0 if float((rows @ axis) @ projection) >= 0 else -1.0
