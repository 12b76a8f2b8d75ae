"""What a random linear head shows of given maps: each method's weights have a law of their own.

Whatever trunk made the maps, trained, pretrained or deep: only the head's visible weights W[v, c]
need be independent N(0, τ²). A method with one weight a channel draws ReLU(S), S = Σ_v w_v B_v. For
GradCAM and XGradCAM the w_v are independent N(0, σ_v²) given the maps, and so are the parts
f_v = Σ_c W[v, c] P_v[c] that the channels bring to the score f; AblationCAM's w_v is f_v/f.

Shapes: maps [..., V, h, w]; ``cells``, the visible pooled cells P alone, [..., V, n].
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from camwall.errors import CamwallError, check_count, check_number

#: (maps, visible pooled cells, τ) -> standard deviations σ of the weights, [..., V]
Spread = Callable[[Tensor, Tensor, float], Tensor]
Normal = Callable[
    [Tensor], Tensor
]  # draws of independent N(0, 1), [draws, *shape of what is given]


def _check_maps(maps: Tensor, cells: Tensor, tau: float = 1.0) -> None:
    """Refuse what are no maps [..., V, h, w] and cells [..., V, n], finite floats of one V."""
    check_number("tau", tau, above=0)
    for what, given, least in (("maps", maps, 3), ("cells", cells, 2)):
        if not isinstance(given, Tensor) or not given.is_floating_point() or given.ndim < least:
            raise CamwallError(f"{what} are a tensor of floats of at least {least} dimensions")
        if not torch.isfinite(given).all() or 0 in given.shape:
            raise CamwallError(f"{what} are empty, or hold NaN or infinite values")
    if maps.shape[:-2] != cells.shape[:-1]:
        raise CamwallError(
            f"maps {list(maps.shape)} and cells {list(cells.shape)} are of different channels"
        )


def gradcam_spread(maps: Tensor, cells: Tensor, tau: float) -> Tensor:
    """GradCAM's σ_v = τ√n/(hw), [..., V]: the same for every map.

    Times √(n_v/n) it is that of a channel whose weight only n_v of the n cells hand on.
    """
    _check_maps(maps, cells, tau)
    sigma = tau * math.sqrt(cells.shape[-1]) / (maps.shape[-1] * maps.shape[-2])
    return maps.new_full(maps.shape[:-2], sigma)


def xgradcam_spread(maps: Tensor, cells: Tensor, tau: float) -> Tensor:
    """XGradCAM's σ_v = τ‖P_v‖₂ / Σ_p B_v[p], [..., V] (Fu et al., 2020); 0 for a map that is 0."""
    _check_maps(maps, cells, tau)
    total = maps.sum((-2, -1))
    return tau * cells.norm(dim=-1) / total.abs().where(total != 0, 1)


def gaussian_std(spread: Tensor, maps: Tensor) -> Tensor:
    """Standard deviation √(Σ_v σ_v² B_v²) of S ~ N(0, ·), [..., h, w], for σ [..., V]."""
    _check_maps(maps, spread[..., None] if isinstance(spread, Tensor) else spread)
    return (spread[..., None, None] * maps).norm(dim=-3)


