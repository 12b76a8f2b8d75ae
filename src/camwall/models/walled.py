"""A network behind a wall: what all of them share, and the paper's, whose head is masked."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camwall.errors import CamwallError
from camwall.models.preprocessing import Preprocessing
from camwall.wall import Wall, needed_rows
from camwall.wall.reach import leaves


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
    """Images → maps B → scores, where no score depends on a hidden pixel.

    With M = 1 on the cells that the rest of the network may read and 0 on the others, scores are
    rest(M ⊙ B), and B on the cells of M is a function of the visible pixels alone.

    Attributes
    ----------
    features : callable
        Images [N, C, H, W] to maps B [N, V, h, w], the hidden cells among them.
    head : callable
        Maps [N, V, h, w] to scores [N, classes]: rest(M ⊙ B).
    wall : Wall
        The hidden pixels.
    visible_cells : bool tensor [h, w]
        M.
    target_layer : torch.nn.Module
        The module whose output is B, for libraries that work with hooks.
    preprocessing : Preprocessing
    class_names : tuple of str, or None
    """

    features: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]
    visible_cells: Tensor

    def __init__(
        self,
        wall: Wall,
        visible_cells: Tensor,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.target_layer = nn.Identity()
        self.wall = wall
        self.register_buffer("visible_cells", visible_cells, persistent=False)
        self.preprocessing = preprocessing
        self.class_names = class_names

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module) and hasattr(type(self), name):
            # torch would keep the module, and go on calling the method.
            raise CamwallError(
                f"{name} of a {type(self).__name__} is no module that another can stand in for: "
                "derive a class, or build_wall a camwall.Split of other parts"
            )
        super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor:
        self.check_images(images)
        return self.head(self.target_layer(self.features(images)))

    def check_images(self, images: Tensor) -> None:
        """Refuse images of another shape than the wall was built for."""
        shape = (len(self.preprocessing.mean), *self.wall.shape)
        if images.ndim != 4 or tuple(images.shape[1:]) != shape:
            raise CamwallError(
                f"this model takes images of shape [N, {', '.join(map(str, shape))}], "
                f"not {list(images.shape)}"
            )

    def probe(self, count: int, generator: torch.Generator) -> Tensor:
        """Artificial network inputs: ``count`` of uniform noise, a grey one and a ramp."""
        shape = (len(self.preprocessing.mean), *self.wall.shape)
        noise = torch.rand(count, *shape, generator=generator)
        ramp = torch.linspace(0, 1, shape[1])[:, None].expand(1, *shape)
        return self.preprocessing.normalize(torch.cat([noise, torch.full_like(ramp, 0.5), ramp]))

    @property
    @abstractmethod
    def trunk(self) -> nn.Module:
        """The layers that run on the visible part of an image."""

    @abstractmethod
    def rest(self) -> nn.Sequential:
        """The layers from `read` to the scores; keep them only for as long as the weights stay."""

    @abstractmethod
    def read(self, maps: Tensor) -> Tensor:
        """What `rest` takes of maps [N, V, h, w]: M ⊙ B, or B on the visible cells alone."""

    @abstractmethod
    def visible_features(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        """Images to what `rest` takes of their maps, at the cost of the visible part where known.

        Equal to ``read(features(images))``. Of the images only the first `rows_read` rows are
        read. Another ``trunk`` of the same layers may run in place of the model's.
        """

    @property
    def rows_read(self) -> int:
        """Rows of an image that `visible_features` reads."""
        return self.wall.shape[0]

    def behind(self, images: Tensor) -> Tensor:
        """Maps [N, V, h, w] that are those of the images on the hidden cells."""
        return self.features(images)

    def repainted(self, maps: Tensor, images: Tensor) -> Tensor:
        """B of ``images`` that have the visible pixels of those which gave ``maps``."""
        return torch.where(self.visible_cells, maps, self.behind(images))

    @abstractmethod
    def reachable(self) -> Tensor | None:
        """Which pixels [H, W] can reach a score by the layers' geometry, or None if not known."""

    @property
    @abstractmethod
    def ground(self) -> str | None:
        """What is proved of the wall for every input, and from what; None if nothing is."""

    def as_made(self, *kinds: type[nn.Module]) -> bool:
        """Whether only the code of ``kinds`` runs: no subclass, nothing in place of a method."""
        replaced = [name for name in vars(self) if callable(getattr(type(self), name, None))]
        return type(self) in kinds and not replaced and type(self.target_layer) is nn.Identity


