"""The law of χ_K for K ~ Binomial(V, 1/2): the length of a vector whose entries a ReLU halves.

If g has V independent N(0, 1) entries, ReLU(g) keeps each with probability 1/2, so ‖ReLU(g)‖₂ is
χ_K with K ~ Binomial(V, 1/2), and χ_0 = 0. Everything the theory needs of the filters, and of the
hidden layers of a deeper head, is this one law.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from camwall.errors import CamwallError, check_count, in_one_line

Array = npt.NDArray[np.float64]

MOST = 10**10  # trials, so that what weighs anything fits memory
_TAIL = 1e-18  # mass that a grid may leave out on either side, below the rounding of a double
_WIDEST_STEP = 0.1  # of log r: a trapezoid error of about exp(-π²/(2·0.1)) ≈ 1e-21


def as_real(name: str, value: npt.ArrayLike) -> Array:
    """``value`` as floats, or a :class:`CamwallError` for what is no number."""
    with in_one_line(f"{name} must be a number, or an array of numbers", f"not {value!r:.60}"):
        array = np.asarray(value)
        if array.dtype.kind not in "iufO":
            raise TypeError(f"it is of {array.dtype}")
        return array.astype(float)


def check_real(name: str, value: npt.ArrayLike, *, zero: bool = False) -> Array:
    """``value`` as floats, or a :class:`CamwallError` unless all are finite and > 0 (or >= 0)."""
    array = as_real(name, value)
    if not np.all(np.isfinite(array) & (array >= 0 if zero else array > 0)):
        rule = "at least 0" if zero else "above 0"
        raise CamwallError(f"{name} must be finite and {rule}, not {value!r}")
    return array


def check_counts(name: str, value: npt.ArrayLike) -> None:
    """Refuse what is no whole number above 0, nor an array of such."""
    for count in as_real(name, value).flat:
        check_count(name, float(count))


def chi_mean(k: npt.ArrayLike) -> Array:
    """E[χ_k] = √2 Γ((k+1)/2) / Γ(k/2), with E[χ_0] = 0.

    The ratio is Pochhammer's symbol (k/2)_{1/2}: the difference of two log-gammas for small k and
    its asymptotic series for large k, where that difference would lose ten digits.
    """
    k = np.asarray(k, dtype=float)
    return np.sqrt(2) * np.where(k > 0, special.poch(np.maximum(k, 1) / 2, 0.5), 0.0)


@lru_cache(maxsize=256)
def binomial_half(trials: int) -> tuple[Array, Array]:
    """The values k of Binomial(trials, 1/2) that weigh anything in a double, with their weights.

    Returns
    -------
    k, weight : arrays of one length, about 10 standard deviations either side of the mean.
    """
    if trials > MOST:
        raise CamwallError(f"a width is at most {MOST:,}, not {trials:,}")
    half_width = 5 * np.sqrt(trials) + 20
    lowest, highest = trials / 2 - half_width, trials / 2 + half_width
    k = np.arange(max(0.0, np.floor(lowest)), min(trials, np.ceil(highest)) + 1)
    return k, np.asarray(stats.binom.pmf(k, trials, 0.5))


@lru_cache(maxsize=1024)
def relu_norm_mean(width: int) -> float:
    """E[χ_K] for K ~ Binomial(width, 1/2)."""
    k, weight = binomial_half(width)
    return float(weight @ chi_mean(k))


def _log_density(width: int, step: float) -> tuple[int, Array]:
    """Weights of log χ_K on the grid step·(first, first+1, …): trapezoid rule on the real line.

    The density of log χ_k is analytic and decays at both ends, also for k = 1, so the trapezoid
    rule converges exponentially; that is why the grid is even in log r and not in r.
    """
    k, weight = binomial_half(width)
    k, weight = k[k > 0], weight[k > 0]
    first = int(np.floor(np.log(stats.chi.ppf(_TAIL, k[0])) / step))
    last = int(np.ceil(np.log(stats.chi.isf(_TAIL, k[-1])) / step))
    y = step * np.arange(first, last + 1)[:, None]
    log_pdf = k * y - np.exp(2 * y) / 2 - (k / 2 - 1) * np.log(2) - special.gammaln(k / 2)
    density = np.exp(log_pdf) @ weight
    # The sum over the grid is 1 - 2^-V up to rounding of gammaln, which is common to all nodes.
    return first, density * ((1 - 0.5**width) / density.sum())


def relu_norm_nodes(widths: tuple[int, ...]) -> tuple[Array, Array]:
    """Quadrature of the product of independent χ_{K_i}, K_i ~ Binomial(widths[i], 1/2).

    Returns
    -------
    nodes, weights : arrays of one length. The weights sum to P(product > 0) = Π (1 - 2^-width);
        the rest of the mass is an atom at 0. Nodes are even in log: a product of variables is a
        convolution of their logarithms.
    """
    # log χ_K has a standard deviation near √(5/(4V)); half of it leaves an error of about e^-79.
    step = min(_WIDEST_STEP, 0.5 * np.sqrt(1.25 / max(widths)))
    first, weights = 0, np.ones(1)
    for width in widths:
        start, density = _log_density(width, step)
        first, weights = first + start, np.convolve(weights, density)
    keep = weights > 0
    nodes = np.exp(step * (first + np.arange(len(weights))))
    return nodes[keep], weights[keep]
