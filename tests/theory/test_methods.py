"""The other methods: laws given the maps, quadrature over filters, the dial, predictions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from camwall import Wall, theory
from camwall.audit.mechanisms import dial_rows
from camwall.errors import CamwallError
from camwall.metrics import mean_leak

SETTING = theory.Setting(image_rows=8, image_columns=8, visible_rows=2)
TAU, PLACE = 0.7, (5, 2)
IMAGE = torch.rand(8, 8, generator=torch.Generator().manual_seed(5))


def heads(trunk: theory.Networks, count: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Maps [V, h, w] of the chunk's first network, visible cells [V, n], heads [count, V, n]."""
    maps = trunk.maps[0].double()
    cells = SETTING.visible_cells(maps)
    generator = torch.Generator().manual_seed(seed)
    weights = TAU * torch.randn(count, *cells.shape, generator=generator, dtype=torch.double)
    return maps, cells, weights


def one_trunk(filters: int = 6, seed: int = 0) -> theory.Networks:
    """One random network."""
    return next(
        theory.draw_networks(SETTING, IMAGE, filters=filters, tau=TAU, networks=1, seed=seed)
    )


# Given the maps ----------------------------------------------------------------------------


def test_gradcam_given_maps_is_gaussian():
    """Over 20,000 heads on one trunk, S at a hidden place passes a test of its Gaussian law."""
    maps, cells, weights = heads(one_trunk(), 20_000, seed=1)
    s = torch.einsum("dv,v->d", weights.sum(-1) / 36, maps[:, *PLACE])
    std = theory.gaussian_std(theory.gradcam_spread(maps, cells, TAU), maps)[PLACE]
    assert stats.kstest(s.numpy() / float(std), "norm").pvalue > 1e-3


def test_xgradcam_given_maps_is_gaussian():
    """The same for XGradCAM, whose weight is ΣW·P/ΣB."""
    maps, cells, weights = heads(one_trunk(), 20_000, seed=2)
    alpha = (weights * cells).sum(-1) / maps.sum((1, 2))
    s = alpha @ maps[:, *PLACE]
    std = theory.gaussian_std(theory.xgradcam_spread(maps, cells, TAU), maps)[PLACE]
    assert stats.kstest(s.numpy() / float(std), "norm").pvalue > 1e-3


def test_ablationcam_given_maps_is_cauchy():
    """AblationCAM's S = Σ f_v B_v / Σ f_v passes a test of its Cauchy law, and of P(S > 0)."""
    maps, cells, weights = heads(one_trunk(), 20_000, seed=3)
    parts = (weights * cells).sum(-1)
    s = (parts @ maps[:, *PLACE]) / parts.sum(-1)
    location, scale = theory.ablationcam_cauchy(maps, cells)
    place = float(location[PLACE]), float(scale[PLACE])
    assert stats.kstest(s.numpy(), stats.cauchy(*place).cdf).pvalue > 1e-3
    exact = theory.cauchy_positive(location, scale)[PLACE]
    found = theory.Estimate.of(s > 0)
    assert abs(found.errors_from(float(exact))) < 4


def test_ablationcam_is_positive_at_least_half_of_the_time():
    """P(S > 0) >= ½ wherever some map of a channel that scores is positive, 0 where none is."""
    for seed in range(20):
        trunk = one_trunk(filters=3, seed=seed)
        cells = SETTING.visible_cells(trunk.maps[0])
        location, scale = theory.ablationcam_cauchy(trunk.maps[0], cells)
        chance = theory.cauchy_positive(location, scale)
        lit = (trunk.maps[0] > 0).any(0) & (cells.sum() > 0)
        assert torch.all(chance[lit] >= 0.5 - 1e-6)
        assert torch.all(chance[(trunk.maps[0] == 0).all(0)] == 0)


def test_laws_work_on_batches_of_maps():
    """[N, V, h, w] gives the stack of what each [V, h, w] gives."""
    maps = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    cells = F.max_pool2d(maps, 2)[:, :, :2].flatten(2)
    for law in (
        lambda m, c: theory.gaussian_std(theory.gradcam_spread(m, c, TAU), m),
        lambda m, c: theory.gaussian_std(theory.xgradcam_spread(m, c, TAU), m),
        lambda m, c: theory.ablationcam_cauchy(m, c)[1],
    ):
        single = [law(m, c) for m, c in zip(maps, cells, strict=True)]
        torch.testing.assert_close(law(maps, cells), torch.stack(single))


