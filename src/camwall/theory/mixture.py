"""The law of ReLU(A·Z): a scale mixture of half-normals with an atom at 0."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.optimize import brentq

from camwall.errors import CamwallError, check_count
from camwall.theory.chi import as_real, check_real

Array = npt.NDArray[np.float64]


def _points(x: npt.ArrayLike) -> Array:
    """Where a function of the law is asked for."""
    if np.isnan(points := as_real("x", x)).any():
        raise CamwallError("x holds NaN, which is no place")
    return points


@dataclass(frozen=True)
class HalfNormalMixture:
    """X = ReLU(A·Z), Z ~ N(0, 1) independent of A, where A takes ``scales[i]`` with ``weights[i]``.

    Attributes
    ----------
    scales : array [n], positive, in the units of X.
    weights : array [n], non-negative, of sum P(A > 0) <= 1; the rest is A = 0.
    """

    scales: Array
    weights: Array

    def __post_init__(self) -> None:
        scales, weights = (
            check_real("scales", self.scales),
            check_real("weights", self.weights, zero=True),
        )
        if scales.ndim != 1 or scales.shape != weights.shape or weights.sum() > 1 + 1e-9:
            raise CamwallError("scales and weights are arrays of one length, the sum at most 1")

    @property
    def positive(self) -> float:
        """P(X > 0): half of P(A > 0)."""
        return float(self.weights.sum()) / 2

    @property
    def atom(self) -> float:
        """P(X = 0)."""
        return 1 - self.positive

    @property
    def mean(self) -> float:
        """E[X] = E[A] / √(2π)."""
        return float(self.weights @ self.scales) / np.sqrt(2 * np.pi)

    @property
    def second_moment(self) -> float:
        """E[X²] = E[A²] / 2."""
        return float(self.weights @ self.scales**2) / 2

    @property
    def std(self) -> float:
        """The standard deviation of X."""
        return float(np.sqrt(self.second_moment - self.mean**2))

    def sf(self, x: npt.ArrayLike) -> Array:
        """P(X > x) for x of any shape; 1 below 0."""
        x = _points(x)
        with np.errstate(over="ignore"):  # x / a tiny scale: infinite, and Φ(-∞) = 0 is right
            upper = special.ndtr(-np.maximum(x, 0)[..., None] / self.scales) @ self.weights
        return np.where(x < 0, 1.0, upper)

    def cdf(self, x: npt.ArrayLike) -> Array:
        """P(X <= x) for x of any shape; it jumps by ``atom`` at 0."""
        return 1 - self.sf(x)

    def pdf(self, x: npt.ArrayLike) -> Array:
        """The density of the part above 0 (it integrates to ``positive``); 0 for x <= 0."""
        x = _points(x)
        with np.errstate(over="ignore"):
            ratio = np.where(x > 0, x, np.inf)[..., None] / self.scales
            return np.exp(-(ratio**2) / 2) @ (self.weights / self.scales) / np.sqrt(2 * np.pi)

    def quantile(self, level: npt.ArrayLike) -> Array:
        """The smallest x with P(X <= x) >= level, for levels in [0, 1).

        Raises
        ------
        CamwallError
            If a level lies outside [0, 1): a half-normal has no largest value.
        """
        levels = check_real("level", level, zero=True)
        if not np.all((levels >= 0) & (levels < 1)):
            raise CamwallError(f"a quantile's level must lie in [0, 1), not {level!r}")
        return np.array([self._upper_quantile(1 - p) for p in levels.flat]).reshape(levels.shape)

    def _upper_quantile(self, tail: float) -> float:
        if tail >= min(self.positive, float(self.sf(0))):  # they differ by rounding
            return 0.0
        # P(X > x) <= weight·Φ(-x/largest): at that scale's own quantile the tail is met already.
        high = -special.ndtri(tail / 2) * float(self.scales.max())
        gap = lambda x: float(self.sf(x)) - tail  # noqa: E731
        return float(brentq(gap, 0, high, xtol=1e-300, rtol=1e-13, maxiter=2000))

    def sample(self, count: int, generator: np.random.Generator) -> Array:
        """``count`` independent draws of X."""
        scales = np.append(self.scales, 0.0)
        weights = np.append(self.weights, max(0.0, 1 - self.weights.sum()))
        drawn = generator.choice(
            scales, size=check_count("count", count, 0), p=weights / weights.sum()
        )
        return np.maximum(drawn * generator.standard_normal(count), 0)
