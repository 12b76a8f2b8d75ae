"""Random networks, their worst cases among them, against the equations in float64."""

from random import Random

import numpy as np
import pytest
import torch
from torch import nn

import camwall
from camwall.audit import oracles
from camwall.config import quick
from camwall.methods import explain_each
from camwall.models import Preprocessing
from tests.helpers.checks import quiet, small_model, some_images
from tests.helpers.networks import Parts, randomise

#: Equations of one pass; the others take a pass a channel, and have tests of their own.
METHODS = ("GradCAM", "GradCAM++", "XGradCAM", "HiResCAM", "LayerCAM", "EigenCAM")
BLOCKS = 10
COUNT = 2 if quick() else 100  # networks of a block


def network(rng: Random) -> camwall.WalledModel:
    """Some depth, width, stride and number of classes; some dead, constant or negative."""
    channels, classes = rng.randint(1, 8), rng.choice([1, 2, 5])
    size, stride = rng.choice([(8, 4), (12, 2), (16, 4), (16, 8)])
    layers = [nn.Conv2d(3, channels, stride, stride), nn.ReLU()]
    if rng.random() < 0.5:
        layers += [nn.Conv2d(channels, channels, 3, padding=1), rng.choice([nn.ReLU(), nn.Tanh()])]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    if rng.random() < 0.3:
        head = nn.Sequential(nn.Flatten(), nn.Linear(channels * (size // stride) ** 2, classes))
    way = Preprocessing((0.5,) * 3, (0.5,) * 3, None, size)
    parts = Parts(nn.Sequential(*layers), head, way).eval()
    randomise(parts, rng.randrange(10**6))
    wall = rng.choice([size // 2, camwall.Wall.columns(size, size, size // 2)])
    try:
        model = camwall.build_wall(parts, wall, "0", preprocessing=way)
    except camwall.CamwallError:  # few maps, all of them dead: another
        return network(rng)
    with torch.no_grad():  # a network that sees nothing is not walled: afterwards
        case = rng.randrange(5)
        if case == 0:  # a dead channel
            layers[0].weight[0], layers[0].bias[0] = 0, -1
        elif case == 1:  # constant maps
            layers[0].weight.zero_()
        elif case == 2 and channels > 1:  # ties
            layers[0].weight[1], layers[0].bias[1] = layers[0].weight[0], layers[0].bias[0]
        elif case == 3:  # negative scores
            head[-1].bias.fill_(-100.0)
    return model.double()


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_networks_have_the_maps_of_the_equations(block, record_property):
    """To 10⁻⁸ of their scale, and HiResCAM and LayerCAM are exactly 0 where nothing is read."""
    for number in range(COUNT):
        model = network(Random(1000 * block + number))
        size = model.wall.shape[0]
        image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(number))
        image = model.preprocessing.normalize(image.double())
        found = explain_each(model, image, METHODS, normalize=False)
        unit = int(model(image).argmax())
        for name, maps in found.items():
            wanted = np.maximum(oracles.ORACLES[name](model, image[0], unit), 0)
            scale = max(1.0, np.abs(wanted).max())
            apart = np.abs(maps[0].detach().numpy() - wanted).max()
            assert apart <= 1e-8 * scale, (name, block, number, apart)
        for name in ("HiResCAM", "LayerCAM"):
            assert not found[name][0][~model.visible_cells].any()
    record_property("random networks", COUNT)


def test_a_table_hangs_on_no_batch_size_and_no_threads(record_property):
    """Means within 10⁻⁶; a response that is 0 is exactly 0 in each."""
    model, images, tables = small_model(), some_images(7), []
    threads = torch.get_num_threads()
    try:
        for count in (1,) if quick() else (1, 2):
            torch.set_num_threads(count)
            tables += [quiet(model, images, METHODS, batch=batch).table for batch in (1, 3, 7)]
    finally:
        torch.set_num_threads(threads)
    for table in tables[1:]:
        assert (table["verdict"] == tables[0]["verdict"]).all()
        assert ((table["response"] == 0) == (tables[0]["response"] == 0)).all()
        for column in ("mean", "clear", "response"):
            assert np.allclose(table[column], tables[0][column], atol=1e-6, equal_nan=True)
    record_property("tables of one check", len(tables))
