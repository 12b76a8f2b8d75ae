"""The dial from HiResCAM to GradCAM: the gradient averaged over windows of growing size."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.errors import CamwallError
from camwall.theory.chi import check_count
from camwall.theory.setting import Setting


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
    side = 2 * check_count("radius", radius, least=0) + 1
    weights = F.avg_pool2d(gradients, side, stride=1, padding=radius, count_include_pad=False)
    return torch.relu((weights * maps).sum(1))


def dial_energy(setting: Setting, image: Tensor, radius: int) -> np.ndarray:
    """Expected squares of :func:`windowed_gradcam` at initialisation, up to one factor, [h, w].

    A window of area A around a position with patch m sees n_w of the visible cells' weights, and
    the expected square is proportional to ‖m‖² n_w/A². A cell whose pool lies partly in the window
    counts by the part, as if each of its positions were as likely to hold the maximum whatever the
    filter. That is an approximation. It is exact for a window that cuts no visible pool: one that
    covers them all (GradCAM), and one that reaches none, where the square is 0.
    """
    h, w = setting.map_shape
    rows, columns = setting.visible_map_rows, setting.pooled_shape[1] * setting.pool
    share = torch.zeros(1, 1, h, w, dtype=torch.double)
    share[..., :rows, :columns] = 1 / setting.pool**2
    side = 2 * check_count("radius", radius, least=0) + 1
    seen = F.avg_pool2d(share, side, stride=1, padding=radius, divisor_override=1)
    area = F.avg_pool2d(torch.ones_like(share), side, 1, radius, divisor_override=1)
    return setting.patch_norms(image) ** 2 * (seen / area**2)[0, 0].numpy()


def dial_rows(
    name: str,
    maps: Tensor,
    gradients: Tensor,
    *,
    visible_map_rows: int,
    radii: Iterable[int],
    resamples: int = 500,
    seed: int = 0,
) -> Iterator[dict[str, float | int | str]]:
    """The leak against the window's radius, over N networks or images.

    Parameters
    ----------
    name : of the network or networks, copied into each row.
    maps, gradients : [N, V, h, w].

    Raises
    ------
    CamwallError
        If all maps of some radius are empty.

    Yields
    ------
    dict
        ``network, radius``; ``energy``, √(Σ hidden squares / Σ squares) over all N maps, with its
        95 % bootstrap interval over the N, ``energy_low`` and ``energy_high``; ``leak``, the mean
        leak of the maps that are not empty, with its 95 % interval ``leak_low`` and ``leak_high``;
        ``empty``, the share of maps that are.
    """
    generator = np.random.default_rng(seed)
    for radius in radii:
        squares = windowed_gradcam(maps, gradients, radius).detach().double().square()
        hidden = squares[:, visible_map_rows:].sum((1, 2)).numpy()
        total = squares.sum((1, 2)).numpy()
        lit = total > 0
        if not lit.any():
            raise CamwallError(f"all maps at radius {radius} are empty: they have no leak")
        hidden, total = hidden[lit], total[lit]
        drawn = generator.integers(0, len(total), (resamples, len(total)))
        shares = np.sqrt(hidden[drawn].sum(1) / total[drawn].sum(1))
        low, high = np.quantile(shares, [0.025, 0.975])
        leaks = np.sqrt(hidden / total)
        half = 1.96 * leaks.std() / np.sqrt(len(leaks))
        yield {
            "network": name,
            "radius": radius,
            "energy": float(np.sqrt(hidden.sum() / total.sum())),
            "energy_low": float(low),
            "energy_high": float(high),
            "leak": float(leaks.mean()),
            "leak_low": float(leaks.mean() - half),
            "leak_high": float(leaks.mean() + half),
            "empty": float((~lit).mean()),
        }
