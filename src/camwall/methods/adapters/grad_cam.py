"""The package grad-cam.

Its classes that have no row: RefineCAM is a product over several layers, and a wall stands at one;
SESS, and smoothing by flips, move what is hidden to where the network looks;
DeepFeatureFactorization explains no class; GuidedBackpropReLUModel is captum's guided
backpropagation.
"""

import io
from contextlib import nullcontext, redirect_stderr, redirect_stdout

import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from camwall.models import WalledModel

#: The classes that Finer-CAM sets the target's score against, as the package's own default.
NEAREST = 3


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


class _Scores(nn.Module):
    """The pass that gives the scores alone: FullGrad expects each layer with a bias to be called.

    What the model computes behind the wall has gradient 0.
    """

    def __init__(self, model: WalledModel) -> None:
        super().__init__()
        self.trunk = model.trunk
        self.scores = lambda images: model.scores(images, self.trunk)

    def forward(self, images: Tensor) -> Tensor:
        return self.scores(images)


def maps(name: str, model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
    """Maps [N, H, W] of a class of the package."""
    full = name == "FullGrad"
    exposed: nn.Module = _Scores(model) if full else _Exposed(model)
    layers = [] if full else [exposed.layer]
    targets = [ClassifierOutputTarget(index) for index in target.tolist()]
    if name == "FinerCAM":
        with torch.no_grad():
            scores = model(images)
        apart = (scores - scores.gather(1, target[:, None])).abs()
        apart.scatter_(1, target[:, None], -1)  # the target itself comes first, come what may
        nearest = apart.argsort(dim=1)[:, 1 : 1 + NEAREST].tolist()
        pairs = zip(target.tolist(), nearest, strict=True)
        targets = [FinerWeightedTarget(index, others, 1) for index, others in pairs]
    # ShapleyCAM takes second derivatives, which torch's fast attention has not.
    attention = sdpa_kernel(SDPBackend.MATH) if name == "ShapleyCAM" else nullcontext()
    with (
        attention,
        redirect_stderr(io.StringIO()),  # its progress bars
        redirect_stdout(io.StringIO()),
    ):
        cam = getattr(pytorch_grad_cam, name)(exposed, layers)
        try:
            found = cam(images, targets)
        finally:
            # Its own release fails on the graphs that ShapleyCAM keeps: leave it nothing to do.
            kept = getattr(cam, "base_cam", cam).activations_and_grads
            kept.activations, kept.gradients = [], []
            if full:
                kept.release()
    return torch.from_numpy(found).to(images)
