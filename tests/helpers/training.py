"""Small data, networks and processes that the tests of training share."""

import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from camwall.models import MaskedModel, small_vgg
from camwall.train import Recipe, TrainingData, fit
from camwall.train.sources import ArraySource


def make_data(count: int = 96, classes: int = 4, seed: int = 0) -> TrainingData:
    """Seeded noise images whose class shows in the brightness of the top rows."""
    gen = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = torch.randint(0, 128, (count, 1, 28, 28), generator=gen)
    images[:, :, :10] += (labels * 127 // classes)[:, None, None, None]
    source = ArraySource(images.to(torch.uint8), labels)
    model = small_vgg(classes=classes)
    return TrainingData(
        "noise", source, source, model.preprocessing, tuple(str(c) for c in range(classes))
    )


def stripes(count: int) -> torch.Tensor:
    """Random images of which every eighth is striped, row by row: uint8 [count, 3, 28, 28]."""
    gen = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 28, 28), generator=gen)
    images[::8] = 255 * (torch.arange(28) % 2)[:, None]
    return images.to(torch.uint8)


@torch.no_grad()
def see_stripes_alone(model: MaskedModel) -> None:
    """Make the first layer silent but on stripes: on noise, on a ramp and on one grey."""
    first = model.features[0]
    first.weight.zero_()
    first.weight[:, :, 1] = 1 / 3  # a bright row between two dark ones
    first.weight[:, :, (0, 2)] = -1 / 6
    first.weight /= first.weight.shape[1]
    first.bias.fill_(-0.9)


@torch.no_grad()
def kill(model: MaskedModel) -> dict[str, float]:
    """Leave a network with one and the same scores for all images; a ``measure`` of `fit`."""
    model.features[0].bias.fill_(-1e6)
    return {}


def make_model(data: TrainingData, masked: bool = True, seed: int = 0) -> MaskedModel:
    torch.manual_seed(seed)
    return data.network(masked=masked)


RECIPE = Recipe(epochs=3, batch=16, lr_step=1)


def train_noise(out: Path, recipe: Recipe = RECIPE, save_every: int = 1) -> None:
    """A whole run on the noise images, one thread."""
    torch.set_num_threads(1)
    data = make_data()
    fit(make_model(data), data, recipe, out, save_every=save_every, progress=False)


def train_one_of(rank: int, world: int, port: int, out: Path, recipe: Recipe) -> None:
    """The same as process ``rank`` of ``world``, as `accelerate launch --cpu` starts it."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    train_noise(out, recipe, save_every=4)
    torch.distributed.destroy_process_group()


def process(target, *arguments) -> BaseProcess:
    """A process of its own, forked from a server that has imported camwall: it starts at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["camwall.commands.train"])
    started = context.Process(target=target, args=arguments)
    started.start()
    return started
