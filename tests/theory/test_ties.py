"""Other poolings and ties: what GradCAM's weight needs of the pooling, and what GradCAM++ does."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import camwall
from camwall import theory
from camwall.audit import closed_forms
from camwall.methods import cams
from camwall.models import simple_cnn

SETTING = theory.Setting(image_rows=10, image_columns=10, visible_rows=2)
TAU, PLACE = 0.7, (7, 2)
MAX_SHARED = closed_forms.POOLINGS["max, 2×2, ties shared"]
IMAGE = torch.rand(10, 10, generator=torch.Generator().manual_seed(5))


def test_max_and_average_pooling_hand_on_the_whole_weight():
    """The gradient at the maps sums to ΣW, for windows of any size, disjoint or not, ties and all.

    Zeros that padding adds to an average take a part of the gradient with them.
    """
    image = IMAGE.clone()
    image[:6, :6] = 0  # windows there are dead for every filter
    (networks,) = theory.draw_networks(SETTING, image, filters=4, tau=TAU, networks=50, seed=2)
    assert not networks.maps[:, :, :4, :4].any()
    found = {
        row["pooling"]: row["difference"] for row in closed_forms.pooling_rows(networks.maps, 2)
    }
    assert set(found) == set(closed_forms.POOLINGS)
    assert found.pop("average, 3×3, zeros around") > 0.1
    assert max(found.values()) < 1e-4


def test_dead_windows_count_in_the_library_too():
    """explain's raw GradCAM on an image with a black region is ReLU(Σ_v (1/hw) ΣW[v, c] B_v)."""
    model = simple_cnn(filters=5, image_size=12, visible_rows=2)
    images = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    images[:, :, :4, :6] = 0
    maps = model.features(images)
    assert not maps[:, :, :2, :4].any()
    weights = model.cells()[0].sum((1, 2)) / model.setting.positions
    expected = torch.relu(torch.einsum("v,nvhw->nhw", weights, maps))
    found = camwall.explain(model, images, "GradCAM", normalize=False)
    torch.testing.assert_close(found, expected)


def test_where_a_tie_goes_is_not_seen_by_gradcam_but_that_it_goes_somewhere():
    """To the first position or shared: the same GradCAM, and the law. Nowhere: another law.

    Nothing is handed on from a dead window when the gradient is taken before the ReLU; then S has
    the variance of the live windows alone, and GradCAM a smaller mean.
    """
    image = IMAGE.clone()
    image[:6] = 0.5  # patches alike: a filter's visible windows are dead or alive together
    image[7:, 2:5] -= image[7:, 2:5].mean()  # orthogonal to them: whether it is lit is another coin
    args = {"filters": 3, "tau": TAU, "networks": 40_000, "seed": 6}
    networks = theory.Networks.join(theory.draw_networks(SETTING, image, **args))
    maps, rows = networks.maps, SETTING.visible_rows
    weights = networks.layers[0].reshape(-1, 3, *SETTING.pooled_shape)[:, :, :rows]
    live = SETTING.visible_cells(maps) > 0
    assert 0.4 < float(live.double().mean()) < 0.6

    leaf = maps.clone().requires_grad_()
    (shared,) = torch.autograd.grad((weights * MAX_SHARED(leaf)[:, :, :rows]).sum(), leaf)
    assert not torch.allclose(shared, networks.gradients)
    first = torch.relu(cams.gradcam(maps, networks.gradients))
    torch.testing.assert_close(torch.relu(cams.gradcam(maps, shared)), first)
    for method in (cams.hirescam, cams.xgradcam):  # activation 0 in a dead window; ties elsewhere
        dead = [g * (maps == 0) for g in (shared, networks.gradients)]
        assert dead[0].any()
        assert dead[1].any()
        assert not any(method(maps, g).any() for g in dead)
    size = {"visible": SETTING.visible, "positions": SETTING.positions, "tau": TAU}
    size |= {"filters": 3, "patch_norm": SETTING.patch_norms(image)[PLACE]}
    law, x = theory.GradCAMLaw(**size), first[:, *PLACE]
    assert abs(theory.Estimate.of(x).errors_from(law.mean)) < 4
    assert abs(theory.Estimate.of(x**2).errors_from(law.second_moment)) < 4

    before = networks.gradients * (maps > 0)  # at the ReLU's input
    alpha = (weights.flatten(2) * live).sum(2) / SETTING.positions
    torch.testing.assert_close(before.mean((2, 3)), alpha)
    found = theory.Estimate.of(torch.relu(cams.gradcam(maps, before))[:, *PLACE])
    spread = theory.gradcam_spread(maps, live.double(), TAU) * live.double().mean(2).sqrt()
    std = theory.gaussian_std(spread, maps)[:, *PLACE]
    exact = theory.Estimate.of(std / (2 * torch.pi) ** 0.5)  # over heads exactly
    both = (found.standard_error**2 + exact.standard_error**2) ** 0.5
    assert abs(found.value - exact.value) < 4 * both
    assert found.value < 0.8 * law.mean


