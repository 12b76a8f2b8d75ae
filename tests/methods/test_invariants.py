"""What must not matter, and what must hold whatever the weights."""

import numpy as np
import pytest
import torch
from torch import nn

from camwall import METHODS, explain
from camwall.methods import Evidence, Mechanism, explain_each, perturbation
from camwall.methods.cams import first_component, gradcam, hirescam
from camwall.models import MaskedModel
from tests.helpers.networks import (
    NETWORKS,
    SIZE,
    Parts,
    efficientnet_like,
    efficientnet_parts,
    images,
    resnet_like,
    resnet_parts,
    vgg_like,
    walled,
)

OURS = [name for name, m in METHODS.items() if m.raw is not None]
POSITION_WISE = [n for n in OURS if METHODS[n].mechanism is Mechanism.POSITION_WISE]


def raw_maps(network: str, seed: int, count: int, **options: object) -> dict[str, torch.Tensor]:
    model = NETWORKS[network](seed).double()
    batch = images(model, count, seed).double()
    target = [i % 6 for i in range(count)]
    found = explain_each(model, batch, OURS, target, normalize=False, **options)  # type: ignore[arg-type]
    return {name: maps.detach() for name, maps in found.items()}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", POSITION_WISE)
@pytest.mark.parametrize("visible_only", [True, False])
def test_position_wise_methods_are_blind(network: str, method: str, visible_only: bool) -> None:
    """HiResCAM, LayerCAM and element-wise GradCAM are exactly 0 behind the wall, in float32."""
    model = NETWORKS[network](1)
    batch = images(model, 3)
    raw = explain(model, batch, method, normalize=False, visible_only=visible_only)
    hidden = ~model.visible_cells
    assert torch.equal(raw[:, hidden], torch.zeros_like(raw[:, hidden]))
    assert raw[:, ~hidden].any()
    assert model.features(batch)[:, :, hidden].any(), "there was something to light up"


