"""GradCAM's exact law: against independent formulas, and its properties for any sizes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from camwall import theory
from camwall.errors import CamwallError
from camwall.theory.chi import binomial_half, chi_mean, relu_norm_mean, relu_norm_nodes

SIZES = {"visible": 8, "positions": 36, "patch_norm": 1.7, "tau": 0.6}

filters = st.one_of(st.integers(1, 60), st.integers(61, 100_000))
positive = st.floats(1e-3, 1e3)
sizes = st.fixed_dictionaries(
    {
        "visible": st.integers(1, 1_000),
        "positions": st.integers(10_000, 50_000),  # more than cells, ten times smaller too
        "patch_norm": positive,
        "tau": positive,
    }
)


def law(filters, **change) -> theory.GradCAMLaw:
    """The law for the sizes above, but for what is changed."""
    return theory.GradCAMLaw(**{"filters": filters, **SIZES, **change})


def mean_from_characteristic_function(count: int) -> float:
    """E[ReLU(S)], S = Σ_v Z_v ReLU(g_v), as (1/π) ∫ (1 - φ^V)/t² dt, φ = ½ + ½(1 + t²)^-½."""

    def integrand(y: float) -> float:
        t = math.exp(y) / math.sqrt(count)
        # φ - 1 = -½ t² / (√(1+t²)(1+√(1+t²))): no difference of near-equal numbers
        root = math.sqrt(1 + t * t)
        return -math.expm1(count * math.log1p(-0.5 * t * t / (root * (1 + root)))) / t

    value = sum(
        integrate.quad(integrand, low, low + 2, epsabs=0, epsrel=1e-13)[0]
        for low in range(-40, 44, 2)
    )
    return value / math.pi


@pytest.mark.parametrize("count", [1, 2, 3, 20, 64, 1_000, 100_000])
def test_mean_equals_the_integral_of_the_characteristic_function(count):
    """The log-gamma sum and a quadrature that knows no gamma function agree to ten digits."""
    exact = theory.gradcam_mean(filters=count, visible=1, positions=1, patch_norm=1, tau=1)
    assert exact == pytest.approx(mean_from_characteristic_function(count), rel=1e-10)


def test_literal_values():
    """V = 1: s/(2π). V = 2: s/√(2π)·(½√(2/π) + ¼√(π/2)). Second moment s²V/4. P = (1-2^-V)/2."""
    scale = 0.6**2 * math.sqrt(8) * 1.7 / 36
    assert law(1).scale == pytest.approx(scale, rel=1e-15)
    one, two = (theory.gradcam_mean(filters=v, **SIZES) for v in (1, 2))
    assert one == pytest.approx(scale / (2 * math.pi), rel=1e-14)
    expected = math.sqrt(2 / math.pi) / 2 + math.sqrt(math.pi / 2) / 4
    assert two == pytest.approx(scale / math.sqrt(2 * math.pi) * expected, rel=1e-14)
    assert law(7).second_moment == pytest.approx(scale**2 * 7 / 4)
    assert [law(v).positive for v in (1, 2, 3)] == [0.25, 0.375, 0.4375]


def test_bound_literal():
    """The talk's formula, written out once more: (V-20)/√V √(h'w'/16π) τ²/(hw) ‖m‖."""
    bound = theory.gradcam_bound(filters=36, cells=98, positions=784, patch_norm=2.5, tau=0.3)
    expected = 16 / 6 * math.sqrt(98 / (16 * math.pi)) * 0.09 / 784 * 2.5
    assert bound == pytest.approx(expected, rel=1e-14)


def test_chi_mean_is_right_for_small_and_large_k():
    """E[χ_1] = √(2/π), E[χ_2] = √(π/2), E[χ_0] = 0; for large k √k(1 - 1/4k + 1/32k²)."""
    assert chi_mean([0, 1, 2]) == pytest.approx([0, math.sqrt(2 / math.pi), math.sqrt(math.pi / 2)])
    k = 1e6
    assert float(chi_mean(k)) == pytest.approx(
        math.sqrt(k) * (1 - 0.25 / k + 1 / (32 * k * k)), rel=1e-14
    )


