"""Networks behind a wall."""

from camwall.models.families import FAMILIES, Split, efficientnet_lite0, family, split
from camwall.models.preprocessing import Preprocessing
from camwall.models.simple import SimpleCNN, simple_cnn
from camwall.models.split import SplitModel, build_wall
from camwall.models.vgg import masked_vgg16
from camwall.models.walled import MaskedModel, WalledModel

__all__ = [
    "FAMILIES",
    "MaskedModel",
    "Preprocessing",
    "SimpleCNN",
    "Split",
    "SplitModel",
    "WalledModel",
    "build_wall",
    "efficientnet_lite0",
    "family",
    "masked_vgg16",
    "simple_cnn",
    "split",
]
