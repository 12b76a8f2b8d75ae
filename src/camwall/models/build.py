"""A wall without training, around any network, at any of its layers."""

from functools import cached_property, partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

from camwall.as_found import evaluating
from camwall.errors import CamwallError
from camwall.models.layer import Layer, find_layer, scores_of
from camwall.models.library import preparation
from camwall.models.paint import FILLS, fill
from camwall.models.preprocessing import Preprocessing
from camwall.models.rest import Rest, find_rest, with_shared_parameters
from camwall.models.walled import Through, WalledModel, artificial
from camwall.wall import Wall

Construction = Literal["whole", "apart"]


class WholeModel(WalledModel):
    """B = M ⊙ trunk(x̃) + (1 − M) ⊙ trunk(x), scores = rest(M ⊙ B); made by `build_wall`.

    x̃ is the image whose hidden pixels are painted. The trunk is the network up to one layer, the
    rest what comes after it; neither is cut out. One pass of a twin of the network, over x̃, gives
    the scores, with the layer's output replaced; a pass of another, over x, ends at the layer. The
    twins' parameters are the network's and their modules their own: the network is left as it was,
    no hook and no state of a module carries anything from one side to the other, and methods with a
    rule for each module (DeepLift, LRP) find each called once.
    """

    def __init__(
        self,
        network: nn.Module,
        layer: Layer,
        wall: Wall,
        visible_cells: Tensor,
        preprocessing: Preprocessing,
        paint: str = "zero",
    ) -> None:
        super().__init__(layer, wall, visible_cells, preprocessing)
        self.paint = paint
        try:
            twins = [with_shared_parameters(network) for _ in range(2)]
        except (RuntimeError, TypeError, AttributeError) as error:
            raise CamwallError(
                f"a {type(network).__name__} cannot be copied ({_line(error)}): give a network "
                "without tensors that hang in a graph, locks or open files"
            ) from None
        self.twins = nn.ModuleList(twins)

    def seen(self, images: Tensor) -> Tensor:
        """What the scores are made of: x̃ [N, C, H, W]."""
        return fill(self.paint, images, self.wall, self.preprocessing)

    def unseen(self, images: Tensor) -> Tensor:
        """What the maps behind the wall are made of."""
        return images

    def joined(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """B from the maps of `seen` and of `unseen` images."""
        return torch.where(self.visible_cells, visible, hidden)

    def read(self, maps: Tensor) -> Tensor:
        # Not a product: a hidden infinity times 0 would reach the scores.
        return torch.where(self.visible_cells, maps, 0.0)

    def kept(self, visible: Tensor) -> Tensor:
        """What the rest takes of the maps of `seen` images."""
        return self.read(visible)

    def passed(self, images: Tensor, through: Through) -> Tensor:
        hidden = self._maps(self.twins[1], self.unseen(images))
        seen = self.seen(images)

        def change(output: Any) -> Any:
            maps = through(self.joined(self.layer.maps(output, _size(seen)), hidden), output)
            return self.layer.put(output, self.read(maps))

        return self.layer.run(self.twins[0], seen, change)

    def features(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] to maps B [N, V, h, w], the hidden cells among them."""
        visible = self._maps(self.trunk, self.seen(images))
        return self.joined(visible, self._maps(self.twins[1], self.unseen(images)))

    def head(self, maps: Tensor, images: Tensor | None = None) -> Tensor:
        """Maps B [N, V, h, w] to scores [N, classes].

        Parameters
        ----------
        images : tensor [N, C, H, W], optional
            Those that gave the maps; to be given where the scores read more of them (`rest` says).
        """
        if images is None and self.rest.chain is None:
            raise CamwallError(
                f"the rest of the {type(self.twins[0]).__name__} after {self.layer} is "
                f"{self.rest}: give head the images too"
            )
        if images is None:
            return self.rest(self.read(maps), None, maps)
        seen = self.seen(images)
        return self.rest(self.read(maps), self.layer.output(self.twins[0], seen), seen)

    def visible_maps(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        return self.kept(self._maps(self.trunk if trunk is None else trunk, self.seen(images)))

    def scores(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        seen, layer = self.seen(images), self.layer

        def change(output: Any) -> Any:
            return layer.put(output, self.kept(layer.maps(output, _size(seen))))

        return layer.run(self.trunk if trunk is None else trunk, seen, change)

    def repainted(self, maps: Tensor, images: Tensor) -> Tensor:
        return self.joined(self.read(maps), self._maps(self.twins[1], self.unseen(images)))

    def _maps(self, network: nn.Module, images: Tensor) -> Tensor:
        return self.layer.maps(self.layer.output(network, images), _size(images))

    @property
    def trunk(self) -> nn.Module:
        return self.twins[0]

    @cached_property
    def rest(self) -> Rest:
        """From what is `read` of the maps to the scores."""
        probe = self.seen(self.probe(2, torch.Generator().manual_seed(1))[:2])
        parameter = next(self.parameters(), torch.zeros(()))
        with evaluating(self):
            return find_rest(self.twins[0], self.layer, probe.to(parameter))

    @property
    def ground(self) -> str | None:
        if self.paint == "none" or not self.as_made(WholeModel):
            return None
        return (
            "by construction for every input, of a network that keeps nothing from call to call: "
            "the scores are a function of the image with its hidden pixels painted "
            f"({self.paint}) alone; maps behind the wall come from a pass over the whole image"
        )


class ApartModel(WholeModel):
    """The network runs on each side of the wall by itself, as on an image of its own.

    The rest reads the maps of the visible side alone. For walls between two sides.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cut = axis, at, hidden_last = self.wall.cut  # type: ignore[misc]  # build_wall asked
        self._axis, self._at, self._hidden_last = axis + 2, at, hidden_last
        self._cells_at = int((self.visible_cells.all(dim=1 - axis) == hidden_last).sum())

    def _sides(self, values: Tensor, at: int) -> tuple[Tensor, Tensor]:
        """The visible and the hidden side of images or maps."""
        first, second = values.tensor_split([at], dim=self._axis)
        return (first, second) if self._hidden_last else (second, first)

    def seen(self, images: Tensor) -> Tensor:
        return self._sides(images, self._at)[0]

    def unseen(self, images: Tensor) -> Tensor:
        return self._sides(images, self._at)[1]

    def joined(self, visible: Tensor, hidden: Tensor) -> Tensor:
        sides = (visible, hidden) if self._hidden_last else (hidden, visible)
        return torch.cat(sides, dim=self._axis)

    def read(self, maps: Tensor) -> Tensor:
        return self._sides(maps, self._cells_at)[0].clone()  # what comes next may work in place

    def kept(self, visible: Tensor) -> Tensor:
        return visible

    @property
    def rows_read(self) -> int:
        return self.wall.shape[0] if self.wall.row is None else self.wall.row

    @property
    def ground(self) -> str | None:
        if self.wall.cut != self._cut or not self.as_made(ApartModel):
            return None
        return (
            "by construction for every input, of a network that keeps nothing from call to call: "
            "it runs on the visible side alone, padded as if the image ended at the wall; maps "
            "behind the wall come from a pass over the hidden side by itself"
        )


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[2], images.shape[3]


def build_wall(
    network: nn.Module,
    wall: int | Tensor | Wall,
    layer: str | nn.Module | None = None,
    *,
    construction: Construction = "whole",
    preprocessing: Any = None,
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
        two sides, and networks that take images of other sizes.

    Parameters
    ----------
    network : torch.nn.Module
        From images [N, C, H, W] to scores [N, classes], as a tensor or the ``logits`` of an
        object. Left as found.
    wall : int, bool tensor [H, W] or Wall
        The first hidden row, or a mask of the hidden pixels.
    layer : str or torch.nn.Module, optional
        Whose output is B, maps as [N, V, h, w], [N, h, w, V] or tokens [N, p + h·w, V]. By default
        the last through which all of the image passes to the scores, with a cell for each part of
        it (`camwall.models.layer.find_layer`).
    construction : "whole" or "apart"
    preprocessing : Preprocessing, torchvision weights, timm data config or transformers processor
        How inputs are made from photographs, and their size. Found for networks whose library says
        it (`camwall.models.library.preparation`).
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
        A network that does not fit the formula, each with what to do: inputs that it does not
        take, a layer that is not reached or gives no maps, scores that are not [N, classes] or
        change from call to call; a wall that leaves no cell visible, or none hidden; sides that
        cannot be run apart, with the rows or columns where they can.
    """
    if construction not in get_args(Construction):
        known = ", ".join(get_args(Construction))
        raise CamwallError(f"unknown construction {construction!r}; known: {known}")
    if paint not in FILLS:
        raise CamwallError(f"unknown paint {paint!r}; known: {', '.join(FILLS)}")
    apart = construction == "apart"
    if apart and (visible_cells is not None or paint != "zero"):
        raise CamwallError("visible_cells and paint are for construction='whole'")
    if not isinstance(network, nn.Module) or isinstance(network, WalledModel):
        raise CamwallError(
            "a network to wall is a torch.nn.Module from images to scores that has no wall yet, "
            f"not a {type(network).__name__}"
        )
    preprocessing = preparation(network, preprocessing, wall)
    wall = Wall.of(wall, *preprocessing.size)
    with torch.no_grad(), evaluating(network):
        images = _inputs(network, preprocessing)
        follows = partial(_follows_the_image, network, images)
        found = find_layer(network, images, layer, follows if apart else lambda layer: True)
        height, width = found.maps(found.output(network, images), wall.shape).shape[2:]
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
        if apart:
            _check_sides(network, found, wall, (height, width), images)
        kind = ApartModel if apart else WholeModel
        model = kind(network, found, wall, visible, preprocessing, paint=paint)
        model.to(images.device).eval()
        try:
            scores = model(images)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise CamwallError(
                f"the rest of the network cannot take what is left visible "
                f"({_line(error)})"
                + (": with construction='apart' it gets one side alone" if apart else "")
            ) from None
    names = getattr(getattr(network, "config", None), "id2label", None)  # of transformers
    if names is not None and len(names) == scores.shape[1]:
        model.class_names = tuple(str(names[index]) for index in range(len(names)))
    elif scores.shape[1] == len(_IMAGENET_CATEGORIES):
        model.class_names = tuple(_IMAGENET_CATEGORIES)
    return model


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _inputs(network: nn.Module, preprocessing: Preprocessing) -> Tensor:
    """Two inputs, on which the network gives the same scores each time."""
    parameter = next(network.parameters(), torch.zeros(()))
    noise = artificial(preprocessing, preprocessing.size, 2, torch.Generator().manual_seed(0))
    images = noise[:2].to(parameter)
    kind = type(network).__name__
    try:
        first, again = (network(images) for _ in range(2))
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise CamwallError(
            f"the {kind} cannot take an input of shape {list(images.shape)} ({_line(error)}): "
            "preprocessing says how large images are"
        ) from None
    if not torch.equal(scores_of(first), scores_of(again)):
        raise CamwallError(
            f"the {kind} gives other scores from call to call on the same images: a wall needs a "
            "network that draws no random numbers in evaluation mode and keeps no state"
        )
    return images


def _follows_the_image(network: nn.Module, images: Tensor, layer: Layer) -> bool:
    """Whether half an image has fewer cells, unlike those of an adaptive pooling."""
    half = images[:, :, : images.shape[2] // 2]
    try:
        counts = [layer.maps(layer.output(network, x), _size(x)).shape[2] for x in (half, images)]
    except (RuntimeError, ValueError, AssertionError):
        return True  # it takes no sides at all, as `_check_sides` will say
    return counts[0] < counts[1]


def _check_sides(
    network: nn.Module, layer: Layer, wall: Wall, cells: tuple[int, int], images: Tensor
) -> None:
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
    for side in images.tensor_split([at], dim=2 + axis):
        try:
            lengths.append(layer.maps(layer.output(network, side), _size(side)).shape[2 + axis])
        except (RuntimeError, ValueError, AssertionError) as error:
            raise CamwallError(
                f"the {type(network).__name__} cannot run on a side of {_size(side)} by itself "
                f"({_line(error)}): construction='whole' needs no sides"
            ) from None
    if lengths != [at * count // size, count - at * count // size]:
        raise CamwallError(
            f"a wall at {what} {at} gives maps of {lengths[0]} and {lengths[1]} {what}s, not "
            f"{count} in all: this network cannot be run on each side apart"
        )
