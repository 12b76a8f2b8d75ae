"""The quickest test of a method: one picture twice, of which the network reads one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot, nan
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from camwall.as_found import evaluating, outside_inference_mode
from camwall.errors import CamwallError
from camwall.methods import Evidence, Method, Saliency, chosen
from camwall.methods.explain import AnyMethod
from camwall.models import ApartModel, build_wall
from camwall.models.preprocessing import preparation
from camwall.wall import Wall

Axis = Literal["rows", "columns"]


@dataclass(frozen=True, eq=False)
class Twins:
    """A method's map of a picture, and of the copy beside it that the network does not read.

    Attributes
    ----------
    method : str
    original, copy : tensor [h, w], float64
        The two halves of the raw map, before negative values are cut; [H, W] of a method that has
        none, without the margin that resizing fills from both.
    """

    method: str
    original: Tensor
    copy: Tensor

    @property
    def leak(self) -> float:
        """The share of the map's norm on the copy; NaN where the map is 0 everywhere."""
        original, copy = float(self.original.norm()), float(self.copy.norm())
        return copy / hypot(original, copy) if original or copy else nan

    @property
    def difference(self) -> float:
        """The largest difference of the halves, in units of the largest value."""
        largest = max(float(half.abs().max()) for half in (self.original, self.copy))
        return float((self.original - self.copy).abs().max()) / (largest or 1.0)

    @property
    def equal(self) -> bool:
        """Whether the halves are equal bit for bit."""
        return torch.equal(self.original, self.copy)

    def __str__(self) -> str:
        if not (self.original.any() or self.copy.any()):
            return f"{self.method}: 0 on both halves, which says nothing; try another image"
        if self.equal:
            found = "the halves are equal bit for bit"
        elif not self.copy.any():
            found = "nothing on the copy, which the network does not read"
        else:
            found = f"the halves differ by {self.difference:.2g} of the largest value"
        return f"{self.method}: leak {self.leak:.4f}, {found}"


def twins(
    network: nn.Module,
    method: AnyMethod,
    image: Tensor | None = None,
    target: int | None = None,
    *,
    layer: str | nn.Module | None = None,
    axis: Axis = "rows",
    preprocessing: Any = None,
) -> Twins:
    """Whether a method tells what the network reads from a copy of it that it does not read.

    A picture x and a copy of it make one image of two sides, which the trunk T meets apart, each as
    an input of its own; the rest of the network reads the first:

        B = (T(x), T(x)),  scores = rest(T(x)), those of the network on x.

    A map whose value at a position is a function of the activations there, the same function for
    all positions, is the same on both halves, and its leak is √½ if it is not 0 everywhere. That
    goes for every method with one weight a channel, however it is found. Weights at each position
    that are 0 where the gradient is have leak 0. One image, no level to compare with, and any
    network that takes its own input. The book's chapter «Place» proves it.

    Parameters
    ----------
    network : torch.nn.Module
        As `camwall.build_wall` takes it. Left as found.
    method : str, Method or function
    image : tensor [C, H, W] or [1, C, H, W], optional
        The network's input; noise by default.
    target : int, optional
        The class to explain; the top class by default.
    layer, preprocessing
        As in `camwall.build_wall`.
    axis : "rows" or "columns"
        The copy lies below the original, or to the right of it.

    Returns
    -------
    Twins
        Prints as one line.

    Raises
    ------
    CamwallError
        What `build_wall` refuses; an image that does not fit; a network that gives equal inputs
        different maps; a map that is no numbers.
    """
    (found,) = twins_each(
        network, [method], image, target, layer=layer, axis=axis, preprocessing=preprocessing
    ).values()
    return found


@outside_inference_mode
def twins_each(
    network: nn.Module,
    methods: Sequence[AnyMethod],
    image: Tensor | None = None,
    target: int | None = None,
    *,
    layer: str | nn.Module | None = None,
    axis: Axis = "rows",
    preprocessing: Any = None,
) -> dict[str, Twins]:
    """The twins of several methods, by name, from one pass; see `twins`."""
    if axis not in get_args(Axis):
        raise CamwallError(f"unknown axis {axis!r}; known: {', '.join(get_args(Axis))}")
    wanted, along = chosen(methods), get_args(Axis).index(axis)
    told = preparation(network, preprocessing, 1)
    own = build_wall(network, told.size[0] // 2, layer, preprocessing=told)
    device, cells = own.visible_cells.device, own.visible_cells.shape
    if image is None:
        image = told.artificial(own, 1, torch.Generator().manual_seed(0))[0]
    image = image if image.ndim == 4 else image[None]
    own.check_images(image)
    if len(image) != 1:
        raise CamwallError(f"twins are made of one image, not {len(image)}")

    def beside(size: tuple[int, ...]) -> Tensor:
        """False on a part of this size, True on the one beside it."""
        part = torch.zeros(size, dtype=torch.bool, device="cpu")
        return torch.cat([part, ~part], dim=along)

    wall = Wall(beside(told.size))
    # Not by build_wall, which asks the network to take the whole too: each side is its own input.
    model = ApartModel(network, own.layer, wall, ~beside(cells), replace(told, crop=wall.shape))
    model.to(device)
    with evaluating(model), torch.no_grad():
        evidence = Evidence(model, torch.cat([image, image], dim=along + 2), target)
        if not torch.equal(*evidence.maps.chunk(2, dim=along + 2)):
            raise CamwallError(
                f"the {type(network).__name__} gives two equal images different maps: twins need a "
                "network that computes the same each time"
            )
        return {method.name: _halves(evidence, method, along) for method in wanted}


def _halves(evidence: Evidence, method: Method, along: int) -> Twins:
    maps = Saliency(evidence, method)
    found = maps.cut if maps.raw is None else maps.raw
    if not torch.isfinite(found).all():
        raise CamwallError(f"{method.name} gives a map that holds NaN or infinite values")
    original, copy = found[0].cpu().double().chunk(2, dim=along)
    if maps.raw is None:  # at the image's size: resizing mixes the halves within half a cell
        length = original.shape[along]
        edge = -(-length // evidence.maps.shape[along + 2])
        original, copy = (half.narrow(along, edge, length - 2 * edge) for half in (original, copy))
    return Twins(method.name, original, copy)