def require_walled(model: nn.Module) -> None:
    """Refuse a model without a wall.

    Raises
    ------
    CamwallError
    """
    if not isinstance(model, WalledModel):
        raise CamwallError(
            f"a {type(model).__name__} is no walled model: camwall.build_wall(network, wall) makes "
            "one"
        )


#: What is proved of a network whose head has weights 0 behind the wall (`MaskedModel.reachable`).
MASKED_GROUND = (
    "by geometry for every input whose maps are finite: no hidden pixel lies in the receptive "
    "field of a weight that is not 0"
)


class MaskedModel(WalledModel):
    """A stack of layers whose head starts with a dense layer on the flattened maps.

    With ``masked=True`` the weights of that layer are 0 on the hidden rows of the maps: the paper's
    wall. Its visible cells read no hidden pixel, so that one pass over the image gives all maps: it
    is what `build_wall` makes of the baseline's two parts for this wall and these cells. While the
    maps are finite, these, the scores and their gradients at the maps are the same bit for bit.

    With ``masked=False`` it is the baseline, which sees everything; its ``wall`` and
    ``visible_cells`` are the masked network's, so that both are measured alike, and `certify`
    refuses it.

    Raises
    ------
    CamwallError
        A head that does not start with Flatten and a Linear of the maps' size.
    """

    features: nn.Sequential  # type: ignore[assignment]  # a module, and so callable
    head: nn.Sequential  # type: ignore[assignment]

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
        needed = needed_rows(features, image_rows, visible_map_rows)
        first_hidden = int(np.flatnonzero(needed[0])[-1]) + 1
        visible = torch.zeros(map_shape[1:], dtype=torch.bool, device="cpu")  # not meta
        visible[:visible_map_rows] = True
        wall = Wall.rows(image_rows, image_rows, first_hidden)
        super().__init__(wall, visible, preprocessing, class_names)
        self.features = features
        self.head = head
        self.map_shape = map_shape
        self.masked = masked
        self.visible_map_rows = visible_map_rows
        self._needed = needed_rows(features, image_rows, self.read_rows)
        self.apply_wall()

    @property
    def trunk(self) -> nn.Module:
        return self.features

    @property
    def read_rows(self) -> int:
        """Map rows the head reads: the visible ones, or all of the baseline's."""
        return self.visible_map_rows if self.masked else self.map_shape[1]

    def cells(self) -> Tensor:
        """The first dense layer's weights by map cell, a view of shape [units, V, h, w]."""
        return self.head[1].weight.view(-1, *self.map_shape)  # type: ignore[operator]

    @torch.no_grad()
    def apply_wall(self) -> None:
        """Set the weights behind the wall to 0; to be called again after each optimiser step."""
        if self.masked:
            self.cells()[:, :, self.visible_map_rows :] = 0

    def read(self, maps: Tensor) -> Tensor:
        return maps[:, :, : self.read_rows]

    @property
    def rows_read(self) -> int:
        return int(np.flatnonzero(self._needed[0])[-1]) + 1

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

    def rest(self) -> nn.Sequential:
        flatten, dense, *rest = list(leaves(self.head))
        assert isinstance(dense, nn.Linear)  # as the constructor saw to
        visible = DensePart(self.cells()[:, :, : self.read_rows].flatten(2), dense.bias)
        return nn.Sequential(flatten, visible, *rest)

    def reachable(self) -> Tensor:
        # By the weights as they are, not as they are said to be: one that is not 0 is a hole, even
        # where its unit is silent on every probe.
        sizes = torch.linalg.vector_norm(self.cells().detach(), torch.inf, dim=(0, 1, 3))
        read = torch.nonzero(sizes).flatten().tolist()
        rows = np.zeros(self.wall.shape[0], bool)
        if read:
            rows = needed_rows(self.features, self.wall.shape[0], read[-1] + 1)[0]
        return torch.from_numpy(rows)[:, None].expand(self.wall.shape)

    @property
    def ground(self) -> str | None:
        plain = type(self.head).forward is nn.Sequential.forward
        kinds = [type(layer) for layer in self.head.children()][:2]
        known = plain and kinds == [nn.Flatten, nn.Linear]
        return MASKED_GROUND if known and self.as_made(MaskedModel) else None
