"""What every network behind a wall has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from camwall.errors import CamwallError
from camwall.models.layer import Layer
from camwall.models.preprocessing import Preprocessing
from camwall.models.rest import Rest
from camwall.wall import Wall

#: What becomes of the maps on their way, given them and what else the layer gave.
Through = Callable[[Tensor, Any], Tensor]


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
    trunk : torch.nn.Module
        What gives the visible maps; `visible_maps` and `scores` can run a copy in its place.
    rest : Rest
        From what is `read` of the maps to the scores.
    layer : Layer
        Whose output is B.
    wall : Wall
        The hidden pixels.
    visible_cells : bool tensor [h, w]
        M.
    target_layer : torch.nn.Module
        A module that all of B passes through as [N, V, h, w], for libraries that work with hooks.
    preprocessing : Preprocessing
    class_names : tuple of str, or None
    """

    features: Callable[[Tensor], Tensor]
    head: Callable[..., Tensor]
    visible_cells: Tensor

    def __init__(
        self,
        layer: Layer,
        wall: Wall,
        visible_cells: Tensor,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.target_layer = nn.Identity()
        self.layer, self.wall = layer, wall
        self.register_buffer("visible_cells", visible_cells, persistent=False)
        self.preprocessing, self.class_names = preprocessing, class_names

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module) and hasattr(type(self), name):
            # torch would keep the module, and go on calling the method.
            raise CamwallError(
                f"{name} of a {type(self).__name__} is no module that another can stand in for: "
                "derive a class, or build_wall the network that you mean"
            )
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        return f"wall: {self.wall}; layer: {self.layer}"

    def forward(self, images: Tensor) -> Tensor:
        self.check_images(images)
        return self.passed(images, lambda maps, _: self.target_layer(maps))

    @abstractmethod
    def passed(self, images: Tensor, through: Through) -> Tensor:
        """Scores [N, classes] of a pass in which ``through`` meets B, and what the layer gave."""

    def seen(self, images: Tensor) -> Tensor:
        """The images of the pass that the scores hang on."""
        return images

    @abstractmethod
    def read(self, maps: Tensor) -> Tensor:
        """What the rest takes of maps [N, V, h, w]: M ⊙ B, or B on the visible cells alone."""

    @property
    @abstractmethod
    def trunk(self) -> nn.Module: ...

    @property
    @abstractmethod
    def rest(self) -> Rest: ...

    @abstractmethod
    def visible_maps(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        """Images to what the rest takes of their maps, at the cost of the visible part.

        Of the images only the first `rows_read` rows are read.
        """

    @abstractmethod
    def scores(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        """Scores [N, classes] from the pass that they hang on alone."""

    @property
    def rows_read(self) -> int:
        """Rows of an image that `visible_maps` and `scores` read."""
        return self.wall.shape[0]

    @abstractmethod
    def repainted(self, maps: Tensor, images: Tensor) -> Tensor:
        """B of ``images`` that have the visible pixels of those which gave ``maps``."""

    def reachable(self) -> Tensor | None:
        """Which pixels [H, W] can reach a score by the layers' geometry, or None if not known."""
        return None

    @property
    @abstractmethod
    def ground(self) -> str | None:
        """What is proved of the wall for every input, and from what; None if nothing is."""

    def as_made(self, *kinds: type[nn.Module]) -> bool:
        """Whether only the code of ``kinds`` runs: no subclass, nothing in place of a method."""
        replaced = [name for name in vars(self) if callable(getattr(type(self), name, None))]
        return type(self) in kinds and not replaced and type(self.target_layer) is nn.Identity

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
        return artificial(self.preprocessing, self.wall.shape, count, generator)


def artificial(
    preprocessing: Preprocessing, size: tuple[int, int], count: int, generator: torch.Generator
) -> Tensor:
    """Network inputs [count + 2, C, H, W]: uniform noise, a grey image and a ramp."""
    shape = (len(preprocessing.mean), *size)
    noise = torch.rand(count, *shape, generator=generator)
    ramp = torch.linspace(0, 1, shape[1])[:, None].expand(1, *shape)
    return preprocessing.normalize(torch.cat([noise, torch.full_like(ramp, 0.5), ramp]))


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