@pytest.mark.parametrize("count", [1, 5, 300, 99_999])
def test_binomial_window_holds_all_the_mass(count):
    """The window of k that is kept has mean V/2, variance V/4 and total 1 to rounding."""
    k, weight = binomial_half(count)
    assert weight.sum() == pytest.approx(1, abs=1e-12)
    assert weight @ k == pytest.approx(count / 2, rel=1e-12)
    assert weight @ (k - count / 2) ** 2 == pytest.approx(count / 4, rel=1e-10)


@settings(max_examples=60, deadline=None)
@given(filters, sizes, st.floats(0.1, 10))
def test_scaling(count, args, factor):
    """Mean scales with τ², ‖m‖, 1/(hw) and √n; the second moment with their squares."""
    plain = law(count, **args)
    for name, power in [("tau", 2), ("patch_norm", 1), ("positions", -1), ("visible", 0.5)]:
        scaled = law(count, **{**args, name: args[name] * factor})
        assert scaled.mean == pytest.approx(plain.mean * factor**power, rel=1e-12)
        expected = plain.second_moment * factor ** (2 * power)
        assert scaled.second_moment == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(filters, sizes)
def test_monotone_in_the_number_of_filters(count, args):
    """One more filter never lowers the mean, the second moment or P(GC > 0)."""
    more, fewer = law(count + 1, **args), law(count, **args)
    assert more.mean > fewer.mean
    assert more.second_moment > fewer.second_moment
    assert more.positive >= fewer.positive


@settings(max_examples=100, deadline=None)
@given(filters, sizes)
def test_bounds_hold_everywhere(count, args):
    """The paper's bound and the elementary lower bound stay below the exact mean, Jensen above."""
    exact = theory.gradcam_mean(filters=count, **args)
    paper = theory.gradcam_bound(
        filters=count,
        cells=2 * args["visible"],
        positions=args["positions"],
        patch_norm=args["patch_norm"],
        tau=args["tau"],
    )
    lower, upper = law(count, **args).mean_bounds
    assert paper < exact
    assert lower < exact < upper
    assert (paper > 0) == (count > 20)


@pytest.mark.parametrize("widths", [(1,), (3, 2), (500,)])
def test_the_paper_bound_lies_as_far_below_the_mean_with_hidden_layers(widths):
    """Given the filters, each layer multiplies what the linear head shows: both of them alike."""
    deep, linear = law(1000, head_widths=widths), law(1000)
    assert 0 < deep.bound < deep.mean
    assert deep.bound / deep.mean == pytest.approx(linear.bound / linear.mean, rel=1e-12)


def test_the_paper_bound_is_loose_by_root_two():
    """Exact mean over bound tends to √2, from above."""
    ratios = [
        theory.gradcam_mean(filters=v, visible=50, positions=50, patch_norm=1, tau=1)
        / theory.gradcam_bound(filters=v, cells=100, positions=50, patch_norm=1, tau=1)
        for v in (100, 10_000, 100_000)
    ]
    assert ratios[0] > ratios[1] > ratios[2] > math.sqrt(2)
    # bound / limit = (1 - 20/V)/√2, mean / limit = 1 - O(1/V)
    assert ratios[2] == pytest.approx(math.sqrt(2) * (1 + 20 / 100_000), rel=1e-5)


@pytest.mark.parametrize("count", [50, 200, 1_000, 5_000])
def test_wide_expansion_has_a_third_order_error(count):
    """Mean over its limit = 1 - 5/(8V) - 23/(128V²) + O(V⁻³), the constant below 0.2."""
    ratio = law(count).mean / law(count).wide_mean
    assert abs(ratio - theory.gradcam_mean_expansion(count)) < 0.2 / count**3 + 1e-13


