"""The simple CNN as a walled model: blind, seeded, and as the theory counts it."""

import pytest
import torch

import camwall
from camwall import theory
from camwall.data import digits
from camwall.errors import CamwallError
from camwall.models import enlarge, fit_simple, simple_cnn


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"filters": 3, "kernel": 2, "image_size": 12, "visible_rows": 1, "pool": 3, "classes": 4},
        {"filters": 2, "kernel": 5, "image_size": 9, "visible_rows": 2, "pool": 1},
    ],
)
def test_certified_with_the_rows_the_setting_counts(sizes):
    """certify agrees with the setting's arithmetic about which image rows are hidden."""
    model = simple_cnn(**sizes)
    certificate = camwall.certify(model, every_class=True)
    assert certificate.wall.row == model.setting.visible_image_rows
    assert certificate.last_row_seen == model.wall.row - 1


def test_the_wall_hides_half_of_the_pooled_map():
    """The defaults zero the bottom 7 of 14 rows of W, the theorem's assumption, and no more."""
    cells = simple_cnn().cells()
    assert cells.shape == (1, 32, 14, 14)
    assert not cells[:, :, 7:].any()
    assert torch.all(cells[:, :, :7] != 0)


def test_parameters_are_normal_with_tau_and_follow_the_seed():
    """Standard deviation τ; the same seed the same network, another seed another one."""
    one, same, other = (simple_cnn(tau=0.4, seed=seed) for seed in (1, 1, 2))
    images = torch.rand(2, 1, 30, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(images), same(images))
    assert not torch.equal(one(images), other(images))
    assert float(one.cells()[:, :, :7].detach().std()) == pytest.approx(0.4, rel=0.05)


def test_visible_parts_equal_the_whole():
    """Features and head on the visible rows alone give the same maps and scores."""
    model = simple_cnn(classes=3)
    images = torch.rand(2, 1, 30, 30, generator=torch.Generator().manual_seed(0))
    visible = model.visible_maps(images)
    assert torch.equal(visible, model.features(images)[:, :, :14])
    torch.testing.assert_close(model.rest.chain(visible), model(images))


def test_gradcam_of_the_library_is_the_theorys():
    """explain's raw GradCAM on a simple CNN is ReLU(Σ_v (1/hw) ΣW[v, c] B_v)."""
    model = simple_cnn(filters=5, image_size=12, visible_rows=2)
    images = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    weights = model.cells()[0].sum((1, 2)) / model.setting.positions
    expected = torch.relu(torch.einsum("v,nvhw->nhw", weights, model.features(images)))
    torch.testing.assert_close(camwall.explain(model, images, "GradCAM", normalize=False), expected)
    dial = theory.windowed_gradcam(
        model.features(images), weights[None, :, None, None].expand(3, 5, 10, 10), 9
    )
    torch.testing.assert_close(dial, expected)


def test_training_keeps_the_wall_and_learns():
    """Six epochs on digits: the loss falls, W stays 0 behind the wall, the certificate holds."""
    images, labels = digits()
    inputs = enlarge(images[:300], 14)
    model = simple_cnn(filters=8, image_size=14, visible_rows=3, classes=10)
    before = torch.nn.functional.cross_entropy(model(inputs), labels[:300])
    fit_simple(model, inputs, labels[:300], epochs=6)
    after = torch.nn.functional.cross_entropy(model(inputs), labels[:300])
    assert after < 0.9 * before
    assert not model.cells()[:, :, 3:].any()
    camwall.certify(model)


def test_training_is_the_same_each_time():
    """Whatever the global generator holds, on one thread or two; one more epoch changes weights."""
    images, labels = digits()
    inputs, weights = enlarge(images[:150], 18), []
    threads = torch.get_num_threads()
    try:
        for seed, epochs in enumerate((1, 1, 2)):
            torch.set_num_threads(2 if seed == 1 else 1)
            model = simple_cnn(filters=16, image_size=18, visible_rows=4, classes=10)
            torch.manual_seed(seed)
            fit_simple(model, inputs, labels[:150], epochs=epochs)
            weights.append(model.cells().detach().clone())
            assert torch.get_num_threads() == (2 if seed == 1 else 1)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": 0}, "filters must be a whole number of at least 1"),
        ({"classes": 0}, "classes must be a whole number of at least 1"),
        ({"tau": 0.0}, "tau must be finite and above 0"),
        ({"tau": float("inf")}, "tau must be finite and above 0"),
        ({"visible_rows": 15}, "visible_rows must be at most the 14"),
        ({"image_size": 3}, "leaves no pooled cell"),
        ({"visible_rows": 14}, r"\d+ rows of the maps read the image to its last row"),
    ],
)
def test_impossible_networks_are_refused(change, message):
    """Sizes that make no network, or no wall, are refused in one line."""
    with pytest.raises(CamwallError, match=message):
        simple_cnn(**change)


def test_training_refuses_labels_that_do_not_match():
    """As many labels as images."""
    model = simple_cnn(filters=1, image_size=8, visible_rows=1, classes=2)
    with pytest.raises(CamwallError, match="3 images need 3 labels, not 2"):
        fit_simple(model, torch.zeros(3, 1, 8, 8), torch.zeros(2, dtype=torch.long))
