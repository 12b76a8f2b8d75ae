"""The methods of the audit as each package has them, called as its documentation calls them."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from camwall.audit.cases import UNIT, WALL, Chain
from camwall.methods import METHODS, explain
from camwall.methods.saliency import same_draws
from camwall.models import Preprocessing, build_wall

#: Our methods that follow a paper where the method of that name follows grad-cam.
PAPER_VARIANTS = ("GradCAM++ (paper)", "EigenCAM (paper)", "ScoreCAM (half-pixel)")
#: (network, images [1, C, H, W]) → a map [h, w] or [H, W], or a value for each pixel [C, H, W].
Call = Callable[[Chain, Tensor], Tensor]


@dataclass(frozen=True)
class Implementation:
    """A method as a package has it.

    Attributes
    ----------
    method : str
        The name of its equation, one of `camwall.audit.oracles.EQUATIONS`.
    package, name : str
        As installed by pip, and its class, with the options that are not the package's own.
    """

    method: str
    package: str
    name: str
    call: Call

    @property
    def version(self) -> str:
        """Of the package; empty where it is not installed."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""

    def __call__(self, network: Chain, image: Tensor) -> Tensor:
        """The map of an image [C, H, W]; a method that draws draws the same each time."""
        with same_draws(), warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")  # captum says what it hooks at every call
            return self.call(network, image[None].clone()).detach()


def ours(name: str, network: Chain, images: Tensor) -> Tensor:
    """The map [h, w] of our engine, with a wall at row `camwall.audit.cases.WALL` of the maps."""
    channels, height, width = images.shape[1:]
    plain = Preprocessing((0.0,) * channels, (1.0,) * channels, None, (height, width))
    row = height * WALL // max(network.features(images).shape[2], WALL + 1)
    model = build_wall(network, row, "layer", preprocessing=plain)
    return explain(model, images, name, UNIT, normalize=False)[0]


def _grad_cam(
    name: str, network: Chain, images: Tensor, target: str = "ClassifierOutputTarget"
) -> Tensor:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils import model_targets

    with getattr(pytorch_grad_cam, name)(network, [network.layer]) as cam:
        return torch.from_numpy(cam(images, [getattr(model_targets, target)(UNIT)])[0])


def _grad_cam_guided(network: Chain, images: Tensor) -> Tensor:
    from pytorch_grad_cam import GuidedBackpropReLUModel

    found = GuidedBackpropReLUModel(network)(images, UNIT)
    return torch.from_numpy(found).permute(2, 0, 1)


def _torchcam(name: str, network: Chain, images: Tensor) -> Tensor:
    import torchcam.methods

    with getattr(torchcam.methods, name)(network, network.layer) as extractor:
        scores = network(images)
        torch.manual_seed(0)
        return extractor(UNIT, scores)[0][0]


def _captum_layer(name: str, network: Chain, images: Tensor, **options: Any) -> Tensor:
    import captum.attr

    method = getattr(captum.attr, name)(network, network.layer)
    return method.attribute(images, UNIT, **options)[0].sum(dim=0)


def _captum(name: str, network: Chain, images: Tensor, **options: Any) -> Tensor:
    import captum.attr

    layer = [network.layer] if name == "GuidedGradCam" else []
    if name == "LRP":  # it asks for a rule for layers that it does not know
        from captum.attr._utils.lrp_rules import EpsilonRule

        for module in network.modules():
            if isinstance(module, nn.Flatten):
                module.rule = EpsilonRule()  # type: ignore[assignment]
    return getattr(captum.attr, name)(network, *layer).attribute(images, target=UNIT, **options)[0]


def _zennit(name: str, network: Chain, images: Tensor) -> Tensor:
    from zennit.attribution import Gradient, IntegratedGradients
    from zennit.composites import GuidedBackprop, LayerMapComposite
    from zennit.rules import Epsilon

    epsilon = LayerMapComposite([((nn.Conv2d, nn.Linear), Epsilon())])
    attributor = {
        "IntegratedGradients": partial(IntegratedGradients, network),
        "GuidedBackprop": partial(Gradient, network, GuidedBackprop()),
        "Epsilon": partial(Gradient, network, epsilon),
    }[name]()
    with attributor:
        start = torch.zeros(1, network(images).shape[1])
        start[0, UNIT] = 1
        return attributor(images, start)[1][0]


def implementations() -> Iterator[Implementation]:
    """Every method of the packages that `camwall.audit.oracles.EQUATIONS` has, and ours."""
    shared = {
        "GradCAM": ("GradCAM", "GradCAM"),
        "GradCAM++": ("GradCAMPlusPlus", "GradCAMpp"),
        "Smooth GradCAM++": ("", "SmoothGradCAMpp"),
        "XGradCAM": ("XGradCAM", "XGradCAM"),
        "HiResCAM": ("HiResCAM", ""),
        "LayerCAM": ("LayerCAM", "LayerCAM"),
        "GradCAMElementWise": ("GradCAMElementWise", ""),
        "EigenCAM": ("EigenCAM", ""),
        "EigenGradCAM": ("EigenGradCAM", ""),
        "AblationCAM": ("AblationCAM", ""),
        "ScoreCAM": ("ScoreCAM", "ScoreCAM"),
        "SS-CAM": ("", "SSCAM"),
        "IS-CAM": ("", "ISCAM"),
    }
    for method, names in shared.items():
        calls = {"grad-cam": _grad_cam, "torchcam": _torchcam}
        for (package, call), name in zip(calls.items(), names, strict=True):
            if name:
                yield Implementation(method, package, name, partial(call, name))
    of_probabilities = partial(_grad_cam, "ScoreCAM", target="ClassifierOutputSoftmaxTarget")
    yield Implementation(
        "ScoreCAM, of probabilities", "grad-cam", "ScoreCAM, softmax target", of_probabilities
    )
    relu = partial(_captum_layer, "LayerGradCam", relu_attributions=True)
    times = partial(_captum_layer, "LayerGradientXActivation")
    yield Implementation("GradCAM", "captum", "LayerGradCam", relu)
    yield Implementation("HiResCAM", "captum", "LayerGradientXActivation, summed", times)
    guided, integrated, lrp = "guided backpropagation", "integrated gradients", "LRP-ε"
    yield Implementation(guided, "grad-cam", "GuidedBackpropReLUModel", _grad_cam_guided)
    yield Implementation(
        "guided GradCAM", "captum", "GuidedGradCam", partial(_captum, "GuidedGradCam")
    )
    bilinear = partial(_captum, "GuidedGradCam", interpolate_mode="bilinear")
    yield Implementation("guided GradCAM", "captum", "GuidedGradCam, bilinear", bilinear)
    for method, name in {
        guided: "GuidedBackprop",
        integrated: "IntegratedGradients",
        lrp: "LRP",
    }.items():
        yield Implementation(method, "captum", name, partial(_captum, name))
        name = name.replace("LRP", "Epsilon")
        yield Implementation(method, "zennit", name, partial(_zennit, name))
    for name, known in METHODS.items():
        if known.raw is not None and (name in shared or name in PAPER_VARIANTS):
            yield Implementation(name.partition(" (")[0], "camwall", name, partial(ours, name))
