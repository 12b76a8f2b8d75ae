"""The same methods, and more, through the package grad-cam."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from camwall.as_found import evaluating, finite, gradients_kept
from camwall.methods.evidence import Target, as_target, check_images
from camwall.methods.registry import Mechanism, Method, register
from camwall.models import WalledModel


class _Exposed(nn.Module):
    """A walled model's two parts around a layer of its own, for the package to hook and replace.

    The package leaves hooks and an ablated layer behind where the model fails on the way; here
    they die with this module, and the model itself never has them.
    """

    def __init__(self, model: WalledModel) -> None:
        super().__init__()
        self.model, self.layer = model, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.model.features(images)
        if not maps.requires_grad:  # every parameter is frozen
            maps = maps.detach().requires_grad_()
        return self.model.head(self.layer(maps))


@contextmanager
def _as_found(model: nn.Module) -> Iterator[None]:
    """Give a model its modes and gradients back, and keep the package's progress bars quiet."""
    silent = SimpleNamespace(tqdm=lambda iterable: iterable)
    with (
        evaluating(model),
        gradients_kept(model),
        mock.patch("pytorch_grad_cam.score_cam.tqdm", silent),
        mock.patch("pytorch_grad_cam.ablation_cam.tqdm", silent),
    ):
        yield


def explain_with_package(
    model: WalledModel, images: Tensor, method: Method, target: Target = None
) -> Tensor:
    """Saliency maps [N, H, W] as the package grad-cam computes them, normalised.

    In full precision, also under autocast: the package takes what it finds to NumPy, which has no
    bfloat16.

    Raises
    ------
    CamwallError
        Images, targets or scores that are none.
    """
    check_images(model, images)
    images = images.detach().clone().to(next(model.parameters()).dtype)
    full = torch.autocast(images.device.type, enabled=False)
    with torch.no_grad(), evaluating(model), full:
        scores = finite(model(images))
    targets = [ClassifierOutputTarget(int(t)) for t in as_target(target, scores)]
    exposed = _Exposed(model)
    with _as_found(model), torch.enable_grad(), full:
        cam = getattr(pytorch_grad_cam, method.package or "")(exposed, [exposed.layer])
        try:
            maps = cam(images, targets)
        finally:
            # Its own release fails on the graphs that ShapleyCAM keeps: leave it nothing to do.
            cam.activations_and_grads.activations, cam.activations_and_grads.gradients = [], []
    return torch.from_numpy(maps).to(images)


for _name, _package, _weights, _mechanism, _reference in (
    (
        "ShapleyCAM",
        "ShapleyCAM",
        "the mean over the map of G − ½ (∂G/∂B)·B",
        "SIGNED",
        "cai2025shapleycam",
    ),
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
