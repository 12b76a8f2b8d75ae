"""Saliency maps from the trunk's maps and the law of the weights: no head, no score, no gradient.

Every position-free method draws its map as ReLU(Σ_v w_v B_v). At initialisation the law of the
weights w given the maps is known (:mod:`camwall.theory.given`), so draws from it predict what the
method shows, and how much of it behind the wall, before any head is built.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.errors import CamwallError
from camwall.theory.chi import check_count

#: (maps [V, h, w], visible pooled cells [V, n], τ, draws, generator) -> weights [draws, V]
WeightLaw = Callable[[Tensor, Tensor, float, int, torch.Generator], Tensor]

_GRADCAMPP_EPS = 1e-6  # as in grad-cam 1.5.7


def _gaussian(draws: int, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(draws, *like.shape, generator=generator, dtype=like.dtype)


def _gradcam(
    maps: Tensor, cells: Tensor, tau: float, draws: int, generator: torch.Generator
) -> Tensor:
    sums = _gaussian(draws, cells[:, 0], generator) * tau * cells.shape[1] ** 0.5
    return sums / (maps.shape[1] * maps.shape[2])


def _scores(cells: Tensor, tau: float, draws: int, generator: torch.Generator) -> Tensor:
    # What channel v adds to the score, Σ_c W[v, c] P[v, c] ~ N(0, τ²‖P_v‖²).
    return _gaussian(draws, cells[:, 0], generator) * tau * cells.norm(dim=1)


def _xgradcam(
    maps: Tensor, cells: Tensor, tau: float, draws: int, generator: torch.Generator
) -> Tensor:
    total = maps.sum((1, 2))
    return _scores(cells, tau, draws, generator) / total.where(total > 0, 1)


def _ablationcam(
    maps: Tensor, cells: Tensor, tau: float, draws: int, generator: torch.Generator
) -> Tensor:
    scores = _scores(cells, tau, draws, generator)
    return scores / scores.sum(1, keepdim=True)


def _gradcampp(
    maps: Tensor, cells: Tensor, tau: float, draws: int, generator: torch.Generator
) -> Tensor:
    # At a position with gradient g the weight adds ReLU(g)·g²/(2g² + ΣB·g³); g is one W[v, c].
    g = (_gaussian(draws, cells, generator) * tau).clamp_min(0)
    total = maps.sum((1, 2))[:, None]
    return (g**3 / (2 * g**2 + total * g**3 + _GRADCAMPP_EPS)).sum(-1)


def _uniform(
    maps: Tensor, cells: Tensor, tau: float, draws: int, generator: torch.Generator
) -> Tensor:
    return maps.new_full((draws, len(maps)), 1 / len(maps))


#: The methods whose weights have a known law given the maps. For ScoreCAM and Opti-CAM, whose
#: softmax weights answer to what masked images score, it is the uniform start they share.
WEIGHT_LAWS: dict[str, WeightLaw] = {
    "GradCAM": _gradcam,
    "XGradCAM": _xgradcam,
    "AblationCAM": _ablationcam,
    "GradCAM++": _gradcampp,
    "ScoreCAM": _uniform,
    "Opti-CAM": _uniform,
}


def predicted_maps(
    method: str,
    maps: Tensor,
    *,
    visible_rows: int,
    tau: float,
    pool: int = 2,
    draws: int = 400,
    seed: int = 0,
) -> Tensor:
    """Draws of a method's saliency map over random linear heads: maps [V, h, w] -> [draws, h, w].

    Parameters
    ----------
    method : a key of `WEIGHT_LAWS`.
    visible_rows : rows of pooled cells that the heads read.
    tau : standard deviation of the heads' weights.

    Raises
    ------
    CamwallError
        A method whose weights have no law here, with those that have.
    """
    if method not in WEIGHT_LAWS:
        raise CamwallError(
            f"no law of weights is known for {method!r}; known: {', '.join(WEIGHT_LAWS)}"
        )
    maps = maps.double()
    cells = F.max_pool2d(maps[None], pool)[0, :, :visible_rows].flatten(1)
    generator = torch.Generator().manual_seed(seed)
    weights = WEIGHT_LAWS[method](maps, cells, tau, check_count("draws", draws), generator)
    return torch.relu(torch.einsum("dv,vhw->dhw", weights, maps))
