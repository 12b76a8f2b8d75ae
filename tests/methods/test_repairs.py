"""Repairs and null repairs: what each is by definition, and what a wall shows of it."""

import pytest
import torch

import camwall
from camwall.methods import METHODS, Evidence, Saliency, repairs
from camwall.methods.cams import gradcam_pp_weights
from tests.helpers.checks import some_images, walled

NULL = [repairs.gated(METHODS["GradCAM"]), repairs.cut_below(METHODS["GradCAM"], 0.5)]


def raw(method, wall=8):
    model = walled(wall).double()
    with torch.no_grad():
        evidence = Evidence(model, some_images(3).double(), 0)
        return evidence, Saliency(evidence, method).raw


def test_windows_go_from_hirescam_to_gradcam() -> None:
    """Radius 0 is the one, a window over the whole map the other; between, a mean by hand."""
    evidence, found = raw(repairs.windowed(1))
    maps, gradients = evidence.maps, evidence.gradients
    for i in range(4):
        for j in range(4):
            around = gradients[:, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean(dim=(2, 3))
            wanted = (around * maps[:, :, i, j]).sum(dim=1).clamp(min=0)
            torch.testing.assert_close(found[:, i, j].clamp(min=0), wanted)
    for radius, name in ((0, "HiResCAM"), (3, "GradCAM")):
        wanted = raw(METHODS[name])[1].clamp(min=0)
        torch.testing.assert_close(raw(repairs.windowed(radius))[1].clamp(min=0), wanted)


def test_gradcam_pp_at_the_position() -> None:
    """Its weights sum to GradCAM++'s; it still sees through, by the sum in its denominator."""
    evidence, found = raw(repairs.GRADCAM_PP_AT_POSITION)
    weights = gradcam_pp_weights(evidence.maps, evidence.gradients)
    torch.testing.assert_close(found, (weights * evidence.maps).sum(dim=1))
    summed = weights.sum(dim=(2, 3), keepdim=True)
    torch.testing.assert_close((summed * evidence.maps).sum(dim=1), raw(METHODS["GradCAM++"])[1])
    moved = camwall.response(walled(8), some_images(3), repairs.GRADCAM_PP_AT_POSITION)
    assert (moved > 0).all()


@pytest.mark.parametrize("method", NULL, ids=lambda method: method.name)
def test_null_repairs_are_blind_behind_the_wall_they_know(method) -> None:
    """And GradCAM, bit for bit, on what is left."""
    model, images = walled(8), some_images(3)
    assert (camwall.response(model, images, method) == 0).all()
    shown = camwall.explain(model, images, method, normalize=False)
    plain = camwall.explain(model, images, "GradCAM", normalize=False)
    assert torch.equal(shown[:, :2], plain[:, :2])
    assert not shown[:, 2:].any()


def test_another_wall_tells_them_apart() -> None:
    """What is cut where a wall usually is sees through one on top; what is gated does not."""
    top = camwall.Wall.rows(16, 16, 0, 8)
    gated, cut = (camwall.response(walled(top), some_images(3), method) for method in NULL)
    assert (gated == 0).all()
    assert (cut > 0).all()


def test_gating_changes_nothing_without_a_wall() -> None:
    """All of GradCAM's map stands where every cell has a gradient."""
    model = walled(8)
    evidence, found = raw(NULL[0])
    seen = (evidence.gradients != 0).any(dim=1)
    assert torch.equal(seen, model.visible_cells.expand_as(seen))
    torch.testing.assert_close(found[seen], raw(METHODS["GradCAM"])[1][seen])


@pytest.mark.parametrize("function", [repairs.gradient, repairs.input_times_gradient])
def test_derivatives_by_the_pixel(function) -> None:
    """As differences give them; exactly 0 at hidden pixels."""
    model, images = walled(8).double(), some_images(1).double()
    found = camwall.explain(model, images, function, 1)[0]
    assert not found[8:].any()
    slopes = torch.zeros(3)
    for colour in range(3):
        moved = images.clone()
        moved[0, colour, 3, 5] += 1e-6
        with torch.no_grad():
            slopes[colour] = (model(moved) - model(images))[0, 1] / 1e-6
    pixel = images[0, :, 3, 5].float()
    wanted = slopes.abs().max() if function is repairs.gradient else (slopes * pixel).sum().abs()
    torch.testing.assert_close(found[3, 5].float(), wanted, atol=1e-5, rtol=1e-3)


def test_what_a_method_must_beat() -> None:
    """A flat map leaks the flat level; the bump is largest in the middle, and neither looks."""
    model, images = walled(8), some_images(2)
    flat = camwall.explain(model, images, repairs.flat)
    assert torch.allclose(
        camwall.leak(flat, model.wall), torch.tensor(model.wall.flat_level).double()
    )
    bump = camwall.explain(model, images, repairs.centre)[0]
    torch.testing.assert_close(bump, bump.flip((0, 1)))
    assert bump[8, 8] == bump.max()
    for function in (repairs.flat, repairs.centre):
        assert (camwall.response(model, images, function) == 0).all()
