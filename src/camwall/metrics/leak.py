"""The leak: how much of a saliency map lies behind the wall."""

from collections.abc import Sequence

import torch
from torch import Tensor

from camwall.errors import CamwallError
from camwall.methods.rendering import render
from camwall.wall import Wall


def leak(maps: Tensor, wall: Wall, *, clear_of: Tensor | None = None) -> Tensor:
    """The share of each saliency map's l2 norm behind the wall.

    ‖map[hidden pixels]‖₂ / ‖map‖₂, the paper's measure, as a fraction.

    Parameters
    ----------
    maps : tensor [N, H, W]
        Saliency maps, at the image's size.
    wall : Wall
    clear_of : bool tensor [h, w], optional
        The map cells that the network reads (``model.visible_cells``): leaves out, of both norms,
        the hidden pixels that bilinear upsampling fills in part from them (`Wall.bleed`). What
        remains behind the wall was put there by the method.

    Returns
    -------
    tensor [N], in [0, 1]
        0 for an all-zero map, which points nowhere: `is_empty` tells these, and tables count them
        apart.

    Raises
    ------
    CamwallError
        Maps of another shape than the wall's, or that hold NaN.
    """
    if maps.ndim != 3 or tuple(maps.shape[1:]) != wall.shape:
        raise CamwallError(
            f"the leak is measured on maps of shape [N, {wall.shape[0]}, {wall.shape[1]}], "
            f"not {list(maps.shape)}"
        )
    if not torch.isfinite(maps).all():
        raise CamwallError("a saliency map holds NaN or infinite values; its leak has no meaning")
    # In float32 squares of values below 1e-23 would vanish; not every device knows double.
    energy = maps.cpu().double().square().flatten(1)
    behind = wall.hidden if clear_of is None else wall.hidden & ~wall.bleed(clear_of)
    sides = torch.stack([~wall.hidden, behind]).flatten(1).double()
    visible, hidden = (energy @ sides.T).unbind(dim=1)
    total = visible + hidden
    return torch.where(total > 0, hidden / total.where(total > 0, 1.0), 0.0).sqrt()


def is_empty(maps: Tensor) -> Tensor:
    """Which of the saliency maps [N, H, W] are zero everywhere: bool [N]."""
    return (maps == 0).flatten(1).all(dim=1)


def random_level(wall: Wall, cells: Sequence[int], *, draws: int = 1000, seed: int = 0) -> float:
    """The mean leak of maps that are noise: uniform values on a grid of cells, rendered as any map.

    Parameters
    ----------
    wall : Wall
    cells : (h, w) of the maps
    draws, seed : int
    """
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for start in range(0, draws, 50):
        raw = torch.rand(min(50, draws - start), *cells, generator=generator)
        total += float(leak(render(raw, wall.shape), wall).sum())
    return total / draws
