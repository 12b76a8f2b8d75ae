"""Where training images come from: arrays, class folders, the Hugging Face hub.

A source gives image number i as uint8 tensor [C, H, W] and its class. It is cheap to send to the
worker processes, and reads an image only when asked for it.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from camwall.config import cache_dir
from camwall.errors import CamwallError
from camwall.images import is_image, opened


class ImageSource(Protocol):
    """Images with classes 0 … n − 1."""

    def __len__(self) -> int: ...
    def image(self, index: int) -> Tensor: ...
    def label(self, index: int) -> int: ...


@dataclass(frozen=True)
class ArraySource:
    """Images in memory: uint8 [N, C, H, W], and labels [N]."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise CamwallError(
                "images in memory are uint8 of shape [N, C, H, W], not "
                f"{self.images.dtype} of shape {list(self.images.shape)}"
            )
        if len(self.images) != len(self.labels) or not len(self.images):
            raise CamwallError(f"{len(self.images)} images with {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Tensor:
        return self.images[index]

    def label(self, index: int) -> int:
        return int(self.labels[index])


def decode(data: bytes | Path, name: str) -> Tensor:
    """Decode an image file to uint8 RGB, shape [3, H, W]; ``name`` is for the error message."""
    with opened(data if isinstance(data, Path) else io.BytesIO(data), name) as file:
        pixels = np.array(file.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


class FolderSource:
    """A folder with one folder of images for each class.

    Parameters
    ----------
    root : path
    classes : sequence of str, optional
        The names of the class folders, in the order of their numbers; by default those found, in
        alphabetical order.

    Raises
    ------
    CamwallError
        No such folder; no class folders in it; a class without folder, a folder that is no class,
        a class folder without images.
    """

    def __init__(self, root: str | Path, classes: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise CamwallError(f"no folder {self.root}: give a folder with one folder per class")
        found = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        if not found:
            raise CamwallError(
                f"{self.root} has no class folders: put each class in its own folder"
            )
        self.classes = tuple(found if classes is None else classes)
        for names, problem in (
            (set(self.classes) - set(found), f"{self.root} has no folder for class"),
            (
                set(found) - set(self.classes),
                f"{self.root} has a folder that is no class of the training set:",
            ),
        ):
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise CamwallError(f"{problem} {min(names)!r}{more}")
        files: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            entries = (entry.name for entry in os.scandir(self.root / name))
            here = sorted(filter(is_image, entries))
            if not here:
                raise CamwallError(f"class folder {self.root / name} has no images")
            files += [f"{name}/{file}" for file in here]
            labels += [label] * len(here)
        # Arrays, not lists: a worker process that counts references copies every page of a list.
        self._files = np.array([os.fsencode(file) for file in files])
        self._labels = np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._files)

    def path(self, index: int) -> Path:
        return self.root / os.fsdecode(self._files[index])

    def image(self, index: int) -> Tensor:
        path = self.path(index)
        return decode(path, str(path))

    def label(self, index: int) -> int:
        return int(self._labels[index])


class HubSource:
    """One split of a data set of the Hugging Face hub, with the columns ``image`` and ``label``.

    Needs the extra ``camwall[imagenet]`` (the package datasets).
    """

    def __init__(self, split: Any, name: str) -> None:
        from datasets import Image

        missing = {"image", "label"} - set(split.column_names)
        if missing:
            raise CamwallError(f"{name} has no column {' and no column '.join(sorted(missing))}")
        names = getattr(split.features["label"], "names", None)
        if names is None:
            raise CamwallError(f"the labels of {name} have no class names: cast them to ClassLabel")
        self.classes, self.name = tuple(names), name
        labels = list(split["label"])  # without the images beside them
        if not all(isinstance(label, int) and 0 <= label < len(names) for label in labels):
            raise CamwallError(f"some images of {name} have no label: leave those out")
        self._labels = np.array(labels, dtype=np.int64)
        self._split = split.cast_column("image", Image(decode=False))  # decoded by us, in workers

    def __len__(self) -> int:
        return len(self._split)

    def image(self, index: int) -> Tensor:
        file = self._split[index]["image"]
        data = file["bytes"] if file["bytes"] is not None else Path(file["path"])
        return decode(data, f"image {index} of {self.name}")

    def label(self, index: int) -> int:
        return int(self._labels[index])


def hub_sources(name: str) -> tuple[HubSource, HubSource]:
    """The training and the validation split of a data set of the hub, as ``imagenet-1k``.

    Raises
    ------
    CamwallError
        Without the package datasets; a data set that cannot be had, or lacks a split.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise CamwallError(
            f"hf:{name} needs the package datasets: pip install 'camwall[imagenet]'"
        ) from None
    try:
        splits = load_dataset(name, cache_dir=str(cache_dir() / "hub"))
    except Exception as error:  # the package raises errors of many kinds, of its own and of others
        raise CamwallError(
            f"the data set {name!r} cannot be had from the hub ({str(error).splitlines()[0]}); a "
            "gated one needs its terms accepted and `huggingface-cli login`"
        ) from None
    missing = {"train", "validation"} - set(splits)
    if missing:
        raise CamwallError(
            f"the data set {name!r} has no split {min(missing)!r}, it has {', '.join(splits)}"
        )
    return HubSource(splits["train"], f"{name} (train)"), HubSource(
        splits["validation"], f"{name} (validation)"
    )
