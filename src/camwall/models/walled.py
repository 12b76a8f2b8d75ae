"""Networks behind a wall: what they have in common, and the two constructions for any network."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from camwall.as_found import evaluating, unhooked
from camwall.errors import CamwallError, in_one_line
from camwall.models.layer import Layer
from camwall.models.preprocessing import Preprocessing, fill
from camwall.models.rest import Rest, find_rest, with_shared_parameters
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
        Maps B to scores [N, classes]. Where the scores read more of the images than B (`rest` says
        so), these are its second argument.
    layer : Layer
        Whose output is B.
    wall : Wall
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
    #: Whether the pass that gives the scores meets hidden pixels, and geometry keeps them out.
    by_geometry = True
    #: What the modules of the network held when its wall was built (`camwall.identity.held`).
    network_holds: dict[tuple[str, str], str] | None = None

    def __init__(
        self, layer: Layer, wall: Wall, visible_cells: Tensor, preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.target_layer = nn.Identity()
        self.layer, self.wall = layer, wall
        self.register_buffer("visible_cells", visible_cells, persistent=False)
        self.preprocessing = preprocessing
        self.class_names: tuple[str, ...] | None = None

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

    def check_images(self, images: Tensor) -> None:
        """Refuse what are no images, or ones of another shape or type than the model's."""
        if not isinstance(images, Tensor):
            raise CamwallError(f"images are a tensor [N, C, H, W], not {type(images).__name__}")
        shape = (len(self.preprocessing.mean), *self.wall.shape)
        if images.ndim != 4 or tuple(images.shape[1:]) != shape:
            raise CamwallError(
                f"this model takes images of shape [N, {', '.join(map(str, shape))}], "
                f"not {list(images.shape)}"
            )
        weights = next(self.parameters(), images)
        if images.device != weights.device:
            raise CamwallError(
                f"the images are on {images.device}, the model is on {weights.device}: bring one "
                "to the other, images.to(...) or model.to(...)"
            )
        if images.layout != torch.strided:
            raise CamwallError(f"the images are {images.layout}: give a plain tensor, dense")
        wanted = weights.dtype
        if images.dtype != wanted and not torch.is_autocast_enabled(images.device.type):
            raise CamwallError(
                f"the images are {images.dtype}, the model is {wanted}: convert one of them, "
                "images.to(...) or model.to(...)"
            )

    @abstractmethod
    def passed(self, images: Tensor, through: Through) -> Tensor:
        """Scores [N, classes] of a pass in which ``through`` meets B, and what the layer gave."""

    @abstractmethod
    def visible_maps(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        """What the rest takes of the images' maps, and no more, by a copy of `trunk` if given."""

    def scores(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        """Scores [N, classes] from that alone."""
        return self.rest(self.visible_maps(images, trunk), None, images)

    def seen(self, images: Tensor) -> Tensor:
        """The images of the pass that the scores hang on."""
        return images

    @abstractmethod
    def read(self, maps: Tensor) -> Tensor:
        """What the rest takes of maps [N, V, h, w]: M ⊙ B, or B on the visible cells alone."""

    @abstractmethod
    def repainted(self, maps: Tensor, images: Tensor) -> Tensor:
        """B of ``images`` that have the visible pixels of those which gave ``maps``."""

    @property
    @abstractmethod
    def trunk(self) -> nn.Module:
        """What gives the visible maps."""

    @property
    @abstractmethod
    def rest(self) -> Rest:
        """From what is `read` of the maps to the scores."""

    @property
    @abstractmethod
    def ground(self) -> str | None:
        """What is proved of the wall for every input, and from what; None if nothing is."""

    @property
    def rows_read(self) -> int:
        """Rows of an image that `visible_maps` and `scores` read."""
        return self.wall.shape[0]

    def reachable(self) -> Tensor | None:
        """Which pixels [H, W] can reach a score by the layers' geometry, or None if not known."""
        return None

    def as_made(self, kind: type[nn.Module]) -> bool:
        """Whether only the code of ``kind`` runs: no subclass, no hook, nothing for a method."""
        passes = type(self.target_layer) is nn.Identity and unhooked(self.target_layer)
        return type(self) is kind and type(self.layer) is Layer and unhooked(self) and passes


class WholeModel(WalledModel):
    """B = M ⊙ trunk(x̃) + (1 − M) ⊙ trunk(x), scores = rest(M ⊙ B); made by `build_wall`.

    Neither trunk nor rest is cut out of the network. A pass of one twin of it, over x̃, gives the
    scores, with the layer's output replaced; a pass of another, over x, ends at the layer. The
    twins' parameters are the network's and their modules their own: the network is left as it was,
    no hook and no state of a module carries anything from one side to the other, and methods with a
    rule for each module (DeepLift, LRP) find each called once.
    """

    by_geometry = False

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
        with in_one_line(
            f"a {type(network).__name__} cannot be copied",
            "give a network without tensors that hang in a graph, locks or open files",
        ):
            self.twins = nn.ModuleList(with_shared_parameters(network) for _ in range(2))

    def _apply(self, *given: Any, **options: Any) -> "WholeModel":
        vars(self).pop("rest", None)  # it may hold a copy, which would stay where and what it was
        return super()._apply(*given, **options)

    def seen(self, images: Tensor) -> Tensor:
        return fill(self.paint, images, self.wall, self.preprocessing)

    def unseen(self, images: Tensor) -> Tensor:
        """The images of the pass that gives the maps behind the wall."""
        return images

    def joined(self, visible: Tensor, hidden: Tensor) -> Tensor:
        """B from the maps of `seen` and of `unseen` images."""
        return torch.where(self.visible_cells, visible, hidden)

    def read(self, maps: Tensor) -> Tensor:
        # Not a product: a hidden infinity times 0 would reach the scores.
        return torch.where(self.visible_cells, maps, 0.0)

    def _hidden(self, images: Tensor) -> Tensor:
        # A copy: a network may work in place, and the visible pass is of the images as they are.
        return self.layer.maps_of(self.twins[1], self.unseen(images).clone())

    def _run(self, trunk: nn.Module | None, images: Tensor, through: Through) -> Tensor:
        """Scores where the rest reads, of the visible maps, what ``through`` makes of them."""
        seen = self.seen(images)

        def change(output: Any) -> Any:
            maps = through(self.layer.maps(output, seen.shape[2:]), output)
            return self.layer.put(output, self.read(maps))

        return self.layer.run(self.trunk if trunk is None else trunk, seen, change)

    def passed(self, images: Tensor, through: Through) -> Tensor:
        hidden = self._hidden(images)
        return self._run(None, images, lambda maps, out: through(self.joined(maps, hidden), out))

    def scores(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        return self._run(trunk, images, lambda maps, _: maps)

    def visible_maps(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        network = self.trunk if trunk is None else trunk
        return self.read(self.layer.maps_of(network, self.seen(images)))

    def repainted(self, maps: Tensor, images: Tensor) -> Tensor:
        return self.joined(self.read(maps), self._hidden(images))

    def features(self, images: Tensor) -> Tensor:
        return self.repainted(self.visible_maps(images), images)

    def head(self, maps: Tensor, images: Tensor | None = None) -> Tensor:
        if self.rest.chain is not None:
            return self.rest.chain(self.read(maps))
        if images is None:
            raise CamwallError(
                f"the rest of the {type(self.trunk).__name__} after {self.layer} is "
                f"{self.rest}: give head the images too"
            )
        seen = self.seen(images)
        return self.rest(self.read(maps), self.layer.output(self.trunk, seen), seen)

    @property
    def trunk(self) -> nn.Module:
        return self.twins[0]

    @cached_property
    def rest(self) -> Rest:
        generator = torch.Generator().manual_seed(1)
        probe = self.preprocessing.artificial(self, 2, generator)[:2]
        with evaluating(self):
            return find_rest(self.trunk, self.layer, self.seen(probe))

    @property
    def ground(self) -> str | None:
        if self.paint == "none" or not self.as_made(WholeModel):
            return None
        return (
            "by construction for every input, of a network that keeps nothing from call to call: "
            "the scores are a function of the image with its hidden pixels painted "
            f"({self.paint}) alone; maps, of {self.layer}, come behind the wall from a pass over "
            "the whole image"
        )


class ApartModel(WholeModel):
    """The network runs on each side of the wall by itself, as on an image of its own.

    The rest reads the maps of the visible side alone. For walls between two sides.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        assert self.wall.cut is not None  # as `build_wall` saw to
        self._cut = axis, at, self._hidden_last = self.wall.cut
        self._axis, self._at = axis + 2, at
        self._cells = int(self.visible_cells.all(dim=1 - axis).sum())

    def _sides(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The visible and the hidden side."""
        first, second = images.tensor_split([self._at], dim=self._axis)
        return (first, second) if self._hidden_last else (second, first)

    def seen(self, images: Tensor) -> Tensor:
        return self._sides(images)[0].clone()

    def unseen(self, images: Tensor) -> Tensor:
        return self._sides(images)[1]

    def joined(self, visible: Tensor, hidden: Tensor) -> Tensor:
        sides = (visible, hidden) if self._hidden_last else (hidden, visible)
        return torch.cat(sides, dim=self._axis)

    def read(self, maps: Tensor) -> Tensor:
        first = 0 if self._hidden_last else maps.shape[self._axis] - self._cells
        side = maps.narrow(self._axis, first, self._cells)
        return side.clone()  # what comes next may work in place

    @property
    def rows_read(self) -> int:
        return self.wall.row or self.wall.shape[0]

    @property
    def ground(self) -> str | None:
        if self.wall.cut != self._cut or not self.as_made(ApartModel):
            return None
        return (
            "by construction for every input, of a network that keeps nothing from call to call: "
            "it runs on the visible side alone, padded as if the image ended at the wall; maps, of "
            f"{self.layer}, come behind the wall from a pass over the hidden side by itself"
        )


def require_walled(model: Any) -> None:
    """Refuse a model without a wall."""
    if not isinstance(model, WalledModel):
        kind = type(model).__name__
        raise CamwallError(f"a {kind} is no walled model: camwall.build_wall(network, wall) is one")
