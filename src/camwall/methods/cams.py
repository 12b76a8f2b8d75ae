"""The methods that need one pass and one gradient, each a function of maps and gradients.

Throughout, B are the maps and G = ∂(score)/∂B, both [N, V, h, w]; a raw map is [N, h, w].
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from camwall.methods.eigen import first_component
from camwall.methods.evidence import Evidence
from camwall.methods.registry import Mechanism, Method

_SPACE = (2, 3)


def weighted(weights: Tensor, maps: Tensor) -> Tensor:
    """Σ_v α_v B_v for channel weights α [N, V]."""
    # Channels last: a sum along memory has one order for all positions, so that equal activations
    # get equal values to the last bit.
    return (maps.permute(0, 2, 3, 1).contiguous() * weights[:, None, None]).sum(dim=-1)


def gradcam(maps: Tensor, gradients: Tensor) -> Tensor:
    """α_v = mean over positions of G_v."""
    return weighted(gradients.mean(dim=_SPACE), maps)


def gradcam_pp_weights(maps: Tensor, gradients: Tensor, eps: float = 1e-6) -> Tensor:
    """a_v[p] ReLU(G_v[p]),  a_v = G² / (2G² + (Σ_q B_v[q]) G³ + eps), 0 where G = 0: [N, V, h, w].

    GradCAM++'s weights before they are summed over positions. The paper's equation 19 has eps = 0.
    """
    # Where the gradient is 0 the share is 0/0 for eps = 0; the ReLU makes it 0 in any case, and
    # negative gradients too, for which the denominator may vanish.
    positive = gradients > 0
    if eps:
        squares = gradients.square()
        denominator = 2 * squares + maps.sum(dim=_SPACE, keepdim=True) * squares * gradients + eps
        share = squares / denominator.where(positive, 1.0)
    else:  # G² taken out of the fraction: the square of a small gradient would vanish
        share = 1 / (2 + maps.sum(dim=_SPACE, keepdim=True) * gradients).where(positive, 1.0)
    return (share * gradients).where(positive, 0.0)


def gradcam_pp(maps: Tensor, gradients: Tensor, eps: float = 1e-6) -> Tensor:
    """α_v = Σ_p of `gradcam_pp_weights`."""
    return weighted(gradcam_pp_weights(maps, gradients, eps).sum(dim=_SPACE), maps)


def xgradcam(maps: Tensor, gradients: Tensor) -> Tensor:
    """α_v = Σ_p G_v[p] B_v[p] / Σ_q B_v[q]; the 10⁻⁷ in the denominator is grad-cam's."""
    weights = (gradients * maps).sum(dim=_SPACE) / (maps.sum(dim=_SPACE) + 1e-7)
    return weighted(weights, maps)


def hirescam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Σ_v G_v B_v, position by position."""
    return (gradients * maps).sum(dim=1)


def layercam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Σ_v ReLU(G_v) B_v."""
    return (gradients.clamp(min=0) * maps).sum(dim=1)


def gradcam_elementwise(maps: Tensor, gradients: Tensor) -> Tensor:
    """Σ_v ReLU(G_v B_v)."""
    return (gradients * maps).clamp(min=0).sum(dim=1)


def eigen_gradcam(maps: Tensor, gradients: Tensor) -> Tensor:
    """The first principal component of G ⊙ B over positions."""
    return first_component(gradients * maps)


def of_gradient(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Evidence], Tensor]:
    """A function of maps and gradients as one of the evidence."""
    return lambda evidence: function(evidence.maps, evidence.gradients)


GRADCAM_PP = Method(
    "GradCAM++",
    "a weighted sum of the positive gradients, never negative",
    Mechanism.NON_NEGATIVE,
    "chattopadhay2018gradcampp",
    of_gradient(gradcam_pp),
    package="GradCAMPlusPlus",
    departs="adds 10⁻⁶ to a denominator; it dominates where gradients are below about 10⁻³",
)

CAMS = (
    Method(
        "GradCAM",
        "the mean of the gradient over the map",
        Mechanism.SIGNED,
        "selvaraju2017gradcam",
        of_gradient(gradcam),
        package="GradCAM",
    ),
    GRADCAM_PP,
    GRADCAM_PP.variant(
        "GradCAM++ (paper)",
        "as GradCAM++, without the constant in the denominator",
        of_gradient(partial(gradcam_pp, eps=0.0)),
    ),
    Method(
        "XGradCAM",
        "the mean of the gradient, each position weighed by its activation",
        Mechanism.SIGNED,
        "fu2020xgradcam",
        of_gradient(xgradcam),
        package="XGradCAM",
    ),
    Method(
        "HiResCAM",
        "the gradient at the position itself",
        Mechanism.POSITION_WISE,
        "draelos2020hirescam",
        of_gradient(hirescam),
        package="HiResCAM",
    ),
    Method(
        "LayerCAM",
        "the positive part of the gradient at the position itself",
        Mechanism.POSITION_WISE,
        "jiang2021layercam",
        of_gradient(layercam),
        package="LayerCAM",
    ),
    Method(
        "GradCAMElementWise",
        "the gradient at the position itself, where its product with the map is > 0",
        Mechanism.POSITION_WISE,
        "gildenblat2021gradcam",
        of_gradient(gradcam_elementwise),
        package="GradCAMElementWise",
    ),
    Method(
        "EigenGradCAM",
        "the first principal component of gradient times map; centring spreads it over every "
        "position, as a veil where gradient and map are 0",
        Mechanism.CENTRED,
        "gildenblat2021gradcam",
        of_gradient(eigen_gradcam),
        package="EigenGradCAM",
    ),
)
