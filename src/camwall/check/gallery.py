"""The gallery of a check: small pictures of its first images and of their maps."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from camwall.images import opened
from camwall.models import Preprocessing

#: How many of a set's images are kept, and how large, in pixels along a side.
SHOWN, SIDE = 4, 112
#: An image's name → its picture under "", and those of its maps under the methods' names: PNG or
#: JPEG files in base64.
Gallery = dict[str, dict[str, str]]


def pictured(image: Tensor, shown: Tensor, preprocessing: Preprocessing) -> list[str]:
    """An image [C, H, W] and a map [H, W] of it, stretched to its largest value, as small files."""
    pixels = preprocessing.denormalize(image[None])
    if pixels.shape[1] != 3:  # no colours
        pixels = pixels.mean(dim=1, keepdim=True)
    size = shown.abs().clamp(max=torch.finfo(torch.float32).max)[None, None].float()
    stretched = size / size.amax().clamp(min=torch.finfo(torch.float32).tiny)
    return [_file(pixels, "JPEG"), _file(stretched, "PNG")]


def _file(values: Tensor, kind: str) -> str:
    scale = SIDE / max(values.shape[2:])
    if scale < 1:
        to = [max(1, round(scale * side)) for side in values.shape[2:]]
        values = F.interpolate(values, to, mode="bilinear", antialias=True)
    drawn = (255 * values[0].clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(drawn.squeeze(2) if drawn.shape[2] == 1 else drawn).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def drawn(file: str, size: Sequence[int]) -> Tensor:
    """A picture of a gallery as [1 or 3, H, W] in [0, 1]; ValueError for what is none."""
    with opened(base64.b64decode(file), "a picture of the gallery") as image:
        if max(image.size) > SIDE or image.mode not in ("L", "RGB"):
            raise ValueError(f"it is of {image.size} pixels, mode {image.mode}")
        values = torch.from_numpy(np.atleast_3d(np.asarray(image)).copy())
    pixels = values.permute(2, 0, 1)[None].float() / 255
    return F.interpolate(pixels, list(size), mode="bilinear")[0]


def gathered_in(
    records: Iterable[Mapping[str, Any]], images: Sequence[str], methods: Sequence[str]
) -> Gallery:
    """The pictures that records hold of these images, with their maps by these methods."""
    held = {
        (record["image"], record["method"]): record["pictures"]
        for record in records
        if "pictures" in record
    }
    gallery: Gallery = {}
    for image in images:
        found = {name: held[image, name] for name in methods if (image, name) in held}
        for name, (picture, shown) in found.items():
            gallery.setdefault(image, {"": picture})[name] = shown
    return gallery
