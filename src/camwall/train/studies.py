"""The training sets: what each study trains on, which network, and by which recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from camwall import data as datasets
from camwall.config import cache_dir, quick
from camwall.errors import CamwallError, DataUnavailable
from camwall.models import MaskedModel, Preprocessing, masked_vgg16
from camwall.models.paper import SMALL_SIZE, small_vgg
from camwall.train.recipe import Recipe
from camwall.train.sources import ArraySource, FolderSource, ImageSource, hub_sources

HUB = "hf:"
FASHION = "T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
QUICK_IMAGES = 512


@dataclass(frozen=True)
class TrainingData:
    """Images to train and to test on, and how a network's inputs are made from them."""

    name: str
    train: ImageSource
    test: ImageSource
    preprocessing: Preprocessing
    class_names: tuple[str, ...]

    def network(self, *, masked: bool = True) -> MaskedModel:
        """The study's network with random weights: the paper's VGG16, or the small VGG."""
        classes, preprocessing = len(self.class_names), self.preprocessing
        common: dict[str, Any] = {"masked": masked, "classes": classes}
        if preprocessing.crop == SMALL_SIZE:
            channels = len(preprocessing.mean)
            model = small_vgg(**common, channels=channels, preprocessing=preprocessing)
        else:
            model = masked_vgg16(**common, preprocessing=preprocessing)
        model.class_names = self.class_names
        return model


@dataclass(frozen=True)
class Subset:
    """Some images of a source."""

    source: ImageSource
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Tensor:
        return self.source.image(int(self.indices[index]))

    def label(self, index: int) -> int:
        return self.source.label(int(self.indices[index]))


def _arrays(
    name: str, train: ArraySource, test: ArraySource, class_names: Sequence[str]
) -> TrainingData:
    """Small images, normalised by the mean and standard deviation of the training set's pixels."""
    if quick():
        train, test = (
            ArraySource(s.images[:QUICK_IMAGES], s.labels[:QUICK_IMAGES]) for s in (train, test)
        )
    pixels = train.images.double() / 255
    size = train.images.shape[2]
    preprocessing = Preprocessing(
        mean=tuple(round(v, 4) for v in pixels.mean((0, 2, 3)).tolist()),
        std=tuple(round(v, 4) for v in pixels.std((0, 2, 3)).tolist()),
        resize=None if size == SMALL_SIZE else size,
        crop=SMALL_SIZE,
    )
    return TrainingData(name, train, test, preprocessing, tuple(class_names))


def _digits(folder: str | None) -> TrainingData:
    images, labels = datasets.digits()  # says what is missing, if it is

    from sklearn.model_selection import train_test_split

    images = tv.resize(images[:, None], [SMALL_SIZE, SMALL_SIZE], antialias=True)
    parts = train_test_split(
        np.arange(len(labels)), test_size=0.25, random_state=0, stratify=labels.numpy()
    )
    train, test = (ArraySource(images[part], labels[part]) for part in parts)
    return _arrays("digits", train, test, [str(digit) for digit in range(10)])


def _fashion(folder: str | None) -> TrainingData:
    parts = (datasets.fashion_mnist(train=train) for train in (True, False))
    train, test = (ArraySource(images[:, None], labels) for images, labels in parts)
    return _arrays("fashion", train, test, FASHION.split(","))


