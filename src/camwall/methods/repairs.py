"""Repairs of CAM methods, null repairs that only look like one, and what any method must beat.

None of them is in `METHODS`: they are given to `explain` or `check` as they are.
"""

import torch
from torch import Tensor

from camwall.errors import extra
from camwall.methods.cams import gradcam_pp_weights, hirescam, of_gradient
from camwall.methods.evidence import Evidence
from camwall.methods.explain import METHODS
from camwall.methods.registry import Mechanism, Method
from camwall.models import WalledModel

# -- repairs: the weight of a position comes from the position, or from near it


def windowed(radius: int) -> Method:
    """GradCAM with the gradient's mean over a window of side 2·radius + 1 around each position.

    Radius 0 is HiResCAM; from radius max(h, w) − 1 on it is GradCAM.
    """
    with extra("theory"):
        from camwall.theory import windowed_gradcam

    side = 2 * radius + 1
    return METHODS["GradCAM"].variant(
        f"GradCAM ({side}×{side} windows)",
        f"the mean of the gradient over {side}×{side} cells around the position",
        of_gradient(lambda maps, gradients: windowed_gradcam(maps, gradients, radius)),
    )


GRADCAM_PP_AT_POSITION = METHODS["GradCAM++"].variant(
    "GradCAM++ (at the position)",
    "GradCAM++'s share of the positive gradient at the position itself",
    # It still sees through: a weight has the activations' sum over all cells in its denominator.
    of_gradient(lambda maps, gradients: hirescam(maps, gradcam_pp_weights(maps, gradients))),
)

# -- null repairs


def gated(method: Method) -> Method:
    """A method's raw map where the score has a gradient, 0 elsewhere: a null repair.

    Blind behind any wall by construction, and the method itself on a network without one, whatever
    it shows there.
    """

    def raw(evidence: Evidence) -> Tensor:
        assert method.raw is not None
        return method.raw(evidence) * (evidence.gradients != 0).any(dim=1)

    return method.variant(
        f"{method.name} (gated)",
        f"{method.weights}; 0 where the score has no gradient",
        raw,
        mechanism=Mechanism.POSITION_WISE,
    )


def cut_below(method: Method, share: float) -> Method:
    """A raw map without its rows below ``share`` of the height: blind behind one wall alone."""

    def raw(evidence: Evidence) -> Tensor:
        assert method.raw is not None
        maps = method.raw(evidence).clone()
        maps[:, round(share * maps.shape[1]) :] = 0
        return maps

    return method.variant(
        f"{method.name} (cut below {share:.0%})",
        f"{method.weights}; 0 below {share:.0%} of the height",
        raw,
    )


# -- what a method must beat, and what needs no maps


def gradient(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """The largest absolute derivative over the colours."""
    return _input_gradient(model, images, target).abs().amax(dim=1)


def input_times_gradient(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """|Σ over colours of pixel × derivative|."""
    return (images * _input_gradient(model, images, target)).sum(dim=1).abs()


def _input_gradient(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    score = model(images).gather(1, target[:, None]).sum()
    return torch.autograd.grad(score, images)[0]


def flat(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """The same everywhere."""
    return torch.ones_like(images[:, 0])


def centre(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """A Gaussian at the image's centre, σ a quarter of its side: what any photograph has there."""
    height, width = images.shape[2:]
    rows, columns = (torch.linspace(-2, 2, n, device=images.device) for n in (height, width))
    bump = torch.exp(-(rows[:, None] ** 2 + columns**2) / 2)
    return bump.to(images.dtype).expand(len(images), height, width)
