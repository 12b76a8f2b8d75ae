"""GradCAM at initialisation: the paper's bound, and the exact law it bounds.

Each pooled cell passes its whole gradient to its window, so the weight α_v = (1/hw) Σ_c W[v, c]
over the visible cells c is N(0, nτ²/(hw)²) and independent of the filters. Max pooling passes it to
one position, average pooling to all. In a dead window (B = 0 throughout) max pooling has no
gradient but by convention; PyTorch's gives it to the first position, and the sum is the same for
every convention that passes on the whole.
Given the filters, Σ_v α_v B_v[i, j] is therefore a centred Gaussian, and its standard deviation is
``gradcam_scale`` times ‖ReLU(g)‖₂ with g ~ N(0, I_V) (module :mod:`camwall.theory.chi`):

    GC[i, j] = ReLU(s·χ_K·Z),   s = τ²√n‖m‖₂/(hw),   K ~ Binomial(V, 1/2),   Z ~ N(0, 1).

Nothing here asks whether (i, j) is visible. A head with hidden ReLU layers multiplies the scale by
τχ_{G_l} for each layer, G_l ~ Binomial(N_l, 1/2) independent: the layer's Gaussian rows turn any
vector into one with independent Gaussian entries, and flipping a row's sign flips its gate but
changes no square, so gates are fair coins, at every width. One case is left out: on a dead visible
side (every visible pooled cell 0) all gates are shut and GC = 0. Probabilities computed here for
such heads are off by at most that case's own, q^V, where q is that of one dead filter (at most 1/2,
unless the visible side is black: then it is always dead); without hidden layers nothing is off.

The functions accept arrays for ``visible``, ``positions``, ``patch_norm`` and ``tau`` and
broadcast; they return a float when all of these are numbers.
"""

import numpy as np
import numpy.typing as npt

from camwall.errors import CamwallError
from camwall.theory.chi import check_count, check_real, relu_norm_mean, relu_norm_nodes
from camwall.theory.mixture import HalfNormalMixture

Numbers = float | npt.NDArray[np.float64]


def _plain(value: npt.ArrayLike) -> Numbers:
    array = np.asarray(value, dtype=float)
    return float(array) if array.ndim == 0 else array


def gradcam_scale(
    *,
    visible: npt.ArrayLike,
    positions: npt.ArrayLike,
    patch_norm: npt.ArrayLike,
    tau: npt.ArrayLike,
    head_widths: tuple[int, ...] = (),
) -> Numbers:
    """The scale s = τ^{2+L} √n ‖m‖₂ / (hw) of the law, L the number of hidden layers of the head.

    Raises
    ------
    CamwallError
        For a negative or non-finite value, or for ``positions`` or ``tau`` equal to 0.
    """
    tau = check_real("tau", tau)
    visible = check_real("visible", visible, zero=True)
    positions = check_real("positions", positions)
    patch_norm = check_real("patch_norm", patch_norm, zero=True)
    return _plain(tau ** (2 + len(head_widths)) * np.sqrt(visible) * patch_norm / positions)


def _widths(filters: int, head_widths: tuple[int, ...]) -> tuple[int, ...]:
    return (
        check_count("filters", filters),
        *(check_count("head_widths", width) for width in head_widths),
    )


def gradcam_mean(
    *,
    filters: int,
    visible: npt.ArrayLike,
    positions: npt.ArrayLike,
    patch_norm: npt.ArrayLike,
    tau: npt.ArrayLike,
    head_widths: tuple[int, ...] = (),
) -> Numbers:
    """E[GC] = s/√(2π) · E[χ_K] · Π_l E[χ_{G_l}], hidden or visible position alike.

    Exact for a linear head; with hidden layers where the visible side is never dead. Arguments as
    in :mod:`camwall.theory`. Right to about 1e-12 for V up to 100,000 and beyond.
    """
    scale = gradcam_scale(
        visible=visible,
        positions=positions,
        patch_norm=patch_norm,
        tau=tau,
        head_widths=head_widths,
    )
    norms = np.prod([relu_norm_mean(width) for width in _widths(filters, head_widths)])
    return _plain(scale * norms / np.sqrt(2 * np.pi))


def gradcam_second_moment(
    *,
    filters: int,
    visible: npt.ArrayLike,
    positions: npt.ArrayLike,
    patch_norm: npt.ArrayLike,
    tau: npt.ArrayLike,
    head_widths: tuple[int, ...] = (),
) -> Numbers:
    """E[GC²] = s²/2 · V/2 · Π_l N_l/2, exact as `gradcam_mean` is.

    It asks of the parameters only that they be independent and symmetric with variance τ² (biases
    may be added to the hidden layers): no Gaussian law is used.
    """
    scale = gradcam_scale(
        visible=visible,
        positions=positions,
        patch_norm=patch_norm,
        tau=tau,
        head_widths=head_widths,
    )
    halves = np.prod([width / 2 for width in _widths(filters, head_widths)])
    return _plain(np.square(scale) / 2 * halves)


