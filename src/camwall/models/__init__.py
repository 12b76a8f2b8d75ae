"""Networks behind a wall."""

from camwall.models.build import ApartModel, Construction, WholeModel, build_wall, without_wall
from camwall.models.checkpoint import load_checkpoint, save_checkpoint
from camwall.models.library import efficientnet_lite0
from camwall.models.masked import MaskedModel, VisiblePart, visible_part
from camwall.models.paper import fit_simple, masked_vgg16, simple_cnn, small_vgg
from camwall.models.preprocessing import FILLS, Preprocessing, enlarge, fill
from camwall.models.walled import WalledModel, require_walled

__all__ = [
    "FILLS",
    "ApartModel",
    "Construction",
    "MaskedModel",
    "Preprocessing",
    "VisiblePart",
    "WalledModel",
    "WholeModel",
    "build_wall",
    "efficientnet_lite0",
    "enlarge",
    "fill",
    "fit_simple",
    "load_checkpoint",
    "masked_vgg16",
    "require_walled",
    "save_checkpoint",
    "simple_cnn",
    "small_vgg",
    "visible_part",
    "without_wall",
]
