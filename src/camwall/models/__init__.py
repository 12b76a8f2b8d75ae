"""Networks behind a wall."""

from camwall.models.build import ApartModel, Construction, WholeModel, build_wall
from camwall.models.checkpoint import load_checkpoint, save_checkpoint
from camwall.models.families import FAMILIES, Split, efficientnet_lite0, family, split
from camwall.models.paint import FILLS, fill
from camwall.models.preprocessing import Preprocessing
from camwall.models.simple import SimpleCNN, simple_cnn
from camwall.models.small import small_vgg
from camwall.models.vgg import masked_vgg16
from camwall.models.walled import MaskedModel, WalledModel, require_walled

__all__ = [
    "FAMILIES",
    "FILLS",
    "ApartModel",
    "Construction",
    "MaskedModel",
    "Preprocessing",
    "SimpleCNN",
    "Split",
    "WalledModel",
    "WholeModel",
    "build_wall",
    "efficientnet_lite0",
    "family",
    "fill",
    "load_checkpoint",
    "masked_vgg16",
    "require_walled",
    "save_checkpoint",
    "simple_cnn",
    "small_vgg",
    "split",
]
