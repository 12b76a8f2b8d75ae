"""Data sets that arrive in the user's cache folder, checked, the first time they are asked for."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from camwall.data.sources import SOURCES, obtain, table
from camwall.errors import CamwallError, DataUnavailable, extra

if TYPE_CHECKING:
    import torch

__all__ = ["digits", "fashion_mnist", "fetch", "imagenet_classes", "stamp_labels", "stamps"]


def fetch(names: Iterable[str] | None = None) -> dict[str, Path | None]:
    """Get data sets into the cache; one that cannot be had costs a line on stderr, no more.

    Parameters
    ----------
    names
        Keys of :data:`SOURCES`; all of them by default.

    Returns
    -------
    dict
        Name to folder, or to None where the data set cannot be had.

    Raises
    ------
    CamwallError
        If there is no data set of that name.
    """
    names = list(SOURCES if names is None else names)
    for name in names:
        if name not in SOURCES:
            raise CamwallError(f"no data set {name!r}: there are {', '.join(SOURCES)}.")
    folders: dict[str, Path | None] = {}
    for name in names:
        try:
            folders[name] = obtain(name)
        except DataUnavailable as error:
            print(f"camwall: {error}", file=sys.stderr)
            folders[name] = None
    return folders


def stamps() -> Path:
    """The folder of the cut-out animal photographs that :func:`stamp_labels` describes."""
    return obtain("stamps")


def stamp_labels() -> pd.DataFrame:
    """What each stamp shows, labelled by hand from the picture.

    Returns
    -------
    DataFrame
        One row a stamp: ``file`` (below :func:`stamps`), ``species``, ``imagenet`` (class index,
        missing where no class's definition covers the animal), ``wnid``, ``scenes`` (where it
        could stand, names of :data:`camwall.stacks.scenes.SCENES`), ``note``, ``sha256``.
    """
    frame = table("stamps.csv")
    return frame.assign(scenes=frame["scenes"].str.split())


def imagenet_classes() -> pd.DataFrame:
    """The 1000 classes of ImageNet-1k: ``index``, ``wnid``, ``name`` and whether an ``animal``.

    Classes are numbered in the order of their WordNet ids; the first 398 are WordNet's animals.
    """
    return table("imagenet_classes.csv").astype({"animal": bool})


def fashion_mnist(train: bool = True) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60 000 images to train on, 10 000 to test.

    Returns
    -------
    images : Tensor [N, 28, 28], uint8
    labels : Tensor [N], int64
        0 T-shirt, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker, 8 bag,
        9 ankle boot.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    part = str(obtain("fashion-mnist") / ("train" if train else "t10k"))
    return read_image_file(f"{part}-images-idx3-ubyte"), read_label_file(
        f"{part}-labels-idx1-ubyte"
    )


def digits() -> tuple["torch.Tensor", "torch.Tensor"]:
    """The 1 797 handwritten digits that scikit-learn carries: nothing to download.

    Returns
    -------
    images : Tensor [1797, 8, 8], uint8
        The original 17 grey levels spread over 0..255.
    labels : Tensor [1797], int64

    Raises
    ------
    CamwallError
        scikit-learn is not installed.
    """
    import torch

    with extra("train"):
        from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(levels * 255 // 16).to(torch.uint8).view(-1, 8, 8)
    return images, torch.from_numpy(labels).long()
