"""The package torch-cam: its maps, stretched to [0, 1] as it does, resized as its ``fuse_cams``."""

from functools import partial
from typing import Any

import torchcam.methods
from torch import Tensor, nn

from camwall.errors import CamwallError, in_one_line
from camwall.methods.adapters import singly
from camwall.methods.saliency import upsample
from camwall.models import WalledModel

#: What is not left at its default: fewer samples, for time.
SETTINGS: dict[str, dict[str, Any]] = {"SSCAM": {"num_samples": 2}, "ISCAM": {"num_samples": 2}}
#: Layers between the maps and the linear layer of a head that CAM can read.
_POOLING = (nn.AdaptiveAvgPool2d, nn.Flatten, nn.Dropout, nn.Identity)


def _linear(model: WalledModel) -> nn.Linear:
    """The one linear layer after the mean over positions."""
    *pooling, last = model.rest.chain or [None]
    if not isinstance(last, nn.Linear) or not all(isinstance(each, _POOLING) for each in pooling):
        raise CamwallError(
            "CAM needs scores that are one linear layer of the maps' means over positions: GradCAM "
            "is its generalisation to other heads"
        )
    return last


def _map(name: str, model: WalledModel, image: Tensor, target: Tensor) -> Tensor:
    options = SETTINGS.get(name, {})
    if name == "CAM":
        options = {"fc_layer": _linear(model)}
    kind = getattr(torchcam.methods, name)
    with kind(model, target_layer=model.target_layer, **options) as extractor:
        scores = model(image.requires_grad_())  # also where every parameter is frozen
        given = [] if name in ("CAM", "ScoreCAM", "SSCAM", "ISCAM", "SmoothGradCAMpp") else [scores]
        (found,) = extractor(target.tolist(), *given)
    return upsample(found.detach(), image.shape[2:])


def maps(name: str, model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """Maps [N, H, W] of a class of the package."""
    with in_one_line(
        f"torch-cam's {name} cannot follow this {type(model.trunk).__name__}", "take another method"
    ):
        return singly(partial(_map, name), model, images, target)
