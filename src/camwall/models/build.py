"""A wall without training, around any network, at any of its layers."""

from contextlib import suppress
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

from camwall.as_found import evaluating, finite, outside_inference_mode
from camwall.errors import CamwallError, in_one_line
from camwall.identity import held, unchanged
from camwall.models.layer import Layer, find_layer, scores_of
from camwall.models.preprocessing import Preprocessing, preparation
from camwall.models.walled import ApartModel, WalledModel, WholeModel
from camwall.wall import AnyWall, Wall

Construction = Literal["whole", "apart"]
_KINDS = {"whole": WholeModel, "apart": ApartModel}


@outside_inference_mode
def build_wall(
    network: nn.Module,
    wall: AnyWall,
    layer: str | nn.Module | None = None,
    *,
    construction: Construction = "whole",
    preprocessing: Any = None,
    visible_cells: Tensor | None = None,
    paint: str = "zero",
) -> WalledModel:
    """Put a pretrained network behind a wall, without training.

    The walled model shares the network's weights. Running statistics are taken as they are now:
    load weights first. With x̃ the image whose hidden pixels are painted, and M = 1 on the visible
    cells of the map, 0 on the others:

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
    wall : int, bool tensor [H, W], str or Wall
        The first hidden row, a mask of the hidden pixels, or a text such as ``"border:32"``
        (`Wall.of`).
    layer : str or torch.nn.Module, optional
        Whose output is B, maps as [N, V, h, w], [N, h, w, V] or tokens [N, p + h·w, V]. By default
        the last through which all of the image passes to the scores, with a cell for each part.
    construction : "whole" or "apart"
    preprocessing : Preprocessing, torchvision weights, timm data config or transformers processor
        How inputs are made from photographs, and their size. Found where the library says it.
    visible_cells : bool tensor [h, w], optional
        M, for ``"whole"``; by default the cells with no hidden pixel in their own block.
    paint : str
        What x̃ has in place of the hidden pixels, one of `camwall.models.FILLS`: by default 0 in
        the network's normalised input. With ``"none"`` the visible cells read hidden pixels, and
        `certify` refuses the model.

    Returns
    -------
    WalledModel
        In evaluation mode.

    Raises
    ------
    CamwallError
        A network, a layer or a wall that does not fit this, with what to do.

    Examples
    --------
    >>> network = nn.Sequential(
    ...     nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(8, 5)
    ... )
    >>> model = build_wall(network, "columns:8:left", preprocessing=Preprocessing(crop=16))
    >>> model.wall, model.visible_cells.sum().item()
    (Wall(columns 0–7 of 16×16), 8)
    """
    if construction not in (*_KINDS,):
        raise CamwallError(f"unknown construction {construction!r}; known: {', '.join(_KINDS)}")
    apart = construction == "apart"
    if apart and (visible_cells is not None or paint != "zero"):
        raise CamwallError("visible_cells and paint are for construction='whole'")
    if not isinstance(network, nn.Module) or isinstance(network, WalledModel):
        raise CamwallError(
            "a network to wall is a torch.nn.Module from images to scores that has no wall yet, "
            f"not a {type(network).__name__}"
        )
    holds = held(network)  # before a pass leaves anything
    preprocessing = preparation(network, preprocessing, wall)
    wall = Wall.of(wall, *preprocessing.size)
    with torch.no_grad(), evaluating(network):
        images = _inputs(network, preprocessing)

        def follows(layer: Layer) -> bool:
            return not apart or _follows_the_image(network, layer, images)

        with in_one_line(
            f"the layers of the {type(network).__name__} cannot be followed",
            "give a network of plain modules that gradients pass: not scripted, not made in "
            "inference mode",
        ):
            found = find_layer(network, images, layer, follows)
        height, width = found.maps_of(network, images).shape[2:]
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
        model = _KINDS[construction](network, found, wall, visible, preprocessing, paint=paint)
        model.to(images.device).eval()
        with in_one_line(
            "the rest of the network cannot take what is left visible",
            "with construction='apart' it gets one side alone" if apart else "name another layer",
        ):
            scores = model(images)
    model.network_holds = unchanged(network, holds)
    names = getattr(getattr(network, "config", None), "id2label", None)  # of transformers
    if names is not None and len(names) == scores.shape[1]:
        model.class_names = tuple(str(names[index]) for index in range(len(names)))
    elif scores.shape[1] == len(_IMAGENET_CATEGORIES):
        model.class_names = tuple(_IMAGENET_CATEGORIES)
    return model


def without_wall(
    network: nn.Module,
    wall: AnyWall,
    layer: str | nn.Module | None = None,
    *,
    preprocessing: Any = None,
) -> WalledModel:
    """The network itself as every method takes it: all cells visible, nothing painted.

    As `build_wall`, but that the wall hides nothing: it is where a leak is measured.
    """
    model = build_wall(network, wall, layer, preprocessing=preprocessing, paint="none")
    model.visible_cells.fill_(True)
    return model


def _inputs(network: nn.Module, preprocessing: Preprocessing) -> Tensor:
    """Two inputs, on which the network gives the same scores each time."""
    images = preprocessing.artificial(network, 2, torch.Generator().manual_seed(0))[:2]
    kind, given = type(network).__name__, images.clone()
    with in_one_line(
        f"the {kind} cannot take an input of shape {list(images.shape)}",
        "preprocessing says how large images are",
    ):
        first, again = (finite(scores_of(network(images))) for _ in range(2))
    if not torch.equal(first, again) or not torch.equal(images, given):
        raise CamwallError(
            f"the {kind} gives other scores from call to call on the same images, or changes "
            "these: a wall needs a network that draws no random numbers and keeps no state"
        )
    return images


def _follows_the_image(network: nn.Module, layer: Layer, images: Tensor) -> bool:
    """Whether half an image has fewer cells, unlike those of an adaptive pooling."""
    with suppress(Exception):  # of one that takes no sides at all, as `_check_sides` will say
        half = layer.maps_of(network, images[:, :, : images.shape[2] // 2])
        return half.shape[2] < layer.maps_of(network, images).shape[2]
    return True


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
    with in_one_line(
        f"the {type(network).__name__} cannot run on each side by itself",
        "construction='whole' needs no sides",
    ):
        sides = images.tensor_split([at], dim=2 + axis)
        found = [layer.maps_of(network, side).shape[2 + axis] for side in sides]
    if found != [at * count / size, count - at * count / size]:
        divides = [r * size // count for r in range(1, count) if r * size % count == 0]
        raise CamwallError(
            f"a wall at {what} {at} gives maps of {found[0]} and {found[1]} {what}s, which do not "
            f"divide the map of {count}; {what}s that may: {', '.join(map(str, divides))} "
            "(construction='whole' takes any)"
        )
