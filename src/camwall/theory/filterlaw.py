"""GradCAM and XGradCAM as sums over independent filters: the law by quadrature over one filter.

Given the filters, Σ_v α_v B_v[i, j] is centred Gaussian with variance Σ_v ρ(F_v): one term
ρ = σ_v² B_v[i, j]² for each filter, with σ_v from :mod:`camwall.theory.heads`, all independent. For
both methods it is homogeneous of degree 2 in the filter, ρ(F) = τ⁴ r² q(u) with F = τ r u,
r = ‖g‖ ~ χ_{k²} and u uniform on the sphere. So the characteristic function of the sum is φ_1(t)^V
with

    φ_1(t) = E_u[(1 + t²τ⁴ q(u))^{-k²/2}],

the radius done exactly and the direction by a quasi-random quadrature: one set of directions gives
the law for every V and τ (``dataclasses.replace``).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from camwall.errors import CamwallError, check_count, check_number
from camwall.theory.chi import check_real
from camwall.theory.geometry import Setting
from camwall.theory.heads import Spread, gaussian_std
from camwall.theory.mixture import HalfNormalMixture

_STEP = 0.25  # of log t: a trapezoid error of about exp(-π²/0.25) ≈ 1e-17
_GRID = np.arange(-40.0, 40.0, _STEP)


@dataclass(frozen=True)
class FilterLaw:
    """The law of ReLU(S), S = Σ_v N(0, ρ(F_v)), from quadrature values of q over directions.

    Attributes
    ----------
    filters : V.
    q : array [Q] of equally weighted values of q(u) >= 0.
    dimension : k², the entries of a filter.
    tau : τ.
    """

    filters: int
    q: np.ndarray
    dimension: int
    tau: float

    def __post_init__(self) -> None:
        check_count("filters", self.filters)
        check_count("dimension", self.dimension)
        check_number("tau", self.tau, above=0)
        if check_real("q", self.q, zero=True).ndim != 1 or not len(self.q):
            raise CamwallError("q is an array [Q] of the values over directions")

    @property
    def mean(self) -> float:
        """E[ReLU(S)] = (1/π) ∫_0^∞ (1 - φ_1(t)^V)/t² dt."""
        size = np.sqrt(self.filters * self.dimension * self.q.mean())
        if size == 0:
            return 0.0
        # With t = e^y / size the integrand is analytic in y, grows as e^y and decays as e^-y.
        values, counts = np.unique(self.q, return_counts=True)
        share = counts / len(self.q)
        missing = [  # 1 - φ_1(t), without the rounding of a difference from 1
            -np.expm1(-self.dimension / 2 * np.log1p(t2 * values)) @ share
            for t2 in (np.exp(_GRID) / size) ** 2
        ]
        with np.errstate(divide="ignore"):  # φ_1 = 0 far out: log 0, and φ_1^V = 0 is right
            inside = np.log1p(-np.minimum(missing, 1))  # the shares may sum to more, by rounding
            integrand = -np.expm1(self.filters * inside) * np.exp(-_GRID)
        return float(integrand.sum()) * _STEP * size * self.tau**2 / np.pi

    @property
    def second_moment(self) -> float:
        """E[ReLU(S)²] = ½ V τ⁴ k² E[q]."""
        return self.filters * self.tau**4 * self.dimension * float(self.q.mean()) / 2

    @property
    def positive(self) -> float:
        """P(S > 0) = ½ (1 - P(q = 0)^V)."""
        return float((1 - (self.q == 0).mean() ** self.filters) / 2)

    def distribution(self, draws: int = 20_000, seed: int = 0) -> HalfNormalMixture:
        """All of it: a mixture over ``draws`` sets of V filters, W integrated out."""
        generator = np.random.default_rng(seed)
        variances = np.zeros(check_count("draws", draws))
        for _ in range(self.filters):
            radii = generator.chisquare(self.dimension, size=draws)
            variances += radii * generator.choice(self.q, size=draws)
        scales = self.tau**2 * np.sqrt(variances[variances > 0])
        return HalfNormalMixture(scales=scales, weights=np.full(len(scales), 1 / draws))


def filter_law(
    spread: Spread,
    setting: Setting,
    image: Tensor,
    place: tuple[int, int],
    *,
    filters: int,
    tau: float,
    directions: int = 2**14,
) -> FilterLaw:
    """The law at position ``place`` of the map, for an image [H, W].

    Parameters
    ----------
    spread : `xgradcam_spread`, whose law depends on the whole image (the visible side sets the
        numerator, the sum over the map the denominator); or `gradcam_spread`, whose law also has a
        closed form.
    directions : how many quasi-random unit filters (scrambled Sobol points), a power of 2.

    Raises
    ------
    CamwallError
        ``directions`` that are no power of 2, or beyond Sobol's; a place off the map.
    """
    if check_count("directions", directions, 2) & (directions - 1) or directions > 2**30:
        raise CamwallError(f"the number of directions must be a power of 2, not {directions}")
    (position,) = setting.numbered([place])
    sobol = stats.qmc.Sobol(setting.kernel**2, rng=np.random.default_rng(0))
    normal = stats.norm.ppf(np.clip(sobol.random(directions), 1e-12, 1 - 1e-12))
    units = F.normalize(torch.from_numpy(normal), dim=1)
    # One channel a filter: [Q, 1, h, w].
    maps = torch.relu(units @ setting.patches(image).double()).view(-1, 1, *setting.map_shape)
    spreads = spread(maps, setting.visible_cells(maps), 1.0)
    q = gaussian_std(spreads, maps).flatten(1)[:, position] ** 2
    return FilterLaw(filters, q.numpy(), setting.kernel**2, tau)
