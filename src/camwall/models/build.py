"""A wall without training, around any network that can be cut into a trunk and the rest."""

import copy
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

from camwall.as_found import evaluating
from camwall.errors import CamwallError
from camwall.models.families import Split, split
from camwall.models.paint import FILLS, fill
from camwall.models.walled import WalledModel
from camwall.wall import Wall

Construction = Literal["whole", "apart"]


class BuiltModel(WalledModel):
    """A network behind a wall that was built without training; made by `build_wall`.

    Its scores come from one trunk, the maps behind the wall from a twin of it, whose parameters are
    shared and whose modules are its own: no hook and no state of a module carries anything from
    one side to the other, and methods with a rule for each module (DeepLift, LRP) find each called
    once.
    """

    def __init__(self, parts: Split, wall: Wall, visible_cells: Tensor) -> None:
        super().__init__(wall, visible_cells, parts.preprocessing)
        trunk = parts.features
        shared = {id(parameter): parameter for parameter in trunk.parameters()}
        self.twins = nn.ModuleList([trunk, copy.deepcopy(trunk, shared)])
        self.after = parts.head

    @property
    def trunk(self) -> nn.Module:
        return self.twins[0]

    def head(self, maps: Tensor) -> Tensor:  # type: ignore[override]
        return self.after(self.read(maps))

    def rest(self) -> nn.Sequential:
        return self.after if isinstance(self.after, nn.Sequential) else nn.Sequential(self.after)

    def reachable(self) -> None:
        return None  # what the construction says is no second witness


