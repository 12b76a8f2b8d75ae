"""From photographs to network inputs; each model carries its own way."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from camwall.errors import CamwallError
from camwall.images import read_image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AnyImage = TypeVar("AnyImage", Image, Tensor)


def resize_and_crop(
    image: AnyImage, resize: int | None, size: tuple[int, int], bicubic: bool = False
) -> AnyImage:
    """An image, or pixels [C, H, W], with the shorter side at ``resize``, cut to ``size`` (H, W).

    None resizes nothing. What has the size already is left as it is.
    """
    if tuple(tv.get_size(image)) == tuple(size):
        return image
    if resize is not None:
        mode = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
        image = tv.resize(image, [resize], interpolation=mode, antialias=True)
    return tv.center_crop(image, list(size))


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, normalise.

    Parameters
    ----------
    mean, std : per channel, in units of [0, 1] pixels
        The network's input is (pixel − mean) / std.
    resize : int or None
        Length of the shorter side before the crop; ``None`` leaves an image of the crop's size as
        it is.
    crop : int or (int, int)
        The centre crop, the network's input size: its side, or height and width.
    bicubic : bool
        Bicubic instead of bilinear resizing.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: int | None = 256
    crop: int | tuple[int, int] = 224
    bicubic: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return (self.crop, self.crop) if isinstance(self.crop, int) else self.crop

    def _stat(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(-1, 1, 1)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixels in [0, 1], shape [..., C, H, W], to network inputs."""
        return (pixels - self._stat(self.mean, pixels)) / self._stat(self.std, pixels)

    def denormalize(self, images: Tensor) -> Tensor:
        """Network inputs back to pixels in [0, 1]."""
        return images * self._stat(self.std, images) + self._stat(self.mean, images)

    def fitted(self, image: AnyImage) -> AnyImage:
        """An image, or pixels [C, H, W], resized and cut at its centre to the input's size."""
        return resize_and_crop(image, self.resize, self.size, self.bicubic)

    def pixels(self, path: str | Path) -> Tensor:
        """Read one image file as pixels in [0, 1], shape [C, H, W].

        An image that has the crop's size already (a stack) is taken as it is, so that the wall
        stays where it was drawn; any other is resized and cropped at its centre.
        """
        image = read_image(path).convert("RGB" if len(self.mean) == 3 else "L")
        height, width = self.size
        if self.resize is None and image.size != (width, height):
            raise CamwallError(
                f"{path} is {image.width}×{image.height}, not {width}×{height}, and "
                "this model resizes nothing"
            )
        return to_tensor(self.fitted(image))

    def load(self, paths: Sequence[str | Path]) -> Tensor:
        """Read image files as network inputs, shape [N, C, H, W]."""
        if not paths:
            raise CamwallError("no images to load: the list of paths is empty")
        return self.normalize(torch.stack([self.pixels(path) for path in paths]))
