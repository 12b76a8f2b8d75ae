"""A VGG for small images, with the paper's 14×14 last map and the paper's mask."""

import itertools

from torch import nn

from camwall.errors import CamwallError
from camwall.models.preprocessing import Preprocessing
from camwall.models.vgg import MAP_SIZE, VISIBLE_MAP_ROWS
from camwall.models.walled import MaskedModel

IMAGE_SIZE = 28
WIDTH, UNITS = 16, 128


def small_vgg(
    *,
    masked: bool = True,
    classes: int = 10,
    channels: int = 1,
    preprocessing: Preprocessing | None = None,
    class_names: tuple[str, ...] | None = None,
) -> MaskedModel:
    """A masked VGG for images of 28×28 pixels, or its baseline, with random weights.

    A 3×3 convolution with 16 filters, a max pooling, two with 32: the last map is 14×14, as in the
    paper's VGG16. The head has two dense layers of 128 units with dropout and one for the classes;
    the first is masked on the bottom 9 of the 14 map rows.

    Parameters
    ----------
    masked : bool
        ``False`` gives the baseline, which sees the whole image.
    classes, channels : int
    preprocessing : Preprocessing, optional
        Its crop must be 28; by default pixels in [0, 1] are taken as they are.
    class_names : tuple of str, optional

    Returns
    -------
    MaskedModel
        He initialisation from torch's global generator: `torch.manual_seed` first for the same
        weights again.

    Raises
    ------
    CamwallError
        For fewer than one class or channel, or a preprocessing for another size.
    """
    if min(classes, channels) < 1:
        raise CamwallError(
            f"a classifier has at least one class and one channel, not {classes} and {channels}"
        )
    if preprocessing is None:
        preprocessing = Preprocessing((0.0,) * channels, (1.0,) * channels, None, IMAGE_SIZE)
    if preprocessing.crop != IMAGE_SIZE or len(preprocessing.mean) != channels:
        raise CamwallError(
            f"the small VGG takes {channels} × {IMAGE_SIZE} × {IMAGE_SIZE} images, the "
            f"preprocessing makes {len(preprocessing.mean)} × {preprocessing.crop} × "
            f"{preprocessing.crop}"
        )
    widths = [channels, WIDTH, 2 * WIDTH, 2 * WIDTH]
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        layers += [nn.MaxPool2d(2)] if index == 1 else []
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
    sizes = [2 * WIDTH * MAP_SIZE**2, UNITS, UNITS]
    head: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        head += [nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout()]
    head.append(nn.Linear(UNITS, classes))
    for layer in [*layers, *head]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return MaskedModel(
        nn.Sequential(*layers),
        nn.Sequential(*head),
        (2 * WIDTH, MAP_SIZE, MAP_SIZE),
        IMAGE_SIZE,
        VISIBLE_MAP_ROWS,
        preprocessing,
        masked=masked,
        class_names=class_names,
    )
