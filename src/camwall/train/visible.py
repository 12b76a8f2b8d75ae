"""Train only what can be seen: the visible part of a masked network, as a network of its own."""

import numpy as np
import torch
from torch import Tensor, nn

from camwall.models.walled import MaskedModel
from camwall.wall import needed_rows


class VisiblePart(nn.Module):
    """The visible part of a masked model; made by `visible_part`.

    Attributes
    ----------
    model : MaskedModel
        Not a submodule. Its features and all of its head but the first dense layer are shared.
    features : torch.nn.Module
    dense : torch.nn.Linear
        The first dense layer on the cells that are read: [units, V · read_rows · w].
    tail : torch.nn.Sequential
        The rest of the head.
    rows : int
        Image rows that are read.
    """

    def __init__(self, model: MaskedModel) -> None:
        super().__init__()
        needed = needed_rows(model.features, model.wall.shape[0], model.read_rows)
        counts = [int(np.flatnonzero(rows)[-1]) + 1 for rows in needed]
        self.rows = counts[0]
        self.features = model.features
        self._read = model.read_rows
        self._layers = [m for m in model.features.modules() if not list(m.children())]
        # Cutting rows off is a copy. It pays at the input and after a pooling, where many go, and
        # for the single rows at convolutions that compute much with each value.
        pooled = [True, *(isinstance(layer, nn.MaxPool2d) for layer in self._layers[:-1])]
        self._tight = [
            isinstance(layer, nn.Conv2d) and layer.out_channels >= 128 and count < len(rows)
            for layer, count, rows in zip(self._layers, counts[:-1], needed[:-1], strict=True)
        ]
        self._keep = [
            count if after or tight else None
            for count, after, tight in zip(counts[:-1], pooled, self._tight, strict=True)
        ]
        weight = model.cells()[:, :, : model.read_rows].detach().flatten(1).clone()
        bias = model.head[1].bias  # type: ignore[index]
        self.dense = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
        self.dense.weight = nn.Parameter(weight)
        self.dense.bias = bias
        self.tail = model.head[2:]  # type: ignore[index]
        self._model = [model]  # in a list, so that its weights are not counted as this module's

    @property
    def model(self) -> MaskedModel:
        return self._model[0]

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W], of which the first ``rows`` rows are read, to scores."""
        for layer, rows, tight in zip(self._layers, self._keep, self._tight, strict=True):
            if rows is not None:
                images = images[:, :, :rows]
            images = _without_last_padding(layer, images) if tight else layer(images)
        return self.tail(self.dense(images[:, :, : self._read].flatten(1)))

    @torch.no_grad()
    def expand(self) -> MaskedModel:
        """Write the trained weights back into the full layout, zeros behind the wall."""
        model = self.model
        cells = model.cells()
        shape = (len(cells), cells.shape[1], model.read_rows, cells.shape[3])
        cells[:, :, : model.read_rows] = self.dense.weight.view(shape)
        model.apply_wall()
        return model


def _without_last_padding(layer: nn.Module, maps: Tensor) -> Tensor:
    """A convolution that leaves out the output rows which would read padding below the maps."""
    assert isinstance(layer, nn.Conv2d)
    top, side = (int(p) for p in layer.padding)
    return nn.functional.conv2d(
        nn.functional.pad(maps, (0, 0, top, 0)),
        layer.weight,
        layer.bias,
        layer.stride,
        (0, side),
        layer.dilation,
        layer.groups,
    )


def visible_part(model: MaskedModel) -> VisiblePart:
    """The part of a masked model that can see, as a smaller network to train.

    The weights behind the wall are 0 in every forward pass of masked training, so no gradient
    passes through them and no visible weight ever depends on them: SGD with momentum and weight
    decay acts on each weight by itself, hence takes the same path on the smaller network. Of the
    paper's VGG16 it keeps 170 of 224 image rows and 73 of the first dense layer's 205 million
    weights. The visible part of a baseline is the whole of it.

    Parameters
    ----------
    model : MaskedModel
        Shares its convolutions and later dense layers with the part: training one trains the
        other. The first dense layer is written back by ``expand``.

    Returns
    -------
    VisiblePart
    """
    return VisiblePart(model)
