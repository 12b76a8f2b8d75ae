"""A network cut in two, features and head, with a wall between the head and the bottom of it."""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from camwall.errors import CamwallError
from camwall.models.preprocessing import Preprocessing
from camwall.wall import Wall, leaves, needed_rows


class DensePart(nn.Module):
    """A dense layer on part of another's weights, with no parameters of its own.

    What is computed from it can be differentiated with respect to the other layer's weights.

    Parameters
    ----------
    cells : tensor [units, V, cells]
        A view of weights, by channel of the maps.
    bias : tensor [units], or None
    """

    def __init__(self, cells: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.cells, self.bias = cells, bias

    @cached_property
    def weight(self) -> Tensor:
        """The cells as a matrix [units, V · cells]: a copy where they do not lie together."""
        return self.cells.flatten(1)

    def unit(self, index: int) -> "DensePart":
        """The layer with one output alone."""
        one = slice(index, index + 1)
        return DensePart(self.cells[one], None if self.bias is None else self.bias[one])

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.linear(features, self.weight, self.bias)


class WalledModel(nn.Module, ABC):
    """Image → maps → scores, where the scores cannot depend on the hidden rows.

    Attributes
    ----------
    features : torch.nn.Module
        Images [N, C, H, W] to maps B [N, V, h, w], the hidden rows of the maps among them.
    target_layer : torch.nn.Module
        The module whose output is B, for libraries that work with hooks.
    head : torch.nn.Module
        Maps [N, V, h, w] to scores [N, classes].
    wall : Wall
    preprocessing : Preprocessing
    class_names : tuple of str, or None
    """

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        wall: Wall,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.target_layer = nn.Identity()
        self.head = head
        self.wall = wall
        self.preprocessing = preprocessing
        self.class_names = class_names

    def forward(self, images: Tensor) -> Tensor:
        self.check_images(images)
        return self.head(self.target_layer(self.features(images)))

    def check_images(self, images: Tensor) -> None:
        """Refuse images of another shape than the wall was built for."""
        shape = (len(self.preprocessing.mean), self.wall.image_rows)
        if images.ndim != 4 or tuple(images.shape[1:3]) != shape:
            raise CamwallError(
                f"this model takes images of shape [N, {shape[0]}, {shape[1]}, W], "
                f"not {list(images.shape)}"
            )

    @property
    def read_rows(self) -> int:
        """Map rows the head reads."""
        return self.wall.visible_map_rows

    def probe(self, count: int, generator: torch.Generator) -> Tensor:
        """Random network inputs [count, C, H, H]: normalised pixels, uniform in [0, 1]."""
        rows = self.wall.image_rows
        pixels = torch.rand(count, len(self.preprocessing.mean), rows, rows, generator=generator)
        return self.preprocessing.normalize(pixels)

    @property
    def trunk(self) -> nn.Module:
        """The layers that run on the visible part of an image: all of ``features``."""
        return self.features

    @abstractmethod
    def visible_features(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        """Images, of which only the visible rows are read, to the maps' visible rows.

        Equal to ``features(images)[:, :, :visible_map_rows]``, at the cost of the visible part.
        Another ``trunk`` of the same layers may run in place of the model's.
        """

    @abstractmethod
    def visible_head(self) -> nn.Sequential:
        """The head as a stack of layers on the maps' visible rows [N, V, visible_map_rows, w].

        Equal to ``head``, with the weights as they are now: a masked model's first layer is cut
        to its visible cells, so keep the stack for as long as the weights stay.
        """

    @abstractmethod
    def reachable_rows(self) -> np.ndarray | None:
        """Which image rows can reach a score by the layers' geometry, or None if not known."""


def require_walled(model: nn.Module) -> None:
    """Refuse a model without a wall.

    Raises
    ------
    CamwallError
    """
    if not isinstance(model, WalledModel):
        raise CamwallError(
            f"a {type(model).__name__} is no walled model: camwall.build_wall(network, row) makes "
            "one"
        )


class MaskedModel(WalledModel):
    """A stack of layers whose head starts with a dense layer on the flattened maps.

    With ``masked=True`` the weights of that layer are 0 on the hidden rows of the maps: the paper's
    wall. With ``masked=False`` it is the baseline, which sees everything; its ``wall`` tells where
    the masked network's is, so that both are measured alike, and `certify` refuses it.

    Raises
    ------
    CamwallError
        A head that does not start with Flatten and a Linear of the maps' size.
    """

    def __init__(
        self,
        features: nn.Sequential,
        head: nn.Sequential,
        map_shape: tuple[int, int, int],
        image_rows: int,
        visible_map_rows: int,
        preprocessing: Preprocessing,
        *,
        masked: bool,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        dense = head[1] if len(head) > 1 else None
        if not isinstance(head[0], nn.Flatten) or not isinstance(dense, nn.Linear):
            raise CamwallError("a masked model's head starts with Flatten and Linear")
        if dense.in_features != int(np.prod(map_shape)):
            raise CamwallError(
                f"the head's first layer takes {dense.in_features} values, the maps "
                f"{map_shape} have {int(np.prod(map_shape))}"
            )
        rows = needed_rows(features, image_rows, visible_map_rows)[0]
        wall = Wall(
            image_rows=image_rows,
            hidden_rows=image_rows - 1 - int(np.flatnonzero(rows)[-1]),
            map_rows=map_shape[1],
            visible_map_rows=visible_map_rows,
        )
        super().__init__(features, head, wall, preprocessing, class_names)
        self.map_shape = map_shape
        self.masked = masked
        self._needed = needed_rows(features, image_rows, self.read_rows)
        self.apply_wall()

    def check_images(self, images: Tensor) -> None:
        """Refuse images of another shape than the first dense layer was made for."""
        super().check_images(images)
        if images.shape[3] != self.preprocessing.crop:
            raise CamwallError(
                f"this model takes images of shape [N, {images.shape[1]}, {images.shape[2]}, "
                f"{self.preprocessing.crop}], not {list(images.shape)}"
            )

    @property
    def read_rows(self) -> int:
        """Map rows the head reads: the visible ones, or all of the baseline's."""
        return self.wall.visible_map_rows if self.masked else self.wall.map_rows

    def cells(self) -> Tensor:
        """The first dense layer's weights by map cell, a view of shape [units, V, h, w]."""
        return self.head[1].weight.view(-1, *self.map_shape)  # type: ignore[index]

    @torch.no_grad()
    def apply_wall(self) -> None:
        """Set the weights behind the wall to 0; to be called again after each optimiser step."""
        if self.masked:
            self.cells()[:, :, self.wall.visible_map_rows :] = 0

    def visible_features(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        # What padding puts below the last row that is needed reaches no row that is needed later.
        # The cut is a copy: it pays at the image and where a pooling has made the maps small.
        last = [int(np.flatnonzero(rows)[-1]) + 1 for rows in self._needed]
        maps = images[:, :, : last[0]]
        trunk = self.trunk if trunk is None else trunk
        for layer, rows in zip(leaves(trunk), last[1:], strict=True):
            before = maps.shape[2]
            maps = layer(maps)
            if maps.shape[2] < before:
                maps = maps[:, :, :rows]
        return maps[:, :, : self.read_rows]

    def visible_head(self) -> nn.Sequential:
        flatten, dense, *rest = list(leaves(self.head))
        assert isinstance(dense, nn.Linear)  # as the constructor saw to
        visible = DensePart(self.cells()[:, :, : self.read_rows].flatten(2), dense.bias)
        return nn.Sequential(flatten, visible, *rest)

    def reachable_rows(self) -> np.ndarray:
        # By the weights as they are, not as they are said to be: one that is not 0 is a hole, even
        # where its unit is silent on every probe.
        sizes = torch.linalg.vector_norm(self.cells().detach(), torch.inf, dim=(0, 1, 3))
        read = torch.nonzero(sizes).flatten().tolist()
        if not read:
            return np.zeros(self.wall.image_rows, bool)
        return needed_rows(self.features, self.wall.image_rows, read[-1] + 1)[0]
