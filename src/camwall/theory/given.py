"""What is exact given the maps, whatever trunk made them: a random linear head on pooled maps.

The filters may be trained, pretrained or deep; only the head's visible weights W[v, c] need be
independent N(0, τ²). Shapes: maps [..., V, h, w]; ``pooled`` [..., V, h', w'] holds the *visible*
cells alone. ``S`` is the map before its ReLU, [..., h, w].
"""

import math

import torch
from torch import Tensor

from camwall.theory.chi import check_count


def gradcam_given_maps(maps: Tensor, visible: int | Tensor, tau: float) -> Tensor:
    """Standard deviation of GradCAM's S ~ N(0, ·): τ/(hw) · √(Σ_v n_v B_v²).

    n_v is ``visible``, the cells that the head reads; or, as a tensor [..., V], how many of them
    hand their weight on to each channel, where dead windows would not.
    """
    positions = maps.shape[-1] * maps.shape[-2]
    if isinstance(visible, Tensor):
        return tau / positions * (visible.sqrt()[..., None, None] * maps).norm(dim=-3)
    return tau * math.sqrt(check_count("visible", visible)) / positions * maps.norm(dim=-3)


def xgradcam_given_maps(maps: Tensor, pooled: Tensor, tau: float) -> Tensor:
    """Standard deviation of XGradCAM's S ~ N(0, ·): τ√(Σ_v B_v² Σ_c P_v[c]² / (Σ_p B_v[p])²).

    A map that is 0 everywhere has weight 0.
    """
    total = maps.sum((-2, -1), keepdim=True)
    ratio = pooled.flatten(-2).norm(dim=-1)[..., None, None] / total.where(total > 0, 1)
    return tau * (ratio * maps).norm(dim=-3)


def ablationcam_given_maps(maps: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale of AblationCAM's S, a Cauchy variable whatever τ.

    With f_v = Σ_c W[v, c] P_v[c] the weight is f_v/f (Desai and Ramaswamy, 2020), and
    S = Σ_v f_v B_v / Σ_v f_v is a ratio of centred Gaussians. With Q_v = Σ_c P_v[c]²,

        location = Σ Q_v B_v / Σ Q_v,   scale² = Σ Q_v B_v² / Σ Q_v - location²:

    mean and variance of B under the weights Q. The location is never negative, so S > 0 at least
    half of the time wherever a channel with Q_v > 0 is lit, and S = 0 elsewhere; ReLU(S) has no
    finite mean wherever the scale is not 0. Both are NaN where every Q_v is 0.
    """
    energy = pooled.square().sum((-2, -1))[..., None, None]
    share = energy / energy.sum(-3, keepdim=True)
    location = (share * maps).sum(-3)
    # Centred before squaring: the difference of two sums would lose small scales to rounding.
    scale = (share * (maps - location.unsqueeze(-3)) ** 2).sum(-3).sqrt()
    return location, scale


def cauchy_positive(location: Tensor, scale: Tensor) -> Tensor:
    """P(S > 0) for a Cauchy S: ½ + arctan(location/scale)/π; 0 where both are 0."""
    positive = 0.5 + torch.atan2(location, scale) / math.pi
    return positive.where((location > 0) | (scale > 0), 0)


def gradcampp_positive(filters: int, visible: int) -> float:
    """P(GradCAM++ > 0) = 1 - (½ + 2^{-n-1})^V at a patch that is not black.

    The weight of channel v is a sum over positions of ReLU(∂f/∂B_v) times a factor that is positive
    where the gradient is, for maps that are never negative (Chattopadhay et al., 2018). The head
    is linear, with independent symmetric weights; the pooling's windows are disjoint and pass the
    whole gradient on, dead ones too. Then n weights lie at n positions, and the channel's weight is
    positive unless all are negative. The map is positive unless each channel has weight 0 or
    B_v = 0 here.
    """
    half = (1 + 0.5 ** check_count("visible", visible)) / 2
    return 1 - half ** check_count("filters", filters)


def some_map_positive(filters: int) -> float:
    """P(some B_v > 0) = 1 - 2^-V at a patch that is not black.

    With softmax weights, all positive (ScoreCAM (Wang et al., 2020), Opti-CAM
    (Zhang et al., 2024)), this is P(saliency > 0).
    """
    return 1 - 0.5 ** check_count("filters", filters)
