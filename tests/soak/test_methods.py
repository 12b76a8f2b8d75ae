"""A method of one's own spoils neither the model nor the methods after it, and is named."""

import numpy as np
import pytest
import torch
from torch import nn

import camwall
from camwall.errors import CamwallError
from camwall.models import Preprocessing
from tests.helpers.checks import SIZE, flat, quiet, some_images


def model():
    """A network with batch statistics and a hook that was there before."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    way = Preprocessing((0.5,) * 3, (0.5,) * 3, None, SIZE)
    return camwall.build_wall(nn.Sequential(trunk, head), 8, trunk, preprocessing=way)


def trunk(model):
    return next(part for part in model.modules() if isinstance(part, nn.BatchNorm2d))


def hook(model):
    trunk(model).register_forward_hook(lambda module, given, maps: 2 * maps)


def another_forward(model):
    model.forward = lambda images: torch.zeros(len(images), 4)


def another_part(model):
    model.target_layer = nn.ReLU()


def frozen(model):
    model.requires_grad_(False)


def training(model):
    model.train()


def no_gradients(model):
    torch.set_grad_enabled(False)


def gradients(model):
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)


def images_too(model):
    pass


KEPT = [hook, another_forward, another_part, frozen, training, no_gradients, gradients, images_too]


@pytest.mark.parametrize("does", KEPT, ids=lambda does: does.__name__)
def test_what_a_method_leaves_behind_is_put_back(does):
    """The methods after it find what it found, and a handle from before still removes its hook."""

    def mine(model, images, target):
        does(model)
        images.zero_()
        target.zero_()
        return flat(model, images, target)

    walled, seen = model(), []
    handle = trunk(walled).register_forward_hook(lambda *given: seen.append(1))
    alone = quiet(walled, some_images(), ["GradCAM", "HiResCAM"]).records
    after = quiet(walled, some_images(), [mine, "GradCAM", "HiResCAM"]).records
    after = after[after["method"] != "mine"].reset_index(drop=True)
    assert after.drop(columns="seconds").equals(alone.drop(columns="seconds"))
    assert walled.target_layer.__class__ is nn.Identity
    assert all(each.requires_grad and each.grad is None for each in walled.parameters())
    handle.remove()
    seen.clear()
    walled(some_images())
    assert not seen


@pytest.mark.parametrize(
    "does",
    [
        lambda model: trunk(model).weight.data.mul_(1.5),
        lambda model: trunk(model).running_mean.add_(1e-6),
        lambda model: model.train()(some_images()),
    ],
    ids=["a weight", "a statistic", "a pass in training mode"],
)
def test_a_method_that_changes_values_is_named(does):
    """They cannot be put back, and what came after would be of another network."""

    def mine(model, images, target):
        with torch.no_grad():
            does(model)
        return flat(model, images, target)

    with pytest.raises(CamwallError, match="mine changes the model's weights or batch stat"):
        quiet(model(), some_images(), [mine, "GradCAM"])


@pytest.mark.parametrize(
    "given",
    [
        None,
        "a map",
        {"maps": 1},
        [[1.0], [1.0, 2.0]],
        3,
        np.array([None]),
        torch.ones(1, SIZE, SIZE).to_sparse(),
        torch.ones(1, SIZE, SIZE, device="meta"),
        torch.ones(1, SIZE, SIZE, dtype=torch.complex64),
        torch.ones(1, SIZE - 1, SIZE),
        torch.full((1, SIZE, SIZE), torch.nan),
    ],
    ids=str,
)
def test_what_is_no_map_is_named_with_its_method(given):
    """In one line."""

    def mine(model, images, target):
        return given

    with pytest.raises(CamwallError, match=r"^mine.*map") as caught:
        quiet(model(), some_images(1), [mine])
    assert "\n" not in str(caught.value)
