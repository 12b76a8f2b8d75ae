"""Methods of other packages, each in a file of its own that is imported when used."""

from collections.abc import Callable
from functools import partial
from importlib import import_module

import torch
from torch import Tensor

from camwall.errors import extra
from camwall.methods.registry import SaliencyFunction
from camwall.models import WalledModel


def through(engine: str, name: str) -> SaliencyFunction:
    """What a package calls ``name``, as a saliency function.

    The file of the engine's name has ``maps(name, model, images, target)``. Packages compute in
    full precision, also under autocast: some take what they find to NumPy, which has no bfloat16.
    Where one is not installed a call raises CamwallError.
    """
    return partial(_maps, engine, name)


def _maps(engine: str, name: str, model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    with extra(engine):
        adapter = import_module(f"{__name__}.{engine.replace('-', '_')}")
    images = images.to(next(model.parameters()).dtype)
    with torch.autocast(images.device.type, enabled=False):
        return adapter.maps(name, model, images, target)


def singly(
    function: Callable[[WalledModel, Tensor, Tensor], Tensor],
    model: WalledModel,
    images: Tensor,
    target: Tensor,
) -> Tensor:
    """The maps of one image after the other, each with the same random numbers.

    For what takes one image at a time, or draws: no map depends on the others of its batch. The
    seed is the caller's, torch's last one.
    """
    from camwall.methods.saliency import same_draws

    found, seed = [], torch.initial_seed() % 2**32  # NumPy's have 32 bits
    for image, index in zip(images.split(1), target.split(1), strict=True):
        with same_draws(seed):
            found.append(function(model, image, index))
    return torch.cat(found)