def ablationcam_cauchy(maps: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale of AblationCAM's S, a Cauchy variable whatever τ, each [..., h, w].

    S = Σ_v f_v B_v / Σ_v f_v (Desai and Ramaswamy, 2020) is a ratio of centred Gaussians. With
    Q_v = Σ_c P_v[c]²,

        location = Σ Q_v B_v / Σ Q_v,   scale² = Σ Q_v B_v² / Σ Q_v - location²:

    mean and variance of B under the weights Q. The location is never negative, so S > 0 at least
    half of the time wherever a channel with Q_v > 0 is lit, and S = 0 elsewhere; ReLU(S) has no
    finite mean wherever the scale is not 0. Both are NaN where every Q_v is 0.
    """
    _check_maps(maps, cells)
    energy = cells.square().sum(-1)[..., None, None]
    share = energy / energy.sum(-3, keepdim=True)
    location = (share * maps).sum(-3)
    # Centred before squaring: the difference of two sums would lose small scales to rounding.
    return location, (share * (maps - location.unsqueeze(-3)) ** 2).sum(-3).sqrt()


def cauchy_positive(location: Tensor, scale: Tensor) -> Tensor:
    """P(S > 0) for a Cauchy S: ½ + arctan(location/scale)/π; 0 where both are 0."""
    for each in (location, scale):
        if not isinstance(each, Tensor) or not each.is_floating_point():
            raise CamwallError("location and scale are tensors of floats")
    if location.shape != scale.shape or (scale < 0).any():
        raise CamwallError("location and scale are of one shape, the scale not negative")
    positive = 0.5 + torch.atan2(location, scale) / math.pi
    return positive.where((location > 0) | (scale > 0), 0)


def gradcampp_positive(filters: int, visible: int) -> float:
    """P(GradCAM++ > 0) = 1 - (½ + 2^{-n-1})^V at a patch that is not black, V random filters.

    For a linear head with independent symmetric weights, on n cells of a pooling whose windows are
    disjoint and pass the whole gradient on, dead ones too. A channel's weight, a sum over positions
    of ReLU(∂f/∂B_v) times what is positive there for maps that are never negative (Chattopadhay et
    al., 2018), is 0 only if all its n weights are negative; the map is 0 only if each channel has
    weight 0 or B_v = 0 here.
    """
    half = (1 + 0.5 ** check_count("visible", visible)) / 2
    return 1 - half ** check_count("filters", filters)


def _ablationcam(maps: Tensor, cells: Tensor, tau: float, normal: Normal) -> Tensor:
    parts = tau * cells.norm(dim=1) * normal(cells[:, 0])
    return parts / parts.sum(1, keepdim=True)


def _gradcampp(maps: Tensor, cells: Tensor, tau: float, normal: Normal) -> Tensor:
    # At a position with gradient g, one W[v, c], the weight adds ReLU(g)·g²/(2g² + ΣB·g³).
    g = (tau * normal(cells)).clamp_min(0)
    total = maps.sum((1, 2))[:, None]
    return (g**3 / (2 * g**2 + total * g**3 + 1e-6)).sum(-1)  # 1e-6 as in grad-cam 1.5.7


def _uniform(maps: Tensor, cells: Tensor, tau: float, normal: Normal) -> Tensor:
    return torch.full_like(normal(cells[:, 0]), 1 / len(maps))


_WEIGHTS: dict[str, Callable[[Tensor, Tensor, float, Normal], Tensor]] = {
    "GradCAM": lambda m, c, tau, normal: gradcam_spread(m, c, tau) * normal(c[:, 0]),
    "XGradCAM": lambda m, c, tau, normal: xgradcam_spread(m, c, tau) * normal(c[:, 0]),
    "AblationCAM": _ablationcam,
    "GradCAM++": _gradcampp,
    "ScoreCAM": _uniform,
    "Opti-CAM": _uniform,
}


def predicted_maps(
    method: str, maps: Tensor, cells: Tensor, tau: float, *, draws: int = 400, seed: int = 0
) -> Tensor:
    """Draws of a method's saliency map from the law of its weights: no head, score or gradient.

    For ScoreCAM and Opti-CAM, whose softmax weights answer to what masked images score, the weights
    are the uniform ones that both start from.

    Parameters
    ----------
    method : one of the paper's, but for EigenCAM and HiResCAM.
    maps, cells : [V, h, w] and [V, n].
    tau : standard deviation of the heads' weights.

    Returns
    -------
    Tensor [draws, h, w]

    Raises
    ------
    CamwallError
        A method whose weights have no law here, with those that have.
    """
    if method not in (*_WEIGHTS,):
        raise CamwallError(
            f"no law of weights is known for {method!r}; known: {', '.join(_WEIGHTS)}"
        )
    check_count("draws", draws)
    check_count("seed", seed, 0)
    _check_maps(maps, cells, tau)
    if maps.ndim != 3:
        raise CamwallError(f"maps are [V, h, w] here, not {list(maps.shape)}")
    maps, cells = maps.double(), cells.double()
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(draws, *like.shape, generator=generator, dtype=like.dtype)

    weights = _WEIGHTS[method](maps, cells, tau, normal)
    return torch.relu(torch.einsum("dv,vhw->dhw", weights, maps))
