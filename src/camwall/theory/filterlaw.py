"""GradCAM and XGradCAM as sums over independent filters: the law by quadrature over one filter.

Given the filters, Σ_v α_v B_v[i, j] is centred Gaussian with variance Σ_v ρ(F_v): one term for
each filter, all independent. For GradCAM ρ = nτ² B[i, j]²/(hw)²; for XGradCAM
(Fu et al., 2020), whose weight is α_v = Σ_c W[v, c] P[v, c] / Σ_p B_v[p], it is

    ρ = τ² B[i, j]² Σ_{visible c} P[c]² / (Σ_p B[p])².

Both are homogeneous of degree 2 in the filter, ρ(F) = τ⁴ r² q(u) with F = τ r u, r = ‖g‖ ~ χ_{k²}
and u uniform on the sphere. So the characteristic function of the sum is φ_1(t)^V with

    φ_1(t) = E_u[(1 + t²τ⁴ q(u))^{-k²/2}],

the radius done exactly and the direction by a quasi-random quadrature: one set of directions gives
the law for every V and τ.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from camwall.errors import CamwallError
from camwall.theory.chi import check_count
from camwall.theory.mixture import HalfNormalMixture
from camwall.theory.setting import Setting

_STEP = 0.25  # of log t: a trapezoid error of about exp(-π²/0.25) ≈ 1e-17
_GRID = np.arange(-40.0, 40.0, _STEP)


@dataclass(frozen=True)
class FilterLaw:
    """The law of ReLU(S), S = Σ_v N(0, ρ(F_v)), from quadrature values of q over directions.

    Attributes
    ----------
    q : array [Q] of equally weighted values of q(u) >= 0.
    dimension : k², the entries of a filter.
    tau : τ.
    """

    q: np.ndarray
    dimension: int
    tau: float

    def mean(self, filters: int) -> float:
        """E[ReLU(S)] = (1/π) ∫_0^∞ (1 - φ_1(t)^V)/t² dt."""
        filters = check_count("filters", filters)
        spread = np.sqrt(filters * self.dimension * self.q.mean())
        if spread == 0:
            return 0.0
        # With t = e^y / spread the integrand is analytic in y, grows as e^y and decays as e^-y.
        values, counts = np.unique(self.q, return_counts=True)
        share = counts / len(self.q)
        missing = [  # 1 - φ_1(t), without the rounding of a difference from 1
            -np.expm1(-self.dimension / 2 * np.log1p(t2 * values)) @ share
            for t2 in (np.exp(_GRID) / spread) ** 2
        ]
        with np.errstate(divide="ignore"):  # φ_1 = 0 far out: log 0, and φ_1^V = 0 is right
            integrand = -np.expm1(filters * np.log1p(-np.array(missing))) * np.exp(-_GRID)
        return float(integrand.sum()) * _STEP * spread * self.tau**2 / np.pi

    def second_moment(self, filters: int) -> float:
        """E[ReLU(S)²] = ½ V τ⁴ k² E[q]."""
        return float(check_count("filters", filters) * self.tau**4 * self.dimension) * float(
            self.q.mean() / 2
        )

    def positive(self, filters: int) -> float:
        """P(S > 0) = ½ (1 - P(q = 0)^V)."""
        return float((1 - (self.q == 0).mean() ** check_count("filters", filters)) / 2)

    def law(self, filters: int, draws: int = 20_000, seed: int = 0) -> HalfNormalMixture:
        """The full law of ReLU(S): a mixture over ``draws`` sets of V filters, W integrated out."""
        generator = np.random.default_rng(seed)
        variances = np.zeros(check_count("draws", draws))
        for _ in range(check_count("filters", filters)):
            radii = generator.chisquare(self.dimension, size=draws)
            variances += radii * generator.choice(self.q, size=draws)
        scales = self.tau**2 * np.sqrt(variances[variances > 0])
        return HalfNormalMixture(scales=scales, weights=np.full(len(scales), 1 / draws))


def _directions(setting: Setting, count: int, seed: int) -> Tensor:
    """``count`` quasi-random unit filters, [Q, k²] in float64 (scrambled Sobol points)."""
    if count & (count - 1) or count < 2:
        raise CamwallError(f"the number of directions must be a power of 2, not {count}")
    sobol = stats.qmc.Sobol(setting.kernel**2, rng=np.random.default_rng(seed))
    normal = stats.norm.ppf(np.clip(sobol.random(count), 1e-12, 1 - 1e-12))
    return F.normalize(torch.from_numpy(normal), dim=1)


def _maps(setting: Setting, image: Tensor, directions: Tensor) -> Tensor:
    maps = torch.relu(directions @ setting.patches(image.double()))
    return maps.reshape(-1, *setting.map_shape)


def xgradcam_filter_law(
    setting: Setting,
    image: Tensor,
    place: tuple[int, int],
    *,
    tau: float,
    directions: int = 2**14,
    seed: int = 0,
) -> FilterLaw:
    """XGradCAM's law at position ``place`` of the map, for an image [H, W].

    Unlike GradCAM's it depends on the whole image: the visible side sets the numerator, the sum
    over the map the denominator. A filter that is dead everywhere has weight 0, as in grad-cam.
    """
    maps = _maps(setting, image, _directions(setting, directions, seed))
    pooled = F.max_pool2d(maps, setting.pool)[:, : setting.visible_rows]
    total = maps.sum((1, 2))
    here = maps[:, place[0], place[1]]
    total = total.where(total > 0, 1)
    q = here**2 * pooled.square().sum((1, 2)) / total**2
    return FilterLaw(q.numpy(), setting.kernel**2, tau)


def gradcam_filter_law(
    setting: Setting,
    image: Tensor,
    place: tuple[int, int],
    *,
    tau: float,
    directions: int = 2**14,
    seed: int = 0,
) -> FilterLaw:
    """GradCAM's law by the same quadrature, to hold against its closed form."""
    maps = _maps(setting, image, _directions(setting, directions, seed))
    q = maps[:, place[0], place[1]] ** 2 * setting.visible / setting.positions**2
    return FilterLaw(q.numpy(), setting.kernel**2, tau)