def test_a_dead_map_has_weight_zero_in_xgradcam():
    """A channel that is 0 everywhere adds nothing, and no NaN."""
    maps = torch.zeros(2, 6, 6)
    maps[0] = 1
    spread = theory.xgradcam_spread(maps, F.max_pool2d(maps, 2)[:, :2].flatten(1), 1.0)
    expected = torch.full((6, 6), math.sqrt(6) / 36)
    torch.testing.assert_close(theory.gaussian_std(spread, maps), expected)


# Non-negative weights ----------------------------------------------------------------------


def gradcampp(networks: theory.Networks) -> torch.Tensor:
    """GradCAM++ as grad-cam 1.5.7 has it."""
    g, total = networks.gradients, networks.maps.sum((2, 3), keepdim=True)
    factor = g**2 / (2 * g**2 + total * g**3 + 1e-6)
    weights = (torch.relu(g) * torch.where(g != 0, factor, 0)).sum((2, 3), keepdim=True)
    return torch.relu((weights * networks.maps).sum(1))


@pytest.mark.parametrize(("filters", "visible_rows"), [(1, 1), (2, 2), (5, 1)])
def test_gradcampp_positive_probability(filters, visible_rows):
    """P(GradCAM++ > 0) = 1 - (½ + 2^{-n-1})^V over 50,000 networks."""
    setting = theory.Setting(6, 4, visible_rows=visible_rows)  # one pooled column: n = rows
    image = IMAGE[:6, :4] + 0.1
    hits = torch.cat(
        [
            (gradcampp(chunk)[:, 3, 1] > 0).double()
            for chunk in theory.draw_networks(
                setting, image, filters=filters, tau=TAU, networks=50_000, seed=8
            )
        ]
    )
    exact = theory.gradcampp_positive(filters, setting.visible)
    assert abs(theory.Estimate.of(hits).errors_from(exact)) < 4


def test_some_map_positive_probability():
    """P(some B_v > 0) = 1 - 2^-V over 50,000 networks."""
    hits = torch.cat(
        [
            (chunk.maps[:, :, *PLACE] > 0).any(1).double()
            for chunk in theory.draw_networks(
                SETTING, IMAGE, filters=3, tau=TAU, networks=50_000, seed=9
            )
        ]
    )
    assert abs(theory.Estimate.of(hits).errors_from(1 - 0.5**3)) < 4


# Quadrature over one filter ----------------------------------------------------------------


def xgradcam(*, image: torch.Tensor = IMAGE, tau: float = TAU, **how) -> theory.FilterLaw:
    """XGradCAM's law at the place."""
    return theory.filter_law(theory.xgradcam_spread, SETTING, image, PLACE, tau=tau, **how)


@pytest.mark.parametrize("filters", [1, 4, 100])
def test_quadrature_gives_back_gradcams_closed_form(filters):
    """On GradCAM, whose law is known, the quadrature is right to a percent."""
    args = {"filters": filters, "tau": TAU}
    law = theory.filter_law(theory.gradcam_spread, SETTING, IMAGE, PLACE, **args)
    norm = SETTING.patch_norms(IMAGE)[PLACE]
    sizes = {"visible": SETTING.visible, "positions": SETTING.positions, "patch_norm": norm}
    closed = theory.GradCAMLaw(**args, **sizes)
    assert law.mean == pytest.approx(closed.mean, rel=0.01)
    assert law.second_moment == pytest.approx(closed.second_moment, rel=0.01)
    assert law.positive == pytest.approx(closed.positive, rel=0.01)


def test_the_mean_integral_is_exact_for_given_nodes():
    """With one node q the sum is q^½·Z·χ_{Vk²}: the integral is E[χ_{Vk²}]√(q/2π)."""
    law = theory.FilterLaw(3, np.array([0.3]), dimension=9, tau=0.5)
    chi = math.sqrt(2) * math.exp(math.lgamma(14) - math.lgamma(13.5))
    expected = 0.25 * math.sqrt(0.3 / (2 * math.pi)) * chi
    assert law.mean == pytest.approx(expected, rel=1e-10)
    # The shares 1/Q of other nodes sum to 1 up to rounding, below it or above.
    means = [replace(law, q=np.linspace(0.29, 0.31, count)).mean for count in range(2, 99)]
    np.testing.assert_allclose(means, expected, rtol=1e-3)


