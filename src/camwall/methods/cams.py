"""The methods that need one pass: functions of its maps, most of them and of one gradient.

Throughout, B are the maps and G = ∂(score)/∂B, both [N, V, h, w]; a raw map is [N, h, w].
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from camwall.methods.evidence import Evidence
from camwall.methods.registry import Rule

_SPACE = (2, 3)


def weighted(weights: Tensor, maps: Tensor) -> Tensor:
    """Σ_v α_v B_v for channel weights α [N, V]."""
    # Channels last: a sum along memory has one order for all positions, so that equal activations
    # get equal values to the last bit.
    return (maps.permute(0, 2, 3, 1).contiguous() * weights[:, None, None]).sum(dim=-1)


def gradcam(maps: Tensor, gradients: Tensor) -> Tensor:
    """α_v = mean over positions of G_v."""
    return weighted(gradients.mean(dim=_SPACE), maps)


def gradcam_pp_weights(maps: Tensor, gradients: Tensor, eps: float = 1e-6) -> Tensor:
    """a_v[p] ReLU(G_v[p]),  a_v = G² / (2G² + (Σ_q B_v[q]) G³ + eps), 0 where G = 0: [N, V, h, w].

    GradCAM++'s weights before they are summed over positions. The paper's equation 19 has eps = 0.
    """
    # Where the gradient is 0 the share is 0/0 for eps = 0; the ReLU makes it 0 in any case, and
    # negative gradients too, for which the denominator may vanish.
    positive = gradients > 0
    if eps:
        squares = gradients.square()
        denominator = 2 * squares + maps.sum(dim=_SPACE, keepdim=True) * squares * gradients + eps
        share = squares / denominator.where(positive, 1.0)
    else:  # G² taken out of the fraction: the square of a small gradient would vanish
        share = 1 / (2 + maps.sum(dim=_SPACE, keepdim=True) * gradients).where(positive, 1.0)
    return (share * gradients).where(positive, 0.0)


def gradcam_pp(maps: Tensor, gradients: Tensor, eps: float = 1e-6) -> Tensor:
    """α_v = Σ_p of `gradcam_pp_weights`."""
    return weighted(gradcam_pp_weights(maps, gradients, eps).sum(dim=_SPACE), maps)


def xgradcam(maps: Tensor, gradients: Tensor) -> Tensor:
    """α_v = Σ_p G_v[p] B_v[p] / Σ_q B_v[q]; the 10⁻⁷ in the denominator is grad-cam's."""
    weights = (gradients * maps).sum(dim=_SPACE) / (maps.sum(dim=_SPACE) + 1e-7)
    return weighted(weights, maps)


def hirescam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Σ_v G_v B_v, position by position."""
    return (gradients * maps).sum(dim=1)


def layercam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Σ_v ReLU(G_v) B_v."""
    return (gradients.clamp(min=0) * maps).sum(dim=1)


def gradcam_elementwise(maps: Tensor, gradients: Tensor) -> Tensor:
    """Σ_v ReLU(G_v B_v)."""
    return (gradients * maps).clamp(min=0).sum(dim=1)


def first_component(maps: Tensor, *, centred: bool = True) -> Tensor:
    """Project each position's channels on their first principal axis, as grad-cam does: [N, h, w].

    With X the [hw, V] matrix of a map [V, h, w], the projection is X v₁ = σ₁ u₁ for the leading
    singular triple. ``centred`` takes each channel's mean off first: the axis is then that of the
    covariance, not of the second moment. A singular vector's sign is arbitrary: grad-cam keeps the
    one that LAPACK happens to return, and cuts the map at 0, so that the sign decides the picture.
    The same matrix is decomposed here, to the last bit; now and then the sign turns on the last bit
    of one of its numbers. The axis counts as a constant where a gradient is taken.
    """
    full = maps.to(torch.promote_types(maps.dtype, torch.float32))
    rows = [each.transpose() for each in full.detach().cpu().flatten(2).numpy()]
    if centred:
        rows = [each - each.mean(axis=0) for each in rows]
        full = full - full.mean(dim=_SPACE, keepdim=True)
    # The thin decomposition has the same first axis as the full one, which grad-cam asks for. One
    # thread: others would wait in a busy loop for the next matrix, while the network runs.
    with _libraries().limit(limits=1, user_api="blas"):
        axes = [np.linalg.svd(each, full_matrices=False)[2][0] for each in rows]
    return weighted(torch.from_numpy(np.stack(axes)).to(full), full).to(maps.dtype)


_libraries = cache(ThreadpoolController)


def eigen_gradcam(maps: Tensor, gradients: Tensor) -> Tensor:
    """The first principal component of G ⊙ B over positions."""
    return first_component(gradients * maps)


def corrected(raw: Tensor) -> Tensor:
    """Turn each raw map [N, h, w] so that its largest absolute value is positive."""
    flip = raw.amin(dim=(1, 2)).abs() > raw.amax(dim=(1, 2)).abs()
    return torch.where(flip[:, None, None], -raw, raw)


def eigencam(evidence: Evidence) -> Tensor:
    """The first principal component of B over positions, its sign as it comes."""
    return evidence.once("first component", lambda: first_component(evidence.maps))


def of_gradient(function: Callable[[Tensor, Tensor], Tensor]) -> Rule:
    """A function of maps and gradients as one of the evidence."""
    return lambda evidence: function(evidence.maps, evidence.gradients)


CAMS: dict[str, Rule] = {
    "GradCAM": of_gradient(gradcam),
    "GradCAM++": of_gradient(gradcam_pp),
    "GradCAM++ (paper)": of_gradient(partial(gradcam_pp, eps=0.0)),
    "XGradCAM": of_gradient(xgradcam),
    "HiResCAM": of_gradient(hirescam),
    "LayerCAM": of_gradient(layercam),
    "GradCAMElementWise": of_gradient(gradcam_elementwise),
    "EigenGradCAM": of_gradient(eigen_gradcam),
    "EigenCAM": eigencam,
    "EigenCAM (corrected)": lambda evidence: corrected(eigencam(evidence)),
    "EigenCAM (flipped)": lambda evidence: -eigencam(evidence),
    "EigenCAM (paper)": lambda of: corrected(first_component(of.maps, centred=False)),
}