class WholeModel(BuiltModel):
    """B = M ⊙ trunk(x̃) + (1 − M) ⊙ trunk(x), with x̃ the image whose hidden pixels are painted."""

    def __init__(self, parts: Split, wall: Wall, visible_cells: Tensor, paint: str) -> None:
        super().__init__(parts, wall, visible_cells)
        self.paint = paint

    @property
    def ground(self) -> str | None:
        if self.paint == "none" or not self.as_made(WholeModel):
            return None
        return (
            "by construction for every input: the scores are a function of the image with its "
            f"hidden pixels painted ({self.paint}) alone; maps behind the wall come from a pass "
            "over the whole image"
        )

    def features(self, images: Tensor) -> Tensor:  # type: ignore[override]
        return self.repainted(self._seen(images, self.trunk), images)

    def _seen(self, images: Tensor, trunk: nn.Module) -> Tensor:
        return trunk(fill(self.paint, images, self.wall, self.preprocessing))

    def behind(self, images: Tensor) -> Tensor:
        return self.twins[1](images)

    def read(self, maps: Tensor) -> Tensor:
        # Not a product: a hidden infinity times 0 would reach the scores.
        return torch.where(self.visible_cells, maps, 0.0)

    def visible_features(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        return self.read(self._seen(images, self.trunk if trunk is None else trunk))


class ApartModel(BuiltModel):
    """The trunk runs on each side of the wall by itself, as on an image of its own."""

    def __init__(self, parts: Split, wall: Wall, visible_cells: Tensor) -> None:
        super().__init__(parts, wall, visible_cells)
        self._cut = axis, at, hidden_last = wall.cut  # type: ignore[misc]  # as build_wall sees to
        self._axis, self._at, self._hidden_last = axis + 2, at, hidden_last
        self._cells_at = int((visible_cells.all(dim=1 - axis) == hidden_last).sum())

    @property
    def ground(self) -> str | None:
        if self.wall.cut != self._cut or not self.as_made(ApartModel):
            return None
        return (
            "by construction for every input: the trunk runs on the visible side alone, padded as "
            "if the image ended at the wall, and the rest reads those maps only; maps behind the "
            "wall come from a pass over the hidden side by itself"
        )

    def _sides(self, values: Tensor, at: int) -> tuple[Tensor, Tensor]:
        """The visible and the hidden side of images or maps."""
        first, second = values.tensor_split([at], dim=self._axis)
        return (first, second) if self._hidden_last else (second, first)

    def _joined(self, visible: Tensor, hidden: Tensor) -> Tensor:
        sides = (visible, hidden) if self._hidden_last else (hidden, visible)
        return torch.cat(sides, dim=self._axis)

    def features(self, images: Tensor) -> Tensor:  # type: ignore[override]
        visible, hidden = self._sides(images, self._at)
        return self._joined(self.trunk(visible), self.twins[1](hidden))

    def behind(self, images: Tensor) -> Tensor:
        hidden = self.twins[1](self._sides(images, self._at)[1])
        shape = (*hidden.shape[:2], *self.visible_cells.shape)
        visible, _ = self._sides(hidden.new_zeros(shape), self._cells_at)
        return self._joined(visible, hidden)

    def read(self, maps: Tensor) -> Tensor:
        return self._sides(maps, self._cells_at)[0]

    @property
    def rows_read(self) -> int:
        return self.wall.shape[0] if self.wall.row is None else self.wall.row

    def visible_features(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        return (self.trunk if trunk is None else trunk)(self._sides(images, self._at)[0])


def build_wall(
    network: nn.Module | Split,
    wall: int | Tensor | Wall,
    *,
    construction: Construction = "whole",
    visible_cells: Tensor | None = None,
    paint: str = "zero",
) -> WalledModel:
    """Put a pretrained network behind a wall, without training.

    The network keeps its weights, and shares them with the walled model; its scores change, since
    it sees less of the image. Running statistics are taken as they are now: load weights first.
    With x̃ the image whose hidden pixels are painted, and M = 1 on the visible cells of the map, 0
    on the others:

    ``"whole"``
        B = M ⊙ trunk(x̃) + (1 − M) ⊙ trunk(x), scores = rest(M ⊙ B). The scores are a function of
        x̃ alone. The maps behind the wall come from a pass over the whole image, as in the paper's
        masked VGG16, which is the special case in which no cell of M reads a hidden pixel anyway.
    ``"apart"``
        The trunk runs on the visible and on the hidden side by themselves, two images of their
        own, and the rest of the network reads the maps of the visible one only. For walls between
        two sides.

    Parameters
    ----------
    network : torch.nn.Module or Split
        A network of a known family (EfficientNet-Lite, torchvision's VGG and ResNet), or its two
        parts.
    wall : int, bool tensor [H, W] or Wall
        The first hidden row, or a mask of the hidden pixels.
    construction : "whole" or "apart"
    visible_cells : bool tensor [h, w], optional
        M; by default the cells with no hidden pixel in their own block (`Wall.cells`). For
        ``"whole"``.
    paint : str
        What x̃ has in place of the hidden pixels, one of `camwall.models.FILLS`: by default 0 in
        the network's normalised input. ``"none"`` paints nothing, to show what the painting is
        for: the visible cells then read hidden pixels, and `certify` refuses the model. For
        ``"whole"``.

    Returns
    -------
    WalledModel
        In evaluation mode.

    Raises
    ------
    CamwallError
        An unknown network; a wall that leaves no cell visible, or none hidden; sides that cannot be
        run apart, with the rows or columns where they can.
    """
    parts = split(network)
    if construction not in get_args(Construction):
        known = ", ".join(get_args(Construction))
        raise CamwallError(f"unknown construction {construction!r}; known: {known}")
    if paint not in FILLS:
        raise CamwallError(f"unknown paint {paint!r}; known: {', '.join(FILLS)}")
    apart = construction == "apart"
    if apart and (visible_cells is not None or paint != "zero"):
        raise CamwallError("visible_cells and paint are for construction='whole'")
    size = parts.preprocessing.size
    wall = Wall.of(wall, *size)
    with torch.no_grad(), evaluating(parts.features), evaluating(parts.head):
        maps = _maps(parts, size)
        height, width = maps.shape[2:]
        visible = (
            ~wall.cells(height, width) if visible_cells is None else visible_cells.cpu().bool()
        )
        if tuple(visible.shape) != (height, width):
            raise CamwallError(
                f"visible_cells are [{height}, {width}] as the maps, not {list(visible.shape)}"
            )
        if visible.all() or not visible.any():
            raise CamwallError(
                f"a wall that hides {wall} leaves {int(visible.sum())} of {visible.numel()} map "
                "cells visible: move it, so that there are cells on both sides"
            )
        model: WalledModel
        if apart:
            _check_sides(parts, wall, (height, width))
            model = ApartModel(parts, wall, visible)
        else:
            model = WholeModel(parts, wall, visible, paint)
        try:
            scores = model.eval()(torch.zeros(1, len(parts.preprocessing.mean), *size).to(maps))
        except (RuntimeError, ValueError) as error:
            read = list(model.read(maps).shape)
            raise CamwallError(
                f"the head cannot take maps of shape {read} ({str(error).splitlines()[0]})"
                + (": with construction='apart' it gets those of one side alone" if apart else "")
            ) from None
    if scores.ndim != 2:
        raise CamwallError(f"the head gives {list(scores.shape)}, not scores [N, classes]")
    if scores.shape[1] == len(_IMAGENET_CATEGORIES):
        model.class_names = tuple(_IMAGENET_CATEGORIES)
    return model.eval()  # the network may have come in training mode


def _maps(parts: Split, size: tuple[int, int]) -> Tensor:
    """The maps of a blank image of this size."""
    parameter = next(parts.features.parameters(), torch.zeros(()))
    blank = torch.zeros(1, len(parts.preprocessing.mean), *size).to(parameter)
    try:
        maps = parts.features(blank)
    except (RuntimeError, ValueError) as error:
        raise CamwallError(
            f"the features cannot take an input of shape {list(blank.shape)} "
            f"({str(error).splitlines()[0]}): preprocessing says how images are made"
        ) from None
    if maps.ndim != 4:
        raise CamwallError(f"the features give {list(maps.shape)}, not maps [N, V, h, w]")
    return maps


def _check_sides(parts: Split, wall: Wall, cells: tuple[int, int]) -> None:
    """Refuse sides whose maps do not make up the whole map."""
    if wall.cut is None:
        raise CamwallError(
            f"a wall that hides {wall} has no two sides to run apart: construction='whole' takes it"
        )
    axis, at, _ = wall.cut
    what, count, size = ("row", "column")[axis], cells[axis], wall.shape[axis]
    divides = [r * size // count for r in range(1, count) if r * size % count == 0]
    if at not in divides:
        raise CamwallError(
            f"a wall at {what} {at} does not divide the map of {count} {what}s; {what}s that do: "
            f"{', '.join(map(str, divides))} (construction='whole' takes any)"
        )
    lengths = []
    for side in (at, size - at):
        shape = (side, wall.shape[1]) if axis == 0 else (wall.shape[0], side)
        lengths.append(_maps(parts, shape).shape[2 + axis])
    if lengths != [at * count // size, count - at * count // size]:
        raise CamwallError(
            f"a wall at {what} {at} gives maps of {lengths[0]} and {lengths[1]} {what}s, not "
            f"{count} in all: this trunk cannot be run on each side apart"
        )
