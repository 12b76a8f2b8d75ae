"""From a source to batches on the device: decoding in workers, the rest on the device as uint8.

Every random choice about an image comes from (seed, epoch, image number) alone, so neither the
number of workers nor that of processes changes it, and a run can start again in mid-epoch without
replaying what came before.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from camwall.errors import CamwallError
from camwall.models import Preprocessing
from camwall.train.recipe import Recipe
from camwall.train.sources import ImageSource

Key = tuple[int, int]  # epoch, image number


def derived_seed(*numbers: int) -> int:
    """A 32-bit seed from several numbers (torch's CPU generator uses 32 bits of its seed)."""
    return zlib.crc32(struct.pack(f"<{len(numbers)}q", *numbers))


class Samples(Dataset):
    """Image (epoch, i) of a source, cropped at random for training, whole for evaluation.

    A bad image is returned as its error: raised in a worker process it would reach the user as a
    traceback.
    """

    def __init__(self, source: ImageSource, recipe: Recipe | None) -> None:
        self.source = source
        self.recipe = recipe

    def __getitem__(self, key: Key) -> tuple[Tensor, bool, int] | CamwallError:
        epoch, index = key
        try:
            image = self.source.image(index)
        except CamwallError as error:
            return error
        if self.recipe is None:
            return image, False, self.source.label(index)
        recipe = self.recipe
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derived_seed(recipe.seed, 1, epoch, index))
            box = RandomResizedCrop.get_params(
                image, list(recipe.crop_area), list(recipe.crop_aspect)
            )
            flip = recipe.flip and bool(torch.rand(()) < 0.5)
        return tv.crop(image, *box), flip, self.source.label(index)


class Packed(NamedTuple):
    """Images of any sizes in one block of bytes, so that one copy brings them to the device."""

    pixels: Tensor
    shapes: list[tuple[int, int, int]]
    flips: Tensor
    labels: Tensor

    def images(self, device: torch.device) -> list[Tensor]:
        """The images as uint8 [C, H, W] on the device."""
        block = self.pixels.to(device, non_blocking=True)
        # Rows, columns, channels in memory: how JPEGs are decoded, and fast to resize.
        return [
            part.view(h, w, c).permute(2, 0, 1)
            for part, (c, h, w) in zip(
                block.split([math.prod(shape) for shape in self.shapes]), self.shapes, strict=True
            )
        ]


def pack(samples: list[tuple[Tensor, bool, int] | CamwallError]) -> Packed | CamwallError:
    """Join samples into one block; the first error among them instead, if there is one."""
    good = []
    for sample in samples:
        if isinstance(sample, CamwallError):
            return sample
        good.append(sample)
    images, flips, labels = zip(*good, strict=True)
    return Packed(
        torch.cat([image.permute(1, 2, 0).reshape(-1) for image in images]),
        [tuple(image.shape) for image in images],
        torch.tensor(flips),
        torch.tensor(labels),
    )


class Schedule:
    """The keys of each micro-batch of one process, from step ``start`` of epoch ``epoch`` on.

    Of ``count`` images a step takes ``batch`` over all ``world`` processes, this one, number
    ``rank``, ``micro_batch`` at once. ``seed`` is that of the order; None goes through the images
    in their order, and the last batch may be smaller.
    """

    def __init__(
        self,
        count: int,
        batch: int,
        micro_batch: int | None = None,
        rank: int = 0,
        world: int = 1,
        seed: int | None = None,
    ) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self.micro_batch = micro_batch or batch
        self.rank, self.world = rank, world
        self.epoch, self.start = 0, 0

    @property
    def steps(self) -> int:
        whole, rest = divmod(self.count, self.batch)
        return whole + (1 if rest and self.seed is None else 0)

    @property
    def micro_steps(self) -> int:
        """Micro-batches of this process for one whole batch."""
        return -(-len(range(self.rank, self.batch, self.world)) // self.micro_batch)

    def __iter__(self) -> Iterator[list[Key]]:
        order = list(range(self.count))
        if self.seed is not None:
            gen = torch.Generator().manual_seed(derived_seed(self.seed, 0, self.epoch))
            order = torch.randperm(self.count, generator=gen, device="cpu").tolist()
        for step in range(self.start, self.steps):
            mine = order[step * self.batch : (step + 1) * self.batch][self.rank :: self.world]
            for first in range(0, len(mine), self.micro_batch):
                yield [(self.epoch, i) for i in mine[first : first + self.micro_batch]]


def evaluation_input(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """A uint8 image [C, H, W] as normalised network input."""
    return preprocessing.normalize(preprocessing.fitted(image).float() / 255)


class Batches:
    """Network inputs and labels on the device, one micro-batch at a time.

    A recipe says how training images are cropped and flipped to the size of the inputs; None
    evaluates, and ``preprocessing`` resizes and crops. ``workers`` processes decode; 0: this one.
    """

    def __init__(
        self,
        source: ImageSource,
        preprocessing: Preprocessing,
        schedule: Schedule,
        recipe: Recipe | None,
        device: torch.device,
        workers: int = 0,
    ) -> None:
        self.preprocessing, self.device = preprocessing, device
        self.fitted = preprocessing.fitted if recipe is None else self._stretched
        self.loader = DataLoader(
            Samples(source, recipe),
            batch_sampler=schedule,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=pack,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            # A generator of its own: the loader would draw from the global one, that of dropout.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for packed in self.loader:
            if isinstance(packed, CamwallError):
                raise packed
            images = torch.stack([self.fitted(image) for image in packed.images(self.device)])
            flips = packed.flips.to(self.device, non_blocking=True)
            images = torch.where(flips[:, None, None, None], images.flip(3), images)
            inputs = self.preprocessing.normalize(images.float() / 255)
            yield inputs.contiguous(), packed.labels.to(self.device, non_blocking=True)

    def _stretched(self, crop: Tensor) -> Tensor:
        """A random crop at the size of the inputs."""
        way = self.preprocessing
        mode = InterpolationMode.BICUBIC if way.bicubic else InterpolationMode.BILINEAR
        return tv.resize(crop, list(way.size), interpolation=mode, antialias=True)
