"""Networks behind a wall."""

from camwall.models.checkpoint import load_checkpoint, save_checkpoint
from camwall.models.families import FAMILIES, Split, efficientnet_lite0, family, split
from camwall.models.preprocessing import Preprocessing
from camwall.models.sides import SplitModel, build_wall
from camwall.models.simple import SimpleCNN, simple_cnn
from camwall.models.small import small_vgg
from camwall.models.vgg import masked_vgg16
from camwall.models.walled import MaskedModel, WalledModel, require_walled

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
    "load_checkpoint",
    "masked_vgg16",
    "require_walled",
    "save_checkpoint",
    "simple_cnn",
    "small_vgg",
    "split",
]