def test_wide_limit_in_law_has_rate_one_over_v():
    """V times the Kolmogorov distance to ReLU(N(0, V/2·s²)) tends to 5/8·max|x³ - 3x|φ(x)."""
    x = np.linspace(0, 6, 20_001)
    constant = 5 / 8 * np.max(np.abs(x**3 - 3 * x) * np.exp(-(x**2) / 2)) / math.sqrt(2 * math.pi)
    assert 10_000 * theory.wide_distance(10_000) == pytest.approx(constant, rel=1e-3)


# The full law ------------------------------------------------------------------------------


def variance_gamma_pdf(x: np.ndarray, count: int) -> np.ndarray:
    """Density above 0 of Z·χ_K: binomial sum of |x|^ν K_ν(|x|) / (√π 2^ν Γ(k/2)), ν = (k-1)/2."""
    total = np.zeros_like(x)
    for k in range(1, count + 1):
        order = (k - 1) / 2
        bessel = x**order * special.kv(order, x)
        density = bessel / (math.sqrt(math.pi) * 2**order * special.gamma(k / 2))
        total += math.comb(count, k) / 2**count * density
    return total


@pytest.mark.parametrize("count", [1, 2, 3, 10, 40])
def test_density_equals_the_bessel_form(count):
    """The scale mixture's density is the variance-gamma mixture's, from 1e-6 to 15 scales."""
    x = np.concatenate([np.geomspace(1e-6, 0.1, 20), np.linspace(0.1, 15, 60)])
    unit = law(count, visible=1, positions=1, patch_norm=1, tau=1).distribution()
    np.testing.assert_allclose(unit.pdf(x), variance_gamma_pdf(x, count), rtol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 33, 1_000, 100_000])
def test_law_has_the_closed_form_moments(count):
    """Mean, second moment and atom of the mixture are those of the closed forms."""
    closed, found = law(count), law(count).distribution()
    for name in ("mean", "second_moment", "positive"):
        assert getattr(found, name) == pytest.approx(getattr(closed, name), rel=1e-12)
    assert found.atom == pytest.approx(1 - found.positive)
    assert found.std**2 == pytest.approx(found.second_moment - found.mean**2)


@pytest.mark.parametrize("count", [1, 4, 500])
def test_cdf_is_the_integral_of_the_density(count):
    """P(X <= b) - P(X <= a) = ∫_a^b pdf, and the jump at 0 is the atom."""
    found = law(count).distribution()
    scale = found.second_moment**0.5
    area = integrate.quad(lambda x: float(found.pdf(x)), 0.1 * scale, 3 * scale, epsrel=1e-10)[0]
    assert found.cdf(3 * scale) - found.cdf(0.1 * scale) == pytest.approx(area, rel=1e-8)
    assert found.cdf(0) == pytest.approx(found.atom)
    assert found.cdf(-1e-9) == 0
    assert found.pdf([-1.0, 0.0]).tolist() == [0, 0]


@settings(max_examples=40, deadline=None)
@given(filters, st.floats(0, 1, exclude_max=True))
def test_quantile_inverts_the_cdf(count, level):
    """cdf(quantile(p)) = p above the atom; 0 at and below it."""
    found = law(count).distribution()
    x = found.quantile(level)
    if level <= found.atom:
        assert x == 0
    elif level < 1 - 1e-12:  # beyond, 1 - p itself has few digits left
        assert found.sf(x) == pytest.approx(1 - level, rel=1e-9)


def test_quantiles_keep_shape_and_order():
    """Levels of any shape come back in that shape, rising."""
    found = law(3).distribution()
    x = found.quantile(np.array([[0.2, 0.6], [0.9, 0.999]]))
    assert x.shape == (2, 2)
    assert np.all(np.diff(x.ravel()) > 0)
    assert x[0, 0] == 0


def test_sample_follows_the_law():
    """Draws of the mixture have its mean and P(X > 0) within four standard errors."""
    found = law(2).distribution()
    x = found.sample(50_000, np.random.default_rng(3))
    assert abs(x.mean() - found.mean) < 4 * found.std / math.sqrt(50_000)
    assert abs((x > 0).mean() - found.positive) < 4 * 0.5 / math.sqrt(50_000)


