"""A method of one's own spoils neither the model nor the methods after it, and is named."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.prune import random_unstructured
from torch.overrides import _get_current_function_mode_stack

import camwall
from camwall.errors import CamwallError
from camwall.methods.explain import explain_each
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


def layer(model):
    return next(part for part in model.modules() if isinstance(part, nn.Conv2d))


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


def another_class(model):
    trunk(model).__class__ = type("Twice", (nn.BatchNorm2d,), {"forward": lambda self, x: 2 * x})


def normed_weights(model):
    weight_norm(layer(model))


def pruned(model):
    random_unstructured(layer(model), "weight", 0.5)


def channels_last(model):
    model.to(memory_format=torch.channels_last)


def doubled(model):
    model.double()


def hook_of_weight(model):
    layer(model).weight.register_hook(lambda gradient: 0 * gradient)


def hook_of_all(model):
    nn.modules.module.register_module_forward_hook(lambda module, given, found: 2 * found)


def settings(model):
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.autograd.set_detect_anomaly(True)
    os.chdir("/")
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True)
    torch.backends.mkldnn.enabled = False
    torch.autocast("cpu").__enter__()
    torch.inference_mode().__enter__()
    warnings.simplefilter("ignore")
    np.seterr(all="raise")


def of_process():
    """What `settings` sets."""
    return [
        *(torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()),
        *(torch.is_anomaly_enabled(), torch.get_float32_matmul_precision()),
        *(torch.are_deterministic_algorithms_enabled(), torch.backends.mkldnn.enabled),
        *(torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()),
        *(torch.autocast_increment_nesting(), torch.autocast_decrement_nesting()),
        *(torch.backends.mkldnn.matmul.fp32_precision, len(_get_current_function_mode_stack())),
        *(np.geterr(), Path.cwd(), [*warnings.filters]),
    ]


KEPT = [
    *(hook, another_forward, another_part, frozen, training, no_gradients, gradients, images_too),
    *(another_class, normed_weights, pruned, channels_last, doubled, hook_of_weight, hook_of_all),
    settings,
]


@pytest.mark.parametrize("does", KEPT, ids=lambda does: does.__name__)
def test_what_a_method_leaves_behind_is_put_back(does):
    """The methods after it find what it found, and a handle from before still removes its hook."""

    def mine(model, images, target):
        maps = flat(model, images, target)
        does(model)
        images.zero_()
        target.zero_()
        return maps

    walled, seen, set_before = model(), [], of_process()
    handle = trunk(walled).register_forward_hook(lambda *given: seen.append(1))
    alone = quiet(walled, some_images(), ["GradCAM", "HiResCAM"]).records
    after = quiet(walled, some_images(), [mine, "GradCAM", "HiResCAM"]).records
    after = after[after["method"] != "mine"].reset_index(drop=True)
    assert after.drop(columns="seconds").equals(alone.drop(columns="seconds"))
    assert walled.target_layer.__class__ is nn.Identity
    assert all(each.requires_grad and each.grad is None for each in walled.parameters())
    assert not any(each._backward_hooks for each in walled.parameters())
    assert of_process() == set_before
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
        lambda model: model.wall.hidden[0].fill_(True),
        lambda model: setattr(
            nn.Conv2d, "forward", lambda self, x: self._conv_forward(-x, self.weight, None)
        ),
        lambda model: setattr(F, "conv2d", lambda x, *rest: torch.conv2d(-x, *rest)),
        lambda model: setattr(F, "conv2d", None),
    ],
    ids=[
        *("a weight", "a statistic", "a pass in training mode", "the wall"),
        *("a class", "a function", "no function"),
    ],
)
def test_a_method_that_changes_values_is_named(does, monkeypatch):
    """They cannot be put back, and what came after would be of another network."""
    monkeypatch.setattr(nn.Conv2d, "forward", nn.Conv2d.forward)
    monkeypatch.setattr(F, "conv2d", F.conv2d)

    def mine(model, images, target):
        with torch.no_grad():
            does(model)
        return flat(model, images, target)

    with pytest.raises(CamwallError, match="mine changes the model's weights or batch stat"):
        quiet(model(), some_images(), [mine, "GradCAM"])


def test_a_setting_that_cannot_be_put_back_keeps_nothing_else_from_it(tmp_path, monkeypatch):
    """A method may have removed the folder that it was called in."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "here"
    folder.mkdir()
    os.chdir(folder)

    def mine(model, images, target):
        maps = flat(model, images, target)
        hook(model)
        os.chdir(tmp_path)
        folder.rmdir()
        return maps

    walled = model()
    scores = walled(some_images())
    camwall.explain(walled, some_images(), mine)
    assert torch.equal(walled(some_images()), scores)


def test_a_method_may_change_weights_and_change_them_back():
    """The pass from before it still has its gradients."""

    def mine(model, images, target):
        with torch.no_grad():
            for each in model.parameters():
                each.mul_(2).div_(2)
        return flat(model, images, target)

    found = explain_each(model(), some_images(), [mine, "GradCAM"])["GradCAM"]
    assert torch.equal(found, camwall.explain(model(), some_images(), "GradCAM"))


@pytest.mark.parametrize("kind", [torch.zeros, np.zeros])
def test_a_method_may_write_all_its_maps_into_one_array(kind):
    """What it gave first stays what it was."""
    array = kind((1, SIZE, SIZE))

    def mine(model, images, target):
        array[:] = images.square().mean(dim=1)
        return array

    assert quiet(model(), some_images(1), [mine]).verdicts["verdict"]["mine"] == "sees through"


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
