"""A wall without training: the trunk runs on each side of it apart."""

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models._meta import _IMAGENET_CATEGORIES

from camwall._torch import evaluating
from camwall.errors import CamwallError
from camwall.models.families import Split, split
from camwall.models.walled import WalledModel
from camwall.wall import Wall


class SplitTrunk(nn.Module):
    """``trunk`` on the rows above ``row`` and on those below apart, the two maps joined.

    No receptive field crosses the wall: each side is padded as if the image ended there.
    """

    def __init__(self, trunk: nn.Module, row: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.row = row

    def forward(self, images: Tensor) -> Tensor:
        sides = images[:, :, : self.row], images[:, :, self.row :]
        return torch.cat([self.trunk(side) for side in sides], dim=2)


class VisibleHead(nn.Module):
    """``head`` on the first ``rows`` rows of the maps."""

    def __init__(self, head: nn.Module, rows: int) -> None:
        super().__init__()
        self.head = head
        self.rows = rows

    def forward(self, maps: Tensor) -> Tensor:
        return self.head(maps[:, :, : self.rows])


class SplitModel(WalledModel):
    """A network behind a wall that was built without training; made by `build_wall`."""

    features: SplitTrunk
    head: VisibleHead

    @property
    def trunk(self) -> nn.Module:
        """The layers that run on each side apart."""
        return self.features.trunk

    def visible_features(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        return (self.trunk if trunk is None else trunk)(images[:, :, : self.wall.row])

    def visible_head(self) -> nn.Sequential:
        head = self.head.head
        return head if isinstance(head, nn.Sequential) else nn.Sequential(head)

    def reachable_rows(self) -> np.ndarray:
        # Behind the maps of the visible side lie those of the hidden one, and see all of it.
        behind = self.head.rows > self.wall.visible_map_rows
        return (np.arange(self.wall.image_rows) < self.features.row) | behind


def build_wall(network: nn.Module | Split, row: int) -> WalledModel:
    """Put any pretrained network behind a wall at image row ``row``, without training.

    The trunk runs on the visible and on the hidden part of the image apart, the two maps are
    joined, and the head reads the visible rows only. The network keeps its weights, and shares
    them with the walled model; its scores change, since it sees less of the image.

    Parameters
    ----------
    network : torch.nn.Module or Split
        A network of a known family (EfficientNet-Lite, torchvision's VGG and ResNet), or its two
        parts.
    row : int
        The first hidden image row; it must fall between two rows of the map.

    Returns
    -------
    WalledModel
        In evaluation mode.

    Raises
    ------
    CamwallError
        An unknown network; a row that does not divide the map, with the rows that do.
    """
    parts = split(network)
    size = parts.preprocessing.crop
    channels = len(parts.preprocessing.mean)
    if not 0 < row < size:
        raise CamwallError(f"the wall row must lie within the image, 1 to {size - 1}, not {row}")
    parameter = next(parts.features.parameters(), torch.zeros(()))

    def run(part: nn.Module, what: str, given: Tensor) -> Tensor:
        try:
            return part(given)
        except (RuntimeError, ValueError) as error:
            raise CamwallError(
                f"the {what} cannot take an input of shape {list(given.shape)} "
                f"({str(error).splitlines()[0]}): preprocessing says how images are made, and a "
                "head takes maps of any number of rows"
            ) from None

    def maps(side: int) -> Tensor:
        images = torch.zeros(1, channels, side, size).to(parameter)
        return run(parts.features, "features", images)

    with torch.no_grad(), evaluating(parts.features), evaluating(parts.head):
        rows = maps(size).shape[2]
        divides = [r * size // rows for r in range(1, rows) if r * size % rows == 0]
        if row not in divides:
            raise CamwallError(
                f"a wall at row {row} does not divide the map of {rows} rows; "
                f"rows that do: {', '.join(map(str, divides))}"
            )
        visible, hidden = maps(row), maps(size - row).shape[2]
        if visible.shape[2] * size != row * rows or visible.shape[2] + hidden != rows:
            raise CamwallError(
                f"a wall at row {row} gives maps of {visible.shape[2]} and {hidden} rows, not "
                f"{rows} in all: this trunk cannot be run on each side apart"
            )
        classes = run(parts.head, "head", visible).shape[1]
    wall = Wall(
        image_rows=size, hidden_rows=size - row, map_rows=rows, visible_map_rows=visible.shape[2]
    )
    names = tuple(_IMAGENET_CATEGORIES) if classes == len(_IMAGENET_CATEGORIES) else None
    return SplitModel(
        SplitTrunk(parts.features, row),
        VisibleHead(parts.head, wall.visible_map_rows),
        wall,
        parts.preprocessing,
        names,
    ).eval()