def gradcam_positive(*, filters: int, head_widths: tuple[int, ...] = ()) -> float:
    """P(GC > 0) = ½ (1 - 2^-V) Π_l (1 - 2^-N_l) for a patch that is not black.

    Exact as `gradcam_mean` is.
    """
    return float(0.5 * np.prod([1 - 0.5**width for width in _widths(filters, head_widths)]))


def gradcam_law(
    *,
    filters: int,
    visible: float,
    positions: float,
    patch_norm: float,
    tau: float,
    head_widths: tuple[int, ...] = (),
) -> HalfNormalMixture:
    """The full law of GC at one position: cdf, density above 0, atom at 0, quantiles, draws.

    Raises
    ------
    CamwallError
        For a black patch or a head that reads nothing: then GC is 0 and has no density.
    """
    widths = _widths(filters, head_widths)
    scale = gradcam_scale(
        visible=visible,
        positions=positions,
        patch_norm=patch_norm,
        tau=tau,
        head_widths=head_widths,
    )
    if np.any(np.asarray(scale) <= 0):
        raise CamwallError("the law needs visible and patch_norm above 0: else GradCAM is 0 here")
    nodes, weights = relu_norm_nodes(widths)
    return HalfNormalMixture(scales=float(scale) * nodes, weights=weights)


def gradcam_bound(
    *,
    filters: int,
    cells: npt.ArrayLike,
    positions: npt.ArrayLike,
    patch_norm: npt.ArrayLike,
    tau: npt.ArrayLike,
) -> Numbers:
    """The paper's bound (V-20)/√V · √(h'w'/(16π)) · τ²/(hw) · ‖m‖₂ (Taimeskhanov et al., 2024).

    Stated for the lower half of W set to 0: n = h'w'/2 visible cells. For another wall put
    ``cells = 2·n``; bound and exact mean scale with √n alike. Negative, hence empty, below V = 20.
    """
    root = gradcam_scale(visible=cells, positions=positions, patch_norm=patch_norm, tau=tau)
    filters = check_count("filters", filters)
    return _plain((filters - 20) / np.sqrt(filters) * np.asarray(root) / np.sqrt(16 * np.pi))


def gradcam_wide_mean(
    *,
    filters: int,
    visible: npt.ArrayLike,
    positions: npt.ArrayLike,
    patch_norm: npt.ArrayLike,
    tau: npt.ArrayLike,
) -> Numbers:
    """The wide limit of E[GC], s√(V/2)/√(2π): GC/(s√(V/2)) tends to ReLU(Z) in law."""
    scale = gradcam_scale(visible=visible, positions=positions, patch_norm=patch_norm, tau=tau)
    return _plain(np.asarray(scale) * np.sqrt(check_count("filters", filters) / (4 * np.pi)))


def gradcam_mean_bounds(
    *,
    filters: int,
    visible: npt.ArrayLike,
    positions: npt.ArrayLike,
    patch_norm: npt.ArrayLike,
    tau: npt.ArrayLike,
) -> tuple[Numbers, Numbers]:
    """Elementary bounds that hold for every V >= 1: wide/√(1 + 5/V) <= E[GC] <= wide.

    With X = ‖ReLU(g)‖², E[X] = V/2 and E[X²] = V²/4 + 5V/4. Above: Jensen, E[√X] <= √E[X]. Below:
    Hölder, E[X] <= E[√X]^{2/3} E[X²]^{1/3}. Both ends are positive and have the right limit.
    """
    wide = gradcam_wide_mean(
        filters=filters, visible=visible, positions=positions, patch_norm=patch_norm, tau=tau
    )
    return _plain(np.asarray(wide) / np.sqrt(1 + 5 / filters)), wide


def gradcam_mean_expansion(filters: int) -> float:
    """E[GC] over its wide limit to second order: 1 - 5/(8V) - 23/(128V²), error O(V⁻³).

    From the cumulants 1/2, 5/4, 11/2 of ReLU(g)² put into the expansion of E[√X] about E[X].
    """
    filters = check_count("filters", filters)
    return 1 - 5 / (8 * filters) - 23 / (128 * filters**2)


def wide_distance(filters: int, points: int = 2001) -> float:
    """sup |P(GC <= x) - P(its wide limit <= x)|, the Kolmogorov distance, on a grid of x.

    Times V it tends to (5/8)·max|x³ - 3x|φ(x) ≈ 0.344: the variance of the scale² is 5/V, and the
    Gaussian part leaves no term of order 1/√V. The atoms differ by 2^-V/2 at x = 0.
    """
    nodes, weights = relu_norm_nodes((check_count("filters", filters),))
    unit = HalfNormalMixture(scales=nodes / np.sqrt(filters / 2), weights=weights)
    wide = HalfNormalMixture(scales=np.ones(1), weights=np.ones(1))
    x = np.linspace(0, 6, check_count("points", points, least=2))
    return float(np.abs(unit.sf(x) - wide.sf(x)).max())