@pytest.mark.parametrize("filters", [1, 8])
def test_xgradcam_law_against_whole_networks(filters):
    """XGradCAM in 100,000 networks: the quadrature's mean, second moment, P(> 0), and the cdf."""
    draws = []
    for chunk in theory.draw_networks(
        SETTING, IMAGE, filters=filters, tau=TAU, networks=100_000, seed=12
    ):
        total = chunk.maps.sum((2, 3))
        alpha = (chunk.gradients * chunk.maps).sum((2, 3)) / total.where(total > 0, 1)
        draws.append(torch.relu((alpha * chunk.maps[:, :, *PLACE]).sum(1)))
    x = torch.cat(draws).double()
    quadrature = xgradcam(filters=filters, directions=2**16)
    # The quadrature over 9 dimensions is good to some tenths of a percent, like the estimate.
    assert quadrature.mean == pytest.approx(float(x.mean()), rel=0.02)
    assert quadrature.second_moment == pytest.approx(float(x.square().mean()), rel=0.05)
    assert abs(theory.Estimate.of(x > 0).errors_from(quadrature.positive)) < 5
    law = quadrature.distribution(draws=20_000, seed=1)
    assert law.mean == pytest.approx(quadrature.mean, rel=0.03)
    levels = law.positive * np.array([0.2, 0.5, 0.9])
    shares = [float((x > float(law.quantile(1 - level))).double().mean()) for level in levels]
    np.testing.assert_allclose(shares, levels, rtol=0.05)


def test_scale_of_tau():
    """XGradCAM scales with τ²: the ratio ΣP²/(ΣB)² has no unit, W and B bring one τ each."""
    one, two = (xgradcam(filters=4, tau=tau, directions=256) for tau in (1.0, 3.0))
    assert two.mean == pytest.approx(9 * one.mean)
    assert two.second_moment == pytest.approx(81 * one.second_moment)
    assert two.distribution(draws=100).mean == pytest.approx(9 * one.distribution(draws=100).mean)


def test_a_black_patch_is_never_lit():
    """Where the image is black the quadrature gives 0 and no division fails."""
    image = IMAGE.clone()
    image[4:] = 0
    law = xgradcam(image=image, filters=5, directions=64)
    assert law.mean == law.second_moment == law.positive == 0


def test_directions_must_be_a_power_of_two():
    """A Sobol set of another size loses its balance: refused."""
    with pytest.raises(CamwallError, match="power of 2"):
        xgradcam(filters=1, directions=100)


def test_a_place_off_the_map_is_refused():
    """In the words of the Monte Carlo, which has the same check."""
    with pytest.raises(CamwallError, match="places must lie on the"):
        theory.filter_law(theory.gradcam_spread, SETTING, IMAGE, (-1, 0), filters=1, tau=TAU)


# The dial ----------------------------------------------------------------------------------


def test_dial_ends_are_hirescam_and_gradcam():
    """Radius 0 multiplies element by element; from radius max(h, w) - 1 on it is GradCAM."""
    trunk = one_trunk()
    hires = torch.relu((trunk.gradients * trunk.maps).sum(1))
    grad = torch.relu((trunk.gradients.mean((2, 3), keepdim=True) * trunk.maps).sum(1))
    torch.testing.assert_close(theory.windowed_gradcam(trunk.maps, trunk.gradients, 0), hires)
    for radius in (5, 9):
        torch.testing.assert_close(
            theory.windowed_gradcam(trunk.maps, trunk.gradients, radius), grad
        )


@pytest.mark.parametrize("radius", [0, 1, 2, 3])
def test_dial_reaches_exactly_radius_rows_behind_the_wall(radius):
    """Rows farther behind the wall than the radius are exactly 0; windows are clipped means."""
    (networks,) = theory.draw_networks(SETTING, IMAGE, filters=8, tau=TAU, networks=50, seed=1)
    saliency = theory.windowed_gradcam(networks.maps, networks.gradients, radius)
    assert not saliency[:, 4 + radius :].any()
    if 0 < radius < 2:
        assert saliency[:, 4 : 4 + radius].any()
    i, j = 3, 5
    window = networks.gradients[0, :, max(0, i - radius) : i + radius + 1, j - radius :]
    expected = torch.relu((window.mean((1, 2)) * networks.maps[0, :, i, j]).sum())
    torch.testing.assert_close(saliency[0, i, j], expected)


