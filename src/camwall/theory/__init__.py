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

from camwall.theory.dial import dial_energy, dial_rows, windowed_gradcam
from camwall.theory.filterlaw import FilterLaw, gradcam_filter_law, xgradcam_filter_law
from camwall.theory.given import (
    ablationcam_given_maps,
    cauchy_positive,
    gradcam_given_maps,
    gradcampp_positive,
    some_map_positive,
    xgradcam_given_maps,
)
from camwall.theory.gradcam import (
    gradcam_bound,
    gradcam_law,
    gradcam_mean,
    gradcam_mean_bounds,
    gradcam_mean_expansion,
    gradcam_positive,
    gradcam_scale,
    gradcam_second_moment,
    gradcam_wide_mean,
    wide_distance,
)
from camwall.theory.mixture import HalfNormalMixture
from camwall.theory.montecarlo import (
    Estimate,
    Moments,
    Networks,
    coverage,
    draw_networks,
    simulate_gradcam,
    summarise,
)
from camwall.theory.predict import WEIGHT_LAWS, predicted_maps
from camwall.theory.setting import Setting, energy_leak
from camwall.theory.table import (
    POOLINGS,
    head_rows,
    looseness_rows,
    montecarlo_rows,
    pooling_rows,
)

__all__ = [
    "POOLINGS",
    "WEIGHT_LAWS",
    "Estimate",
    "FilterLaw",
    "HalfNormalMixture",
    "Moments",
    "Networks",
    "Setting",
    "ablationcam_given_maps",
    "cauchy_positive",
    "coverage",
    "dial_energy",
    "dial_rows",
    "draw_networks",
    "energy_leak",
    "gradcam_bound",
    "gradcam_filter_law",
    "gradcam_given_maps",
    "gradcam_law",
    "gradcam_mean",
    "gradcam_mean_bounds",
    "gradcam_mean_expansion",
    "gradcam_positive",
    "gradcam_scale",
    "gradcam_second_moment",
    "gradcam_wide_mean",
    "gradcampp_positive",
    "head_rows",
    "looseness_rows",
    "montecarlo_rows",
    "pooling_rows",
    "predicted_maps",
    "simulate_gradcam",
    "some_map_positive",
    "summarise",
    "wide_distance",
    "windowed_gradcam",
    "xgradcam_filter_law",
    "xgradcam_given_maps",
]
