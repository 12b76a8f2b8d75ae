"""Closed forms and Monte Carlo for saliency at initialisation, on both sides of the wall.

The setting is the simple CNN of (Taimeskhanov et al., 2024): V filters of size k×k without bias,
ReLU, max pooling over disjoint windows, and a head that reads the n visible pooled cells. Every
parameter is an independent N(0, τ²). ``B`` are the maps (h×w positions), ``m`` is the k×k patch of
the image that one position of the map sees, and GC = ReLU(Σ_v α_v B_v) is GradCAM's map before any
normalisation.

Symbols and argument names, the same in every function:

=============  ======================  ==========================================================
argument       symbol                  meaning
=============  ======================  ==========================================================
filters        V                       number of filters
visible        n                       pooled cells of one map that the head reads
cells          h'w'                    pooled cells of one map
positions      hw                      positions of one map
patch_norm     ‖m‖₂                    l2 norm of the patch, in the units of the image
tau            τ                       standard deviation of every parameter
head_widths    N₁, …, N_L              widths of the head's hidden ReLU layers; none: a linear head
=============  ======================  ==========================================================
"""

from camwall.theory.dial import dial_energy, windowed_gradcam
from camwall.theory.filterlaw import FilterLaw, filter_law
from camwall.theory.geometry import Setting
from camwall.theory.gradcam import (
    GradCAMLaw,
    gradcam_bound,
    gradcam_mean,
    gradcam_mean_expansion,
    wide_distance,
)
from camwall.theory.heads import (
    ablationcam_cauchy,
    cauchy_positive,
    gaussian_std,
    gradcam_spread,
    gradcampp_positive,
    predicted_maps,
    xgradcam_spread,
)
from camwall.theory.mixture import HalfNormalMixture
from camwall.theory.montecarlo import Estimate, Networks, coverage, draw_networks, simulate_gradcam

__all__ = [
    "Estimate",
    "FilterLaw",
    "GradCAMLaw",
    "HalfNormalMixture",
    "Networks",
    "Setting",
    "ablationcam_cauchy",
    "cauchy_positive",
    "coverage",
    "dial_energy",
    "draw_networks",
    "filter_law",
    "gaussian_std",
    "gradcam_bound",
    "gradcam_mean",
    "gradcam_mean_expansion",
    "gradcam_spread",
    "gradcampp_positive",
    "predicted_maps",
    "simulate_gradcam",
    "wide_distance",
    "windowed_gradcam",
    "xgradcam_spread",
]
