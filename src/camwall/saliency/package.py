"""The same methods, and more, through the package grad-cam."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from camwall._torch import evaluating, finite
from camwall.errors import CamwallError
from camwall.models import WalledModel
from camwall.saliency.registry import Mechanism, Method, register
from camwall.saliency.shared import Target, as_target


@contextmanager
def _as_found(model: nn.Module) -> Iterator[None]:
    """Give a model back what grad-cam takes: modes, gradients, an ablated layer; and be quiet."""
    gradients = [(p, p.grad) for p in model.parameters()]
    layer = model.target_layer
    silent = SimpleNamespace(tqdm=lambda iterable: iterable)
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        with (
            evaluating(model),
            mock.patch("pytorch_grad_cam.score_cam.tqdm", silent),
            mock.patch("pytorch_grad_cam.ablation_cam.tqdm", silent),
        ):
            yield
    finally:
        model.target_layer = layer
        for parameter, gradient in gradients:
            parameter.grad = gradient


def explain_with_package(
    model: WalledModel, images: Tensor, method: Method, target: Target = None
) -> Tensor:
    """Saliency maps [N, H, W] as the package grad-cam computes them, normalised.

    Raises
    ------
    CamwallError
        A method the package does not have.
    """
    if method.package is None:
        raise CamwallError(f"the package grad-cam has no {method.name}; use engine='camwall'")
    with torch.no_grad(), evaluating(model):
        scores = finite(model(images))
    targets = [ClassifierOutputTarget(int(t)) for t in as_target(target, scores)]
    cls = getattr(pytorch_grad_cam, method.package)
    with _as_found(model), torch.enable_grad():
        cam = cls(model, [model.target_layer])
        try:
            maps = cam(images.detach(), targets)
        finally:
            getattr(cam, "base_cam", cam).activations_and_grads.release()
    return torch.from_numpy(maps).to(images)


for _name, _package, _weights, _mechanism, _reference in (
    ("ShapleyCAM", "ShapleyCAM", "the mean over the map of G − ½ (∂G/∂B)·B", "SIGNED", "cai2025"),
    ("FEM", "FEM", "how often the channel lies two σ above its mean", "ACTIVATIONS", "fuad2020fem"),
    ("KPCA-CAM", "KPCA_CAM", "a kernel's first component", "ACTIVATIONS", "karmani2024kpca"),
):
    register(
        Method(
            name=_name,
            weights=_weights,
            mechanism=Mechanism[_mechanism],
            sees_through=True,
            reference=_reference,
            package=_package,
        )
    )
