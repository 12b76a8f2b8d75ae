"""The dial from HiResCAM to GradCAM: the gradient averaged over windows of growing size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.theory.chi import check_count


def windowed_gradcam(maps: Tensor, gradients: Tensor, radius: int) -> Tensor:
    """ReLU(Σ_v (mean of ∂f/∂B_v over the window) · B_v), windows of side 2·radius + 1.

    Windows are clipped at the map's edge and averaged over what is left. Radius 0 is HiResCAM
    (Draelos and Carin, 2020); from radius max(h, w) - 1 on every window is the whole map and the
    result is GradCAM (Selvaraju et al., 2017). Between them, a hidden position sees through the
    wall as soon as its window reaches over it.

    Parameters
    ----------
    maps, gradients : B and ∂f/∂B, [N, V, h, w].

    Returns
    -------
    Tensor [N, h, w], not normalised.
    """
    side = 2 * check_count("radius", radius, least=0) + 1
    weights = F.avg_pool2d(gradients, side, stride=1, padding=radius, count_include_pad=False)
    return torch.relu((weights * maps).sum(1))


def map_leak(saliency: Tensor, visible_map_rows: int) -> Tensor:
    """Share of each map's l2 norm in its hidden rows: [..., h, w] -> [...]; NaN for a zero map.

    This is the leak on the map's own grid, before any resizing: no bleed across the wall.
    """
    return saliency[..., visible_map_rows:, :].norm(dim=(-2, -1)) / saliency.norm(dim=(-2, -1))
