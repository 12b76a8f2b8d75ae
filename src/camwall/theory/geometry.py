"""The simple CNN's geometry: image, filters' size, pooling, and what a head of n rows can read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from camwall.errors import CamwallError, check_count, check_list


@dataclass(frozen=True)
class Setting:
    """Sizes of the simple CNN; the head reads the first ``visible_rows`` rows of pooled cells.

    Attributes
    ----------
    image_rows, image_columns : size H×W of the one-channel image, in pixels.
    kernel : k, the filters' side; no padding, so the maps are h×w = (H-k+1)×(W-k+1).
    pool : side and stride of the max pooling, so that windows are disjoint; pooled maps are
        h'×w' = ⌊h/pool⌋×⌊w/pool⌋.
    visible_rows : rows of pooled cells that the head reads, counted from the top.
    """

    image_rows: int
    image_columns: int
    visible_rows: int
    kernel: int = 3
    pool: int = 2

    def __post_init__(self) -> None:
        for name in ("image_rows", "image_columns", "kernel", "pool"):
            check_count(name, getattr(self, name))
        rows, columns = self.pooled_shape
        if min(rows, columns) < 1:
            raise CamwallError(
                f"an image of {self.image_rows}x{self.image_columns} leaves no pooled cell with "
                f"kernel {self.kernel} and pooling {self.pool}: enlarge the image"
            )
        if check_count("visible_rows", self.visible_rows) > rows:
            raise CamwallError(
                f"visible_rows must be at most the {rows} pooled rows, not {self.visible_rows}"
            )

    @property
    def map_shape(self) -> tuple[int, int]:
        """(h, w)."""
        return self.image_rows - self.kernel + 1, self.image_columns - self.kernel + 1

    @property
    def pooled_shape(self) -> tuple[int, int]:
        """(h', w')."""
        return self.map_shape[0] // self.pool, self.map_shape[1] // self.pool

    @property
    def positions(self) -> int:
        """The number hw of positions of a map."""
        return self.map_shape[0] * self.map_shape[1]

    @property
    def cells(self) -> int:
        """The number h'w' of pooled cells of a map."""
        return self.pooled_shape[0] * self.pooled_shape[1]

    @property
    def visible(self) -> int:
        """The number n of pooled cells of a map that the head reads."""
        return self.visible_rows * self.pooled_shape[1]

    @property
    def visible_map_rows(self) -> int:
        """Rows of the map that reach the head; the positions below are hidden."""
        return self.visible_rows * self.pool

    @property
    def visible_image_rows(self) -> int:
        """Rows of the image that reach the head; no pixel below can change the score."""
        return self.visible_map_rows + self.kernel - 1

    def numbered(self, places: Sequence[tuple[int, int]]) -> list[int]:
        """The numbers i·w + j of positions (i, j) of a map.

        Raises
        ------
        CamwallError
            No position, or one off the map.
        """
        h, w = self.map_shape
        given = [check_list("a place", place) for place in check_list("places", places)]
        if not given or not all(
            len(place) == 2 and place[0] in range(h) and place[1] in range(w) for place in given
        ):
            raise CamwallError(f"places must lie on the {h}x{w} map, not {given}")
        return [int(i * w + j) for i, j in given]

    def patches(self, image: Tensor) -> Tensor:
        """The patch that each position sees: [H, W] -> [k·k, hw].

        Raises
        ------
        CamwallError
            An image of another size, or with NaN or infinite pixels.
        """
        if not isinstance(image, Tensor) or image.is_complex():
            raise CamwallError(f"the image must be a tensor of numbers, not {type(image).__name__}")
        if tuple(image.shape) != (self.image_rows, self.image_columns):
            raise CamwallError(
                f"the image must be [{self.image_rows}, {self.image_columns}], "
                f"not {list(image.shape)}"
            )
        if not torch.isfinite(image).all():
            raise CamwallError("the image holds NaN or infinite pixels: clean it first")
        values = image if image.is_floating_point() else image.double()
        return F.unfold(values[None, None], self.kernel)[0]

    def visible_cells(self, maps: Tensor) -> Tensor:
        """The pooled cells P that the head reads: maps [..., V, h, w] -> [..., V, n]."""
        pooled = F.max_pool2d(maps.flatten(0, -3), self.pool)
        return pooled[:, : self.visible_rows].reshape(*maps.shape[:-2], self.visible)

    def patch_norms(self, image: Tensor) -> Tensor:
        """‖m‖₂ at every position, float64 [h, w]: the image's own local energy."""
        return self.patches(image).double().norm(dim=0).reshape(self.map_shape)