def test_dial_energy_is_exact_where_windows_hold_whole_pools():
    """Without pooling every position is a cell, and the expected squares are exact."""
    setting = theory.Setting(8, 8, visible_rows=3, pool=1)
    networks = theory.Networks.join(
        theory.draw_networks(setting, IMAGE, filters=8, tau=TAU, networks=20_000, seed=4)
    )
    for radius in (0, 1, 3, 5):
        squares = theory.windowed_gradcam(networks.maps, networks.gradients, radius).square()
        found = squares.double().mean(0).numpy()
        expected = theory.dial_energy(setting, IMAGE, radius)
        # E[S²]/2 with E[ΣB²] = Vτ²‖m‖²/2 and the windows' weights of variance τ²n/A².
        np.testing.assert_allclose(found, expected * TAU**4 * 8 / 4, rtol=0.15)
        assert (found[3 + radius :] == 0).all()


@pytest.mark.parametrize("radius", [-1, 1.5])
def test_a_radius_that_is_none_is_refused(radius):
    """Before anything is computed with it."""
    with pytest.raises(CamwallError, match="radius must be a whole number of at least 0"):
        theory.dial_energy(SETTING, IMAGE, radius)


def test_dial_rows_by_hand():
    """Energy 9 before the wall and 16 behind it, and a map that is empty: 4/5, and one in three."""
    maps = torch.zeros(3, 1, 2, 2)
    maps[:, 0, 0, 0], maps[:, 0, 1, 1] = 3, 4
    gradients = torch.zeros_like(maps)
    gradients[:, 0, 0, 0] = torch.tensor([1.0, 2.0, -1.0])
    wall = Wall.rows(2, 2, 1)
    rows = list(dial_rows(maps, gradients, wall, [0, 1]))
    assert [row["radius"] for row in rows] == [0, 1]
    assert rows[0]["energy"] == rows[0]["leak"] == 0
    for key in ("energy", "energy_low", "energy_high", "leak", "leak_low", "leak_high"):
        assert rows[1][key] == pytest.approx(0.8)
    assert rows[1]["empty"] == pytest.approx(1 / 3)
    with pytest.raises(CamwallError, match="all maps at radius 0 are empty"):
        next(dial_rows(maps[2:], gradients[2:], wall, [0]))


# Predictions -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GradCAM", "XGradCAM", "AblationCAM", "GradCAM++"])
def test_predicted_leak_is_the_measured_one(method):
    """Drawing weights from their law gives the mean leak that 4,000 real heads have."""
    maps, cells, weights = heads(one_trunk(filters=12), 4_000, seed=6)
    drawn = theory.predicted_maps(method, maps, cells, TAU, draws=4_000, seed=1)
    predicted = mean_leak(drawn, Wall.rows(6, 6, 4))
    routed = torch.zeros(4_000, 12, 36, dtype=torch.double)
    index = F.max_pool2d(maps[None], 2, return_indices=True)[1][0, :, :2].flatten(1)
    routed.scatter_(2, index.expand(4_000, -1, -1), weights)
    gradients = routed.reshape(4_000, 12, 6, 6)
    parts = (weights * cells).sum(-1)
    alpha = {
        "GradCAM": gradients.mean((2, 3)),
        "XGradCAM": (gradients * maps).sum((2, 3)) / maps.sum((1, 2)).clamp_min(1e-30),
        "AblationCAM": parts / parts.sum(1, keepdim=True),
        "GradCAM++": torch.where(
            gradients > 0,
            gradients**3
            / (2 * gradients**2 + maps.sum((1, 2))[:, None, None] * gradients**3 + 1e-6),
            0,
        ).sum((2, 3)),
    }[method]
    measured = mean_leak(torch.relu(torch.einsum("dv,vhw->dhw", alpha, maps)), Wall.rows(6, 6, 4))
    assert abs(predicted[0] - measured[0]) < 4 * math.hypot(predicted[1], measured[1])


def test_uniform_prediction_is_the_mean_map():
    """ScoreCAM's and Opti-CAM's prediction is the mean of the maps, in every draw."""
    maps = one_trunk().maps[0].double()
    cells = SETTING.visible_cells(maps)
    for method in ("ScoreCAM", "Opti-CAM"):
        predicted = theory.predicted_maps(method, maps, cells, TAU, draws=3)
        torch.testing.assert_close(predicted, maps.mean(0).expand(3, -1, -1))


def test_unknown_method_is_refused_with_the_known_ones():
    """The message lists what has a law."""
    with pytest.raises(CamwallError, match=r"is known for 'HiResCAM'; known: GradCAM, "):
        theory.predicted_maps("HiResCAM", torch.ones(2, 4, 4), torch.ones(2, 2), 1.0)
