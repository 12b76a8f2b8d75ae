"""What may stand in the hidden pixels: fills that are made from the visible ones alone."""

import torch
from torch import Tensor

from camwall.errors import CamwallError
from camwall.models.preprocessing import Preprocessing
from camwall.wall import Wall

#: Names of fills. ``zero`` is 0 in the network's input; ``grey``, ``black`` and ``white`` are
#: pixels; ``mean`` is each image's mean visible colour; ``noise`` uniform pixels, the same for all
#: images; ``mirror`` the visible content, flipped onto the hidden side; ``none`` leaves all as it
#: is, and is the one that reads hidden pixels.
FILLS = ("zero", "grey", "black", "white", "mean", "noise", "mirror", "none")
_PIXELS = {"grey": 0.5, "black": 0.0, "white": 1.0}


def fill(name: str, images: Tensor, wall: Wall, preprocessing: Preprocessing) -> Tensor:
    """Network inputs [N, C, H, W] with their hidden pixels replaced, in one of the `FILLS`.

    None of these is read but by ``none``; ``preprocessing`` turns pixels into inputs.
    """
    if name not in FILLS:
        raise CamwallError(f"unknown paint {name!r}; known: {', '.join(FILLS)}")
    if name == "none":
        return images
    hidden = wall.hidden.to(images.device)
    visible = images.masked_fill(hidden, 0.0)
    if name == "zero":
        return visible
    if name in _PIXELS:
        pixel = torch.full_like(images[:1, :, :1, :1], _PIXELS[name])
        return torch.where(hidden, preprocessing.normalize(pixel), visible)
    if name == "noise":
        generator = torch.Generator().manual_seed(0)
        pixels = torch.rand(images.shape[1:], generator=generator).to(images)
        return torch.where(hidden, preprocessing.normalize(pixels), visible)
    mean = visible.sum(dim=(2, 3), keepdim=True) / (~hidden).sum()
    if name == "mean":
        return torch.where(hidden, mean, visible)
    # The flip that brings most visible pixels behind the wall; where it brings none, the mean.
    flips = [(2,), (3,), (2, 3)]
    covered = [hidden & ~hidden.flip([axis - 2 for axis in axes]) for axes in flips]
    best = max(range(len(flips)), key=lambda i: int(covered[i].sum()))
    flipped = torch.where(covered[best], visible.flip(flips[best]), mean)
    return torch.where(hidden, flipped, visible)
