"""From photographs to network inputs, and from these to ones with hidden pixels painted over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from camwall.errors import CamwallError, check_count, check_list, check_number, in_one_line
from camwall.images import read_image
from camwall.wall import AnyWall, Wall

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AnyImage = TypeVar("AnyImage", Image, Tensor)


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, normalise.

    Parameters
    ----------
    mean, std : per channel, in units of [0, 1] pixels
        The network's input is (pixel − mean) / std.
    resize : int or None
        Length of the shorter side before the crop; ``None`` resizes nothing.
    crop : int or (int, int)
        The centre crop, the network's input size: its side, or height and width. An image of this
        size (a stack) is taken as it is, so that the wall stays where it was drawn.
    bicubic : bool
        Bicubic instead of bilinear resizing.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: int | None = 256
    crop: int | tuple[int, int] = 224
    bicubic: bool = False

    def __post_init__(self) -> None:
        # Whatever numbers and sequences a library or a file says it in.
        pair = (self.crop,) * 2 if isinstance(self.crop, Real) else check_list("crop", self.crop)
        sides = [check_count("crop", side) for side in pair]
        if len(sides) != 2:
            raise CamwallError(f"crop is a side, or height and width, not {self.crop!r}")
        object.__setattr__(self, "crop", sides[0] if sides[0] == sides[1] else tuple(sides))
        if self.resize is not None:
            object.__setattr__(self, "resize", check_count("resize", self.resize))
        for name, above in (("mean", -inf), ("std", 0.0)):
            values = check_list(name, getattr(self, name))
            floats = tuple(check_number(name, value, above=above) for value in values)
            object.__setattr__(self, name, floats)
        if not len(self.mean) == len(self.std) > 0:
            raise CamwallError("mean and std have one number for each channel, as many")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return (self.crop, self.crop) if isinstance(self.crop, int) else self.crop

    def _stats(self, like: Tensor) -> Tensor:
        return like.new_tensor([self.mean, self.std])[:, :, None, None]

    def normalize(self, pixels: Tensor) -> Tensor:
        """Pixels in [0, 1], shape [..., C, H, W], to network inputs."""
        mean, std = self._stats(pixels)
        return (pixels - mean) / std

    def denormalize(self, images: Tensor) -> Tensor:
        """Network inputs back to pixels in [0, 1]."""
        mean, std = self._stats(images)
        return images * std + mean

    def fitted(self, image: AnyImage) -> AnyImage:
        """An image, or pixels [C, H, W], resized and cut at its centre to the input's size."""
        if tuple(tv.get_size(image)) == tuple(self.size):
            return image
        if self.resize is not None:
            # Of a long strip no more than the crop can take: enlarged, it would fill the memory.
            height, width = tv.get_size(image)
            room = 8 * min(height, width) * ceil(max(self.size) / self.resize)
            if max(height, width) > room:  # the centre stays between the same pixels
                image = tv.center_crop(
                    image, [s - max(0, s - room) // 2 * 2 for s in (height, width)]
                )
            mode = InterpolationMode.BICUBIC if self.bicubic else InterpolationMode.BILINEAR
            image = tv.resize(image, [self.resize], interpolation=mode, antialias=True)
        return tv.center_crop(image, list(self.size))

    def pixels(self, path: str | Path) -> Tensor:
        """Read one image file as pixels in [0, 1], shape [C, H, W]."""
        image = read_image(path, "RGB" if len(self.mean) == 3 else "L")
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

    def artificial(self, network: nn.Module, count: int, generator: torch.Generator) -> Tensor:
        """Inputs of the network's own type: ``count`` of uniform noise, a grey one and a ramp."""
        shape = len(self.mean), *self.size
        noise = torch.rand(count, *shape, generator=generator, device="cpu")
        ramp = torch.linspace(0, 1, shape[1], device="cpu")[:, None].expand(1, *shape)
        images = self.normalize(torch.cat([noise, torch.full_like(ramp, 0.5), ramp]))
        return images.to(next(network.parameters(), images))


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
        pixels = torch.rand(images.shape[1:], generator=generator, device="cpu").to(images)
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


def enlarge(images: Tensor, size: int) -> Tensor:
    """Small grey images [N, h, w] of uint8 as network inputs [N, 1, size, size] in [0, 1]."""
    return F.interpolate(images[:, None].float() / 255, (size, size), mode="bilinear")


#: EfficientNet-Lite takes (x − 127) / 128 of pixels 0…255.
LITE = Preprocessing(mean=(127 / 255,) * 3, std=(128 / 255,) * 3, resize=256, bicubic=True)


def preparation(network: nn.Module, given: Any, wall: AnyWall) -> Preprocessing:
    """How a network's inputs are made from photographs: as is given to `build_wall`, else found.

    A network of timm says it (``pretrained_cfg``), an EfficientNet-Lite has `LITE`; one of
    torchvision has the ImageNet normalisation of all that library's weights, at 224×224 or the
    wall's own size.
    """
    library = type(network).__module__.partition(".")[0]
    told = getattr(network, "pretrained_cfg", None) if given is None else given
    if given is None and library == "efficientnet_lite_pytorch":
        told = LITE
    if given is None and library == "torchvision":
        told = Preprocessing()
        size = tuple(wall.shape[-2:]) if isinstance(wall, Tensor | Wall) else told.size
        if len(size) == 2 and size != told.size:
            told = Preprocessing(resize=floor(min(size) * 256 / 224), crop=size)
    with in_one_line(
        f"how images are prepared for a {type(network).__name__} is not known",
        "give preprocessing=camwall.Preprocessing(mean, std, resize, crop), torchvision's weights, "
        "a timm data config or a transformers image processor",
    ):
        return told if isinstance(told, Preprocessing) else _said_by(told)


def _said_by(given: Any) -> Preprocessing:
    """What an object of one of the libraries says."""
    if callable(getattr(given, "transforms", None)):  # torchvision's weights
        given = given.transforms()
    if hasattr(given, "crop_size") and hasattr(given, "interpolation"):  # its preset
        bicubic = given.interpolation.value == "bicubic"
        crop = given.crop_size * 2 if len(given.crop_size) == 1 else given.crop_size
        return Preprocessing(given.mean, given.std, given.resize_size[0], crop, bicubic)
    if isinstance(given, Mapping) and "input_size" in given:  # timm's config
        size = given["input_size"][-2:]
        resize = floor(min(size) / (given.get("crop_pct") or 1))
        bicubic = given.get("interpolation") == "bicubic"
        return Preprocessing(given["mean"], given["std"], resize, size, bicubic)
    if hasattr(given, "image_mean"):  # transformers' processor
        scaled: dict[str, int] = dict(given.size or {})
        cropped: dict[str, int] = dict(getattr(given, "crop_size", None) or {})
        crop = cropped if cropped and getattr(given, "do_center_crop", True) else scaled
        edge = crop.get("shortest_edge", 0)
        size = crop.get("height", edge), crop.get("width", edge)
        resize = scaled.get("shortest_edge") or min(scaled.get("height", 0), scaled.get("width", 0))
        percent = getattr(given, "crop_pct", None)
        resize = floor(min(size) / percent) if percent else resize
        bicubic = getattr(given, "resample", 2) == 3
        return Preprocessing(given.image_mean, given.image_std, resize, size, bicubic)
    raise TypeError(f"not from {given!r}")
