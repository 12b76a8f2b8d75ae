"""The dial from HiResCAM to GradCAM: the gradient averaged over windows of growing size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.errors import CamwallError, check_count
from camwall.theory.geometry import Setting


def _within(values: Tensor, radius: int) -> int:
    """The radius, no larger than one whose windows are all the whole map."""
    return min(check_count("radius", radius, least=0), max(values.shape[-2:]))


def _window_mean(values: Tensor, radius: int) -> Tensor:
    """The mean over the window around each position, clipped at the map's edge."""
    radius = _within(values, radius)
    side = 2 * radius + 1
    return F.avg_pool2d(values, side, stride=1, padding=radius, count_include_pad=False)


def windowed_gradcam(maps: Tensor, gradients: Tensor, radius: int) -> Tensor:
    """ReLU(Σ_v (mean of ∂f/∂B_v over the window) · B_v), windows of side 2·radius + 1.

    Windows are clipped at the map's edge and averaged over what is left. Radius 0 is HiResCAM
    (Draelos and Carin, 2020); from radius max(h, w) - 1 on every window is the whole map and the
    result is GradCAM (Selvaraju et al., 2017). Between them, a hidden position can be lit
    as soon as its window reaches over the wall.

    Parameters
    ----------
    maps, gradients : B and ∂f/∂B, [N, V, h, w].

    Returns
    -------
    Tensor [N, h, w], not normalised.
    """
    if not isinstance(maps, Tensor) or maps.ndim != 4 or not maps.is_floating_point():
        raise CamwallError("maps and gradients are tensors [N, V, h, w] of floats")
    if not isinstance(gradients, Tensor) or gradients.shape != maps.shape:
        raise CamwallError(f"the gradients must be a tensor {list(maps.shape)}, as the maps")
    return torch.relu((_window_mean(gradients, radius) * maps).sum(1))


def dial_energy(setting: Setting, image: Tensor, radius: int) -> Tensor:
    """Expected squares of :func:`windowed_gradcam` at initialisation, up to one factor, [h, w].

    A window of area A around a position with patch m sees n_w of the visible cells' weights, and
    the expected square is proportional to ‖m‖² n_w/A². A cell whose pool lies partly in the window
    counts by the part, as if each of its positions were as likely to hold the maximum whatever the
    filter. That is an approximation. It is exact for a window that cuts no visible pool: one that
    covers them all (GradCAM), and one that reaches none, where the square is 0.
    """
    seen = torch.zeros(1, *setting.map_shape, dtype=torch.double)
    seen[:, : setting.visible_map_rows, : setting.pooled_shape[1] * setting.pool] = 1
    radius = _within(seen, radius)
    side = 2 * radius + 1
    area = side**2 * F.avg_pool2d(torch.ones_like(seen), side, 1, radius)
    share = _window_mean(seen, radius) / setting.pool**2  # n_w/A
    return setting.patch_norms(image) ** 2 * (share / area)[0]