# Deeper heads ------------------------------------------------------------------------------


def test_head_layers_multiply():
    """Each hidden layer multiplies mean, second moment and P by τE[χ_G], τ²N/2 and 1 - 2^-N."""
    linear, deep, tau = law(5), law(5, head_widths=(3, 8)), SIZES["tau"]
    factor = tau**2 * relu_norm_mean(3) * relu_norm_mean(8)
    assert deep.mean == pytest.approx(linear.mean * factor)
    assert deep.second_moment == pytest.approx(linear.second_moment * tau**4 * 3 / 2 * 8 / 2)
    assert law(5, head_widths=(3,)).positive == pytest.approx(linear.positive * 7 / 8)


def test_law_of_a_deep_head_has_the_closed_form_moments():
    """The convolution of log-grids keeps mean, second moment and atom."""
    closed = law(4, head_widths=(6, 900))
    found = closed.distribution()
    assert found.mean == pytest.approx(closed.mean, rel=1e-11)
    assert found.second_moment == pytest.approx(closed.second_moment, rel=1e-11)
    assert found.positive == pytest.approx(closed.positive, rel=1e-12)


def test_nodes_of_a_product_do_not_depend_on_the_order():
    """χ_3·χ_7 = χ_7·χ_3."""
    for a, b in zip(relu_norm_nodes((3, 7)), relu_norm_nodes((7, 3)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-300)


# Arrays and bad input ----------------------------------------------------------------------


def test_arrays_broadcast_and_numbers_stay_numbers():
    """visible [3, 1] with patch_norm [2] gives [3, 2]; scalars give a float; filters may vary."""
    args = {**SIZES, "visible": np.array([[1], [4], [9]]), "patch_norm": np.array([1.0, 2.0])}
    mean = theory.gradcam_mean(filters=3, **args)
    assert mean.shape == (3, 2)
    np.testing.assert_allclose(mean, mean[0, 0] * np.outer([1, 2, 3], [1, 2]), rtol=1e-13)
    assert isinstance(theory.gradcam_mean(filters=3, **SIZES), float)
    several = law([3, 50], head_widths=(2,))
    for name in ("mean", "second_moment", "positive", "wide_mean"):
        each = [getattr(law(v, head_widths=(2,)), name) for v in (3, 50)]
        assert getattr(several, name).tolist() == each


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": 0}, "filters must be a whole number of at least 1"),
        ({"filters": 2.5}, "filters must be a whole number"),
        ({"filters": math.nan}, "filters must be a whole number"),
        ({"tau": 0}, "tau must be finite and above 0"),
        ({"tau": math.inf}, "tau must be finite"),
        ({"positions": 0}, "positions must be finite and above 0"),
        ({"visible": -1}, "visible must be finite and at least 0"),
        ({"patch_norm": math.nan}, "patch_norm must be finite"),
        ({"head_widths": (4, 0)}, "head_widths must be a whole number of at least 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, message):
    """Each impossible value is named in one line."""
    with pytest.raises(CamwallError, match=message) as error:
        theory.gradcam_mean(**{"filters": 3, **SIZES, **change})
    assert "\n" not in str(error.value)


def test_a_black_patch_has_mean_zero_and_no_law():
    """‖m‖ = 0 is GradCAM = 0: its mean is 0, and asking for a density is refused."""
    black = law(3, patch_norm=0)
    assert black.mean == black.second_moment == black.positive == 0
    with pytest.raises(CamwallError, match="else GradCAM is 0"):
        black.distribution()


@pytest.mark.parametrize("level", [-0.1, 1.0, math.nan])
def test_quantile_refuses_levels_outside(level):
    """Levels outside [0, 1) are refused."""
    with pytest.raises(CamwallError, match="level"):
        law(3).distribution().quantile(level)
