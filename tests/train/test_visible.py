"""Training the visible part is training the masked network."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from camwall import certify
from camwall.errors import BlindnessError
from camwall.models import MaskedModel, Preprocessing, visible_part
from camwall.train import Recipe, fit
from tests.helpers.networks import vgg_like
from tests.helpers.training import make_data, make_model


def test_the_visible_part_takes_the_same_path_as_masked_training():
    """Float64, 50 steps with momentum, weight decay and dropout: all weights equal to 1e-10."""
    data = make_data(80)
    recipe = Recipe(epochs=10, batch=16, lr=0.05, weight_decay=1e-2, lr_step=4, dropout=0.3)
    finals = []
    for visible_only in (True, False):
        model = make_model(data).double()
        certify(model)
        start = model.cells().detach().clone()
        run = fit(model, data, replace(recipe, visible_only=visible_only), progress=False)
        assert len(run.certificates) == 2  # fit certified it before and after
        certify(run.model)
        assert (run.model.cells() - start).abs().max() > 1e-2  # it did learn
        finals.append(run.model.state_dict())
    assert len(data.train) // recipe.batch * recipe.epochs == 50
    for name, value in finals[0].items():
        torch.testing.assert_close(value, finals[1][name], rtol=0, atol=1e-10)


def test_mixed_precision_leaves_no_trace_on_the_network():
    """accelerate's autocast is of the run alone: what was trained is certified as it is."""
    data = make_data(16)
    recipe = Recipe(epochs=1, batch=16, precision="bf16", visible_only=False)
    run = fit(make_model(data), data, recipe, progress=False)
    assert "proved by geometry" in run.certificates[1]
    assert run.model(torch.rand(2, 1, 28, 28)).dtype == torch.float32
    assert "forward" not in vars(run.model)


def wide_model(masked: bool) -> MaskedModel:
    """Like VGG16's later layers: convolutions with many channels, which are cut row by row."""
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True)]
    layers += [nn.MaxPool2d(2), nn.Conv2d(4, 128, 3, padding=1), nn.ReLU(inplace=True)]
    layers += [nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(inplace=True)]
    head = nn.Sequential(nn.Flatten(), nn.Linear(128 * 14 * 14, 5), nn.ReLU(), nn.Linear(5, 3))
    shape, preprocessing = (128, 14, 14), Preprocessing((0.0,), (1.0,), None, 28)
    return MaskedModel(nn.Sequential(*layers), head, shape, 5, preprocessing, masked=masked)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_the_visible_part_gives_the_same_scores_and_gradients(masked, wide):
    """In float64 the part's scores are the model's, for the masked network and the baseline, and
    so are the gradients of the weights they share."""
    torch.manual_seed(0)
    model = wide_model(masked) if wide else make_model(make_data(), masked)
    model = model.double().eval()
    part = visible_part(model).eval()
    images = torch.rand(3, 1, 28, 28, dtype=torch.float64)
    found = []
    for network in (part, model):
        scores = network(images)
        shared = torch.autograd.grad(scores.square().sum(), list(model.features.parameters()))
        found.append([scores, *shared])
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    assert part.model.rows_read == (model.wall.row if masked else 28)
    assert part.dense.weight.numel() == model.cells()[:, :, : model.read_rows].numel()


def test_the_paper_network_keeps_73_of_205_million_weights():
    """Of VGG16's 224 rows and 14 map rows, the part reads 170 and 5."""
    from camwall import masked_vgg16

    with torch.device("meta"):
        model = masked_vgg16()
        part = visible_part(model)
    assert part.model.rows_read == 170
    assert model.cells().numel() == 205_520_896
    assert part.dense.weight.numel() == 73_400_320


def test_expanding_restores_the_wall():
    """After expand the full layout holds the part's weights, zeros behind the wall, and certifies;
    weights put behind the wall break the certificate."""
    model = make_model(make_data()).double().eval()
    part = visible_part(model)
    with torch.no_grad():
        part.dense.weight.normal_()
        model.cells().normal_()
    assert part.expand() is model
    images = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(part.eval()(images), model(images))
    certify(model)
    with torch.no_grad():
        model.cells()[:, :, -1] = 1
    with pytest.raises(BlindnessError, match="hole"):
        certify(model)


def test_a_layer_that_is_used_twice():
    """In features and head, as `vgg_like` has its ReLU, and a dense layer of the head; the first
    dense layer alone has a weight of its own in the part."""
    model = vgg_like(0).double()
    *layers, last = model.head
    model.head = nn.Sequential(*layers, model.head[4], last)
    batch = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    part = visible_part(model).eval()
    torch.testing.assert_close(part(batch), model(batch), rtol=0, atol=1e-12)
    with torch.no_grad():
        part.dense.weight.mul_(2)
    assert part.expand() is model
    torch.testing.assert_close(part(batch), model(batch), rtol=0, atol=1e-12)
