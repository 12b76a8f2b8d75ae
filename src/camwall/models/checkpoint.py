"""Weight files: ours, and the plain state dicts of the paper's authors."""

import os
import warnings
import zipfile
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camwall.errors import CamwallError, check_file, check_path, in_one_line
from camwall.models.masked import MaskedModel
from camwall.models.paper import masked_vgg16, small_vgg
from camwall.models.preprocessing import Preprocessing
from camwall.runs import write_atomic, writing
from camwall.wall import certify

#: The entry of our files that describes the network.
NETWORK = "camwall_network"

#: What builds a network again, by the name in `MaskedModel.made_by`.
BUILDERS = {"masked_vgg16": masked_vgg16, "small_vgg": small_vgg}


def describe(model: MaskedModel) -> dict[str, Any]:
    """What a file must tell, besides the weights, to build the same network again."""
    if model.made_by is None:
        raise CamwallError(
            f"only networks of {' and '.join(BUILDERS)} have a checkpoint that says what they are: "
            "save model.state_dict() with torch.save, and build yours anew to load it"
        )
    return {
        **model.made_by,
        "masked": model.masked,
        "preprocessing": asdict(model.preprocessing),
        "class_names": None if model.class_names is None else list(model.class_names),
    }


def build(network: dict[str, Any]) -> MaskedModel:
    """The network of a description, with random weights."""
    given = dict(network)
    builder, names = BUILDERS[given.pop("name")], given.pop("class_names")
    flags = given["masked"], given["preprocessing"].get("bicubic", False)
    if not all(isinstance(flag, bool) for flag in flags):
        raise ValueError("masked and bicubic are True or False")
    if names is not None and not (
        isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    ):
        raise ValueError("class_names are a list of names")
    model = builder(**{**given, "preprocessing": Preprocessing(**given["preprocessing"])})
    model.class_names = None if names is None else tuple(names)
    return model


def save_atomic(content: Any, path: str | Path) -> Path:
    """`torch.save` to a temporary file, forced to the disk, then put in place in one step.

    Where that fails (a full disk), what was there before is untouched.
    """
    path = Path(path)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())

    with writing(path):
        return write_atomic(path, write)


def save_checkpoint(model: MaskedModel, path: str | Path) -> Path:
    """Save a network of one of our builders in the full layout, as `save_atomic` does."""
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return save_atomic({NETWORK: describe(model), "state_dict": weights}, path)


def read_weights(path: str | Path, then: str = "save model.state_dict(), not the model") -> Any:
    """`torch.load` of tensors and plain containers only, onto the CPU: no code is run.

    The checksums in the file are tried; one as old as PyTorch 1.5 has none. ``then`` is what a
    CamwallError says is to be done with a file that is no such.
    """
    check_file(check_path("a file of weights", path))
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as parts:
                if parts.testzip() is not None:
                    raise ValueError
        with warnings.catch_warnings():
            # Of a pickle that is not torch's: the line below says what the user needs to know.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CamwallError(f"no checkpoint at {path}") from None
    except Exception:  # a damaged file brings out any kind
        raise CamwallError(
            f"{path} is not a file of weights: it is damaged, or holds more than tensors; {then}"
        ) from None


def plain_weights(path: str | Path, content: Any) -> dict[str, Tensor]:
    """A state dict as it was read, if it is names with plain tensors and nothing else."""
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CamwallError(
            f"{path} holds no state dict: save model.state_dict(), names and tensors alone"
        )
    for name, value in content.items():
        number = value.is_floating_point() or value.dtype == torch.int64
        plain = value.layout == torch.strided and not value.is_meta
        if not (isinstance(name, str) and number and plain):
            kind = "meta" if value.is_meta else f"{value.dtype} {value.layout}"
            raise CamwallError(
                f"{path} holds {name!r} as {kind}: save each weight by its name, as a plain tensor "
                "of floats"
            )
    return content


def fitting(path: str | Path) -> AbstractContextManager[None]:
    """Name, in one line, the weights of a file that a network misses, lacks, or has otherwise."""
    what = f"the weights in {path} do not fit the network"
    return in_one_line(what, "give those of the same network")


def _authors(path: str | Path, content: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Describe a plain state dict of the authors, and rename its weights."""
    content = plain_weights(path, content)
    last = content.get("31.6.weight")
    if last is None or last.ndim != 2:
        raise CamwallError(
            f"{path} is neither a checkpoint of camwall nor a state dict of the paper's networks: "
            "those have the keys 0.weight … 28.bias, 31.0.weight … 31.6.bias"
        )
    with torch.device("meta"):  # no memory for its weights
        model = masked_vgg16(masked=False, classes=len(last))
    theirs = nn.Sequential(*model.features, nn.Flatten(), nn.Sequential(*model.head[1:]))
    names = dict(zip(theirs.state_dict(), model.state_dict(), strict=True))
    weights = {names.get(name, name): value for name, value in content.items()}
    with fitting(path):
        model.load_state_dict(weights, assign=True)
    model.masked = not bool(model.cells()[:, :, model.visible_map_rows :].any())
    return describe(model), weights


def load_checkpoint(
    path: str | Path, *, masked: bool | None = None, certified: bool = True
) -> MaskedModel:
    """Load a trained network: a file of ours, or a state dict as the paper's authors publish.

    Nothing in the file is run (``weights_only=True``).

    Parameters
    ----------
    masked : bool, optional
        Whether the network is masked; by default what our file says, and for the authors' whether
        all its weights behind the wall are 0. ``True`` sets them to 0.
    certified : bool
        Certify the wall of a masked network (`camwall.certify`), some seconds for VGG16.

    Returns
    -------
    MaskedModel
        In evaluation mode, on the CPU.
    """
    content = read_weights(path)
    if isinstance(content, dict) and NETWORK in content:
        network, weights = content[NETWORK], plain_weights(path, content.get("state_dict"))
    else:
        network, weights = _authors(path, content)
    with in_one_line(
        f"{path} is a checkpoint of camwall that lacks a part",
        "save it anew with camwall.save_checkpoint",
        ours=True,
    ):
        with torch.device("meta"):
            model = build(network if masked is None else {**network, "masked": masked})
        # One of another shape may claim more than memory holds.
        wanted = {name: value.shape for name, value in model.state_dict().items()}
        fits = {name: value for name, value in weights.items() if value.shape == wanted.get(name)}
        weights |= {name: value.float().contiguous() for name, value in fits.items()}
    if odd := [name for name in fits if not torch.isfinite(weights[name]).all()]:
        raise CamwallError(f"{path} holds {odd[0]!r} with values that are not finite: train anew")
    with fitting(path):  # as they are, not copied into random ones that were drawn first
        model.load_state_dict(weights, assign=True)
    model.apply_wall()
    model.eval()
    if certified and model.masked:
        certify(model, probes=1)
    return model
