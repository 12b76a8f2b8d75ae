"""The training sets: what each study trains on, which network, and by which recipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional as tv

from camwall import data as datasets
from camwall.config import cache_dir
from camwall.errors import CamwallError, DataUnavailable, extra, reason
from camwall.models import MaskedModel, Preprocessing, masked_vgg16
from camwall.models.paper import SMALL_SIZE, small_vgg
from camwall.train.recipe import Recipe
from camwall.train.sources import ArraySource, FolderSource, ImageSource, Subset, hub_sources

HUB = "hf:"
FASHION = "T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"


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
        common: dict[str, Any] = {
            "masked": masked,
            "classes": classes,
            "preprocessing": preprocessing,
        }
        if preprocessing.crop == SMALL_SIZE:
            model = small_vgg(channels=len(preprocessing.mean), **common)
        else:
            model = masked_vgg16(**common)
        model.class_names = self.class_names
        return model


Parts = tuple[ImageSource, ImageSource, Sequence[str]]  # to train, to test, class names


def _digits() -> Parts:
    images, labels = datasets.digits()
    with extra("train"):
        from sklearn.model_selection import train_test_split

    images = tv.resize(images[:, None], [SMALL_SIZE, SMALL_SIZE], antialias=True)
    parts = train_test_split(
        np.arange(len(labels)), test_size=0.25, random_state=0, stratify=labels.numpy()
    )
    train, test = (ArraySource(images[part], labels[part]) for part in parts)
    return train, test, [str(digit) for digit in range(10)]


def _fashion() -> Parts:
    parts = (datasets.fashion_mnist(train=train) for train in (True, False))
    train, test = (ArraySource(images[:, None], labels) for images, labels in parts)
    return train, test, FASHION.split(",")


def _cifar10() -> Parts:
    from torchvision.datasets import CIFAR10

    root = cache_dir() / "cifar-10"
    try:
        parts = [CIFAR10(str(root), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise DataUnavailable(
            f"CIFAR-10 cannot be had ({reason(error)}): try again with a network, or "
            f"unpack cifar-10-python.tar.gz in {root}"
        ) from None
    train, test = (
        ArraySource(torch.from_numpy(p.data).permute(0, 3, 1, 2), torch.tensor(p.targets))
        for p in parts
    )
    return train, test, parts[0].classes


def _folder(folder: str) -> Parts:
    root = Path(folder)
    if folder.startswith(HUB):
        train, test = hub_sources(folder.removeprefix(HUB))
        return train, test, train.classes
    if (root / "train").is_dir() or (root / "val").is_dir():
        source = FolderSource(root / "train")
        return source, FolderSource(root / "val", source.classes), source.classes
    whole = FolderSource(root)
    place = torch.cat([torch.arange(int(count)) for count in whole.labels.bincount()])
    held_out = place % 10 == 1  # the second of every ten images of a class
    for label, name in enumerate(whole.classes):
        if not held_out[whole.labels == label].any():
            raise CamwallError(
                f"class {name!r} of {root} has one image: none can be held out to test on; add "
                "more, or make the folders train/ and val/"
            )
    return Subset(whole, ~held_out), Subset(whole, held_out), whole.classes


def _prepared(source: ImageSource, small: bool) -> Preprocessing:
    """How images are prepared: as ImageNet's, those in memory by the pixels they have."""
    if isinstance(source, ArraySource):
        size, levels = source.images.shape[2], torch.arange(256).double() / 255
        channels = source.images.unbind(1)
        counts = [channel.flatten().bincount(minlength=256).double() for channel in channels]
        means = [float(count @ levels / count.sum()) for count in counts]
        squares = [
            float(count @ (levels - mean) ** 2 / (count.sum() - 1))
            for count, mean in zip(counts, means, strict=True)
        ]
        return Preprocessing(
            mean=tuple(round(mean, 4) for mean in means),
            std=tuple(round(square**0.5, 4) for square in squares),
            resize=None if size == SMALL_SIZE else size,
            crop=SMALL_SIZE,
        )
    # The same margin as 256 and 224.
    return Preprocessing(resize=32, crop=SMALL_SIZE) if small else Preprocessing()


@dataclass(frozen=True)
class Study:
    """A training set by name, and the recipe for it.

    Parameters
    ----------
    name : str
    recipe : Recipe
    read : callable
        Gives images to train on, images to test on, and the names of the classes.
    of_folder : bool
        Whether it reads a folder, which it takes.
    """

    name: str
    recipe: Recipe
    read: Callable[..., Parts]
    of_folder: bool = False

    def load(self, folder: str | None = None, *, small: bool = False) -> TrainingData:
        """The study's images.

        Parameters
        ----------
        folder : str, optional
            For imagenet and folder: a folder with ``train/`` and ``val/``, one of class folders
            (a tenth of each class is held out), or ``hf:NAME`` for a data set of the Hugging Face
            hub. The others take none.
        small : bool
            Prepare the images for the small VGG: 28×28 pixels.

        Raises
        ------
        CamwallError
            A folder that is missing, not wanted, or without usable class folders; data that
            cannot be had.
        """
        if folder and not self.of_folder:
            raise CamwallError(f"the study {self.name} reads no folder: leave data out")
        if self.of_folder and not folder:
            raise CamwallError("this study reads a folder of images: say which (data)")
        train, test, classes = self.read(folder) if self.of_folder else self.read()
        if self.of_folder:  # which may be called by ImageNet's synsets
            frame = datasets.imagenet_classes()
            readable = dict(zip(frame["wnid"], frame["name"], strict=True))
            classes = [readable.get(name, name) for name in classes]
        return TrainingData(self.name, train, test, _prepared(train, small), tuple(classes))


_WHOLE = (1.0, 1.0)
STUDIES = {
    study.name: study
    for study in (
        Study("digits", Recipe(batch=64, crop_area=(0.8, 1.0), flip=False), _digits),
        # The paper's schedule, a tenth as long; a small network needs less to keep it from
        # learning by heart, and garments are centred: whole images, mirrored at random.
        Study(
            "fashion",
            Recipe(9, 64, lr_step=3, dropout=0.25, crop_area=_WHOLE, crop_aspect=_WHOLE),
            _fashion,
        ),
        Study("cifar10", Recipe(30, 128, lr_step=10, crop_area=(0.4, 1.0)), _cifar10),
        Study("imagenet", Recipe(), _folder, of_folder=True),
        Study("folder", Recipe(), _folder, of_folder=True),
    )
}


def study(name: str) -> Study:
    """The study of that name.

    Raises
    ------
    CamwallError
        An unknown name; the message lists the known ones.
    """
    if not isinstance(name, str) or name not in STUDIES:
        raise CamwallError(f"no study {name!r}: there are {', '.join(STUDIES)}")
    return STUDIES[name]
