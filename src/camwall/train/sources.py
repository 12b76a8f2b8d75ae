"""Where training images come from: arrays, class folders, the Hugging Face hub."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camwall.config import cache_dir
from camwall.errors import CamwallError, extra, reason
from camwall.images import images_below, opaque, opened


class ImageSource(ABC):
    """Images by number, each read when it is asked for; cheap to send to worker processes.

    Attributes
    ----------
    labels : tensor [N]
        Each image's class, 0 … n − 1. A tensor, not a list: a worker process that counts
        references copies every page of a list.
    """

    labels: Tensor

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """Image ``index``: uint8 [C, H, W]."""

    def label(self, index: int) -> int:
        return int(self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)


class ArraySource(ImageSource):
    """Images in memory: uint8 [N, C, H, W], and labels [N]."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise CamwallError(
                "images in memory are uint8 of shape [N, C, H, W], not "
                f"{images.dtype} of shape {list(images.shape)}"
            )
        if len(images) != len(labels) or not len(images):
            raise CamwallError(f"{len(images)} images with {len(labels)} labels")
        self.images, self.labels = images, labels

    def image(self, index: int) -> Tensor:
        return self.images[index]


class Subset(ImageSource):
    """The images of a source where ``kept``, bool [N], is true."""

    def __init__(self, source: ImageSource, kept: Tensor) -> None:
        self.source, self.labels = source, source.labels[kept]
        self.indices = np.flatnonzero(kept)

    def image(self, index: int) -> Tensor:
        return self.source.image(int(self.indices[index]))


def decode(data: bytes | Path, name: str) -> Tensor:
    """Decode an image file to uint8 RGB, shape [3, H, W]; ``name`` is for the error message."""
    with opened(data, name) as file:
        pixels = np.array(opaque(file))
    return torch.from_numpy(pixels).permute(2, 0, 1)


class FolderSource(ImageSource):
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
        if missing := sorted({*self.classes} - {*found}):
            raise CamwallError(f"{self.root} has no folder for class {missing[0]!r}")
        if unknown := sorted({*found} - {*self.classes}):
            raise CamwallError(
                f"{self.root} has a folder that is no class of the training set: {unknown[0]!r}"
            )
        files: list[bytes] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            here = images_below(self.root / name, deep=False)
            if not here:
                raise CamwallError(f"class folder {self.root / name} has no images")
            files += [os.fsencode(f"{name}/{file}") for file in here]
            labels += [label] * len(here)
        self._files, self.labels = np.array(files), torch.tensor(labels)

    def path(self, index: int) -> Path:
        return self.root / os.fsdecode(self._files[index])

    def image(self, index: int) -> Tensor:
        return decode(self.path(index), str(self.path(index)))


class HubSource(ImageSource):
    """One split of a data set of the Hugging Face hub, with the columns ``image`` and ``label``.

    Needs the extra ``camwall[imagenet]`` (the package datasets).
    """

    def __init__(self, split: Any, name: str) -> None:
        from datasets import Image

        if missing := sorted({"image", "label"} - set(split.column_names)):
            raise CamwallError(f"{name} has no column {missing[0]}")
        classes = getattr(split.features["label"], "names", None)
        if classes is None:
            raise CamwallError(f"the labels of {name} have no class names: cast them to ClassLabel")
        labels = list(split["label"])  # without the images beside them
        if not all(isinstance(label, int) and 0 <= label < len(classes) for label in labels):
            raise CamwallError(f"some images of {name} have no label: leave those out")
        self.classes, self.name, self.labels = tuple(classes), name, torch.tensor(labels)
        self._split = split.cast_column("image", Image(decode=False))  # decoded by us, in workers

    def image(self, index: int) -> Tensor:
        file = self._split[index]["image"]
        data = file["bytes"] if file["bytes"] is not None else Path(file["path"])
        return decode(data, f"image {index} of {self.name}")


def hub_sources(name: str) -> tuple[HubSource, HubSource]:
    """The training and the validation split of a data set of the hub, as ``imagenet-1k``.

    Raises
    ------
    CamwallError
        Without the package datasets; a data set that cannot be had, or lacks a split.
    """
    with extra("imagenet"):
        from datasets import load_dataset
    try:
        splits = load_dataset(name, cache_dir=str(cache_dir() / "hub"))
    except Exception as error:  # the package raises errors of many kinds, of its own and of others
        raise CamwallError(
            f"the data set {name!r} cannot be had from the hub ({reason(error)}); a "
            "gated one needs its terms accepted and `huggingface-cli login`"
        ) from None
    if missing := sorted({"train", "validation"} - set(splits)):
        raise CamwallError(
            f"the data set {name!r} has no split {missing[0]!r}, it has {', '.join(splits)}"
        )
    train, test = (HubSource(splits[part], f"{name} ({part})") for part in ("train", "validation"))
    return train, test
