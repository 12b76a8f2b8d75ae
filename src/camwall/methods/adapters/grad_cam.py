"""The same methods, and more, through the package grad-cam."""

import io
from contextlib import redirect_stderr
from dataclasses import replace

import torch
from torch import Tensor, nn

from camwall.errors import CamwallError, extra
from camwall.methods.registry import Method, SaliencyFunction
from camwall.models import WalledModel


class _Exposed(nn.Module):
    """A walled model around a layer of its own, for the package to hook and replace.

    The package leaves hooks and an ablated layer behind where the model fails on the way; here
    they die with this module, and the model itself never has them.
    """

    def __init__(self, model: WalledModel) -> None:
        super().__init__()
        self.model, self.layer = model, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        def through(maps: Tensor, output: object) -> Tensor:
            # Where every parameter is frozen, the package would find no gradient.
            return self.layer(maps if maps.requires_grad else maps.detach().requires_grad_())

        return self.model.passed(images, through)


def grad_cam(name: str) -> SaliencyFunction:
    """A class of the package as a saliency function.

    It computes in full precision, also under autocast: the package takes what it finds to NumPy,
    which has no bfloat16. Where it is not installed a call raises CamwallError.
    """

    def maps(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        with extra("grad-cam"):
            import pytorch_grad_cam
            from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
        images = images.to(next(model.parameters()).dtype)
        exposed = _Exposed(model)
        with (
            torch.autocast(images.device.type, enabled=False),
            redirect_stderr(io.StringIO()),  # its progress bars
        ):
            cam = getattr(pytorch_grad_cam, name)(exposed, [exposed.layer])
            try:
                found = cam(images, [ClassifierOutputTarget(index) for index in target.tolist()])
            finally:
                # Its own release fails on the graphs that ShapleyCAM keeps: leave it nothing to do.
                cam.activations_and_grads.activations, cam.activations_and_grads.gradients = [], []
        return torch.from_numpy(found).to(images)

    return maps


def through_package(method: Method) -> Method:
    """A method as the package has it; CamwallError if it has not."""
    if method.package is None:
        raise CamwallError(f"the package grad-cam has no {method.name}; use engine='camwall'")
    return replace(method, raw=None, function=grad_cam(method.package))
