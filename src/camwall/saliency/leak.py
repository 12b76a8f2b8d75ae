"""The leak: how much of a saliency map lies behind the wall."""

import torch
from torch import Tensor

from camwall.errors import CamwallError
from camwall.wall import Wall


def leak(maps: Tensor, wall: Wall, *, bleed: bool = True) -> Tensor:
    """The share of each saliency map's l2 norm behind the wall.

    ‖map[hidden rows]‖₂ / ‖map‖₂, the paper's measure, as a fraction.

    Parameters
    ----------
    maps : tensor [N, H, W]
        Saliency maps, at the image's size.
    wall : Wall
    bleed : bool
        ``False`` leaves out, of both norms, the hidden rows that bilinear upsampling fills in part
        from visible ones (``wall.bleed_rows`` of them): what remains behind the wall was put
        there by the method.

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
    if maps.ndim != 3 or maps.shape[1] != wall.image_rows:
        raise CamwallError(
            f"the leak is measured on maps of shape [N, {wall.image_rows}, W], "
            f"not {list(maps.shape)}"
        )
    if not torch.isfinite(maps).all():
        raise CamwallError("a saliency map holds NaN or infinite values; its leak has no meaning")
    # In float32 squares of values below 1e-23 would vanish; not every device knows double.
    maps = maps.cpu().double()
    visible = maps[:, : wall.row].square().sum(dim=(1, 2))
    hidden = maps[:, wall.row + (0 if bleed else wall.bleed_rows) :].square().sum(dim=(1, 2))
    total = visible + hidden
    return torch.where(total > 0, hidden / total.where(total > 0, 1.0), 0.0).sqrt()


def is_empty(maps: Tensor) -> Tensor:
    """Which of the saliency maps [N, H, W] are zero everywhere: bool [N]."""
    return (maps == 0).flatten(1).all(dim=1)
