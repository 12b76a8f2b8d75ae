"""torch-cam's Smooth GradCAM++: the last noisy copy's maps and gradient, and another sum."""

import torch
from torch import nn
from torchcam.methods import SmoothGradCAMpp

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()
image = torch.randn(1, 3, 24, 24)
with SmoothGradCAMpp(net, "1") as extractor:
    net(image)
    maps = extractor.hook_a[0].clone()
    extractor(0)
    moved = (extractor.hook_a[0] - maps).norm() / maps.norm()
print(f"the maps that are combined differ from the image's by {moved:.2f} of their norm")

with SmoothGradCAMpp(net, "1", num_samples=1, std=1e-9) as extractor:  # no noise: GradCAM++
    net(image)
    found = extractor(0)[0]
    positive = extractor.hook_g[0].double().relu()
share = positive / (2 + maps.double().sum((2, 3), keepdim=True) * positive)
expected = (share.sum((2, 3), keepdim=True) * maps).sum(1).relu()
expected = (expected - expected.amin()) / (expected.amax() - expected.amin())
print(f"without noise, largest difference from GradCAM++: {(found - expected).abs().max():.3f}")
