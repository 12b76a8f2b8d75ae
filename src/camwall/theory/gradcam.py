"""GradCAM at initialisation: the exact law at one position, and the paper's bound on its mean.

Each pooled cell passes its whole gradient to its window, a dead one (B = 0 throughout) too; so the
weight α_v = (1/hw) Σ_c W[v, c] over the visible cells c is N(0, nτ²/(hw)²) and independent of the
filters, for max and average pooling alike. Given the filters, Σ_v α_v B_v[i, j] is therefore a
centred Gaussian of standard deviation s·‖ReLU(g)‖₂, g ~ N(0, I_V) (:mod:`camwall.theory.chi`):

    GC[i, j] = ReLU(s·χ_K·Z),   s = τ²√n‖m‖₂/(hw),   K ~ Binomial(V, 1/2),   Z ~ N(0, 1).

Nothing here asks whether (i, j) is visible. A head with hidden ReLU layers multiplies the scale by
τχ_{G_l} for each layer, G_l ~ Binomial(N_l, 1/2) independent: the layer's Gaussian rows turn any
vector into one with independent Gaussian entries, and flipping a row's sign flips its gate but
changes no square, so gates are fair coins, at every width. One case is left out: on a dead visible
side (every visible pooled cell 0) all gates are shut and GC = 0. Probabilities computed here for
such heads are off by at most that case's own, q^V, where q is that of one dead filter (at most 1/2,
unless the visible side is black: then it is always dead); without hidden layers nothing is off.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from camwall.errors import CamwallError, check_count, check_list, in_one_line
from camwall.theory.chi import check_counts, check_real, relu_norm_mean, relu_norm_nodes
from camwall.theory.mixture import HalfNormalMixture

Numbers = float | npt.NDArray[np.float64]
_chi_mean = np.vectorize(relu_norm_mean, otypes=[float])


@dataclass(frozen=True, kw_only=True, eq=False)
class GradCAMLaw:
    """The law of GC at a position, hidden or visible alike.

    Exact for a linear head; with hidden layers where the visible side is never dead.

    Attributes
    ----------
    filters, visible, positions, patch_norm, tau : numbers, or arrays that broadcast; so is what
        the law gives. They are explained in :mod:`camwall.theory`.
    head_widths : of whole numbers.

    Raises
    ------
    CamwallError
        A count that is none; a negative or non-finite value; ``positions`` or ``tau`` equal to 0;
        more visible cells than positions; arrays that do not broadcast; a law beyond the numbers.
    """

    filters: npt.ArrayLike
    visible: npt.ArrayLike
    positions: npt.ArrayLike
    patch_norm: npt.ArrayLike
    tau: npt.ArrayLike
    head_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_counts("filters", self.filters)
        check_counts("head_widths", check_list("head_widths", self.head_widths))
        visible = check_real("visible", self.visible, zero=True)
        positions = check_real("positions", self.positions)
        check_real("patch_norm", self.patch_norm, zero=True)
        check_real("tau", self.tau)
        with in_one_line("the law's arguments do not go together", "give others"):
            if np.any(visible > positions):
                raise ValueError("a map has no more visible cells than positions")
            with np.errstate(over="ignore", invalid="ignore"):
                if not np.all(np.isfinite(self.second_moment)):
                    raise ValueError("its second moment is beyond the numbers of a double")

    @property
    def scale(self) -> Numbers:
        """s = τ^{2+L} √n ‖m‖₂ / (hw), L the number of hidden layers of the head."""
        tau, norm = (np.asarray(value, dtype=float) for value in (self.tau, self.patch_norm))
        root = np.sqrt(self.visible) / np.asarray(self.positions)
        return tau ** (2 + len(self.head_widths)) * norm * root

    @property
    def _hidden_norms(self) -> float:
        """Π_l E[χ_{G_l}], 1 for a linear head."""
        return float(np.prod(_chi_mean(self.head_widths)))

    @property
    def mean(self) -> Numbers:
        """E[GC] = s/√(2π) · E[χ_K] · Π_l E[χ_{G_l}], right to about 1e-12 for V up to 100,000."""
        norms = _chi_mean(self.filters) * self._hidden_norms
        return self.scale * norms / np.sqrt(2 * np.pi)

    @property
    def second_moment(self) -> Numbers:
        """E[GC²] = s²/2 · V/2 · Π_l N_l/2.

        It asks of the parameters only that they be independent and symmetric with variance τ²
        (biases may be added to the hidden layers): no Gaussian law is used.
        """
        halves = np.divide(self.filters, 2) * np.prod(np.divide(self.head_widths, 2))
        return np.square(self.scale) / 2 * halves

    @property
    def positive(self) -> Numbers:
        """P(GC > 0) = ½ (1 - 2^-V) Π_l (1 - 2^-N_l), or 0 where GC is 0: at a black patch."""
        lit = (1 - np.power(0.5, self.filters)) * np.prod(1 - np.power(0.5, self.head_widths))
        sees = np.sign(np.asarray(self.visible)) * np.sign(np.asarray(self.patch_norm))
        return sees * lit / 2

    @property
    def wide_mean(self) -> Numbers:
        """E[GC] with √(V/2) for E[χ_K]: the wide limit, where GC/(s√(V/2)) tends to ReLU(Z)."""
        return self.mean * np.sqrt(np.divide(self.filters, 2)) / _chi_mean(self.filters)

    @property
    def mean_bounds(self) -> tuple[Numbers, Numbers]:
        """Elementary bounds that hold for every V >= 1: wide/√(1 + 5/V) <= E[GC] <= wide.

        With X = ‖ReLU(g)‖², E[X] = V/2 and E[X²] = V²/4 + 5V/4. Above: Jensen, E[√X] <= √E[X].
        Below: Hölder, E[X] <= E[√X]^{2/3} E[X²]^{1/3}. Both ends have the right limit.
        """
        return self.wide_mean / np.sqrt(1 + np.divide(5, self.filters)), self.wide_mean

    @property
    def bound(self) -> Numbers:
        """The paper's lower bound on E[GC], `gradcam_bound`, with 2n for h'w': for any wall.

        The paper's head is linear; hidden layers multiply bound and mean alike, by τE[χ_{G_l}].
        """
        factor = np.subtract(self.filters, 20) / np.sqrt(self.filters)
        return factor * self.scale * self._hidden_norms / np.sqrt(8 * np.pi)

    def distribution(self) -> HalfNormalMixture:
        """All of it, for numbers: cdf, density above 0, atom at 0, quantiles, draws.

        Raises
        ------
        CamwallError
            For a black patch or a head that reads nothing: then GC is 0 and has no density.
        """
        scale = float(self.scale)
        if scale <= 0:
            raise CamwallError(
                "the law needs visible and patch_norm above 0: else GradCAM is 0 here"
            )
        nodes, weights = relu_norm_nodes((int(np.asarray(self.filters)), *self.head_widths))
        return HalfNormalMixture(scales=scale * nodes, weights=weights)


def gradcam_mean(
    *,
    filters: npt.ArrayLike,
    visible: npt.ArrayLike,
    positions: npt.ArrayLike,
    patch_norm: npt.ArrayLike,
    tau: npt.ArrayLike,
    head_widths: tuple[int, ...] = (),
) -> Numbers:
    """The exact mean of GradCAM at a position, `GradCAMLaw.mean`, for the arguments of that law."""
    return GradCAMLaw(
        filters=filters,
        visible=visible,
        positions=positions,
        patch_norm=patch_norm,
        tau=tau,
        head_widths=head_widths,
    ).mean


def gradcam_bound(
    *,
    filters: npt.ArrayLike,
    cells: npt.ArrayLike,
    positions: npt.ArrayLike,
    patch_norm: npt.ArrayLike,
    tau: npt.ArrayLike,
) -> Numbers:
    """The paper's bound (V-20)/√V · √(h'w'/(16π)) · τ²/(hw) · ‖m‖₂ (Taimeskhanov et al., 2024).

    Stated for the lower half of W set to 0: n = h'w'/2 visible cells. For another wall put
    ``cells = 2·n``; bound and exact mean scale with √n alike. Negative, hence empty, below V = 20.
    Arguments and errors are those of `GradCAMLaw`.
    """
    visible = check_real("cells", cells, zero=True) / 2
    return GradCAMLaw(
        filters=filters, visible=visible, positions=positions, patch_norm=patch_norm, tau=tau
    ).bound


def gradcam_mean_expansion(filters: int) -> float:
    """E[GC] over its wide limit to second order: 1 - 5/(8V) - 23/(128V²), error O(V⁻³).

    From the cumulants 1/2, 5/4, 11/2 of ReLU(g)² put into the expansion of E[√X] about E[X].
    """
    check_count("filters", filters)
    return 1 - 5 / (8 * filters) - 23 / (128 * filters**2)


def wide_distance(filters: int) -> float:
    """``sup |P(GC <= x) - P(its wide limit <= x)|``, the Kolmogorov distance, on a grid of x.

    Times V it tends to (5/8)·max|x³ - 3x|φ(x) ≈ 0.344: the variance of the scale² is 5/V, and the
    Gaussian part leaves no term of order 1/√V. The atoms differ by 2^-V/2 at x = 0.
    """
    # With ‖m‖ = √(2/V) and the rest 1 the wide limit is ReLU(Z) itself.
    norm = np.sqrt(2 / check_count("filters", filters))
    law = GradCAMLaw(filters=filters, visible=1, positions=1, patch_norm=norm, tau=1)
    wide = HalfNormalMixture(scales=np.ones(1), weights=np.ones(1))
    x = np.linspace(0, 6, 2001)
    return float(np.abs(law.distribution().sf(x) - wide.sf(x)).max())
