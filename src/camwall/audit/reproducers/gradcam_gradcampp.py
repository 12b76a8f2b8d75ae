"""grad-cam's GradCAM++: 10⁻⁶ in the denominator, beside twice the square of the gradient."""

import torch
from pytorch_grad_cam import GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()
image = torch.randn(1, 3, 24, 24)
maps = net[:2](image).detach().double()
for size in (1.0, 1e-2, 1e-4):
    net[3].weight.data.normal_(0, size, generator=torch.Generator().manual_seed(1))
    positive = net[3].weight[0].detach().double().relu().view(1, 6, 6, 6)
    share = positive / (2 + maps.sum((2, 3), keepdim=True) * positive)
    expected = (share.sum((2, 3), keepdim=True) * maps).sum(1)
    expected = (expected - expected.amin()) / (expected.amax() - expected.amin())
    with GradCAMPlusPlus(net, [net[1]]) as cam:
        found = cam(image, [ClassifierOutputTarget(0)])
    expected = nn.functional.interpolate(expected[None], (24, 24), mode="bilinear")[0]
    expected = (expected - expected.amin()) / (expected.amax() - expected.amin())
    difference = (torch.from_numpy(found) - expected).abs().max()
    print(f"gradients of size {size:g}: largest difference from the paper {difference:.4f}")
