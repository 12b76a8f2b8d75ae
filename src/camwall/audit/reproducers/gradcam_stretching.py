"""grad-cam stretches twice: the second time repairs what 10⁻⁷ did, and no map keeps its floor."""

import torch
from pytorch_grad_cam import GradCAM
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.Softplus(), nn.Flatten(), nn.Linear(216, 3)).eval()
net[3].weight.data.abs_()  # a map that is positive everywhere
image = torch.randn(1, 3, 24, 24)
for factor in (1.0, 1e-4, 1e-7):
    with GradCAM(net, [net[1]]) as cam:
        shown = cam(image, [lambda scores, factor=factor: factor * scores[0]])
    maps = net[:2](image)[0]
    weights = net[3].weight[0].view(6, 6, 6).mean((1, 2))
    raw = factor * (weights[:, None, None] * maps).sum(0)
    print(f"map {raw.min():.0e} to {raw.max():.0e}: shown {shown.min():.2f} to {shown.max():.2f}")
