"""What would be otherwise on a GPU, tried without one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import camwall
from camwall.errors import CamwallError
from camwall.methods import METHODS, Mechanism, explain_each
from camwall.metrics import METRICS
from camwall.models import MaskedModel
from camwall.testing import some_images, walled_model
from tests.helpers.elsewhere import another_device


def test_everything_computes_where_the_model_is():
    """Maps, certificate and every metric; no number is another than on the CPU."""
    model = walled_model()
    images = some_images(model, 1)
    fit = [n for n, m in METHODS.items() if m.mechanism is not Mechanism.ATTENTION and n != "CAM"]
    wanted = explain_each(model, images, fit)
    asked = {"methods": ["GradCAM", "Gradient"], "metrics": list(METRICS)}
    asked |= {"annotations": {"outline": torch.ones(1, 32, 32, dtype=torch.bool)}, "labels": [0]}
    table = camwall.check(model, images, **asked, progress=False).records
    with another_device() as place:
        away = walled_model().to(place)
        for name, maps in explain_each(away, images.to(place), fit).items():
            assert maps.device == place, name
            assert torch.equal(maps.cpu(), wanted[name]), name
        camwall.certify(away, images)
        found = camwall.check(away, images, **asked, progress=False).records
        conv, head = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 5)
        network = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
        way = camwall.Preprocessing(crop=32)
        walled = camwall.build_wall(network.to(place), "border:8", preprocessing=way)
        camwall.certify(walled)
        assert camwall.response(walled, some_images(walled), "HiResCAM").max() == 0
        assert camwall.twins(network, "GradCAM", preprocessing=way).equal
    assert found.drop(columns="seconds").equals(table.drop(columns="seconds"))


@pytest.mark.parametrize("call", [camwall.explain, camwall.response])
def test_images_on_another_device_are_refused_in_one_line(call):
    model = walled_model()
    images = some_images(model)
    told = pytest.raises(CamwallError, match=r"^the images are on cpu, the model is on lazy:0")
    with another_device() as place, told:
        call(model.to(place), images, "GradCAM")


def test_kernels_that_round_with_hidden_pixels_open_no_wall(monkeypatch):
    """As cuDNN's by Winograd's transform; where geometry keeps what is hidden from the scores."""
    model = walled_model()
    images = some_images(model, 2)
    exact = F.conv2d

    def mixing(images, *given):
        maps = exact(images, *given)
        return maps + 1e-6 * images.mean() if torch.backends.cudnn.enabled else maps

    monkeypatch.setattr(F, "conv2d", mixing)
    hidden = model.wall.hidden
    assert not torch.equal(model(images), model(images.masked_fill(hidden, 9.0)))
    camwall.certify(model, images)
    for name in ("HiResCAM", "Gradient", "Occlusion"):
        assert camwall.response(model, images, name).max() == 0, name
    assert torch.backends.cudnn.enabled


class Double(nn.Module):
    """A layer whose reach is found by trying."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([2.0]))

    def forward(self, maps):
        return self.factor * maps


def test_a_layer_whose_reach_is_tried_is_tried_where_it_is():
    """And in its own type."""
    features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Double(), nn.ReLU())
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 8 * 8, 5))
    way = camwall.Preprocessing(resize=None, crop=8)
    model = MaskedModel(features, head, (4, 8, 8), 4, way)
    assert camwall.certify(model.double()).last_row_seen == 4
    with another_device() as place:
        assert camwall.certify(model.to(place)).last_row_seen == 4


def test_the_default_device_may_be_another():
    """What is built and drawn there, and what is drawn on the CPU, meet."""
    with another_device() as place:
        torch.set_default_device(place)
        try:
            walled = walled_model()
            images = some_images(walled, 2)
            report = camwall.check(walled, images, ["GradCAM", "HiResCAM"], progress=False)
            conv, head = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 5)
            network = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
            way = camwall.Preprocessing(crop=32)
            camwall.certify(camwall.build_wall(network, "patches:8:0.3", preprocessing=way))
            assert camwall.twins(network, "GradCAM", preprocessing=way).equal
            theirs = camwall.simple_cnn().head[2].weight
        finally:
            torch.set_default_device("cpu")
        assert images.device == theirs.device == place
        ours = camwall.simple_cnn().head[2].weight
        assert torch.equal(theirs.cpu(), ours)
    assert report.verdicts["verdict"].tolist() == ["sees through", "blind"]