# GradCAM++ ---------------------------------------------------------------------------------


def test_gradcampp_counts_dead_windows():
    """P(> 0) = 1 - (½ + 2^{-n-1})^V with them, 1 - (1 - ¼(1 - 2^-n))^V where they hand on nothing.

    The visible side is flat, so that a filter has n live windows or none, and the hidden patch is
    orthogonal to it, so that both are fair coins.
    """
    setting = theory.Setting(8, 4, visible_rows=1)  # one pooled column: n = 1
    setting = replace(setting, image_rows=11, visible_rows=2)
    i = setting.visible_image_rows
    image = torch.rand(11, 4, generator=torch.Generator().manual_seed(1))
    image[:i] = 1
    image[i : i + 3, :3] -= image[i : i + 3, :3].mean()
    lit, without = [], []
    for chunk in theory.draw_networks(setting, image, filters=3, tau=TAU, networks=40_000, seed=3):
        kept = chunk.gradients * (chunk.maps > 0)
        lit.append(cams.gradcam_pp(chunk.maps, chunk.gradients)[:, i, 0] > 0)
        without.append(cams.gradcam_pp(chunk.maps, kept)[:, i, 0] > 0)
    found, other = (theory.Estimate.of(torch.cat(hits)) for hits in (lit, without))
    exact = theory.gradcampp_positive(3, setting.visible)
    assert abs(found.errors_from(exact)) < 4
    channel = (1 - 0.5**setting.visible) / 4
    assert abs(other.errors_from(1 - (1 - channel) ** 3)) < 4
    assert other.value < exact - 0.1


@pytest.mark.parametrize("shared", [False, True])
def test_gradcampp_does_not_see_where_a_tie_goes(shared):
    """With ties in every window, P(> 0) is the law's for either convention."""
    image = IMAGE.clone()
    image[:6] = 0.5
    setting = replace(SETTING, image_columns=4, visible_rows=1)  # n = 1
    hits = []
    for chunk in theory.draw_networks(
        setting, image[:, :4], filters=3, tau=TAU, networks=40_000, seed=7
    ):
        gradients = chunk.gradients
        if shared:
            leaf = chunk.maps.clone().requires_grad_()
            weights = chunk.layers[0].view(-1, 3, *setting.pooled_shape)
            (gradients,) = torch.autograd.grad((weights * MAX_SHARED(leaf)).sum(), leaf)
        hits.append(cams.gradcam_pp(chunk.maps, gradients)[:, 7, 1] > 0)
    found = theory.Estimate.of(torch.cat(hits))
    assert abs(found.errors_from(theory.gradcampp_positive(3, setting.visible))) < 4


def test_gradcampp_needs_disjoint_windows():
    """Where overlapping windows share a position their weights add before the ReLU: less often lit.

    Three windows 3×3 with stride 1 hold one bright spot, which a filter that likes it makes the
    largest value of all three: one weight, ΣW, in place of three.
    """
    setting = theory.Setting(8, 8, visible_rows=1, pool=1)
    image = IMAGE[:8, :8].clone()
    image[2, 4] = 50.0
    visible, hits = 3, []
    generator = torch.Generator().manual_seed(0)
    for chunk in theory.draw_networks(setting, image, filters=2, tau=TAU, networks=40_000, seed=4):
        cells, index = F.max_pool2d(chunk.maps, 3, stride=1, return_indices=True)
        weights = torch.randn(*cells.shape[:2], visible, generator=generator)
        routed = torch.zeros_like(chunk.maps).flatten(2)
        routed.scatter_add_(2, index[:, :, 0, :visible], weights)
        hits.append(cams.gradcam_pp(chunk.maps, routed.view_as(chunk.maps))[:, 5, 2] > 0)
    found = theory.Estimate.of(torch.cat(hits))
    assert found.errors_from(theory.gradcampp_positive(2, visible)) < -10
