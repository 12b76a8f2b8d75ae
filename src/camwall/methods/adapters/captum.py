"""The package captum.

A map is the size of the attributions' sum over colours, as ``captum.attr.visualization`` shows it.
Pixels are taken away by painting them 0 in the network's normalised input: grey.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import exp
from typing import Any

import torch
from captum import attr
from captum._utils.models.linear_model import SkLearnLasso
from torch import Tensor, nn

from camwall.errors import in_one_line
from camwall.methods.adapters import singly
from camwall.models import WalledModel

#: Patches a side, of methods that take away patches.
PATCHES = 7
#: Steps, noisy images, random orders, random sets of patches.
STEPS, NOISY, ORDERS, SETS = 16, 16, 3, 100
#: The noise's standard deviation, as a share of the range of pixels.
NOISE = 0.15


def patches(height: int, width: int) -> Tensor:
    """Which of 7×7 patches each pixel lies in: int [1, 1, H, W]."""
    rows, columns = (torch.arange(size) * PATCHES // size for size in (height, width))
    return (PATCHES * rows[:, None] + columns)[None, None]


def _of_model(kind: Callable[..., Any], **settings: Any) -> Callable[..., Tensor]:
    return lambda model, image, target: kind(model).attribute(image, target=target, **settings)


def _of_scores(kind: Callable[..., Any], **settings: Any) -> Callable[..., Tensor]:
    """Of what takes parts of the image away, and looks at scores alone.

    One perturbed image at a time: the scores of larger batches differ in the last bit, and so
    would those without a part that no score can see.
    """

    def attribute(model: WalledModel, image: Tensor, target: Tensor) -> Tensor:
        parts = patches(*image.shape[2:]).to(image.device)
        with torch.no_grad():
            return kind(model.scores).attribute(
                image, target=target, feature_mask=parts, **settings
            )

    return attribute


def _smooth(model: WalledModel, image: Tensor, target: Tensor) -> Tensor:
    std = sum(model.preprocessing.std) / len(model.preprocessing.std)
    tunnel = attr.NoiseTunnel(attr.Saliency(model))
    settings = {"nt_type": "smoothgrad", "nt_samples": NOISY, "nt_samples_batch_size": 1}
    return tunnel.attribute(image, target=target, stdevs=NOISE / std, **settings)


def _occlusion(model: WalledModel, image: Tensor, target: Tensor) -> Tensor:
    channels, *size = image.shape[1:]
    steps = [-(-side // (2 * PATCHES)) for side in size]
    with torch.no_grad():
        return attr.Occlusion(model.scores).attribute(
            image,
            target=target,
            sliding_window_shapes=(channels, *(2 * step for step in steps)),
            strides=(channels, *steps),
        )


def _guided_cam(model: WalledModel, image: Tensor, target: Tensor) -> Tensor:
    return attr.GuidedGradCam(model, model.target_layer).attribute(image, target=target)


def _layer_cam(model: WalledModel, image: Tensor, target: Tensor) -> Tensor:
    kind = attr.LayerGradCam(model, model.target_layer)
    found = kind.attribute(image, target=target, relu_attributions=True)
    return attr.LayerAttribution.interpolate(found, tuple(image.shape[2:]))


def _lime_of_sets(model: WalledModel, image: Tensor, target: Tensor) -> Tensor:
    """Samples weighed as in the authors' code: √exp(−d²/¼²), d the cosine distance of the sets."""

    def near(original: Tensor, perturbed: Tensor, chosen: Tensor, **_: Any) -> float:
        distance = 1 - float(chosen.cpu().double().mean()) ** 0.5
        return exp(-(distance**2) / (2 * 0.25**2))

    kind = attr.Lime(model.scores, SkLearnLasso(alpha=0.01), similarity_func=near)
    parts = patches(*image.shape[2:]).to(image.device)
    with torch.no_grad():
        return kind.attribute(image, target=target, feature_mask=parts, n_samples=SETS)


ATTRIBUTIONS: dict[str, Callable[[WalledModel, Tensor, Tensor], Tensor]] = {
    "Saliency": _of_model(attr.Saliency),
    "InputXGradient": _of_model(attr.InputXGradient),
    "IntegratedGradients": _of_model(
        attr.IntegratedGradients, n_steps=STEPS, internal_batch_size=4
    ),
    "NoiseTunnel": _smooth,
    "GuidedBackprop": _of_model(attr.GuidedBackprop),
    "Deconvolution": _of_model(attr.Deconvolution),
    "DeepLift": _of_model(attr.DeepLift),
    "GuidedGradCam": _guided_cam,
    "LayerGradCam": _layer_cam,
    "Occlusion": _occlusion,
    "FeatureAblation": _of_scores(attr.FeatureAblation),
    "ShapleyValueSampling": _of_scores(attr.ShapleyValueSampling, n_samples=ORDERS),
    "KernelShap": _of_scores(attr.KernelShap, n_samples=SETS),
    "Lime": _of_scores(attr.Lime, n_samples=SETS),
    "LimeOfSets": _lime_of_sets,
}


@contextmanager
def _hookable(model: nn.Module) -> Iterator[None]:
    """No module works in place, which hooks on gradients cannot follow; and no remarks."""
    inside = [module for module in model.modules() if getattr(module, "inplace", False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for module in inside:
                module.inplace = False  # type: ignore[assignment]
            yield
        finally:
            for module in inside:
                module.inplace = True  # type: ignore[assignment]


def maps(name: str, model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """Maps [N, H, W] of one of `ATTRIBUTIONS`."""
    with (
        in_one_line(
            f"captum's {name} cannot follow this {type(model.trunk).__name__}",
            "it wants each module called once a pass; take a method without a rule for modules",
        ),
        _hookable(model),
    ):
        return singly(ATTRIBUTIONS[name], model, images, target).sum(dim=1).abs()