def _cifar10(folder: str | None) -> TrainingData:
    from torchvision.datasets import CIFAR10

    root = Path(folder) if folder else cache_dir() / "cifar-10"
    try:
        parts = [CIFAR10(str(root), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataUnavailable(
            f"CIFAR-10 cannot be had ({str(error).splitlines()[0]}): try again with a network, or "
            f"unpack cifar-10-python.tar.gz in {root}"
        ) from None
    train, test = (
        ArraySource(torch.from_numpy(p.data).permute(0, 3, 1, 2), torch.tensor(p.targets))
        for p in parts
    )
    return _arrays("cifar10", train, test, parts[0].classes)


def _split(folder: str | None) -> tuple[ImageSource, ImageSource, tuple[str, ...]]:
    """Training images, test images and class names of one of the ways to give a folder."""
    if not folder:
        raise CamwallError("this study reads a folder of images: say which (data)")
    if folder.startswith(HUB):
        splits = hub_sources(folder.removeprefix(HUB))
        return *splits, splits[0].classes
    root = Path(folder)
    if (root / "train").is_dir() or (root / "val").is_dir():
        train = FolderSource(root / "train")
        return train, FolderSource(root / "val", train.classes), train.classes
    whole = FolderSource(root)
    labels = np.array([whole.label(i) for i in range(len(whole))])
    place = np.concatenate([np.arange(n) for n in np.bincount(labels)])
    test = place % 10 == 1  # the second of every ten images of a class is held out
    for label in range(len(whole.classes)):
        if not test[labels == label].any():
            raise CamwallError(
                f"class {whole.classes[label]!r} of {root} has one image: none can be held out "
                "to test on; add more, or make the folders train/ and val/"
            )
    parts = (Subset(whole, np.flatnonzero(part)) for part in (~test, test))
    return *parts, whole.classes  # type: ignore[return-value]


def _folder(folder: str | None, name: str = "folder") -> TrainingData:
    train, test, names = _split(folder)
    frame = datasets.imagenet_classes()
    readable = dict(zip(frame["wnid"], frame["name"], strict=True))
    return TrainingData(
        name, train, test, Preprocessing(), tuple(readable.get(n, n) for n in names)
    )


@dataclass(frozen=True)
class Study:
    """A training set by name, and the recipe for it."""

    name: str
    title: str
    recipe: Recipe
    read: Callable[[str | None], TrainingData]
    needs_folder: bool = False

    def load(self, folder: str | None = None, *, small: bool = False) -> TrainingData:
        """The study's images.

        Parameters
        ----------
        folder : str, optional
            For imagenet and folder: a folder with ``train/`` and ``val/``, one of class folders
            (a tenth of each class is held out), or ``hf:NAME`` for a data set of the Hugging Face
            hub. For cifar10: where the archive lies or goes. The others take none.
        small : bool
            Prepare the images for the small VGG: 28×28 pixels.

        Raises
        ------
        CamwallError
            A folder that is missing, not wanted, or without usable class folders; data that
            cannot be had.
        """
        if folder and not self.needs_folder and self.name != "cifar10":
            raise CamwallError(f"the study {self.name} reads no folder: leave data out")
        loaded = self.read(folder)
        if not small or loaded.preprocessing.crop == SMALL_SIZE:
            return loaded
        # The same margin as 256 and 224.
        shrunk = replace(loaded.preprocessing, resize=32, crop=SMALL_SIZE)
        return replace(loaded, preprocessing=shrunk)


STUDIES = {
    study.name: study
    for study in (
        Study(
            "digits",
            "scikit-learn's digits, small VGG",
            Recipe(batch=64, crop_area=(0.8, 1.0), flip=False),
            _digits,
        ),
        # The paper's schedule, a tenth as long; a small network needs less to keep it from
        # learning by heart, and garments are centred: whole images, mirrored at random.
        Study(
            "fashion",
            "Fashion-MNIST, small VGG",
            Recipe(
                epochs=9,
                lr_step=3,
                batch=64,
                dropout=0.25,
                crop_area=(1.0, 1.0),
                crop_aspect=(1.0, 1.0),
            ),
            _fashion,
        ),
        Study(
            "cifar10",
            "CIFAR-10, small VGG",
            Recipe(epochs=30, lr_step=10, batch=128, crop_area=(0.4, 1.0)),
            _cifar10,
        ),
        Study(
            "imagenet",
            "ImageNet-1k, the paper's VGG16",
            Recipe(),
            lambda folder: _folder(folder, "imagenet"),
            needs_folder=True,
        ),
        Study("folder", "a folder of class folders", Recipe(), _folder, needs_folder=True),
    )
}


def study(name: str) -> Study:
    """The study of that name.

    Raises
    ------
    CamwallError
        An unknown name; the message lists the known ones.
    """
    if name not in STUDIES:
        raise CamwallError(f"no study {name!r}: there are {', '.join(STUDIES)}")
    return STUDIES[name]
