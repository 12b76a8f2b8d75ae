"""A wall for other people's test suites: what it lets pass, what it fails, and what it says."""

import os
import re
import subprocess
import sys

import pytest
import torch

import camwall
from camwall.fixtures import walled_model  # noqa: F401 - as an installed camwall brings it
from camwall.testing import assert_blind, some_images
from tests.helpers.networks import resnet_like
from tests.helpers.repository import ROOT

#: Methods of ours, and of packages, that take less than a second each.
QUICK = [
    name
    for name, method in camwall.METHODS.items()
    if name not in ("Opti-CAM", "ShapleyCAM") and method.engines[0] in ("camwall", "grad-cam")
    if "ttention" not in name and name not in ("LeGrad", "RISE", "RandomCAM")
]
#: No repaint moves their maps, which are not 0 behind the wall all the same.
POINTS = {"EigenGradCAM": "a constant or a veil", "FullGrad": "window straddles the wall"}


@pytest.mark.parametrize("name", QUICK)
def test_the_register_and_the_assertion_agree(name):
    """Of each method: the one passes what the other says does not see through."""
    if not camwall.METHODS[name].sees_through and name not in POINTS:
        return assert_blind(name)
    with pytest.raises(AssertionError) as caught:
        assert_blind(name)
    said = str(caught.value)
    if name in POINTS:
        assert f"{name} points there without looking: no repaint" in said
        assert f"Why: {POINTS[name]}: " in said
        return assert_blind(name, points=False)
    moved = re.search(r"moves its map by ([\d.]+) % of its norm \((\w+), image \d\)", said)
    assert moved
    assert float(moved[1]) > 1
    assert moved[2] in camwall.metrics.REPAINTS
    assert "rows 23–31 are not 0" in said
    assert "Instead: the gradient at each position, as HiResCAM" in said
    with pytest.raises(AssertionError):
        assert_blind(name, points=False)


def test_functions_of_ones_own(walled_model):  # noqa: F811
    """A tensor or an array; a constant points, and what hangs on hidden pixels looks."""
    assert_blind(lambda model, images, target: images.square().sum(1) * ~model.wall.hidden)
    with pytest.raises(AssertionError, match=r"points there .* Why: a constant or a veil"):
        assert_blind(lambda model, images, target: torch.ones(len(images), 32, 32).numpy())
    with pytest.raises(AssertionError, match=r"brightness sees through .* as GradCAM's"):
        assert_blind(brightness)
    with pytest.raises(camwall.CamwallError, match="gave maps of shape"):
        assert_blind(lambda model, images, target: images, walled_model)
    with pytest.raises(camwall.CamwallError, match="are zero everywhere"):
        assert_blind(lambda model, images, target: torch.zeros(len(images), 32, 32))


def brightness(model, images, target):
    return images.square().mean(dim=1)


def test_a_network_of_ones_own():
    """Behind a wall of ours; one without is refused."""
    model = resnet_like()
    assert some_images(model, 3).shape == (3, 3, 32, 32)
    assert_blind("HiResCAM", model)
    with pytest.raises(AssertionError, match="GradCAM sees through"):
        assert_blind("GradCAM", model)
    with pytest.raises(camwall.CamwallError, match=r"no walled model: camwall\.build_wall"):
        assert_blind("HiResCAM", torch.nn.Linear(3, 3))


def test_the_model_is_the_same_each_time_and_nobody_elses_draw(walled_model):  # noqa: F811
    """Seeded, and certified; the caller's random numbers go on as they were."""
    torch.manual_seed(5)
    again = camwall.testing.walled_model()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    for one, other in zip(walled_model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert "by geometry" in camwall.certify(again, probes=1, repaints=2).proved


def test_the_page_for_test_suites_is_one(tmp_path):
    """What the chapter shows of a test file passes as it stands, and has the fixture."""
    for package in ("pytorch_grad_cam", "captum", "torchcam"):
        pytest.importorskip(package)
    page = (ROOT / "book" / "suite.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n# test_blind\.py\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "test_blind.py").write_text(block, encoding="utf-8")
    apart = ["-p", "camwall.fixtures", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *apart, "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # named, or an entry point here
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^2 passed, 1 xfailed in", done.stdout, re.M), done.stdout