@pytest.mark.parametrize("construction", ["whole", "apart"])
@pytest.mark.parametrize("make", [resnet_like, efficientnet_like])
def test_with_average_pooling_gradcam_is_a_multiple_of_cam(make, construction: str) -> None:
    """Behind global average pooling α_v is the class weight over the number of positions.

    Where the pooling runs over the whole map, hidden cells as zeros, it is so many times that as
    cells are visible. HiResCAM is the same multiple of CAM for each visible cell, cut at the wall.
    """
    model = make(0, construction).double()
    batch = images(model, 2).double()
    raw = explain(model, batch, "GradCAM", 3, normalize=False)
    maps = model.features(batch)
    cam = torch.einsum("v,nvij->nij", model.trunk.head[-1].weight[3], maps).clamp(min=0)
    positions, visible = model.visible_cells.numel(), int(model.visible_cells.sum())
    share = visible / positions if construction == "whole" else 1.0
    torch.testing.assert_close(raw, cam * share / positions, atol=1e-12, rtol=1e-10)
    hires = explain(model, batch, "HiResCAM", 3, normalize=False)
    cut = raw * (positions / visible) * model.visible_cells
    torch.testing.assert_close(hires, cut, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("parts", [resnet_parts(0), efficientnet_parts(0)])
def test_without_a_wall_average_pooling_makes_gradcam_hirescam(parts) -> None:
    """The gradient is the same at each position; the map sums to the score less the bias."""
    trunk, head = parts.features.eval().double(), parts.head.eval().double()
    noise = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).double()
    maps = trunk(noise).detach().requires_grad_()
    scores = head(maps)[:, 3]
    (gradients,) = torch.autograd.grad(scores.sum(), maps)
    found = hirescam(maps, gradients)
    torch.testing.assert_close(gradcam(maps, gradients), found, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(found.sum(dim=(1, 2)), scores - head[-1].bias[3])


@pytest.mark.parametrize("network", NETWORKS)
def test_a_batch_gives_the_maps_of_its_images_one_by_one(network: str) -> None:
    """For every method, to rounding."""
    together = raw_maps(network, 0, 3)
    model = NETWORKS[network](0).double()
    batch = images(model, 3, 0).double()
    for index in range(3):
        alone = explain_each(model, batch[index : index + 1], OURS, index, normalize=False)
        for name in OURS:
            torch.testing.assert_close(
                alone[name][0], together[name][index], atol=1e-9, rtol=1e-7, msg=name
            )


@pytest.mark.parametrize("network", NETWORKS)
def test_a_map_does_not_depend_on_its_neighbours(network: str) -> None:
    """Bit for bit: the same image, other neighbours in the batch."""
    model = NETWORKS[network](0)
    batch = images(model, 3, 0)
    others = torch.cat([batch[:1], 5 * images(model, 2, 1)])
    first = explain_each(model, batch, OURS, [2, 0, 1])
    second = explain_each(model, others, OURS, [2, 4, 4])
    for name in OURS:
        assert torch.equal(first[name][0], second[name][0]), name


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_chunk_does_not_matter(
    network: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perturbed copies in chunks of any size give the same maps, to rounding."""
    expected = raw_maps(network, 0, 2)
    monkeypatch.setattr(perturbation, "CHUNK", chunk)
    found = raw_maps(network, 0, 2)
    for name in OURS:
        torch.testing.assert_close(found[name], expected[name], atol=1e-10, rtol=1e-8, msg=name)


@pytest.mark.parametrize("network", NETWORKS)
def test_what_the_model_cannot_see_need_not_be_computed(network: str) -> None:
    """`visible_only` changes cost, not maps."""
    everything, visible = (raw_maps(network, 0, 2, visible_only=v) for v in (False, True))
    for name in OURS:
        torch.testing.assert_close(visible[name], everything[name], atol=1e-9, rtol=1e-7, msg=name)


def test_heads_without_a_linear_layer_first_are_ablated_by_copies() -> None:
    """AblationCAM is the same through a head that must be run for each channel."""
    model = efficientnet_like(0).double()
    batch = images(model, 2).double()
    # The same function with a layer in front that hides the linear one.
    parts = efficientnet_parts(0)
    opaque = nn.Sequential(nn.ReLU6(), *parts.head)
    other = walled(Parts(parts.features, opaque), 16).double()
    for name in ("AblationCAM", "AblationCAM (absolute)"):
        torch.testing.assert_close(
            explain(other, batch, name, normalize=False),
            explain(model, batch, name, normalize=False),
            atol=1e-12,
            rtol=1e-10,
        )


def test_the_baseline_is_explained_whole() -> None:
    """Without a mask nothing is hidden: the gradient reaches every row of the maps."""
    model = vgg_like(0, masked=False)
    raw = explain(model, images(model, 2), "HiResCAM", normalize=False)
    assert raw[:, ~model.visible_cells].any()


@pytest.mark.parametrize("shape", [(49, 1280), (196, 256), (16, 20), (64, 10), (49, 512), (16, 16)])
def test_the_sign_of_the_first_component_is_that_of_grad_cam(shape: tuple[int, int]) -> None:
    """On many random matrices, wide and tall, the projection equals grad-cam's, sign included."""
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    positions, channels = shape
    rng = np.random.default_rng(positions * channels)
    side = int(positions**0.5)
    for kind in range(6):
        values = rng.standard_normal((2, channels, side, side)).astype(np.float32)
        if kind % 2:
            values = np.maximum(values, 0)
        if kind > 2:  # a spectrum that falls, as real activations have
            values *= rng.exponential(size=(channels, 1, 1)).astype(np.float32) ** 2
        expected = get_2d_projection(values)
        found = first_component(torch.from_numpy(values)).numpy()
        np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max(), rtol=0)


DIFFERENTIABLE = [
    "GradCAM",
    "HiResCAM",
    "XGradCAM",
    "GradCAM++",
    "GradCAM++ (paper)",
    "AblationCAM",
]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", DIFFERENTIABLE)
def test_raw_maps_can_be_differentiated(network: str, method: str) -> None:
    """Derivatives along random directions, of images and parameters, are difference quotients."""
    model = NETWORKS[network](2).double()
    batch = images(model, 2, 2).double().requires_grad_()
    gen = torch.Generator().manual_seed(0)
    leaves = [batch, *model.parameters()]

    def value() -> torch.Tensor:
        raw = explain(model, batch, method, [1, 3], normalize=False)
        return (raw * weights).sum()

    weights = torch.randn(2, *model.features(batch).shape[2:], generator=gen).double()
    gradients = torch.autograd.grad(value(), leaves, allow_unused=True)
    assert gradients[0] is not None
    assert gradients[0].any()
    for leaf, gradient in zip(leaves, gradients, strict=True):
        direction = torch.randn(leaf.shape, generator=gen).double()
        if network == "vgg" and leaf is model.head[1].weight:  # along the wall, not across it
            direction.view_as(model.cells())[:, :, model.visible_map_rows :] = 0
        direction /= direction.norm()
        along = 0.0 if gradient is None else float((gradient * direction).sum())
        steps = []
        with torch.no_grad():
            for step in (3e-7, -6e-7, 3e-7):  # there, across, and back
                leaf += step * direction
                steps.append(float(value()))
        assert along == pytest.approx((steps[0] - steps[1]) / 6e-7, abs=2e-5, rel=1e-4)


def test_gradcheck_of_gradcam() -> None:
    """torch's own check of the derivative to the image, on a corner of it."""
    model = vgg_like(3).double()
    whole = images(model, 1, 3).double()

    def corner(patch: torch.Tensor) -> torch.Tensor:
        image = torch.cat([torch.cat([patch, whole[:, :, :3, 3:]], 3), whole[:, :, 3:]], 2)
        return explain(model, image, "GradCAM", 0, normalize=False)

    assert torch.autograd.gradcheck(corner, whole[:, :, :3, :3].clone().requires_grad_(), eps=1e-6)


def test_the_derivative_does_not_stop_at_parameters_behind_a_cut_layer() -> None:
    """Through the visible part of the first dense layer, weights get their gradients."""
    model = vgg_like(0).double()
    scores = model.rest.chain(model.visible_maps(images(model, 1).double()))
    (gradient,) = torch.autograd.grad(scores.sum(), model.head[1].weight)
    assert isinstance(model, MaskedModel)
    cells = gradient.view_as(model.cells())
    assert cells[:, :, : model.visible_map_rows].any()
    assert not cells[:, :, model.visible_map_rows :].any()


def test_maps_without_gradients() -> None:
    """Under no_grad, raw maps are the same and carry no graph."""
    model = vgg_like(0)
    batch = images(model, 2)
    with torch.no_grad():
        quiet = explain_each(model, batch, OURS, normalize=False)
    loud = explain_each(model, batch, OURS, normalize=False)
    for name in OURS:
        assert not quiet[name].requires_grad
        torch.testing.assert_close(quiet[name], loud[name].detach(), msg=name)


def test_several_methods_share_one_pass() -> None:
    """The trunk runs once for all gradient-based methods, the head once."""
    model = vgg_like(0)
    runs = {"trunk": 0, "head": 0}
    model.features[0].register_forward_hook(lambda *_: runs.__setitem__("trunk", runs["trunk"] + 1))
    model.head[4].register_forward_hook(lambda *_: runs.__setitem__("head", runs["head"] + 1))
    explain_each(model, images(model, 2), ["GradCAM", "GradCAM++", "XGradCAM", *POSITION_WISE])
    assert runs == {"trunk": 1, "head": 1}


def test_opticam_raises_the_score_it_climbs() -> None:
    """The mask it finds scores at least as much as the uniform one it starts from."""
    import torch.nn.functional as F

    from camwall.methods.perturbation import opticam_weights

    for make in NETWORKS.values():
        model = make(0).double()
        batch = images(model, 3).double()
        shared = Evidence(model, batch, [0, 1, 2])

        def scores(weights: torch.Tensor, model=model, batch=batch, shared=shared):
            mask = torch.einsum("nv,nvij->nij", weights, shared.maps)
            mask = F.interpolate(mask[:, None], batch.shape[2:], mode="bilinear")
            low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
            pixels = model.preprocessing.denormalize(batch) * (mask - low) / (high - low)
            return shared.target_scores(model(model.preprocessing.normalize(pixels))).detach()

        uniform = torch.full(shared.maps.shape[:2], 1 / shared.maps.shape[1]).double()
        assert (scores(opticam_weights(shared, 50, 0.1)) > scores(uniform)).all()
