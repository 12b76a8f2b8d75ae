"""The paper's simple CNN: one convolution, ReLU, max pooling, one dense layer, no bias anywhere."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camwall.errors import CamwallError
from camwall.models.preprocessing import Preprocessing
from camwall.models.walled import MASKED_GROUND, WalledModel
from camwall.theory import Setting
from camwall.wall import Wall, needed_rows


class SimpleCNN(WalledModel):
    """The simple CNN behind a wall; made by `simple_cnn`.

    Maps are the activations before the pooling; the pooling belongs to the head, so that the
    gradient at the maps is routed through it.

    Attributes
    ----------
    setting : Setting
        The sizes, in the words of :mod:`camwall.theory`.
    filters : int
        V.
    """

    features: nn.Sequential  # type: ignore[assignment]  # a module, and so callable
    head: nn.Sequential  # type: ignore[assignment]

    def __init__(self, setting: Setting, filters: int, classes: int) -> None:
        height, width = setting.image_rows, setting.image_columns
        visible = torch.zeros(setting.map_shape, dtype=torch.bool)
        visible[: setting.visible_map_rows] = True
        super().__init__(
            Wall.of(setting.visible_image_rows, height, width),
            visible,
            Preprocessing(mean=(0.0,), std=(1.0,), resize=None, crop=(height, width)),
        )
        self.features = nn.Sequential(nn.Conv2d(1, filters, setting.kernel, bias=False), nn.ReLU())
        self.head = nn.Sequential(
            nn.MaxPool2d(setting.pool),
            nn.Flatten(),
            nn.Linear(filters * setting.cells, classes, bias=False),
        )
        self.setting = setting
        self.filters = filters

    def cells(self) -> Tensor:
        """The dense layer's weights by pooled cell, a view [classes, V, h', w']."""
        weight = self.head[2].weight
        return weight.view(-1, self.filters, *self.setting.pooled_shape)  # type: ignore[operator]

    @torch.no_grad()
    def apply_wall(self) -> None:
        """Set the weights behind the wall to 0; to be called again after each optimiser step."""
        self.cells()[:, :, self.setting.visible_rows :] = 0

    @property
    def trunk(self) -> nn.Module:
        return self.features

    def read(self, maps: Tensor) -> Tensor:
        return maps[:, :, : self.setting.visible_map_rows]

    @property
    def rows_read(self) -> int:
        return self.setting.visible_image_rows

    def visible_features(self, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
        return (self.trunk if trunk is None else trunk)(images[:, :, : self.rows_read])

    def rest(self) -> nn.Sequential:
        weight = self.cells()[:, :, : self.setting.visible_rows].flatten(1)
        visible = nn.Linear(weight.shape[1], len(weight), bias=False, device="meta")
        # A plain tensor in place of the parameter keeps the graph to the model's own weights.
        del visible.weight
        visible.weight = weight
        return nn.Sequential(nn.MaxPool2d(self.setting.pool), nn.Flatten(), visible)

    def reachable(self) -> Tensor:
        sizes = torch.linalg.vector_norm(self.cells().detach(), torch.inf, dim=(0, 1, 3))
        read = torch.nonzero(sizes).flatten().tolist()
        pixels = torch.zeros(self.wall.shape, dtype=torch.bool)
        if read:
            last = (read[-1] + 1) * self.setting.pool
            rows = needed_rows(self.features, self.wall.shape[0], last)[0]
            pixels |= torch.from_numpy(rows)[:, None]
        return pixels

    @property
    def ground(self) -> str | None:
        return MASKED_GROUND if self.as_made(SimpleCNN) else None


def simple_cnn(
    filters: int = 32,
    kernel: int = 3,
    image_size: int = 30,
    visible_rows: int = 7,
    tau: float = 0.1,
    seed: int = 0,
    *,
    pool: int = 2,
    classes: int = 1,
) -> SimpleCNN:
    """The paper's simple CNN at initialisation, for square images of one channel.

    Parameters
    ----------
    filters : int
        V, of ``kernel`` × ``kernel`` pixels.
    image_size : int
        Rows and columns of the image.
    visible_rows : int
        Rows of pooled cells that the head reads; the rest of W is 0. The defaults hide the bottom
        half of a 14 × 14 pooled map, as the paper's theorem does.
    tau : float
        Every parameter is N(0, τ²), independent.
    seed : int
    pool : int
        Side and stride of the max pooling.
    classes : int
        Scores; the theorem speaks of one.

    Returns
    -------
    SimpleCNN
        Images [N, 1, image_size, image_size] to scores [N, classes].

    Raises
    ------
    CamwallError
        Sizes that leave no pooled cell, or no hidden row; a count that is none; τ <= 0.
    """
    for name, value in (("filters", filters), ("classes", classes)):
        if value < 1:
            raise CamwallError(f"{name} must be at least 1, not {value}")
    if not tau > 0:
        raise CamwallError(f"tau must be above 0, not {tau}")
    setting = Setting(image_size, image_size, visible_rows, kernel, pool)
    model = SimpleCNN(setting, filters, classes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, tau, generator=generator)
    model.apply_wall()
    return model.eval()


def enlarge(images: Tensor, size: int) -> Tensor:
    """Small grey images [N, h, w] of uint8 as network inputs [N, 1, size, size] in [0, 1]."""
    pixels = images[:, None].float() / 255
    return F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)


def fit_simple(
    model: SimpleCNN,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int = 15,
    batch: int = 64,
    rate: float = 3e-3,
    seed: int = 0,
) -> None:
    """Train a simple CNN in place with Adam and cross-entropy; the wall holds after every step.

    Parameters
    ----------
    images : tensor [N, 1, H, H]
    labels : tensor [N] of class indices
    """
    if len(images) != len(labels):
        raise CamwallError(f"{len(images)} images need {len(images)} labels, not {len(labels)}")
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=generator).split(batch):
            loss = F.cross_entropy(model(images[chosen]), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            model.apply_wall()
