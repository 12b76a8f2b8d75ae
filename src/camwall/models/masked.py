"""The paper's networks: the first dense layer of the head has weights 0 behind the wall."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from camwall.as_found import unhooked
from camwall.errors import CamwallError
from camwall.models.layer import Layer
from camwall.models.preprocessing import Preprocessing
from camwall.models.rest import Rest
from camwall.models.walled import Through, WalledModel
from camwall.wall import Wall, needed_rows
from camwall.wall.reach import cropped_alike, known, leaves

if TYPE_CHECKING:
    from camwall.theory import Setting


class MaskedModel(WalledModel):
    """A stack of layers whose head starts with a dense layer on the (pooled) maps.

    With ``masked=True`` the weights of that layer are 0 on the hidden rows of the maps: the paper's
    wall. Its visible cells read no hidden pixel, so that one pass over the image gives all maps: it
    is what `build_wall` makes of the baseline for this wall and these cells. While the maps are
    finite, these, the scores and their gradients at the maps are the same bit for bit.

    With ``masked=False`` it is the baseline, which sees everything and has the wall and the visible
    cells of the masked network, so that both are measured alike; `certify` refuses it.

    Parameters
    ----------
    features : torch.nn.Sequential
        Images to maps, by layers whose reach `camwall.wall.needed_rows` finds.
    head : torch.nn.Sequential
        Poolings or none, Flatten, Linear, and anything.
    map_shape : (V, h, w)
    visible_map_rows : int
        Rows of the maps that the masked head reads.
    preprocessing : Preprocessing
        Its size is the images'.
    masked : bool
    """

    features: nn.Sequential  # type: ignore[assignment]  # a module, and so callable
    head: nn.Sequential  # type: ignore[assignment]
    #: The sizes of a simple CNN in the words of `camwall.theory`; `simple_cnn` sets it.
    setting: "Setting"
    #: What builds the same network again (`camwall.models.checkpoint`): its ``name`` and options.
    made_by: dict[str, Any] | None = None

    def __init__(
        self,
        features: nn.Sequential,
        head: nn.Sequential,
        map_shape: tuple[int, int, int],
        visible_map_rows: int,
        preprocessing: Preprocessing,
        *,
        masked: bool = True,
    ) -> None:
        if not _starts_well(head):
            raise CamwallError("a masked model's head starts with Flatten and Linear")
        depth = [type(layer) for layer in head].index(nn.Linear)
        visible = torch.zeros(map_shape[1:], dtype=torch.bool, device="cpu")  # not meta
        visible[:visible_map_rows] = True
        # What the dense layer reads of the maps' hidden cells: where this is 0, it reads none.
        pooled = head[: depth - 1]((~visible).float().expand(1, *map_shape))[0]
        if head[depth].in_features != pooled.numel():
            raise CamwallError(
                f"the head's first layer takes {head[depth].in_features} values, the maps "
                f"{tuple(pooled.shape)} have {pooled.numel()}"
            )
        height, width = preprocessing.size
        example = torch.zeros(1, len(preprocessing.mean), height, width, device="cpu")
        reach = needed_rows(features, height, visible_map_rows, example)[0]
        if reach[-1]:
            raise CamwallError(
                f"{visible_map_rows} rows of the maps read the image to its last row, so that "
                "nothing is hidden: lower visible_map_rows"
            )
        wall = Wall.of(len(np.trim_zeros(reach, "b")), height, width)
        place = next(head.parameters()).device
        cells = visible if place.type == "meta" else visible.to(place)
        super().__init__(Layer("features"), wall, cells, preprocessing)
        self.features, self.head = features, head
        self.map_shape, self.masked = map_shape, masked
        self.visible_map_rows, self.depth = visible_map_rows, depth
        self._pooled, self._taken = pooled.shape, example.shape
        self._dense_rows = int((pooled == 0).all(dim=(0, 2)).sum()) if masked else pooled.shape[1]
        read = needed_rows(features, height, self.read_rows, example)
        fitted = [n for n, layer in enumerate(leaves(features)) if not cropped_alike(layer)]
        whole = max(fitted, default=-1)
        self._needed = [  # to the last one
            len(rows) if n <= whole else len(np.trim_zeros(rows, "b"))
            for n, rows in enumerate(read)
        ]
        self.apply_wall()

    @property
    def trunk(self) -> nn.Module:
        return self.features

    @property
    def dense(self) -> nn.Linear:
        """The head's first dense layer."""
        return self.head[self.depth]  # type: ignore[return-value]

    @property
    def read_rows(self) -> int:
        """Map rows the head reads: the visible ones, or all of the baseline's."""
        return self.visible_map_rows if self.masked else self.map_shape[1]

    def cells(self) -> Tensor:
        """The dense layer's weights by (pooled) cell of the maps, a view [units, V, h, w]."""
        return self.dense.weight.view(-1, *self._pooled)

    def cells_read(self) -> Tensor:
        """Those of `cells` that are read, a view [units, V, rows, w]."""
        return self.cells()[:, :, : self._dense_rows]

    @torch.no_grad()
    def apply_wall(self) -> None:
        """Set the weights behind the wall to 0; to be called again after each optimiser step."""
        self.cells()[:, :, self._dense_rows :] = 0

    def passed(self, images: Tensor, through: Through) -> Tensor:
        maps = self.features(images)
        return self.head(through(maps, maps))

    def visible_maps(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        # What padding puts below the last row that is needed reaches no row that is needed later.
        maps = images
        layers = leaves(self.trunk if trunk is None else trunk)
        for layer, rows in zip(layers, self._needed, strict=False):
            maps = layer(maps[:, :, :rows])
        return self.read(maps)

    def read(self, maps: Tensor) -> Tensor:
        return maps[:, :, : self.read_rows]

    def repainted(self, maps: Tensor, images: Tensor) -> Tensor:
        return torch.where(self.visible_cells, maps, self.features(images))

    @property
    def rows_read(self) -> int:
        return self._needed[0]

    @property
    def rest(self) -> Rest:
        """Of the weights as they are now: keep it only for as long as these stay."""
        dense = linear(self.cells_read().flatten(1), self.dense.bias)
        return Rest(self, self.layer, self.head_with(dense))

    def head_with(self, dense: nn.Module) -> nn.Sequential:
        """The head with another first dense layer."""
        return nn.Sequential(*self.head[: self.depth], dense, *self.head[self.depth + 1 :])

    def reachable(self) -> Tensor:
        # By the weights as they are, not as they are said to be: one that is not 0 is a hole, even
        # where its unit is silent on every probe.
        read = (self.cells().detach() != 0).any(dim=(0, 1, 3)).cpu()
        for layers, rows in (
            (list(self.head)[: self.depth - 1], self.map_shape[1]),
            (self.features, self.wall.shape[0]),
        ):
            example = self.dense.weight.new_zeros(self._taken)
            read = torch.from_numpy(needed_rows(layers, rows, read, example)[0])
        return read[:, None].expand(self.wall.shape)

    @property
    def ground(self) -> str | None:
        plain = type(self.head).forward is nn.Sequential.forward and _starts_well(self.head)
        run = *self.features.modules(), self.head, *self.head[: self.depth + 1]
        if not plain or not all(map(unhooked, run)) or not self.as_made(MaskedModel):
            return None
        if not all(map(known, leaves(self.features))):
            return None
        return (
            "by geometry for every input whose maps are finite, in evaluation mode: no hidden "
            "pixel lies in the receptive field of a weight that is not 0"
        )


def _starts_well(head: nn.Sequential) -> bool:
    """Whether a head is poolings or none, Flatten, and Linear."""
    kinds = [type(layer) for layer in head]
    flat = kinds.index(nn.Flatten) if nn.Flatten in kinds else len(kinds)
    return {*kinds[:flat]} <= {nn.MaxPool2d, nn.AvgPool2d} and kinds[flat + 1 :][:1] == [nn.Linear]


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A dense layer on given weights, which it does not own: the way back to them stays."""
    units, inputs = weight.shape
    layer = nn.Linear(inputs, units, bias=bias is not None, device="meta")
    del layer.weight, layer.bias
    layer.weight, layer.bias = weight, bias  # type: ignore[assignment]
    return layer


class VisiblePart(nn.Module):
    """The visible part of a masked model, as a smaller network to train; made by `visible_part`."""

    model: MaskedModel

    def __init__(self, model: MaskedModel) -> None:
        super().__init__()
        self.__dict__["model"] = model  # no submodule: its weights are not this module's
        weight = nn.Parameter(model.cells_read().detach().flatten(1).clone())
        self.features = model.features
        self.head = model.head_with(linear(weight, model.dense.bias))

    @property
    def dense(self) -> nn.Linear:
        """The first dense layer on the cells that are read, with a weight of its own."""
        return self.head[self.model.depth]  # type: ignore[return-value]

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W], of which the visible rows are read, to scores."""
        return self.head(self.model.visible_maps(images))

    @torch.no_grad()
    def expand(self) -> MaskedModel:
        """Write the trained weights back into the full layout, zeros behind the wall."""
        cells = self.model.cells_read()
        cells.copy_(self.dense.weight.view(cells.shape))
        self.model.apply_wall()
        return self.model


def visible_part(model: MaskedModel) -> VisiblePart:
    """The part of a masked model that can see, as a smaller network to train.

    The weights behind the wall are 0 in every forward pass of masked training, so no gradient
    passes through them and no visible weight ever depends on them: SGD with momentum and weight
    decay acts on each weight by itself, hence takes the same path on the smaller network. Of the
    paper's VGG16 it keeps 170 of 224 image rows and 73 of the first dense layer's 205 million
    weights. It shares the model's convolutions and later dense layers; the first dense layer is
    written back by ``expand``.
    """
    return VisiblePart(model)
