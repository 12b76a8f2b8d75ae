"""A small walled network, images for it, and saliency functions that tests of `check` share."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import camwall
from camwall.check import Report, check
from camwall.models import Construction, Preprocessing, WalledModel

SIZE, ROW = 16, 8


def walled(wall: int | camwall.Wall, construction: Construction = "whole") -> WalledModel:
    """A small network of 4 classes for images of 16×16, maps of 4×4, behind a wall."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    preprocessing = Preprocessing((0.5,) * 3, (0.5,) * 3, resize=None, crop=SIZE)
    return camwall.build_wall(
        nn.Sequential(features, head),
        wall,
        features,
        construction=construction,
        preprocessing=preprocessing,
    )


def small_model() -> WalledModel:
    """It, walled at row 8."""
    return walled(ROW)


def some_images(count: int = 5) -> Tensor:
    """Noise."""
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def image_files(folder: Path) -> Path:
    """Five image files of noise in ``folder / "images"``."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for i in range(5):
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
    return folder / "images"


def flat(model, images, target):
    return torch.ones(len(images), SIZE, SIZE)


def below(model, images, target):
    maps = torch.zeros(len(images), SIZE, SIZE)
    maps[:, ROW:] = 3.0
    return maps


def nothing(model, images, target):
    return torch.zeros(len(images), SIZE, SIZE)


def brightness(model, images, target):
    return images.square().mean(dim=1)


def quiet(*args, **kwargs) -> Report:
    return check(*args, progress=False, **kwargs)
