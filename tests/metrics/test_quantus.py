"""The leak inside Quantus' own evaluation."""

import numpy as np
import pytest
import torch

import camwall
from camwall.testing import some_images, walled_model

quantus = pytest.importorskip("quantus", reason="Quantus is not installed: pip install quantus")
from camwall.metrics.quantus import WallLeak  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of Quantus' own


@pytest.fixture(scope="module")
def model():
    return walled_model()


@pytest.fixture(scope="module")
def images(model):
    return some_images(model)


def explained(name):
    """A method of ours as Quantus asks for it."""

    def explain(model, inputs, targets, **_):
        given = torch.as_tensor(np.asarray(inputs)), torch.as_tensor(np.asarray(targets))
        return camwall.explain(model, given[0], name, given[1]).numpy()

    return explain


def test_inside_evaluate(model, images):
    """Beside a metric of its own: HiResCAM has 0, GradCAM our leak, to rounding."""
    target = model(images).argmax(dim=1)
    found = quantus.evaluate(
        metrics={"leak": WallLeak(), "sparse": quantus.Sparseness(disable_warnings=True)},
        xai_methods={name: explained(name) for name in ("GradCAM", "HiResCAM")},
        model=model,
        x_batch=images.numpy(),
        y_batch=target.numpy(),
        explain_func_kwargs={},
    )
    ours = camwall.leak(camwall.explain(model, images, "GradCAM", target), model.wall)
    assert (ours > 0.1).any()
    np.testing.assert_allclose(found["GradCAM"]["leak"], ours, rtol=1e-5)
    assert found["HiResCAM"]["leak"] == [0.0] * 4
    assert len(found["GradCAM"]["sparse"]) == 4


def test_of_attributions_that_are_there(model, images):
    """A flat map has the flat level, whatever its sign, an empty one NaN."""
    flat = np.ones((4, 1, 32, 32))
    flat[3] = 0
    target = np.zeros(4, int)
    given = {"model": model, "x_batch": images.numpy(), "y_batch": target}
    found = WallLeak()(**given, a_batch=flat)
    np.testing.assert_allclose(found, [model.wall.flat_level] * 3 + [np.nan])
    signed = np.where(model.wall.hidden, -1.0, 1.0)[None, None].repeat(4, 0)
    np.testing.assert_allclose(WallLeak()(**given, a_batch=signed), model.wall.flat_level)
    assert WallLeak(return_aggregate=True)(**given, a_batch=flat) == [
        pytest.approx(model.wall.flat_level)
    ]


def test_a_model_without_a_wall_is_refused(images):
    """In our line."""
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    flat, target = np.arange(4096.0).reshape(4, 1, 32, 32), np.zeros(4, int)
    with pytest.raises(camwall.CamwallError, match="wall"):
        WallLeak()(plain, images.numpy(), target, flat)
