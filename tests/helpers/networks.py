"""Small seeded networks behind walls that tests share: like a VGG, a ResNet, an EfficientNet.

The last two are walled in either construction.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from camwall import Wall
from camwall.models import MaskedModel, Preprocessing, WalledModel, build_wall
from camwall.models.build import Construction

SIZE, CLASSES = 32, 6
PLAIN = Preprocessing((0.5,) * 3, (0.25,) * 3, None, SIZE)


class Parts(nn.Sequential):
    """A network of two parts, with the maps between them, and how its images are prepared."""

    def __init__(
        self, features: nn.Module, head: nn.Module, preprocessing: Preprocessing = PLAIN
    ) -> None:
        super().__init__(features, head)
        self.preprocessing = preprocessing

    @property
    def features(self) -> nn.Module:
        return self[0]

    @property
    def head(self) -> nn.Module:
        return self[1]


def walled(network: Parts, wall: int | torch.Tensor | Wall, **options: Any) -> WalledModel:
    """A network of two parts behind a wall at the maps between them."""
    return build_wall(network, wall, "0", preprocessing=network.preprocessing, **options)


def randomise(model: nn.Module, seed: int) -> None:
    """Fill every parameter and buffer from ``seed``: He for weights, lively batch statistics."""
    gen = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                fan = module.weight[0].numel()
                module.weight.copy_(
                    torch.randn(module.weight.shape, generator=gen) * (2 / fan) ** 0.5
                )
                if module.bias is not None:
                    module.bias.copy_(0.1 * torch.randn(module.bias.shape, generator=gen))
            elif isinstance(module, nn.BatchNorm2d):
                for values in (module.weight, module.running_var):
                    values.copy_(0.5 + torch.rand(values.shape, generator=gen))
                for values in (module.bias, module.running_mean):
                    values.copy_(0.3 * torch.randn(values.shape, generator=gen))


def vgg_like(seed: int = 0, *, masked: bool = True) -> MaskedModel:
    """Convolutions and poolings to 10 maps of 8×8, three dense layers, the first masked."""
    relu, pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)  # one object in several places
    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        relu,
        pool,
        nn.Conv2d(6, 8, 3, padding=1),
        relu,
        pool,
        nn.Conv2d(8, 10, 3, padding=1),
        relu,
    )
    dense = nn.Linear(640, 16), nn.Linear(16, 16), nn.Linear(16, CLASSES)
    again = relu, nn.Dropout()
    head = nn.Sequential(nn.Flatten(), dense[0], *again, dense[1], *again, dense[2])
    randomise(nn.ModuleList([features, head]), seed)
    return MaskedModel(features, head, (10, 8, 8), 3, PLAIN, masked=masked).eval()


class Residual(nn.Module):
    """ReLU(x + batch-normalised convolutions of x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return (maps + self.inner(maps)).relu_()


def resnet_parts(seed: int = 0) -> Parts:
    """Residual blocks to 12 maps of 8×8, average pooling and one dense layer."""
    features = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        Residual(8),
        nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(inplace=True),
        Residual(12),
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, CLASSES))
    randomise(nn.ModuleList([features, head]), seed)
    return Parts(features, head).eval()


def resnet_like(seed: int = 0, construction: Construction = "whole") -> WalledModel:
    """The network of `resnet_parts` behind a wall at row 20."""
    return walled(resnet_parts(seed), 20, construction=construction)


def efficientnet_parts(seed: int = 0) -> Parts:
    """Depthwise convolutions and ReLU6 to 20 maps of 4×4, more of them than positions."""

    def depthwise(channels: int, out: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU6(inplace=True),
            nn.Conv2d(channels, out, 1, bias=False),
            nn.BatchNorm2d(out),
        ]

    features = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU6(inplace=True),
        *depthwise(6, 8, 2),
        *depthwise(8, 10, 2),
        nn.Conv2d(10, 20, 1, bias=False),
        nn.BatchNorm2d(20),
        nn.ReLU6(inplace=True),
    )
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(20, CLASSES)
    )
    randomise(nn.ModuleList([features, head]), seed)
    return Parts(features, head).eval()


def efficientnet_like(seed: int = 0, construction: Construction = "whole") -> WalledModel:
    """The network of `efficientnet_parts` behind a wall at row 16."""
    return walled(efficientnet_parts(seed), 16, construction=construction)


NETWORKS: dict[str, Callable[[int], WalledModel]] = {
    "vgg": vgg_like,
    "resnet": resnet_like,
    "efficientnet": efficientnet_like,
    "resnet apart": partial(resnet_like, construction="apart"),
    "efficientnet apart": partial(efficientnet_like, construction="apart"),
}


def images(model: WalledModel, count: int, seed: int = 0) -> Tensor:
    """Smooth random network inputs, [count, 3, 32, 32]."""
    gen = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=gen)
    pixels = nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic").clamp(0, 1)
    return model.preprocessing.normalize(pixels)
