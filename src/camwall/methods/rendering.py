"""From raw maps to saliency maps, as the package grad-cam renders them.

=====================  ===========================================================================
choice                 here, as in grad-cam 1.5.7
=====================  ===========================================================================
negative values        cut at 0 first
normalisation          (m − min m) / (10⁻⁷ + max(m − min m)) on the raw map, and again once resized
resizing               bilinear, half-pixel centres (``align_corners=False``, ``cv2.resize``)
=====================  ===========================================================================
"""

import torch.nn.functional as F
from torch import Tensor

_EPS = 1e-7


def min_max(maps: Tensor) -> Tensor:
    """Each of the maps [N, h, w] to [0, 1]; a constant map becomes 0."""
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return maps / (_EPS + maps.amax(dim=(1, 2), keepdim=True))


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [N, h, w] to [N, H, W], bilinear with half-pixel centres."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def render(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """Raw maps [N, h, w] to saliency maps [N, H, W] in [0, 1]."""
    return min_max(upsample(min_max(raw.clamp(min=0)), size))
