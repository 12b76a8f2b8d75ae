"""The inputs of the audit: maps and gradients made to order, and the networks that have them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: Channels, rows and columns of the maps, and the first row behind the wall.
CHANNELS, SIDE, WALL = 6, 6, 4
#: The class that is explained.
UNIT = 0


class Chain(nn.Sequential):
    """A network of layers one after the other: a trunk, the layer whose output is B, a head."""

    def __init__(self, trunk: nn.Module, layer: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk, self.layer, self.head = trunk, layer, head

    def features(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] to maps [N, V, h, w]."""
        return self.layer(self.trunk(images))


def given(maps: Tensor, gradient: Tensor, score: float) -> Chain:
    """A network whose images are maps [V, h, w], with this gradient everywhere, and this score.

    Its only class but one, whose score is 0, has y = Σ G·B + b: any network is one of these as far
    as a method that takes maps and gradient can tell.
    """
    channels = len(maps)
    # A convolution that copies: packages look for a gradient, which a weight before B gives.
    copy = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
    dense = nn.Linear(maps.numel(), 2)
    with torch.no_grad():
        copy.weight.fill_(1.0)
        dense.weight.copy_(torch.stack([gradient.flatten(), torch.zeros(maps.numel())]))
        dense.bias.copy_(torch.tensor([score - float((gradient * maps).sum()), 0.0]))
    return Chain(copy, nn.Identity(), nn.Sequential(nn.Flatten(), dense)).eval()


def drawn(seed: int) -> Chain:
    """Convolutions that see 4×4 pixels, dense layers that do not read behind the wall."""
    convolutions = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, CHANNELS, 1)
    dense = nn.Linear(CHANNELS * SIDE * SIDE, 16), nn.Linear(16, 3)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in (*convolutions, *dense):
            fan = layer.weight[0].numel()
            layer.weight.normal_(0, fan**-0.5, generator=generator)
            layer.bias.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr]
        dense[0].weight.view(16, CHANNELS, SIDE, SIDE)[:, :, WALL:] = 0
    trunk = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1])
    head = nn.Sequential(nn.Flatten(), dense[0], nn.ReLU(), dense[1])
    return Chain(trunk, nn.ReLU(), head).eval()


@dataclass(frozen=True)
class Case:
    """A network and two images [C, H, W] that differ in what the network cannot see.

    ``other`` is None where the map has one cell, so that there is nothing behind a wall.
    """

    name: str
    network: Chain
    image: Tensor
    other: Tensor | None


def _of(name: str, maps: Tensor, gradient: Tensor, score: float = 2.0) -> Case:
    """A case of given maps, with a gradient of 0 behind the wall and other maps there."""
    other = None
    if maps.shape[1] > WALL:
        gradient, other = gradient.clone(), maps.clone()
        gradient[:, WALL:] = 0
        other[:, WALL:] = maps[:, WALL:].flip(1, 2) * 1.5
    return Case(name, given(maps, gradient, score), maps, other)


def cases() -> Iterator[Case]:
    """What the audit gives to every implementation."""
    generator = torch.Generator().manual_seed(0)
    signed = torch.randn(CHANNELS, SIDE, SIDE, generator=generator)
    gradient = torch.randn(CHANNELS, SIDE, SIDE, generator=generator)
    maps = signed.relu()
    yield _of("generic", maps, gradient)
    yield _of("maps of either sign", signed, gradient)
    dead = maps.clone()
    dead[0] = 0
    yield _of("a dead channel", dead, gradient)
    constant = maps.clone()
    constant[0] = 1
    yield _of("a constant map", constant, gradient)
    yield _of("negative weights only", maps, -gradient.abs())
    yield _of("a negative score", maps, gradient, -2.0)
    # Two channels alike but for their place: the first two principal axes are not told apart.
    tied = torch.zeros(CHANNELS, SIDE, SIDE)
    tied[0, 0], tied[1, 1], tied[2, 4] = 1, 1, 0.5
    yield _of("ties", tied, gradient)
    for name, scale in {"large, 10⁴": 1e4, "small, 10⁻⁴": 1e-4}.items():
        yield _of(name, maps * scale, gradient * scale, 2.0 * scale**2)
    yield _of("one cell", maps[:, :1, :1] + 0.5, gradient[:, :1, :1])
    for seed in range(3):
        network = drawn(seed)
        image, noise = torch.randn(2, 3, 4 * SIDE, 4 * SIDE, generator=generator)
        other = image.clone()
        other[:, 4 * WALL :] = noise[:, 4 * WALL :]
        yield Case(f"network {seed}", network, image, other)
