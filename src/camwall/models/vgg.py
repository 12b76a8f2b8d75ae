"""The paper's network: VGG16 with a 14×14 last map and a first dense layer that can be masked."""

from collections.abc import Iterable

from torch import nn
from torchvision.models._meta import _IMAGENET_CATEGORIES
from torchvision.models.vgg import cfgs, make_layers

from camwall.errors import CamwallError
from camwall.models.preprocessing import Preprocessing
from camwall.models.walled import MaskedModel

#: Rows of the 14×14 last map that the paper's masked network reads.
VISIBLE_MAP_ROWS = 5
CHANNELS, MAP_SIZE, IMAGE_SIZE = 256, 14, 224


def initialise_vgg(layers: Iterable[nn.Module]) -> None:
    """Random weights as torchvision's VGG has them: He for convolutions, N(0, 0.01²) for dense."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
        else:
            continue
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def masked_vgg16(*, masked: bool = True, classes: int = 1000) -> MaskedModel:
    """The paper's VGG16, or its baseline, with random weights.

    torchvision's ``vgg16`` without the last max pooling and without the average pooling; the last
    convolution has 256 filters, so that the first dense layer reads 256·14·14 cells. In the masked
    network its weights are 0 on the bottom 9 of the 14 rows.

    Parameters
    ----------
    masked : bool
        ``False`` gives the baseline, which sees the whole image.
    classes : int

    Returns
    -------
    MaskedModel
        ``model.wall`` tells the hidden rows that follow from the receptive fields. Random weights
        come from torch's global generator: `torch.manual_seed` first for the same ones again. Use
        `load_checkpoint` for trained ones.

    Raises
    ------
    CamwallError
        For fewer than one class.
    """
    if classes < 1:
        raise CamwallError(f"a classifier has at least one class, not {classes}")
    trunk = make_layers(cfgs["D"])[:28]
    last = nn.Conv2d(512, CHANNELS, kernel_size=3, padding=1)
    dense = [nn.Linear(CHANNELS * MAP_SIZE**2, 4096), nn.Linear(4096, 4096)]
    dense.append(nn.Linear(4096, classes))
    initialise_vgg([*trunk, last, *dense])
    relu_drop = (nn.ReLU(inplace=True), nn.Dropout())
    head = nn.Sequential(nn.Flatten(), dense[0], *relu_drop, dense[1], *relu_drop, dense[2])
    return MaskedModel(
        nn.Sequential(*trunk, last, nn.ReLU(inplace=True)),
        head,
        (CHANNELS, MAP_SIZE, MAP_SIZE),
        IMAGE_SIZE,
        VISIBLE_MAP_ROWS,
        Preprocessing(),
        masked=masked,
        class_names=tuple(_IMAGENET_CATEGORIES) if classes == 1000 else None,
    )
